"""Places that the scanner did not bring into focus."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Damage, Slide, read_downsampled
from napari_camelyon.tissue.mask import TissueMask
from napari_camelyon.tissue.pictures import means

__all__ = ["CELL_UM", "blurred_cells", "find_blur", "focus_blocks", "sharpness"]

_FOCUS_MPP = 1.0
CELL_UM = 32
_WINDOW_CELLS = 3
_SHARP_RATIO = 0.14
"""Energy of the Laplacian at 1 µm/px over that at 4 µm/px, below which a place is out of focus.

Detail is compared with the structure that is there, so that smooth tissue and thin membranes are
not taken for blur. Measured: 0.22 and more on sharp tissue of four scanners; at most 0.11 with a
Gaussian blur of 1 µm, 0.054 with 1.6 µm."""
_COARSE_RATIO = 0.14
"""The same ratio between 4 and 16 µm/px: where blur has swallowed what the first one compares."""
_LEAST_STRUCTURE = 8.0
"""Laplacian energy (grey levels²) at the coarser scale below which nothing can be said."""
_CELL_TISSUE = 0.25
_BLOCK_CELLS = 32


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
    middle = means(fine, 4)
    coarse = means(middle, 4)
    return (
        means(_laplacian_energy(fine), cell_px),
        means(_laplacian_energy(middle), cell_px // 4),
        means(_laplacian_energy(coarse), cell_px // 16),
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
class Block:
    """Some cells in a rectangle."""

    row: int
    column: int
    rows: int
    columns: int


def _focus_scale(slide: Slide) -> tuple[float, float]:
    """Return the level-0 pixels of a pixel in which focus is measured, and of a cell."""
    scale_px = max(1.0, _FOCUS_MPP / mean_mpp(slide.require_mpp()))
    return scale_px, scale_px * CELL_UM


def _cell_tissue(slide: Slide, mask: TissueMask) -> NDArray[np.bool_]:
    _, cell_px = _focus_scale(slide)
    rows = max(1, math.ceil(slide.height_px / cell_px))
    columns = max(1, math.ceil(slide.width_px / cell_px))
    left = np.arange(columns, dtype=np.float64) * cell_px
    top = np.arange(rows, dtype=np.float64) * cell_px
    return np.asarray(mask.fractions(left, top, cell_px, cell_px) >= _CELL_TISSUE)


def focus_blocks(slide: Slide, mask: TissueMask) -> Iterator[Block]:
    """Yield blocks of about a millimetre that together hold all the tissue of a slide."""
    tissue = _cell_tissue(slide, mask)
    for row in range(0, tissue.shape[0], _BLOCK_CELLS):
        for column in range(0, tissue.shape[1], _BLOCK_CELLS):
            part = tissue[row : row + _BLOCK_CELLS, column : column + _BLOCK_CELLS]
            if part.any():
                yield Block(row, column, *part.shape)


def find_blur(
    slide: Slide, mask: TissueMask, blocks: Sequence[Block], tell: Callable[[], None]
) -> TissueMask:
    """Say which cells of a slide are out of focus.

    Parameters
    ----------
    slide : Slide
    mask : TissueMask
        Cells with less than a quarter of tissue are not judged.
    blocks : sequence of Block
        All of `focus_blocks`.
    tell : callable
        Called when a block is done; what it raises stops the work.

    Returns
    -------
    TissueMask
        Its pixels are cells, 32 µm wide (more on a slide of more than 1 µm/px).

    Raises
    ------
    SlideError
        The slide cannot be read.
    """
    scale_px, cell_px = _focus_scale(slide)
    tissue = _cell_tissue(slide, mask)
    energies = np.zeros((3, *tissue.shape), np.float32)

    def measure(block: Block) -> tuple[Block, tuple[NDArray[np.float32], ...]]:
        pixels = read_downsampled(
            slide,
            block.column * CELL_UM,
            block.row * CELL_UM,
            block.columns * CELL_UM,
            block.rows * CELL_UM,
            factor=scale_px,
            on_damage=_pass_over,
        )
        return block, sharpness(np.asarray(Image.fromarray(pixels).convert("L")), CELL_UM)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        # Handed out as they are done, so that no more than a few pictures are in memory.
        for start in range(0, len(blocks), 8):
            for block, parts in pool.map(measure, blocks[start : start + 8]):
                rows = slice(block.row, block.row + block.rows)
                columns = slice(block.column, block.column + block.columns)
                energies[:, rows, columns] = parts
                tell()
    return TissueMask(blurred_cells(*(energies * tissue)) & tissue, cell_px)


def _laplacian_energy(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    energy = np.zeros_like(grey)
    middle = 2 * grey[1:-1, 1:-1]
    energy[1:-1, 1:-1] = (middle - grey[1:-1, :-2] - grey[1:-1, 2:]) ** 2
    energy[1:-1, 1:-1] += (middle - grey[:-2, 1:-1] - grey[2:, 1:-1]) ** 2
    return energy


def _pass_over(_damage: Damage) -> None:
    """Let damaged parts be: `tissue_mask` says them, and so does the run."""
