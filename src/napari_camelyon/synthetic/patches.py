"""Patches for training: many small windows of many different patients.

Every batch of patches comes from one drawn patient (cells, tumour) and one node; each patch has
its own laboratory, and a patch with tumour its own deposit. The kinds of normal tissue are drawn
so that no plain statistic of a patch tells tumour from normal (`BASELINES` of the training room).
"""

from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.synthetic.anatomy import Chart, Deposit, NodePlan, Tissue, chart
from napari_camelyon.synthetic.cells import Phenotype, draw_phenotype
from napari_camelyon.synthetic.noise import child_seed
from napari_camelyon.synthetic.paint import Window, paint_window
from napari_camelyon.synthetic.placement import Cells
from napari_camelyon.synthetic.scanners import draw_centre, scan
from napari_camelyon.synthetic.sprites import SpriteBank, draw_bank

__all__ = ["NORMAL_KINDS", "Patches", "draw_patches"]

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
    "fat": ((_T.FAT,), 0.04),
}
"""What normal patches show in their middle, and how often."""

MASK_BLOCKS = 16
"""The tumour mask of a patch has this many blocks a side."""

_FIELD_UM = 1500.0  # side of the charted square in which places are looked for


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
        return self.tumour.mean(axis=(1, 2))


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
    middle = (plan.x_um, plan.y_um)
    corner = (
        middle[0] + float(rng.uniform(-0.5, 0.5)) * plan.length_um - _FIELD_UM / 2,
        middle[1] + float(rng.uniform(-0.5, 0.5)) * plan.breadth_um - _FIELD_UM / 2,
    )
    ground = chart(plan, corner[0], corner[1], corner[0] + _FIELD_UM, corner[1] + _FIELD_UM)
    pixels = np.empty((count, patch_px, patch_px, 3), np.uint8)
    tumour = np.zeros((count, MASK_BLOCKS, MASK_BLOCKS), np.float32)
    nuclei = np.zeros(count, np.int64)
    kinds = []
    done = 0
    while done < count:
        with_tumour = bool(rng.uniform() < tumour_share)
        node, kind, place = (
            _tumour_place(rng, plan, ground, look, patch_px * mpp)
            if with_tumour
            else _normal_place(rng, plan, ground)
        )
        x_px = int(place[0] / bank.mpp) - patch_px // 2
        y_px = int(place[1] / bank.mpp) - patch_px // 2
        window = paint_window(node, phenotype, bank, x_px, y_px, patch_px, patch_px, margin_um=24.0)
        if window is None:
            continue
        if with_tumour:
            tumour[done] = _cover(window, phenotype, bank, x_px, y_px, patch_px)
            if tumour[done].mean() < 0.02:
                continue
        pixels[done] = _photograph(window.pigments, bank.mpp, rng)
        nuclei[done] = _count_nuclei(window.cells, bank, x_px, y_px, patch_px)
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


def _normal_place(
    rng: np.random.Generator, plan: NodePlan, ground: Chart
) -> tuple[NodePlan, str, tuple[float, float]]:
    names = list(NORMAL_KINDS)
    shares = np.array([share for _, share in NORMAL_KINDS.values()])
    for name in rng.choice(names, size=len(names), replace=False, p=shares / shares.sum()):
        place = _somewhere(rng, ground, np.isin(ground.tissue, NORMAL_KINDS[name][0]))
        if place is not None:
            return plan, str(name), place
    return plan, "lymphocytes", (plan.x_um, plan.y_um)


def _tumour_place(
    rng: np.random.Generator, plan: NodePlan, ground: Chart, look: Deposit, field_um: float
) -> tuple[NodePlan, str, tuple[float, float]]:
    inside = (ground.tissue != Tissue.GLASS) & (ground.tissue != Tissue.FAT)
    centre = _somewhere(rng, ground, inside) or (plan.x_um, plan.y_um)
    small = rng.uniform() < 0.16
    length = float(rng.uniform(45, 150)) if small else float(rng.uniform(250, 900))
    pattern = (
        "sheet"
        if small
        else str(rng.choice(["sheet", "nests", "glands", "files"], p=[0.35, 0.4, 0.15, 0.1]))
    )
    deposit = Deposit(
        x_um=centre[0],
        y_um=centre[1],
        length_um=length,
        aspect=float(rng.uniform(0.5, 1.0)),
        angle=float(rng.uniform(0, np.pi)),
        seed=int(rng.integers(2**62)),
        roughness=float(rng.uniform(0.1, 0.6)),
        pattern=pattern,
        nest_um=look.nest_um * float(rng.uniform(0.7, 1.4)),
        stroma=0.0 if small else look.stroma,
        infiltration=float(rng.choice([0.0, rng.uniform(0, 0.15), rng.uniform(0.15, 0.5)])),
        necrosis=float(rng.choice([0.0, 60.0], p=[0.93, 0.07])),
    )
    # Small deposits near the middle of the patch, large ones anywhere: core, border or rim.
    reach = 0.35 * field_um if small else length / 2 * 0.95
    way, far = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform())) * reach
    place = (
        centre[0] + far * np.cos(way) * (1.0 if small else 1.0),
        centre[1] + far * np.sin(way) * (1.0 if small else deposit.aspect),
    )
    node = NodePlan(
        **{name: getattr(plan, name) for name in plan.__dataclass_fields__}
        | {"deposits": (deposit,)}
    )
    return node, f"tumour: {'cluster' if small else pattern}", place


def _somewhere(
    rng: np.random.Generator, ground: Chart, where: NDArray[np.bool_]
) -> tuple[float, float] | None:
    places = np.flatnonzero(where)
    if places.size < 50:
        return None
    row, column = divmod(int(rng.choice(places)), ground.x.size)
    return float(ground.x[column]), float(ground.y[row])


def _cover(
    window: Window, phenotype: Phenotype, bank: SpriteBank, x_px: int, y_px: int, patch_px: int
) -> NDArray[np.float32]:
    """Return the share of each block that lies within three quarters of a spacing of a tumour cell."""
    of_tumour = np.array([name == "tumour" for name in window.cells.names])
    if not of_tumour.any():
        return np.zeros((MASK_BLOCKS, MASK_BLOCKS), np.float32)
    cells = np.stack([window.cells.x_um[of_tumour], window.cells.y_um[of_tumour]], axis=1)
    samples = 3 * MASK_BLOCKS
    along = (np.arange(samples) + 0.5) * patch_px / samples
    gx, gy = np.meshgrid((x_px + along) * bank.mpp, (y_px + along) * bank.mpp)
    near, _ = cKDTree(cells).query(np.stack([gx.ravel(), gy.ravel()], axis=1))
    covered = near.reshape(samples, samples) < 0.75 * phenotype.tumour_spacing_um
    blocks = covered.reshape(MASK_BLOCKS, 3, MASK_BLOCKS, 3)
    return blocks.mean(axis=(1, 3)).astype(np.float32)


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


def _count_nuclei(cells: Cells, bank: SpriteBank, x_px: int, y_px: int, patch_px: int) -> int:
    x, y = cells.x_um / bank.mpp - x_px, cells.y_um / bank.mpp - y_px
    inside = (x >= 0) & (x < patch_px) & (y >= 0) & (y < patch_px)
    red = np.array([name == "red" for name in cells.names], bool)
    return int((inside & ~red).sum())
