"""Write a slide of CAMELYON's full size within seconds and in few megabytes.

The tiles of its levels are few, and the directories name each of them many times: so everything
that depends on a slide's size (opening, planning, lazy arrays, memory) can be measured and tested
without a slide of gigabytes. The pyramid is a true one: each level is the one below, halved.

    python benchmarks/large_slide.py large.tif
    python benchmarks/large_slide.py large.tif --width-px 40960 --tissue-share 0.3
"""

import argparse
import struct
import time
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from napari_camelyon.files import atomic_file
from napari_camelyon.slides import open_slide
from napari_camelyon.slides.writer import _halved, _plan_levels, _write_directories
from napari_camelyon.synthetic import CENTRES, NodePlan, NodeSlide, paint_tile
from napari_camelyon.synthetic.artefacts import Artefacts

WIDTH_PX, HEIGHT_PX = 97_792, 221_184
"""Of a slide of CAMELYON16."""

Pixels = NDArray[np.uint8]


def texture(side_px: int = 2048, mpp: float = 0.5) -> Pixels:
    """Paint the middle of a generated lymph node, where there is hardly any glass."""
    middle_um = 4000.0
    node = NodePlan(3, middle_um, middle_um, length_um=7000.0, breadth_um=6000.0)
    slide = NodeSlide(node, 0, CENTRES[0], Artefacts(), side_px, side_px, mpp)
    corner_px = int(middle_um / mpp) - side_px // 2
    pixels = paint_tile(slide, corner_px, corner_px, side_px, side_px)
    if pixels is None:
        raise ValueError(f"A field of {side_px} px does not fit into the node.")
    return pixels


def write_large_slide(
    path: Path | str,
    width_px: int = WIDTH_PX,
    height_px: int = HEIGHT_PX,
    *,
    tile_px: int = 512,
    mpp: float = 0.25,
    quality: int = 85,
    tissue_share: float = 1.0,
    pixels: Pixels | None = None,
) -> None:
    """Write a JPEG-tiled BigTIFF as `slides.write_slide` does, whose tiles repeat.

    Parameters
    ----------
    path : path-like
    width_px, height_px : int
        Padded with white to a multiple of the coarsest level's downsample.
    tile_px : int
        A multiple of 16.
    mpp : float
        µm per level-0 pixel.
    quality : int
        Of the JPEG tiles.
    tissue_share : float
        Below 1, tissue is an ellipse of about this share (at most 0.78) and the rest is glass,
        whose tiles are empty.
    pixels : ndarray of uint8, shape (n * tile_px, m * tile_px, 3), optional
        What is repeated. Default: `texture`.
    """
    pixels = texture() if pixels is None else pixels
    down, across = pixels.shape[0] // tile_px, pixels.shape[1] // tile_px
    if pixels.shape != (down * tile_px, across * tile_px, 3):
        raise ValueError(f"A picture of shape {pixels.shape} is not made of {tile_px}-px tiles.")
    levels = _plan_levels(width_px, height_px, tile_px)
    rows, columns = np.indices((levels[0].rows, levels[0].columns))
    # Number 0 is the empty tile; the padding of a coarser level's last tile is made of it as well.
    numbers = 1 + rows % down * across + columns % across
    if tissue_share < 1:
        numbers[~_inside_ellipse(rows // down, columns // across, tissue_share)] = 0
    tiles = [np.full((tile_px, tile_px, 3), 255, np.uint8)] + [
        pixels[y * tile_px : (y + 1) * tile_px, x * tile_px : (x + 1) * tile_px]
        for y in range(down)
        for x in range(across)
    ]
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        for index, level in enumerate(levels):
            if index:
                numbers, tiles = _level_above(numbers, tiles)
            offsets, sizes = np.zeros(len(tiles), np.uint64), np.zeros(len(tiles), np.uint64)
            for number, tile in enumerate(tiles[1:], start=1):
                data = _encoded(tile, quality)
                offsets[number], sizes[number] = file.tell(), len(data)
                file.write(data)
            level.offsets[:], level.byte_counts[:] = offsets[numbers], sizes[numbers]
        first = _write_directories(
            file, levels, (mpp, mpp), tile_px, "Repeated synthetic tissue by napari-camelyon."
        )
        file.seek(8)
        file.write(struct.pack("<Q", first))


def _inside_ellipse(
    rows: NDArray[np.int64], columns: NDArray[np.int64], share: float
) -> NDArray[np.bool_]:
    """Tell which blocks lie in an ellipse of the slide's proportions around its middle."""
    size = 4 * share / np.pi  # of the square of its half axes, where 1 touches the edges
    y = 2 * (rows + 0.5) / (rows.max() + 1) - 1
    x = 2 * (columns + 0.5) / (columns.max() + 1) - 1
    return np.asarray(x**2 + y**2 <= size)


def _level_above(
    numbers: NDArray[np.int64], tiles: list[Pixels]
) -> tuple[NDArray[np.int64], list[Pixels]]:
    """Return the next coarser level; fours of tiles that occur again are made once."""
    numbers = np.pad(numbers, [(0, side % 2) for side in numbers.shape])
    fours = np.stack(
        [numbers[0::2, 0::2], numbers[0::2, 1::2], numbers[1::2, 0::2], numbers[1::2, 1::2]], -1
    )
    # Four empty ones come first and keep the number 0, also where a level has none.
    kinds, inverse = np.unique(
        np.concatenate([np.zeros((1, 4), np.int64), fours.reshape(-1, 4)]),
        axis=0,
        return_inverse=True,
    )
    above = [
        _halved(np.block([[[tiles[a]], [tiles[b]]], [[tiles[c]], [tiles[d]]]]))
        for a, b, c, d in kinds
    ]
    return inverse.ravel()[1:].reshape(fours.shape[:2]), above


def _encoded(tile: Pixels, quality: int) -> bytes:
    data: bytes = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(tile),
        level=quality,
        colorspace="RGB",
        outcolorspace="YCBCR",
        subsampling="420",
    )
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--width-px", type=int, default=WIDTH_PX)
    parser.add_argument("--height-px", type=int, default=HEIGHT_PX)
    parser.add_argument("--tissue-share", type=float, default=1.0)
    chosen = parser.parse_args()
    started = time.perf_counter()
    write_large_slide(
        chosen.path, chosen.width_px, chosen.height_px, tissue_share=chosen.tissue_share
    )
    seconds = time.perf_counter() - started
    with open_slide(chosen.path) as slide:
        print(
            f"{slide.width_px} × {slide.height_px} px, {len(slide.levels)} levels, "
            f"{chosen.path.stat().st_size / 1e6:.1f} MB, written in {seconds:.1f} s; "
            f"read by: {slide.backend}"
        )


if __name__ == "__main__":
    main()
