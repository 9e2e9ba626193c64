"""Images and damaged slides for the tests of this room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def noise() -> NDArray[np.uint8]:
    """An image in which every place differs from every other.

    Its sides are whole at every level, so that OpenSlide gives the levels' pixels untouched, but
    no multiples of the tiles.
    """
    return np.random.default_rng(7).integers(0, 256, (388, 524, 3), dtype=np.uint8)


@pytest.fixture
def damaged_slide(make_slide: Callable[..., Path], noise: NDArray[np.uint8]) -> Path:
    """One level of noise in 64-px tiles; the tile at column 2, row 1 is overwritten."""
    path = make_slide(noise, factors=(1,), name="damaged")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        tiles_a_row = -(-noise.shape[1] // 64)
        offset, length = (
            values[tiles_a_row + 2] for values in (page.dataoffsets, page.databytecounts)
        )
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * length)
    return path
