"""Stain normalisation on real tissue of two laboratories, and on made slides."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_camelyon.stain import (
    METHODS,
    fit_macenko,
    fit_stain,
    make_transfer,
    stain_distance_deg,
    transfer,
)


def tissue_of(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB").reduce(4))
    return pixels[np.ptp(pixels, axis=2) > 15]


@pytest.fixture(scope="module")
def centres(shared_data: Path) -> list[np.ndarray]:
    return [
        tissue_of(path) for path in sorted((shared_data / "patches/camelyon17_centres").iterdir())
    ]


def test_two_centres_are_far_apart_in_stain(centres):
    one, other = (fit_macenko(pixels) for pixels in centres)
    assert 8 < stain_distance_deg(one, other.vectors) < 20


@pytest.mark.parametrize("method", METHODS)
def test_two_centres_come_nearer(centres, method):
    """Measured: mean colours 46 grey levels apart before, 17 (Macenko) and 4 (Reinhard) after."""
    before = np.linalg.norm(np.subtract(*(pixels.mean(axis=0) for pixels in centres)))
    brought = [transfer(pixels, make_transfer(fit_stain(pixels, method))) for pixels in centres]
    after = np.linalg.norm(np.subtract(*(pixels.mean(axis=0) for pixels in brought)))
    assert after < before / {"macenko": 2, "reinhard": 8}[method]


def test_two_centres_have_one_stain_afterwards(centres):
    one, other = (
        fit_macenko(transfer(pixels, make_transfer(fit_macenko(pixels)))) for pixels in centres
    )
    assert stain_distance_deg(one, other.vectors) < 5
