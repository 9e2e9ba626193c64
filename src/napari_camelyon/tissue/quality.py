"""Spoilt areas of a slide: ink of pens, places out of focus, folds. Found once, at low resolution.

Each rule says what it goes by and where it fails; the measurements are in ``docs/decisions.md``.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Damage, Slide, read_downsampled
from napari_camelyon.tissue.mask import MASK_MPP, MIN_COLOUR_SPREAD, TissueMask, tissue_mask
from napari_camelyon.tissue.outlines import mask_polygons

__all__ = [
    "SPOILT_KINDS",
    "Quality",
    "SpoiltArea",
    "blurred_cells",
    "fold_pixels",
    "find_quality",
    "ink_pixels",
    "merged_quality",
    "sharpness",
]

SPOILT_KINDS = ("pen", "blur", "fold")
"""In the order in which a patch that lies on several counts for one."""

_WHITE = 245.0
"""Grey level of bare glass, from which optical densities are measured."""

# --- ink -------------------------------------------------------------------------------------

_COOL_SURE, _COOL_MAYBE = 15, 5
"""Grey levels by which green exceeds red in blue and green ink: in its middle, at its soft rim.

Haematoxylin and eosin both take away more green than red (`mask.INK_GREEN_OVER_RED`)."""

_BLACK_SURE, _BLACK_MAYBE = 0.9, 0.45
"""Mean optical density of black ink; its channels differ by less than this share of it:"""
_BLACK_SPREAD = 0.3

_RED_SURE, _RED_MAYBE = 0.9, 0.25
"""Optical density of red ink in green, in its middle and at its rim."""
_RED_BLUE_OVER_GREEN = 0.78
_RED_BLUE_ABOVE_TISSUE = 0.2
"""Red ink takes away blue as well as green (0.85–1.07 of it on a real slide); eosin takes far less
blue (0.3–0.7, with the scanner). So red ink must lie above both figures: the second is counted from
the slide's own tissue."""
_RED_RED_OVER_GREEN = 0.27
"""It takes away hardly any red; haematoxylin takes nearly as much red as green."""

_INK_MIN_UM2 = 20_000.0
_INK_RIM_UM = 24.0
"""Ink fades towards its rim, where it still changes the colours of the tissue."""

# --- focus -----------------------------------------------------------------------------------

_FOCUS_MPP = 1.0
_CELL_UM = 32
_WINDOW_CELLS = 3
_SHARP_RATIO = 0.14
"""Energy of the Laplacian at 1 µm/px over that at 4 µm/px, below which a place is out of focus.

Detail is compared with the structure that is there, so that smooth tissue and thin membranes are
not taken for blur. Measured: 0.22 and more on sharp tissue of four scanners; at most 0.11 with a
Gaussian blur of 1 µm, 0.054 with 1.6 µm."""
_COARSE_RATIO = 0.11
"""The same ratio between 4 and 16 µm/px: where blur has swallowed what the first one compares."""
_LEAST_STRUCTURE = 20.0
"""Laplacian energy (grey levels²) at the coarser scale below which nothing can be said."""
_CELL_TISSUE = 0.25
_BLUR_MIN_UM2 = 30_000.0
_BLOCK_CELLS = 32

# --- folds -----------------------------------------------------------------------------------

_FOLD_OVER_AROUND = 1.5
"""A fold lies double: its optical density is this many times that of the tissue around."""
_FOLD_MAYBE = 1.3
_FOLD_OVER_SLIDE = 1.25
"""And this many times what all but a tenth of the slide's tissue reaches: dense follicles do not."""
_FOLD_AROUND_UM = 300.0
_FOLD_MIN_UM2 = 4_000.0
_FOLD_LENGTH_UM = 300.0
_FOLD_LENGTH_OVER_BREADTH = 3.5
"""Of the ellipse with the same second moments: ducts, vessels and follicles are shorter or rounder.
"""

