"""Patches for training: many small windows of many different patients.

Every batch of patches comes from one drawn patient (cells, tumour) and one node; each patch has
its own laboratory, and a patch with tumour its own deposit. The kinds of normal tissue are drawn
so that no plain statistic of a patch tells tumour from normal (`BASELINES` of the training room).
"""

from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_camelyon.synthetic.anatomy import chart
from napari_camelyon.synthetic.artefacts import (
    Artefacts,
    Bubble,
    Fold,
    Stroke,
    mark_glass,
    spoil_tissue,
)
from napari_camelyon.synthetic.cells import Phenotype, draw_phenotype
from napari_camelyon.synthetic.deposits import with_deposit
from napari_camelyon.synthetic.noise import child_seed
from napari_camelyon.synthetic.paint import Box, paint_chart
from napari_camelyon.synthetic.placement import Cells
from napari_camelyon.synthetic.scanners import draw_centre, scan
from napari_camelyon.synthetic.sprites import SpriteBank, draw_bank
from napari_camelyon.synthetic.tissues import Chart, Deposit, NodePlan, Tissue

__all__ = ["NORMAL_KINDS", "Patches", "draw_normal_field", "draw_patches"]

Place = tuple[float, float]

_T = Tissue

NORMAL_KINDS: dict[str, tuple[tuple[Tissue, ...], float]] = {
    "lymphocytes": ((_T.PARACORTEX,), 0.19),
    "mantle": ((_T.MANTLE,), 0.05),
    "germinal centre": ((_T.GERMINAL,), 0.20),
    "histiocytes": ((_T.HISTIOCYTES,), 0.14),
    "sinus": ((_T.SINUS,), 0.06),
    "collagen": ((_T.COLLAGEN,), 0.13),
    "cords": ((_T.CORD,), 0.08),
    "vessels": ((_T.VENULE, _T.VESSEL_WALL, _T.LUMEN), 0.11),
    "fat": ((_T.FAT,), 0.02),
    "glass": ((_T.GLASS,), 0.01),
}
"""What normal patches show in their middle, and how often."""

MASK_BLOCKS = 16
"""The tumour mask of a patch has this many blocks a side."""

_MARGIN_UM = 24.0  # a patch need not fit any neighbour: less than a slide's tiles need
_FIELD_UM = 1200.0  # side of the charted square in which places are looked for


@dataclass(frozen=True, slots=True)
class Patches:
    """Patches and what is true of them.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, patch_px, patch_px, 3)
    tumour : ndarray of float32, shape (n, 16, 16)
        Share of each block that is tumour, septa and lymphocytes between its cells included.
    kinds : list of str
        A key of `NORMAL_KINDS`, or "tumour: " and its pattern.
    nuclei : ndarray of int64, shape (n,)
        Number of nucleated cells whose centre lies in the patch.
    """

    pixels: NDArray[np.uint8]
    tumour: NDArray[np.float32]
    kinds: list[str]
    nuclei: NDArray[np.int64]

    @property
    def coverage(self) -> NDArray[np.float32]:
        """Share of each patch that is tumour, shape (n,)."""
        return np.asarray(self.tumour.mean(axis=(1, 2)), np.float32)


