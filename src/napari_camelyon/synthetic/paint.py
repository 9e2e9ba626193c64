"""From a plan of a node to its pigments in a window, and to a picture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.synthetic.anatomy import chart
from napari_camelyon.synthetic.cells import Phenotype
from napari_camelyon.synthetic.noise import (
    child_seed,
    hashed_uniform,
    smooth_noise,
    spline_matrix,
)
from napari_camelyon.synthetic.placement import Cells, place_cells
from napari_camelyon.synthetic.sprites import Layer, SpriteBank
from napari_camelyon.synthetic.tissues import CHART_STEP_UM, Axis, Chart, NodePlan, Tissue

__all__ = ["MARGIN_UM", "Box", "Window", "paint_chart", "paint_window"]

MARGIN_UM = 44.0
"""Tissue charted around a window so that its cells are those of any larger window."""

_CELL_UM = 14.0  # how far a cell may reach out of the tissue that holds its centre

Plane = NDArray[np.float32]

Box = tuple[int, int, int, int]
"""A window in pixels: x, y, width, height."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was painted.

    Attributes
    ----------
    pigments : ndarray of float32, shape (height, width, 3)
        Haematoxylin, eosin, haemoglobin.
    chart : Chart
        The tissue below it, with a margin.
    cells : Cells
    """

    pigments: Plane
    chart: Chart
    cells: Cells


# The ground between the cells: eosin, haematoxylin, grain, fibres, threads, cracks (see _ground).
_GROUND: dict[Tissue, tuple[float, float, float, float, float, float]] = {
    Tissue.GLASS: (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue.FAT: (0.03, 0.0, 0.1, 0.0, 0.0, 0.0),
    Tissue.COLLAGEN: (0.72, 0.02, 0.15, 0.30, 0.0, 0.55),
    Tissue.SINUS: (0.16, 0.01, 0.5, 0.0, 0.35, 0.9),
    Tissue.PARACORTEX: (0.33, 0.12, 0.45, 0.0, 0.60, 0.8),
    Tissue.MANTLE: (0.30, 0.15, 0.35, 0.0, 0.25, 0.8),
    Tissue.GERMINAL: (0.34, 0.12, 0.35, 0.0, 0.10, 0.5),
    Tissue.CORD: (0.36, 0.10, 0.45, 0.0, 0.50, 0.8),
    Tissue.VENULE: (0.46, 0.05, 0.30, 0.10, 0.1, 0.3),
    Tissue.LUMEN: (0.18, 0.0, 0.15, 0.0, 0.0, 0.0),
    Tissue.TUMOUR: (0.40, 0.06, 0.35, 0.0, 0.1, 0.25),
    Tissue.DESMOPLASIA: (0.58, 0.03, 0.20, 0.30, 0.1, 0.6),
    Tissue.NECROSIS: (0.75, 0.08, 0.70, 0.0, 0.0, 0.4),
    Tissue.GLAND_LUMEN: (0.03, 0.0, 0.3, 0.0, 0.0, 0.0),
    Tissue.HISTIOCYTES: (0.30, 0.03, 0.50, 0.0, 0.2, 0.5),
    Tissue.VESSEL_WALL: (0.68, 0.03, 0.15, 0.28, 0.0, 0.3),
}
_GROUND_TABLE = np.array([_GROUND[tissue] for tissue in Tissue], np.float32)


def paint_window(
    plan: NodePlan,
    phenotype: Phenotype,
    bank: SpriteBank,
    box: Box,
    *,
    margin_um: float = MARGIN_UM,
) -> Window | None:
    """Paint the pigments of a window.

    Parameters
    ----------
    plan, phenotype, bank
        The node, its cells and their pictures; the bank's pixel size is the slide's.
    box : tuple of int
        The window in pixels: x, y, width, height.
    margin_um : float
        Less than `MARGIN_UM` is quicker, but the window no longer fits its neighbours.

    Returns
    -------
    Window or None
        None where there is nothing but glass.
    """
    x, y = _pixel_centres(bank.mpp, box)
    field = chart(plan, x[0] - margin_um, y[0] - margin_um, x[-1] + margin_um, y[-1] + margin_um)
    seen = field.cut(x[0] - _CELL_UM, y[0] - _CELL_UM, x[-1] + _CELL_UM, y[-1] + _CELL_UM)
    if not seen.tissue.any():
        return None
    return paint_chart(plan.seed, phenotype, bank, field, box)


def paint_chart(
    seed: int, phenotype: Phenotype, bank: SpriteBank, field: Chart, box: Box
) -> Window:
    """Paint a window of a chart that is at hand and wider than it; see `paint_window`."""
    x, y = _pixel_centres(bank.mpp, box)
    pigments = _ground(seed, phenotype, field, x, y)
    cells = place_cells(child_seed(seed, 7), phenotype, field)
    _stamp(pigments, cells, bank, box[0], box[1])
    thickness = 1 + np.float32(0.05) * smooth_noise(child_seed(seed, 8), x, y, 260.0)
    thickness += np.float32(phenotype.grain) * smooth_noise(child_seed(seed, 9), x, y, 0.9)
    pigments *= thickness[..., None]
    return Window(pigments, field, cells)


def _pixel_centres(mpp: float, box: Box) -> tuple[Axis, Axis]:
    x_px, y_px, width_px, height_px = box
    x = (x_px + np.arange(width_px, dtype=np.float64) + 0.5) * mpp
    y = (y_px + np.arange(height_px, dtype=np.float64) + 0.5) * mpp
    return x, y


def _ground(seed: int, phenotype: Phenotype, field: Chart, x: Axis, y: Axis) -> Plane:
    # Splines round off the corners of the 2 µm grid.
    across = _chart_to_pixels(field.x, x)
    down = _chart_to_pixels(field.y, y)
    table = _GROUND_TABLE.copy()
    lymphoid = [Tissue.PARACORTEX, Tissue.MANTLE, Tissue.GERMINAL, Tissue.CORD]
    table[lymphoid, :2] *= phenotype.haze
    table[:, 4] *= phenotype.wisps
    table[:, 5] *= phenotype.gap_strength

    def on_pixels(values: Plane) -> Plane:
        return down @ (values @ across.T)

    # Where one structure's fibres meet another's, their heights jump: no fibres there.
    jump = np.abs(np.gradient(field.fibres)).max(axis=0) > 1.6 * CHART_STEP_UM
    amplitude = table[field.tissue, 3]
    amplitude[jump] = 0
    layers = [
        on_pixels(amplitude if k == 3 else np.ascontiguousarray(table[field.tissue, k]))
        for k in range(6)
    ]
    eosin, haematoxylin, grain, fibres, threads, cracks = layers
    cloud = smooth_noise(child_seed(seed, 200), x, y, 2.0)
    cloud += smooth_noise(child_seed(seed, 201), x, y, 6.0)
    eosin = eosin * np.clip(1 + grain * np.float32(0.55) * cloud, 0.1, 2.5)
    if fibres.max() > 0.02:
        height = on_pixels(field.fibres) + 1.6 * smooth_noise(child_seed(seed, 202), x, y, 18.0)
        wave = np.sin(height * np.float32(2 * np.pi / 4.6))
        wave += np.float32(0.7) * np.sin(height * np.float32(2 * np.pi / 11.0))
        eosin += fibres * wave * np.clip(eosin, 0, 1)
        split = np.clip(-wave - np.float32(0.85), 0, 0.6) * fibres * np.float32(4.0)
        eosin *= np.clip(1 - split * phenotype.gap_strength, 0.08, 1)
    if threads.max() > 0.02:
        ridge = np.abs(smooth_noise(child_seed(seed, 203), x, y, 24.0))
        gate = smooth_noise(child_seed(seed, 204), x, y, 46.0)
        thread = np.clip(1 - ridge / np.float32(0.13), 0, 1) * np.clip(gate * 1.5 - 0.4, 0, 1)
        eosin += threads * thread * np.float32(0.95)
    if cracks.max() > 0.02:
        ridge = np.abs(smooth_noise(child_seed(seed, 205), x, y, 9.0))
        gate = smooth_noise(child_seed(seed, 206), x, y, 30.0)
        crack = np.clip(1.25 - ridge / np.float32(0.16), 0, 1) * np.clip(gate + 0.5, 0, 1)
        clear = np.clip(1 - cracks * crack, 0, 1)
        eosin *= clear
        haematoxylin = haematoxylin * clear
    if (field.tissue == Tissue.FAT).any():
        share = on_pixels((field.tissue == Tissue.FAT).astype(np.float32))
        eosin += share * _fat_walls(seed, field, on_pixels)
    pigments = np.zeros((y.size, x.size, 3), np.float32)
    pigments[..., 0] = haematoxylin
    pigments[..., 1] = np.maximum(eosin, 0)
    return pigments


def _fat_walls(seed: int, field: Chart, on_pixels: Callable[[Plane], Plane]) -> Plane:
    """Return the walls of fat cells: where two of their centres are almost equally near."""
    spacing = 58.0  # fat cells measure 50–100 µm [ross]
    i = np.arange(int(field.y[0] // spacing) - 2, int(field.y[-1] // spacing) + 4)
    j = np.arange(int(field.x[0] // spacing) - 2, int(field.x[-1] // spacing) + 4)
    i, j = (grid.ravel() for grid in np.meshgrid(i, j, indexing="ij"))
    cx = spacing * (j + 0.5 * (i % 2) + 0.6 * hashed_uniform(child_seed(seed, 210), i, j))
    cy = spacing * (i + 0.6 * hashed_uniform(child_seed(seed, 211), i, j))
    gx, gy = np.meshgrid(field.x, field.y)
    bend = 4 * smooth_noise(child_seed(seed, 212), field.x, field.y, 40.0)
    places = np.stack([(gx + bend).ravel(), (gy - bend).ravel()], axis=1)
    near, _ = cKDTree(np.stack([cx, cy], axis=1)).query(places, k=2)
    between = on_pixels((near[:, 1] - near[:, 0]).reshape(gx.shape).astype(np.float32))
    return np.asarray(0.55 * np.exp(-((between / 1.9) ** 2)), np.float32)


def _stamp(pigments: Plane, cells: Cells, bank: SpriteBank, x_px: int, y_px: int) -> None:
    height, width = pigments.shape[:2]
    columns = np.floor(cells.x_um / bank.mpp).astype(np.int64) - x_px
    rows = np.floor(cells.y_um / bank.mpp).astype(np.int64) - y_px
    reach = int(32 / bank.mpp)
    seen = np.flatnonzero(
        (columns > -reach) & (columns < width + reach) & (rows > -reach) & (rows < height + reach)
    )
    chosen = [
        bank.pick(cells.names[k], float(cells.chance[k]), float(cells.angle[k])) for k in seen
    ]
    places = list(zip(chosen, rows[seen].tolist(), columns[seen].tolist(), strict=True))
    for sprite, row, column in places:
        _over(pigments, sprite.body, row, column)
    for sprite, row, column in places:
        if sprite.nucleus is not None:
            _over(pigments, sprite.nucleus, row, column)


def _over(under: Plane, layer: Layer, row: int, column: int) -> None:
    side = layer.clear.shape[0]
    top, left = row - side // 2, column - side // 2
    bottom, right = top + side, left + side
    if top >= 0 and left >= 0 and bottom <= under.shape[0] and right <= under.shape[1]:
        target = under[top:bottom, left:right]
        target *= layer.clear
        target += layer.densities
        return
    rows = slice(max(0, -top), min(side, under.shape[0] - top))
    columns = slice(max(0, -left), min(side, under.shape[1] - left))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    target = under[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    target *= layer.clear[rows, columns]
    target += layer.densities[rows, columns]


def _chart_to_pixels(grid: Axis, places: Axis) -> Plane:
    matrix, first = spline_matrix(places, CHART_STEP_UM)
    start = first - round(grid[0] / CHART_STEP_UM)
    full = np.zeros((places.size, grid.size), np.float32)
    full[:, start : start + matrix.shape[1]] = matrix
    return full
