"""Downsamples are what made the levels, not the ratio of what was stored."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import openslide
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_camelyon.slides import Level, open_slide
from napari_camelyon.slides.levels import StoredLevel, true_levels

ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "down": math.floor,
    "up": math.ceil,
    "nearest": lambda length: math.floor(length + Fraction(1, 2)),
}

lengths = st.integers(300, 250_000)


def stored_level(base: StoredLevel, width: int, height: int, tile_px: int = 0) -> StoredLevel:
    """A level as OpenSlide reports it: its downsample is the mean of the two ratios."""
    ratio = (base.width_px / width + base.height_px / height) / 2
    return StoredLevel(width, height, ratio, tile_px, tile_px)


@given(lengths, lengths, st.sampled_from(sorted(ROUNDINGS)), st.integers(1, 5))
def test_halving_with_any_rounding_is_recognised(width, height, rounding, halvings):
    round_to = ROUNDINGS[rounding]
    base = StoredLevel(width, height, 1.0)
    stored = [base] + [
        stored_level(base, round_to(Fraction(width, 2**k)), round_to(Fraction(height, 2**k)))
        for k in range(1, halvings + 1)
    ]
    levels = true_levels(stored)
    assert [(level.downsample_x, level.downsample_y) for level in levels] == [
        (2.0**k, 2.0**k) for k in range(halvings + 1)
    ]
    assert [level.width_px for level in levels] == [level.width_px for level in stored]


@given(lengths, lengths, st.sampled_from(sorted(ROUNDINGS)), st.integers(1, 4))
def test_halving_step_by_step_is_recognised(width, height, rounding, halvings):
    round_to = ROUNDINGS[rounding]
    base = StoredLevel(width, height, 1.0)
    stored = [base]
    for _ in range(halvings):
        width, height = round_to(Fraction(width, 2)), round_to(Fraction(height, 2))
        stored.append(stored_level(base, width, height))
    assert [level.downsample_x for level in true_levels(stored)] == [
        2.0**k for k in range(halvings + 1)
    ]


@given(lengths, lengths, st.sampled_from([64, 256, 512]), st.booleans())
def test_padding_to_whole_tiles_is_seen_through(width, height, tile_px, base_padded):
    def pad(length: int) -> int:
        return math.ceil(length / tile_px) * tile_px

    base = StoredLevel(*((pad(width), pad(height)) if base_padded else (width, height)), 1.0)
    stored = [base]
    factor = 2
    while max(width, height) / factor > tile_px:
        stored.append(
            stored_level(
                base, pad(math.ceil(width / factor)), pad(math.ceil(height / factor)), tile_px
            )
        )
        factor *= 2
    levels = true_levels(stored)
    assert [level.downsample_x for level in levels] == [2.0**k for k in range(len(stored))]
    for level in levels:
        assert level.width_px <= math.ceil(base.width_px / level.downsample_x)
        assert level.height_px <= math.ceil(base.height_px / level.downsample_y)


def test_padded_camelyon_sizes():
    # The stored sizes of a CAMELYON16 TIFF, as a reader without Philips' metadata sees them.
    sizes = [
        (97792, 221184),
        (49152, 110592),
        (24576, 55296),
        (12288, 27648),
        (6144, 13824),
        (3072, 7168),
        (1536, 3584),
        (1024, 2048),
        (512, 1024),
    ]
    base = StoredLevel(*sizes[0], 1.0, 512, 512)
    levels = true_levels([base] + [stored_level(base, *size, tile_px=512) for size in sizes[1:]])
    assert [level.downsample_x for level in levels] == [2.0**k for k in range(9)]
    assert levels[5] == Level(3056, 6912, 32.0, 32.0)


@pytest.mark.parametrize(
    ("base", "level", "expected"),
    [
        pytest.param((4443, 3567), (2221, 1783), (2.0, 2.0), id="Aperio drops the odd pixel"),
        pytest.param((1001, 700), (333, 233), (3.0, 3.0), id="thirds, rounded down"),
        pytest.param((1000, 800), (300, 240), (1000 / 300, 800 / 240), id="no whole number"),
        pytest.param((1000, 800), (500, 200), (2.0, 4.0), id="each axis by itself"),
    ],
)
def test_examples(base, level, expected):
    first = StoredLevel(*base, 1.0)
    found = true_levels([first, stored_level(first, *level)])[1]
    assert (found.downsample_x, found.downsample_y) == expected


def test_what_the_format_states_is_not_second_guessed():
    # The sizes alone would be taken for a halving and for a fourth padded to tiles; here what
    # lies beyond level 0 is the padding.
    base = StoredLevel(1000, 800, 1.0, 64, 64, stated_downsamples=(1.0, 1.0))
    stored = [
        base,
        StoredLevel(500, 400, 2.0, 64, 64, stated_downsamples=(1.99, 1.98)),
        StoredLevel(256, 256, 3.5, 64, 64, stated_downsamples=(4.5, 4.0)),
    ]
    assert true_levels(stored)[1:] == (Level(500, 400, 1.99, 1.98), Level(223, 200, 4.5, 4.0))


def test_padded_file_reads_at_true_places(make_slide, shrink):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (704, 1024, 3), dtype=np.uint8)
    path = make_slide(pixels, factors=(1, 2, 4, 8), pad_to_tiles=True)
    with openslide.OpenSlide(path) as naive, open_slide(path) as slide:
        assert naive.level_downsamples[3] < 7.5  # what the widths suggest
        assert [level.downsample_x for level in slide.levels] == [1.0, 2.0, 4.0, 8.0]
        assert (slide.levels[3].width_px, slide.levels[3].height_px) == (128, 88)
        level = slide.read(0, 0, 128, 88, level=3)
    np.testing.assert_array_equal(level, shrink(pixels, 8))


def test_philips_padding_and_spacing(make_philips, shrink):
    pixels = np.random.default_rng(5).integers(0, 256, (1000, 1500, 3), dtype=np.uint8)
    path = make_philips(pixels, (0.2431, 0.2433), (1, 2, 4, 8))
    with open_slide(path) as slide:
        assert slide.vendor == "philips"
        assert slide.mpp == pytest.approx((0.2431, 0.2433), rel=1e-6)
        assert [level.downsample_x for level in slide.levels] == [1.0, 2.0, 4.0, 8.0]
        np.testing.assert_array_equal(slide.read(0, 0, 1500, 1000), pixels)
        half = slide.read(512, 256, 200, 100, level=1)
    np.testing.assert_array_equal(half, shrink(pixels, 2)[128:228, 256:456])


def test_true_downsample_of_a_real_aperio_pyramid(shared_data: Path):
    """Registers the two levels: only a factor of exactly 2 leaves no drift towards the far end."""
    from skimage.registration import phase_cross_correlation

    with open_slide(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        assert (slide.levels[1].downsample_x, slide.levels[1].downsample_y) == (2.0, 2.0)
        for x_px, y_px in ((1000, 1000), (3800, 1000), (3800, 2900)):
            fine = grey(slide.read(x_px, y_px, 512, 512))
            coarse = grey(slide.read(x_px, y_px, 256, 256, level=1))
            halved = fine.reshape(256, 2, 256, 2).mean(axis=(1, 3))
            shift, _, _ = phase_cross_correlation(halved, coarse, upsample_factor=20)
            # OpenSlide places the region within half a level-0 pixel, a quarter of this level's.
            assert np.abs(shift).max() <= 0.3


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return pixels.astype(np.float64).mean(axis=2)