def draw_patches(
    seed: int,
    count: int,
    *,
    patch_px: int = 128,
    mpp: float = 0.486,
    tumour_share: float = 0.5,
    copies: int = 24,
) -> Patches:
    """Draw patches of one patient.

    Parameters
    ----------
    seed : int
        The patient; the same seed gives the same patches.
    count : int
        Number of patches, tumour and normal in random order.
    patch_px, mpp
        Size of a patch in pixels and µm per pixel.
    tumour_share : float
        Share of the patches that hold tumour.
    copies : int
        Pictures a cell type (see `draw_bank`).
    """
    rng = np.random.default_rng(child_seed(seed, 1))
    case = _draw_case(rng, mpp, copies)
    plan, phenotype, bank = case.plan, case.phenotype, case.bank
    look = _draw_tumour_look(rng)
    corner = _corner_of_square(rng, plan, _FIELD_UM)
    # Wider than where places are looked for, so that no patch runs over its border.
    rim = patch_px * mpp / 2 + 2 * _MARGIN_UM
    ground = _chart_square(plan, corner, _FIELD_UM, rim)
    inner = ground.cut(corner[0], corner[1], corner[0] + _FIELD_UM, corner[1] + _FIELD_UM)
    pixels = np.empty((count, patch_px, patch_px, 3), np.uint8)
    tumour = np.zeros((count, MASK_BLOCKS, MASK_BLOCKS), np.float32)
    nuclei = np.zeros(count, np.int64)
    kinds = []
    done = 0
    while done < count:
        with_tumour = bool(rng.uniform() < tumour_share)
        if with_tumour:
            deposit, kind, place = _tumour_place(rng, inner, look, patch_px * mpp)
        else:
            kind, place = _normal_place(rng, inner)
        x_px = int(place[0] / bank.mpp) - patch_px // 2
        y_px = int(place[1] / bank.mpp) - patch_px // 2
        box = (x_px, y_px, patch_px, patch_px)
        reach = patch_px * bank.mpp / 2 + _MARGIN_UM
        field = ground.cut(place[0] - reach, place[1] - reach, place[0] + reach, place[1] + reach)
        if with_tumour:
            field = with_deposit(field, deposit)
        window = paint_chart(plan.seed, phenotype, bank, field, box)
        if with_tumour:
            cover = _cover(window.cells, phenotype.tumour_spacing_um, bank.mpp, box)
            if cover.mean() < 0.02:
                continue
            tumour[done] = cover
        artefacts = Artefacts()
        if rng.uniform() < (0.06 if with_tumour else 0.14):
            artefacts = _draw_artefacts(rng, place, opaque=not with_tumour)
        pixels[done] = _photograph(window.pigments, artefacts, bank.mpp, box, rng)
        nuclei[done] = _count_nuclei(window.cells, bank.mpp, box)
        kinds.append(kind)
        done += 1
    return Patches(pixels, tumour, kinds, nuclei)


def draw_normal_field(
    seed: int, *, side_px: int = 1024, mpp: float = 0.486, copies: int = 24
) -> NDArray[np.uint8]:
    """Draw a larger field of one patient's node without tumour, uint8 (side_px, side_px, 3).

    Half of the nodes are rich in what is mistaken for tumour: germinal centres, histiocytes and
    collagen; a third of the fields has pen, a fold, a bubble or dust.
    """
    rng = np.random.default_rng(child_seed(seed, 2))
    case = _draw_case(rng, mpp, copies)
    plan = case.plan
    if rng.uniform() < 0.5:
        plan = replace(plan, follicles=1.0, germinal=1.0, histiocytosis=1.0, trabeculae=2.0)
    side_um = side_px * case.bank.mpp
    corner = _corner_of_square(rng, plan, side_um)
    field = _chart_square(plan, corner, side_um, 2 * _MARGIN_UM)
    box = (int(corner[0] / case.bank.mpp), int(corner[1] / case.bank.mpp), side_px, side_px)
    window = paint_chart(plan.seed, case.phenotype, case.bank, field, box)
    middle = (corner[0] + side_um * rng.uniform(), corner[1] + side_um * rng.uniform())
    artefacts = Artefacts()
    if rng.uniform() < 0.3:
        artefacts = _draw_artefacts(rng, middle, opaque=True)
    return _photograph(window.pigments, artefacts, case.bank.mpp, box, rng)


@dataclass(frozen=True, slots=True)
class _Case:
    plan: NodePlan
    phenotype: Phenotype
    bank: SpriteBank


def _draw_case(rng: np.random.Generator, mpp: float, copies: int) -> _Case:
    phenotype = draw_phenotype(rng)
    # Slides are read near, not exactly at, the model's spacing.
    bank = draw_bank(phenotype.types, mpp * float(rng.uniform(0.92, 1.08)), rng, copies)
    return _Case(_draw_node(rng), phenotype, bank)


def _corner_of_square(rng: np.random.Generator, plan: NodePlan, side_um: float) -> Place:
    """Choose a square whose middle lies in the node, so that there is tissue."""
    way, far = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform(0, 0.8)))
    along = far * np.cos(way) * plan.length_um / 2
    across = far * np.sin(way) * plan.breadth_um / 2
    return (
        plan.x_um + along * np.cos(plan.angle) - across * np.sin(plan.angle) - side_um / 2,
        plan.y_um + along * np.sin(plan.angle) + across * np.cos(plan.angle) - side_um / 2,
    )


