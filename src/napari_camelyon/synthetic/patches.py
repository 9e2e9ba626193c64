"""Patches for training: many small windows of many different patients.

Every batch of patches comes from one drawn patient (cells, tumour) and one node; each patch has
its own laboratory, and a patch with tumour its own deposit. The kinds of normal tissue are drawn
so that no plain statistic of a patch tells tumour from normal (`BASELINES` of the training room).
"""

from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.synthetic.anatomy import chart
from napari_camelyon.synthetic.cells import draw_phenotype
from napari_camelyon.synthetic.deposits import with_deposit
from napari_camelyon.synthetic.noise import child_seed
from napari_camelyon.synthetic.paint import Box, paint_chart
from napari_camelyon.synthetic.placement import Cells
from napari_camelyon.synthetic.scanners import draw_centre, scan
from napari_camelyon.synthetic.sprites import draw_bank
from napari_camelyon.synthetic.tissues import Chart, Deposit, NodePlan, Tissue

__all__ = ["NORMAL_KINDS", "Patches", "draw_patches"]

Place = tuple[float, float]

_T = Tissue

NORMAL_KINDS: dict[str, tuple[tuple[Tissue, ...], float]] = {
    "lymphocytes": ((_T.PARACORTEX,), 0.22),
    "mantle": ((_T.MANTLE,), 0.05),
    "germinal centre": ((_T.GERMINAL,), 0.18),
    "histiocytes": ((_T.HISTIOCYTES,), 0.15),
    "sinus": ((_T.SINUS,), 0.08),
    "collagen": ((_T.COLLAGEN,), 0.12),
    "cords": ((_T.CORD,), 0.08),
    "vessels": ((_T.VENULE, _T.VESSEL_WALL, _T.LUMEN), 0.08),
    "fat": ((_T.FAT,), 0.02),
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
        Share of each block that tumour cells and their surroundings cover.
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
    phenotype = draw_phenotype(rng)
    # Slides are read near, not exactly at, the model's spacing.
    bank = draw_bank(phenotype.types, mpp * float(rng.uniform(0.92, 1.08)), rng, copies)
    plan = _draw_node(rng)
    look = _draw_tumour_look(rng)
    # The middle of the square lies in the node, so there is tissue.
    way, far = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform(0, 0.8)))
    along = far * np.cos(way) * plan.length_um / 2
    across = far * np.sin(way) * plan.breadth_um / 2
    corner = (
        plan.x_um + along * np.cos(plan.angle) - across * np.sin(plan.angle) - _FIELD_UM / 2,
        plan.y_um + along * np.sin(plan.angle) + across * np.cos(plan.angle) - _FIELD_UM / 2,
    )
    # Wider than where places are looked for, so that no patch runs over its border.
    rim = patch_px * mpp / 2 + 2 * _MARGIN_UM
    ground = chart(
        plan,
        corner[0] - rim,
        corner[1] - rim,
        corner[0] + _FIELD_UM + rim,
        corner[1] + _FIELD_UM + rim,
    )
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
        if not field.tissue.any():
            continue
        if with_tumour:
            field = with_deposit(field, deposit)
        window = paint_chart(plan.seed, phenotype, bank, field, box)
        if with_tumour:
            tumour[done] = _cover(window.cells, phenotype.tumour_spacing_um, bank.mpp, box)
            if tumour[done].mean() < 0.02:
                continue
        pixels[done] = _photograph(window.pigments, bank.mpp, rng)
        nuclei[done] = _count_nuclei(window.cells, bank.mpp, box)
        kinds.append(kind)
        done += 1
    return Patches(pixels, tumour, kinds, nuclei)


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
    solid = (inner.tissue != Tissue.GLASS) & (inner.tissue != Tissue.FAT)
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
        infiltration=float(rng.choice([0.0, rng.uniform(0, 0.15), rng.uniform(0.15, 0.5)])),
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
    """Return the share of each block that is within 3/4 of a spacing of a tumour cell's centre."""
    x_px, y_px, patch_px, _ = box
    of_tumour = np.array([name == "tumour" for name in cells.names], bool)
    if not of_tumour.any():
        return np.zeros((MASK_BLOCKS, MASK_BLOCKS), np.float32)
    centres = np.stack([cells.x_um[of_tumour], cells.y_um[of_tumour]], axis=1)
    samples = 3 * MASK_BLOCKS
    along = (np.arange(samples) + 0.5) * patch_px / samples
    gx, gy = np.meshgrid((x_px + along) * mpp, (y_px + along) * mpp)
    near, _ = cKDTree(centres).query(np.stack([gx.ravel(), gy.ravel()], axis=1))
    covered = near.reshape(samples, samples) < 0.75 * spacing_um
    blocks = covered.reshape(MASK_BLOCKS, 3, MASK_BLOCKS, 3)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _photograph(
    pigments: NDArray[np.float32], mpp: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    centre = draw_centre(rng)
    picture = scan(pigments * np.float32(np.exp(rng.normal(0, 0.12))), centre, mpp, rng)
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