_STRIP_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class SpoiltArea:
    """One coherent spoilt area.

    Attributes
    ----------
    kind : str
        One of `SPOILT_KINDS`.
    region : shapely.Polygon
        In slide points.
    area_mm2 : float
    """

    kind: str
    region: Any
    area_mm2: float


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """The spoilt areas of a slide.

    Attributes
    ----------
    masks : mapping of str to TissueMask
        For each kind that was looked for, True where it was found.
    areas : tuple of SpoiltArea
        The same as polygons, largest first within a kind.
    """

    masks: Mapping[str, TissueMask]
    areas: tuple[SpoiltArea, ...]

    def area_mm2(self, kind: str) -> float:
        """Return the area of one kind in mm²."""
        return sum(area.area_mm2 for area in self.areas if area.kind == kind)


def find_quality(
    slide: Slide,
    mask: TissueMask | None = None,
    *,
    kinds: Sequence[str] = SPOILT_KINDS,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Look for spoilt areas of a slide.

    Ink and folds are found in the picture at 8 µm/px (62 MB for the largest slides), blur in
    blocks of a millimetre at 1 µm/px, read where there is tissue only.

    Parameters
    ----------
    slide : Slide
        Needs to know its mpp.
    mask : TissueMask, optional
        Where tissue is; default: `tissue_mask`.
    kinds : sequence of str
        What to look for.
    progress : callable, optional
        Called with ``(steps done, steps in all)``; what it raises stops the work.

    Returns
    -------
    Quality

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    SlideError
        It cannot be read.
    """
    mpp = slide.require_mpp()
    mask = mask or tissue_mask(slide)
    if unknown := set(kinds) - set(SPOILT_KINDS):
        raise ValueError(f"These are no kinds of spoilt areas: {', '.join(sorted(unknown))}.")
    pixel_px = max(1.0, MASK_MPP / mean_mpp(mpp))
    pixel_um = pixel_px * mean_mpp(mpp)
    blocks = list(_focus_blocks(slide, mask)) if "blur" in kinds else []
    tell = _Steps(len(blocks) + 3, progress)
    found: dict[str, NDArray[np.bool_]] = {}
    picture = _picture(slide, pixel_px)
    tell()
    ink = ink_pixels(picture, pixel_um)
    tell()
    if "pen" in kinds:
        found["pen"] = ink
    tissue = _resampled(mask, picture.shape[:2], pixel_px)
    clear = tissue & ~ink
    if "blur" in kinds:
        blurred = _resampled(_find_blur(slide, mask, blocks, tell), ink.shape, pixel_px)
        found["blur"] = _coherent(blurred & clear, _BLUR_MIN_UM2 / pixel_um**2)
        # What is blurred has no gaps between its nuclei, and seems dense; so does its rim.
        clear &= ~ndimage.binary_dilation(found["blur"], _disc(3 * _CELL_UM / pixel_um))
    if "fold" in kinds:
        found["fold"] = fold_pixels(picture, clear, pixel_um)
    tell()
    masks = {kind: TissueMask(found[kind], pixel_px) for kind in SPOILT_KINDS if kind in found}
    return Quality(masks, tuple(_areas(masks, mpp[0] * mpp[1])))


def merged_quality(first: Quality, second: Quality) -> Quality:
    """Return what either found; where both looked for a kind, the second counts."""
    kept = [area for area in first.areas if area.kind not in second.masks]
    return Quality({**first.masks, **second.masks}, (*kept, *second.areas))


# --- ink ---------------------------------------------------------------------------------------


def ink_pixels(picture: NDArray[np.uint8], pixel_um: float) -> NDArray[np.bool_]:
    """Mark the ink of felt pens: blue, green, black, and red where it is strong.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        RGB at some 2 to 20 µm/px.
    pixel_um : float
        Side of its pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    red_limit = max(_RED_BLUE_OVER_GREEN, _blue_over_green(picture) + _RED_BLUE_ABOVE_TISSUE)
    found = np.zeros(picture.shape[:2], bool)
    for sure, maybe in _inks(picture, red_limit):
        core = ndimage.binary_opening(sure, _disc(12.0 / pixel_um))
        core = _without_small(core, _INK_MIN_UM2 / pixel_um**2)
        if core.any():
            found |= ndimage.binary_propagation(core, mask=maybe | core)
    if not found.any():
        return found
    found = ndimage.binary_closing(found, _disc(_INK_RIM_UM / pixel_um)) | found
    found = ndimage.binary_dilation(found, _disc(_INK_RIM_UM / pixel_um))
    return ~_without_small(~found, _INK_MIN_UM2 / pixel_um**2)


def _inks(
    picture: NDArray[np.uint8], red_limit: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield for each ink where it surely is, and where it may be beside that."""
    pairs = np.zeros((3, 2, *picture.shape[:2]), bool)
    for start in range(0, len(picture), _STRIP_ROWS):
        strip = picture[start : start + _STRIP_ROWS]
        rows = slice(start, start + len(strip))
        cool = strip[..., 1].astype(np.int16) - strip[..., 0]
        pairs[0, :, rows] = cool > _COOL_SURE, cool > _COOL_MAYBE
        density = _density(strip)
        mean = density.mean(axis=2)
        grey = np.ptp(density, axis=2) < _BLACK_SPREAD * mean
        pairs[1, :, rows] = grey & (mean > _BLACK_SURE), grey & (mean > _BLACK_MAYBE)
        red, green, blue = density[..., 0], density[..., 1], density[..., 2]
        reddish = (blue > red_limit * green) & (red < _RED_RED_OVER_GREEN * green)
        pairs[2, :, rows] = reddish & (green > _RED_SURE), reddish & (green > _RED_MAYBE)
    for sure, maybe in pairs:
        yield sure, maybe


def _blue_over_green(picture: NDArray[np.uint8]) -> float:
    """Return what share of green's optical density the stained tissue of a slide has in blue."""
    step = max(1, math.isqrt(picture.shape[0] * picture.shape[1] // 250_000))
    sample = _density(picture[::step, ::step].reshape(1, -1, 3))[0]
    warm = (sample[:, 1] > 0.3) & (sample[:, 1] > sample[:, 0]) & (sample[:, 1] < 1.2)
    if not warm.any():
        return 0.0
    # Ink covers less than the half of what is stained; the lower quartile is tissue.
    return float(np.quantile(sample[warm, 2] / sample[warm, 1], 0.25))


# --- focus -------------------------------------------------------------------------------------


def sharpness(
    grey: NDArray[np.floating], cell_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the Laplacian's energy at this scale, at 4 and at 16 times as coarse a one, by cells.

    Parameters
    ----------
    grey : ndarray of float, shape (rows × cell_px, columns × cell_px)
        Grey levels.
    cell_px : int
        Side of a cell, a multiple of 16.

    Returns
    -------
    three ndarrays of float32, shape (rows, columns)
        Mean squares of the second differences along both axes, (grey levels)².
    """
    fine = grey.astype(np.float32)
    middle = _means(fine, 4)
    coarse = _means(middle, 4)
    return (
        _means(_laplacian_energy(fine), cell_px),
        _means(_laplacian_energy(middle), cell_px // 4),
        _means(_laplacian_energy(coarse), cell_px // 16),
    )


def blurred_cells(
    fine: NDArray[np.float32], middle: NDArray[np.float32], coarse: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Say which cells are out of focus, from `sharpness`; each is judged with its neighbours.

    Where even the coarsest scale shows no structure nothing is said: glass, mucus, empty fat.
    """
    around = [ndimage.uniform_filter(one, _WINDOW_CELLS) for one in (fine, middle, coarse)]
    few_details = (around[0] < _SHARP_RATIO * around[1]) & (around[1] > _LEAST_STRUCTURE)
    no_structure = (around[1] < _COARSE_RATIO * around[2]) & (around[2] > _LEAST_STRUCTURE)
    return np.asarray(few_details | no_structure)


@dataclass(frozen=True, slots=True)
class _Block:
    row: int
    column: int
    rows: int
    columns: int


def _focus_scale(slide: Slide) -> tuple[float, float]:
    """Return the level-0 pixels of a pixel in which focus is measured, and of a cell."""
    scale_px = max(1.0, _FOCUS_MPP / mean_mpp(slide.require_mpp()))
    return scale_px, scale_px * _CELL_UM


def _cell_tissue(slide: Slide, mask: TissueMask) -> NDArray[np.bool_]:
    _, cell_px = _focus_scale(slide)
    rows = max(1, math.ceil(slide.height_px / cell_px))
    columns = max(1, math.ceil(slide.width_px / cell_px))
    left, top = np.arange(columns) * cell_px, np.arange(rows) * cell_px
    return np.asarray(mask.fractions(left, top, cell_px, cell_px) >= _CELL_TISSUE)


def _focus_blocks(slide: Slide, mask: TissueMask) -> Iterator[_Block]:
    tissue = _cell_tissue(slide, mask)
    for row in range(0, tissue.shape[0], _BLOCK_CELLS):
        for column in range(0, tissue.shape[1], _BLOCK_CELLS):
            part = tissue[row : row + _BLOCK_CELLS, column : column + _BLOCK_CELLS]
            if part.any():
                yield _Block(row, column, *part.shape)


def _find_blur(
    slide: Slide, mask: TissueMask, blocks: Sequence[_Block], tell: Callable[[], None]
) -> TissueMask:
    scale_px, cell_px = _focus_scale(slide)
    tissue = _cell_tissue(slide, mask)
    energies = np.zeros((3, *tissue.shape), np.float32)

    def measure(block: _Block) -> tuple[_Block, tuple[NDArray[np.float32], ...]]:
        pixels = read_downsampled(
            slide,
            block.column * _CELL_UM,
            block.row * _CELL_UM,
            block.columns * _CELL_UM,
            block.rows * _CELL_UM,
            factor=scale_px,
            on_damage=_pass_over,
        )
        return block, sharpness(np.asarray(Image.fromarray(pixels).convert("L")), _CELL_UM)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        # Handed out as they are done, so that no more than a few pictures are in memory.
        for start in range(0, len(blocks), 8):
            for block, parts in pool.map(measure, blocks[start : start + 8]):
                rows = slice(block.row, block.row + block.rows)
                columns = slice(block.column, block.column + block.columns)
                energies[:, rows, columns] = parts
                tell()
    return TissueMask(blurred_cells(*(energies * tissue)) & tissue, cell_px)


# --- folds -------------------------------------------------------------------------------------


def fold_pixels(
    picture: NDArray[np.uint8], tissue: NDArray[np.bool_], pixel_um: float
) -> NDArray[np.bool_]:
    """Mark folds: long dark bands, about twice as dense as the tissue on their sides.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        RGB at some 4 to 10 µm/px.
    tissue : ndarray of bool, shape (rows, columns)
        Where to look.
    pixel_um : float
        Side of the pixels.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    if not tissue.any():
        return np.zeros_like(tissue)
    density = np.empty(tissue.shape, np.float32)
    for start in range(0, len(picture), _STRIP_ROWS):
        rows = slice(start, start + _STRIP_ROWS)
        density[rows] = _density(picture[rows]).mean(axis=2)
    around = _local_mean(density, tissue, _FOLD_AROUND_UM / pixel_um)
    dense = float(np.quantile(density[tissue], 0.9))
    sure = tissue & (density > _FOLD_OVER_AROUND * around) & (density > _FOLD_OVER_SLIDE * dense)
    maybe = tissue & (density > _FOLD_MAYBE * around) & (density > dense)
    grown = ndimage.binary_propagation(sure, mask=maybe)
    grown = ndimage.binary_closing(grown, _disc(10.0 / pixel_um)) | grown
    labels, _ = ndimage.label(grown, structure=np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[place] == number
        if not _is_band(part, pixel_um):
            grown[place] &= ~part
    return grown


def _is_band(part: NDArray[np.bool_], pixel_um: float) -> bool:
    places = np.argwhere(part) * pixel_um
    if len(places) * pixel_um**2 < _FOLD_MIN_UM2:
        return False
    variances = np.linalg.eigvalsh(np.cov(places.T))
    breadth_um, length_um = 4 * np.sqrt(np.maximum(variances, 0))
    return bool(
        length_um >= _FOLD_LENGTH_UM and length_um >= _FOLD_LENGTH_OVER_BREADTH * breadth_um
    )


def _local_mean(
    values: NDArray[np.float32], where: NDArray[np.bool_], radius: float
) -> NDArray[np.float32]:
    """Return the mean of marked values around every pixel, computed four times as coarse."""
    rows, columns = (-side % 4 for side in values.shape)
    padded = np.pad(values * where, ((0, rows), (0, columns)))
    weight = np.pad(where.astype(np.float32), ((0, rows), (0, columns)))
    size = max(3, round(2 * radius / 4) | 1)
    total = ndimage.uniform_filter(_means(padded, 4), size)
    count = ndimage.uniform_filter(_means(weight, 4), size)
    mean = total / np.maximum(count, 1e-6)
    whole = mean.repeat(4, axis=0).repeat(4, axis=1)
    return np.asarray(whole[: values.shape[0], : values.shape[1]])


# --- pieces of all three -----------------------------------------------------------------------


class _Steps:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _picture(slide: Slide, pixel_px: float) -> NDArray[np.uint8]:
    columns, rows = math.ceil(slide.width_px / pixel_px), math.ceil(slide.height_px / pixel_px)
    return read_downsampled(
        slide, 0, 0, columns, rows, factor=pixel_px, on_damage=_pass_over
    )


def _pass_over(_damage: Damage) -> None:
    """What is damaged is no concern here: `tissue_mask` says it, and so does the run."""


def _density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _DENSITY_OF[pixels]


_DENSITY_OF = np.maximum(-np.log((np.arange(256, dtype=np.float32) + 1) / (_WHITE + 1)), 0)


def _laplacian_energy(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    energy = np.zeros_like(grey)
    middle = 2 * grey[1:-1, 1:-1]
    energy[1:-1, 1:-1] = (middle - grey[1:-1, :-2] - grey[1:-1, 2:]) ** 2
    energy[1:-1, 1:-1] += (middle - grey[:-2, 1:-1] - grey[2:, 1:-1]) ** 2
    return energy


def _means(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    rows, columns = values.shape[0] // factor, values.shape[1] // factor
    parts = values.reshape(rows, factor, columns, factor)
    return np.asarray(parts.mean(axis=(1, 3), dtype=np.float32))


def _disc(radius: float) -> NDArray[np.bool_]:
    reach = max(1, round(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x * x + y * y <= (reach + 0.3) ** 2)


def _without_small(values: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(values)
    large = np.bincount(labels.ravel()) >= min_pixels
    large[0] = False
    return np.asarray(large[labels])


def _coherent(values: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    kept = _without_small(values, min_pixels)
    return ~_without_small(~kept, min_pixels)


def _resampled(mask: TissueMask, shape: tuple[int, ...], pixel_px: float) -> NDArray[np.bool_]:
    """Return a mask in pixels of another size, each as the one under its centre."""
    rows = np.minimum((np.arange(shape[0]) + 0.5) * pixel_px // mask.pixel_px, len(mask.values) - 1)
    columns = np.minimum(
        (np.arange(shape[1]) + 0.5) * pixel_px // mask.pixel_px, mask.values.shape[1] - 1
    )
    return mask.values[np.ix_(rows.astype(int), columns.astype(int))]


def _areas(masks: Mapping[str, TissueMask], px2_um2: float) -> Iterator[SpoiltArea]:
    for kind, mask in masks.items():
        regions = mask_polygons(mask.values, mask.pixel_px)
        sizes = shapely.area(regions) * px2_um2 / 1e6
        for index in np.argsort(-sizes, kind="stable"):
            yield SpoiltArea(kind, regions[index], float(sizes[index]))