def _chart_square(plan: NodePlan, corner: Place, side_um: float, rim_um: float) -> Chart:
    return chart(
        plan,
        corner[0] - rim_um,
        corner[1] - rim_um,
        corner[0] + side_um + rim_um,
        corner[1] + side_um + rim_um,
    )


def _draw_node(rng: np.random.Generator) -> NodePlan:
    return NodePlan(
        seed=int(rng.integers(2**62)),
        x_um=10_000.0,
        y_um=10_000.0,
        length_um=float(rng.uniform(2000, 6000)),
        breadth_um=float(rng.uniform(1500, 4000)),
        angle=float(rng.uniform(0, np.pi)),
        capsule_um=float(rng.uniform(15, 70)),
        sinus_um=float(rng.uniform(8, 40)),
        cortex_um=float(rng.uniform(350, 800)),
        follicles=float(rng.uniform(0.4, 1.0)),
        germinal=float(rng.uniform(0.3, 1.0)),
        medulla=float(rng.uniform(0.3, 0.8)),
        histiocytosis=float(rng.uniform(0.1, 1.0)),
        trabeculae=float(rng.uniform(0.5, 2.0)),
        fat_um=float(rng.uniform(60, 300)),
    )


def _draw_tumour_look(rng: np.random.Generator) -> Deposit:
    return Deposit(
        x_um=0,
        y_um=0,
        length_um=500,
        nest_um=float(np.exp(rng.uniform(np.log(45), np.log(160)))),
        stroma=float(rng.uniform(0.0, 0.45)),
    )


def _normal_place(rng: np.random.Generator, inner: Chart) -> tuple[str, Place]:
    names = list(NORMAL_KINDS)
    shares = np.array([share for _, share in NORMAL_KINDS.values()])
    for name in rng.choice(names, size=len(names), replace=False, p=shares / shares.sum()):
        place = _somewhere(rng, inner, np.isin(inner.tissue, NORMAL_KINDS[name][0]))
        if place is not None:
            return str(name), place
    return "fat", (float(inner.x.mean()), float(inner.y.mean()))


def _tumour_place(
    rng: np.random.Generator, inner: Chart, look: Deposit, field_um: float
) -> tuple[Deposit, str, Place]:
    solid = inner.tissue != Tissue.GLASS
    if rng.uniform() < 0.9:
        solid &= inner.tissue != Tissue.FAT  # growth beyond the capsule is the exception
    place = _somewhere(rng, inner, solid) or (float(inner.x.mean()), float(inner.y.mean()))
    small = rng.uniform() < 0.16
    length = float(rng.uniform(45, 150) if small else rng.uniform(250, 900))
    aspect = float(rng.uniform(0.5, 1.0))
    pattern = str(rng.choice(["sheet", "nests", "glands", "files"], p=[0.35, 0.4, 0.15, 0.1]))
    # Small deposits near the middle of the patch, large ones anywhere: core, border or rim.
    way = float(rng.uniform(0, 2 * np.pi))
    far = float(np.sqrt(rng.uniform())) * (0.35 * field_um if small else length / 2 * 0.95)
    deposit = replace(
        look,
        x_um=place[0] - far * np.cos(way),
        y_um=place[1] - far * np.sin(way) * (1.0 if small else aspect),
        length_um=length,
        aspect=aspect,
        angle=0.0 if not small else float(rng.uniform(0, np.pi)),
        seed=int(rng.integers(2**62)),
        roughness=float(rng.uniform(0.1, 0.6)),
        pattern="sheet" if small else pattern,
        nest_um=look.nest_um * float(rng.uniform(0.7, 1.4)),
        stroma=0.0 if small else look.stroma,
        infiltration=float(rng.choice([0.0, rng.uniform(0, 0.15), rng.uniform(0.15, 0.6)])),
        necrosis=float(rng.choice([0.0, 60.0], p=[0.93, 0.07])),
    )
    return deposit, f"tumour: {'cluster' if small else pattern}", place


def _somewhere(rng: np.random.Generator, inner: Chart, where: NDArray[np.bool_]) -> Place | None:
    places = np.flatnonzero(where)
    if places.size < 50:
        return None
    row, column = divmod(int(rng.choice(places)), inner.x.size)
    return float(inner.x[column]), float(inner.y[row])


