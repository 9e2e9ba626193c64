"""Cutting patches from a slide, block by block.

Neighbouring patches share file tiles and overlap each other. So the slide is read in blocks of
cells, each once, and the patches are cut from the block.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.geometry import Grid
from napari_camelyon.slides import Damage, Slide, choose_level, resize_box

__all__ = ["cut_patches", "read_block", "read_patch", "touched_cells"]


def read_block(
    slide: Slide,
    grid: Grid,
    cells: NDArray[np.int64],
    patch_px: int,
    on_damage: Callable[[Damage], object] | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Read the patches of a block.

    Parameters
    ----------
    slide : Slide
    grid : Grid
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of each wanted cell.
    patch_px : int
        Side of the model's input in pixels.
    on_damage : callable, optional
        As in `Slide.read`.
    out : ndarray of uint8, shape (n, patch_px, patch_px, 3), optional
        To be filled and returned.

    Returns
    -------
    ndarray of uint8, shape (n, patch_px, patch_px, 3)
        The same pixels as `read_patch` gives one by one.

    Raises
    ------
    SlideError
        The slide cannot be read there.
    """
    patch_size = np.array([grid.patch_width_px, grid.patch_height_px])
    index = choose_level(slide, float(patch_size.min()) / patch_px)
    downsample = np.array([slide.levels[index].downsample_x, slide.levels[index].downsample_y])
    corners = grid.corners(cells)
    # Patches in pixels of the level; whole where the level allows, else to be resampled.
    begins, ends = corners / downsample, (corners + patch_size) / downsample
    first = np.floor(begins.min(axis=0) + 1e-6).astype(int)
    width, height = np.ceil(ends.max(axis=0) - 1e-6).astype(int) - first
    x_px, y_px = np.round(first * downsample).astype(int)
    pixels = slide.read(
        int(x_px), int(y_px), int(width), int(height), level=index, on_damage=on_damage
    )
    return cut_patches(pixels, begins - first, ends - first, patch_px, out)


def touched_cells(
    slide: Slide,
    grid: Grid,
    cells: NDArray[np.int64],
    patch_px: int,
    damages: Sequence[Damage],
    *,
    margin_px: float = 0,
) -> NDArray[np.bool_]:
    """Tell which cells saw a damaged part of the slide.

    Parameters
    ----------
    slide : Slide
    grid : Grid
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of each cell.
    patch_px : int
        Side of the model's input in pixels.
    damages : sequence of Damage
        As `Slide.read` tells them.
    margin_px : float
        What the model sees around a patch, in pixels of its input.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    patch_size = np.array([grid.patch_width_px, grid.patch_height_px])
    level = slide.levels[choose_level(slide, float(patch_size.min()) / patch_px)]
    pixel = np.array([level.downsample_x, level.downsample_y])
    margin = margin_px * patch_size / patch_px
    corners = grid.corners(cells)
    # Every pixel of the file that a patch needs a part of counts as seen.
    begins = np.floor((corners - margin) / pixel + 1e-6) * pixel
    ends = np.ceil((corners + patch_size + margin) / pixel - 1e-6) * pixel
    touched = np.zeros(len(cells), dtype=bool)
    for damage in damages:
        first = np.array([damage.x_px, damage.y_px])
        last = first + np.array([damage.width_px, damage.height_px])
        touched |= ((begins < last - 1e-3) & (ends > first + 1e-3)).all(axis=1)
    return touched


def cut_patches(
    pixels: NDArray[np.uint8],
    begins: NDArray[np.float64],
    ends: NDArray[np.float64],
    patch_px: int,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Cut patches from a block of pixels and bring each to the model's input size.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3)
    begins, ends : ndarray of float64, shape (n, 2)
        ``(x, y)`` of the patches' top-left and bottom-right corners in the block.
    patch_px : int
        Side of the result in pixels.
    out : ndarray of uint8, shape (n, patch_px, patch_px, 3), optional
        To be filled and returned.

    Returns
    -------
    ndarray of uint8, shape (n, patch_px, patch_px, 3)
    """
    patches = np.empty((len(begins), patch_px, patch_px, 3), np.uint8) if out is None else out
    if _is_whole(begins) and np.allclose(ends - begins, patch_px, atol=1e-6):
        for patch, (left, top) in zip(patches, np.round(begins).astype(int), strict=True):
            patch[:] = pixels[top : top + patch_px, left : left + patch_px]
        return patches
    for patch, begin, end in zip(patches, begins, ends, strict=True):
        (left, top), (right, bottom) = np.floor(begin + 1e-6), np.ceil(end - 1e-6)
        corner = (left, top)
        patch[:] = resize_box(
            pixels[int(top) : int(bottom), int(left) : int(right)],
            (
                *np.maximum(begin - corner, 0),
                *np.minimum(end - corner, (right - left, bottom - top)),
            ),
            patch_px,
            patch_px,
        )
    return patches


def read_patch(slide: Slide, grid: Grid, row: int, column: int, patch_px: int) -> NDArray[np.uint8]:
    """Read the one patch that a cell stands for, as the model sees it.

    Returns
    -------
    ndarray of uint8, shape (patch_px, patch_px, 3)
    """
    patches = read_block(slide, grid, np.array([[row, column]]), patch_px)
    return patches.reshape(patch_px, patch_px, 3)


def _is_whole(values: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(values - np.round(values)) < 1e-6))
