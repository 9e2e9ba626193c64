"""Images and damaged slides for the tests of this room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def noise() -> NDArray[np.uint8]:
    """An image in which every place differs from every other.

    Its sides are whole at every level, so that OpenSlide gives the levels' pixels untouched, but
    no multiples of the tiles.
    """
    return np.random.default_rng(7).integers(0, 256, (388, 524, 3), dtype=np.uint8)


@pytest.fixture
def damaged_slide(
    make_slide: Callable[..., Path],
    damage_tile: Callable[[Path, int, int], None],
    noise: NDArray[np.uint8],
) -> Path:
    """One level of noise in 64-px tiles, of which the one at column 2, row 1 is damaged."""
    path = make_slide(noise, factors=(1,), name="damaged")
    damage_tile(path, 2, 1)
    return path