def _cover(cells: Cells, spacing_um: float, mpp: float, box: Box) -> NDArray[np.float32]:
    """Return the share of each block that is tumour, as one would outline it.

    What is nearer than 1.6 spacings to a tumour cell's centre, less a rim of 0.95 spacings: so
    narrow septa and single lymphocytes between tumour cells count as tumour, and the border lies
    two thirds of a spacing outside the outermost centres.
    """
    x_px, y_px, patch_px, _ = box
    of_tumour = np.array([name == "tumour" for name in cells.names], bool)
    if not of_tumour.any():
        return np.zeros((MASK_BLOCKS, MASK_BLOCKS), np.float32)
    centres = np.stack([cells.x_um[of_tumour], cells.y_um[of_tumour]], axis=1)
    samples = 3 * MASK_BLOCKS
    step_px = patch_px / samples
    around = int(_MARGIN_UM / (step_px * mpp))
    along = (np.arange(-around, samples + around) + 0.5) * step_px
    gx, gy = np.meshgrid((x_px + along) * mpp, (y_px + along) * mpp)
    near, _ = cKDTree(centres).query(np.stack([gx.ravel(), gy.ravel()], axis=1))
    grown = near.reshape(gx.shape) < 1.6 * spacing_um
    # What lies beyond the margin is not known; it must not erode what is inside.
    padded = np.pad(grown, 1, mode="edge")
    inside = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * (step_px * mpp)
    covered = (inside > 0.95 * spacing_um)[around:-around, around:-around]
    blocks = covered.reshape(MASK_BLOCKS, 3, MASK_BLOCKS, 3)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _draw_artefacts(rng: np.random.Generator, place: Place, *, opaque: bool) -> Artefacts:
    """Draw what may lie on a patch; `opaque` allows pen and bubbles, which hide tissue."""
    x, y = (float(value + rng.uniform(-25, 25)) for value in place)
    seed = int(rng.integers(2**62))
    kind = str(rng.choice(["pen", "fold", "bubble", "dust"] if opaque else ["fold", "dust"]))
    if kind == "pen":
        radius, way = float(rng.uniform(150, 1500)), float(rng.uniform(0, 2 * np.pi))
        ink = tuple(float(value) for value in rng.uniform(0.02, 0.75, 3))
        stroke = Stroke(
            x - radius * np.cos(way),
            y - radius * np.sin(way),
            radius,
            way - 1.0,
            way + 1.0,
            float(rng.uniform(40, 260)),
            (ink[0], ink[1], ink[2]),
        )
        return Artefacts(seed, strokes=(stroke,))
    if kind == "fold":
        way, width = float(rng.uniform(0, np.pi)), float(rng.uniform(8, 40))
        dx, dy = 150 * np.cos(way), 150 * np.sin(way)
        return Artefacts(seed, folds=(Fold(x - dx, y - dy, x + dx, y + dy, width),))
    if kind == "bubble":
        radius, way = float(rng.uniform(30, 250)), float(rng.uniform(0, 2 * np.pi))
        bubble = Bubble(x - radius * np.cos(way), y - radius * np.sin(way), radius)
        return Artefacts(seed, bubbles=(bubble,))
    return Artefacts(seed, dust=float(rng.uniform(20, 400)))


def _photograph(
    pigments: NDArray[np.float32],
    artefacts: Artefacts,
    mpp: float,
    box: Box,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    centre = draw_centre(rng)
    pigments = spoil_tissue(pigments, artefacts, box[0], box[1], mpp)
    picture = scan(pigments * np.float32(np.exp(rng.normal(0, 0.12))), centre, mpp, rng)
    picture = mark_glass(picture, artefacts, box[0], box[1], mpp)
    stored = imagecodecs.jpeg8_encode(
        picture,
        level=centre.quality,
        colorspace="RGB",
        outcolorspace="YCBCR",
        subsampling="420" if rng.uniform() < 0.6 else "444",
    )
    decoded: NDArray[np.uint8] = imagecodecs.jpeg8_decode(stored)
    return decoded


def _count_nuclei(cells: Cells, mpp: float, box: Box) -> int:
    x, y = cells.x_um / mpp - box[0], cells.y_um / mpp - box[1]
    inside = (x >= 0) & (x < box[2]) & (y >= 0) & (y < box[3])
    red = np.array([name == "red" for name in cells.names], bool)
    return int((inside & ~red).sum())
