"""The reference pipeline's patch checks, against a slow literal version."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_camelyon.tissue import PatchRules, is_tissue_patch, patch_statistics


def literal_statistics(patch):
    """The definitions, pixel by pixel, in plain Python."""
    rows, columns = patch.shape[:2]
    grey = [
        [sum(w * float(v) for w, v in zip((0.299, 0.587, 0.114), p, strict=True)) for p in r]
        for r in patch
    ]

    def at(r, c):  # symmetric edges, as scipy's "reflect"
        r = -r - 1 if r < 0 else 2 * rows - r - 1 if r >= rows else r
        c = -c - 1 if c < 0 else 2 * columns - c - 1 if c >= columns else c
        return grey[r][c]

    gradient = []
    for r in range(rows):
        for c in range(columns):
            down = sum(
                w * (at(r + 1, c + d) - at(r - 1, c + d)) for d, w in ((-1, 1), (0, 2), (1, 1))
            )
            right = sum(
                w * (at(r + d, c + 1) - at(r + d, c - 1)) for d, w in ((-1, 1), (0, 2), (1, 1))
            )
            gradient.append((down**2 + right**2) ** 0.5 / 8)
    pixels = [[int(v) for v in p] for r in patch for p in r]
    tissue = [p for p in pixels if max(p) - min(p) > 15]
    saturation = [(max(p) - min(p)) / max(p) for p in tissue]

    def variance(values):
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / len(values)

    return (
        len(tissue) / len(pixels),
        variance(gradient),
        variance([g for r in grey for g in r]),
        sum(saturation) / len(saturation) if saturation else 0.0,
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 30, 255]))
def test_statistics_equal_the_written_definitions(seed, spread):
    patch = np.random.default_rng(seed).integers(255 - spread, 256, (7, 9, 3), dtype=np.uint8)
    found = patch_statistics(patch)
    wanted = literal_statistics(patch)
    assert (
        found.tissue_fraction,
        found.gradient_variance,
        found.intensity_variance,
        found.saturation,
    ) == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def tissue_like(rng):
    patch = np.empty((64, 64, 3), dtype=np.uint8)
    patch[:] = (200, 140, 190)
    patch[rng.random((64, 64)) < 0.3] = (90, 50, 130)
    return patch


def test_textured_tissue_passes_and_each_rule_alone_can_refuse_it():
    patch = tissue_like(np.random.default_rng(1))
    assert is_tissue_patch(patch)
    for refused_by in (
        PatchRules(min_tissue_fraction=1.01),
        PatchRules(min_gradient_variance=1e6),
        PatchRules(min_intensity_variance=1e6),
        PatchRules(min_saturation=0.99),
    ):
        assert not is_tissue_patch(patch, refused_by)


@pytest.mark.parametrize(
    "patch",
    [
        np.full((64, 64, 3), 255, np.uint8),
        np.full((64, 64, 3), 240, np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64, 3), (200, 140, 190), np.uint8),
    ],
    ids=["white", "glass", "black", "uniform pink"],
)
def test_patches_without_texture_are_refused(patch):
    assert not is_tissue_patch(patch)


def test_forty_percent_of_tissue_is_just_enough():
    patch = np.full((10, 10, 3), 255, np.uint8)
    patch[:4] = tissue_like(np.random.default_rng(2))[:4, :10]
    assert is_tissue_patch(patch)
    patch[3, 9] = 255
    assert not is_tissue_patch(patch)


def test_real_patches_of_tissue_pass(shared_data):
    from PIL import Image

    paths = sorted((shared_data / "patches" / "camelyon16_dldp").rglob("*.png"))
    passed = [is_tissue_patch(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    assert len(passed) == 57
    assert np.mean(passed) > 0.95
