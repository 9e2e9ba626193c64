"""Offsets between levels: known ones are found, and slides without any have none."""

from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import tifffile
from numpy.typing import NDArray

from napari_camelyon.slides import alignment_sentences, measure_alignment, open_slide
from napari_camelyon.slides.alignment import LevelOffset

SUBPIXELS = 4
"""The tissue below is drawn so much finer than level 0, so that parts of a pixel can be shifted."""


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.float32]:
    """Texture on every scale, as tissue has, on quarters of level-0 pixels; no place repeats."""
    side = 1024 * SUBPIXELS
    noise = np.random.default_rng(5).normal(size=(side, side)).astype(np.float32)
    down, across = scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side)[None]
    # The spectrum of tissue falls with about the square of the frequency.
    falling = 1 / (2 / side + np.hypot(down, across)) ** 1.5
    texture = scipy.fft.irfft2(scipy.fft.rfft2(noise) * falling.astype(np.float32))
    return np.clip(150 + 40 * texture / texture.std(), 0, 255)


def averaged(image: NDArray, factor: int) -> NDArray[np.uint8]:
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    grey = np.floor(blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)
    return np.stack([grey, grey // 2 + 60, 255 - grey // 3], axis=2)


@pytest.fixture
def write_levels(tmp_path):
    def write(levels: list[NDArray[np.uint8]], *, jpeg: bool = False) -> Path:
        path = tmp_path / "levels.tif"
        with tifffile.TiffWriter(path) as writer:
            for index, level in enumerate(levels):
                writer.write(
                    level,
                    photometric="rgb",
                    tile=(128, 128),
                    compression="jpeg" if jpeg else "deflate",
                    compressionargs={"level": 80} if jpeg else None,
                    subfiletype=int(index > 0),
                    metadata=None,
                )
        return path

    return write


def shifted_levels(tissue, shifts: dict[int, tuple[float, float]]) -> list[NDArray[np.uint8]]:
    """Levels by factor, each of what lies `shifts` level-0 pixels farther right and down."""
    levels = [averaged(tissue, SUBPIXELS)]
    for factor, (x_px, y_px) in shifts.items():
        moved = np.roll(tissue, (round(y_px * SUBPIXELS), round(x_px * SUBPIXELS)), axis=(0, 1))
        levels.append(averaged(moved, factor * SUBPIXELS))
    return levels


@pytest.mark.parametrize("jpeg", [False, True], ids=["lossless", "JPEG"])
@pytest.mark.parametrize(
    "shifts",
    [
        {2: (0, 0), 4: (0, 0), 8: (0, 0)},
        {2: (0.75, 0), 4: (0, -1.5), 8: (0.25, 0.25)},
        {2: (0.5, 0.5), 4: (1.5, 1.5), 8: (3.5, 3.5)},  # what leaving out pixels does
        {2: (0.25, -0.75), 8: (-5.25, 2.5)},
        {2: (37, -21.5), 4: (-60.25, 44), 8: (75, 60)},
        {8: (-13.5, 7.25)},
    ],
)
def test_known_shifts_are_found(tissue, write_levels, shifts, jpeg):
    with open_slide(write_levels(shifted_levels(tissue, shifts), jpeg=jpeg)) as slide:
        offsets = slide.alignment_error()
    assert [offset.downsample for offset in offsets] == list(shifts)
    for offset, (x_px, y_px) in zip(offsets, shifts.values(), strict=True):
        assert offset.places >= 3
        limit = (0.04 if jpeg else 0.01) * offset.downsample
        assert offset.x_px == pytest.approx(x_px, abs=limit), offset
        assert offset.y_px == pytest.approx(y_px, abs=limit), offset
        assert offset.spread_px < 0.1 * offset.downsample
        assert offset.is_off == (max(abs(x_px), abs(y_px)) > 1)


@pytest.mark.parametrize("size", [(1024, 1024), (1021, 1003), (777, 901)])
@pytest.mark.parametrize("padded", [False, True])
def test_odd_sizes_and_padding_are_no_shift(tissue, make_slide, size, padded):
    """OpenSlide itself takes such levels for up to 2 % off."""
    pixels = averaged(tissue, SUBPIXELS)[: size[0], : size[1]]
    path = make_slide(pixels, factors=(1, 2, 4, 8), tile_px=128, pad_to_tiles=padded)
    for backend in ("tiff", "openslide"):
        with open_slide(path, backend=backend) as slide:
            offsets = slide.alignment_error()
        assert len(offsets) == 3
        for offset in offsets:
            assert offset.places >= 5
            # OpenSlide places what it reads of such levels up to half a pixel off.
            limit = 0.05 if backend == "tiff" else 0.5
            assert max(abs(offset.x_px), abs(offset.y_px)) < limit, (backend, offset)


def test_philips_files_lie_on_each_other(tissue, make_philips):
    pixels = averaged(tissue, SUBPIXELS)[:1000, :700]
    with open_slide(make_philips(pixels, (0.25, 0.25), (1, 2, 4, 8))) as slide:
        offsets = slide.alignment_error()
    assert [offset.downsample for offset in offsets] == [2, 4, 8]
    for offset in offsets:
        assert max(abs(offset.x_px), abs(offset.y_px)) < 0.05, offset


def test_a_wrong_downsample_shows_as_spread(tissue, write_levels):
    """A level that is 1 % larger than its size says: right in one place, off in all others."""
    levels = shifted_levels(tissue, {2: (0, 0)})
    larger = scipy.ndimage.zoom(levels[1].astype(float), (1.01, 1.01, 1), order=1)
    levels[1] = np.clip(larger, 0, 255).astype(np.uint8)[:512, :512]
    with open_slide(write_levels(levels)) as slide:
        (offset,) = slide.alignment_error()
    assert offset.spread_px > 2
    assert offset.is_off


def test_skipped_pixels_are_found_as_half_a_pixel(write_levels, tissue):
    """Some writers keep every second pixel instead of averaging."""
    full = averaged(scipy.ndimage.gaussian_filter(tissue, 6), SUBPIXELS)
    with open_slide(write_levels([full, full[::2, ::2].copy()])) as slide:
        (offset,) = slide.alignment_error()
    assert (offset.x_px, offset.y_px) == pytest.approx((0.5, 0.5), abs=0.03)


def test_glass_and_edges_are_not_measured(write_levels):
    rng = np.random.default_rng(1)  # each level has noise of its own
    glass = [rng.normal(240, 1, (side, side, 3)).astype(np.uint8) for side in (1024, 512)]
    edge = np.full((1024, 1024, 3), 240, np.uint8)
    edge[:, 512:] = 100
    for levels in (glass, [edge, edge[::2, ::2].copy()]):
        with open_slide(write_levels(levels)) as slide:
            (offset,) = slide.alignment_error()
        assert offset == LevelOffset(1, 2.0, None, None, None, 0)
        assert not offset.is_off


def test_other_tissue_is_not_measured(tissue, write_levels):
    levels = [averaged(tissue, SUBPIXELS), averaged(tissue.T[::-1], 2 * SUBPIXELS)]
    with open_slide(write_levels(levels)) as slide:
        (offset,) = slide.alignment_error()
    assert offset.x_px is None


def test_a_level_behind_one_that_cannot_be_measured_is_measured_all_the_same(tissue, write_levels):
    levels = shifted_levels(tissue, {2: (0, 0), 4: (2.5, -3)})
    levels[1][:] = 255
    with open_slide(write_levels(levels)) as slide:
        blank, found = slide.alignment_error()
    assert blank.places == 0
    assert (found.x_px, found.y_px) == pytest.approx((2.5, -3), abs=0.08)


def test_places_are_found_also_where_every_level_is_large(tissue, write_levels, monkeypatch):
    monkeypatch.setattr("napari_camelyon.slides.alignment._OVERVIEW_PX", 1000)
    with open_slide(write_levels(shifted_levels(tissue, {2: (3, 1), 4: (0, 0)}))) as slide:
        first, second = slide.alignment_error()
    assert (first.x_px, first.y_px) == pytest.approx((3, 1), abs=0.05)
    assert (second.x_px, second.y_px) == pytest.approx((0, 0), abs=0.1)
    assert min(first.places, second.places) >= 5


def test_one_level_has_nothing_to_align(write_levels, tissue):
    with open_slide(write_levels([averaged(tissue, SUBPIXELS)])) as slide:
        assert slide.alignment_error() == ()
    assert "one level" in alignment_sentences((), 0.25)[0]


def test_one_can_stop_between_levels(write_levels, tissue):
    levels = shifted_levels(tissue, {2: (0, 0), 4: (0, 0)})
    with open_slide(write_levels(levels)) as slide:
        steps = measure_alignment(slide)
        assert next(steps).level == 1
        steps.close()


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("tcga-cr-7395-01a-01-ts1.svs", 1),
        ("c16_mosaic_dev.tif", 4),
        ("boxes.tiff", 3),
        ("CMU-1-Small-Region.svs", 0),
    ],
)
def test_real_slides_lie_on_each_other(shared_data, name, levels):
    with open_slide(shared_data / "slides" / name) as slide:
        offsets = slide.alignment_error()
    assert len(offsets) == levels
    for offset in offsets:
        if offset.places:
            assert max(abs(offset.x_px), abs(offset.y_px)) < 0.1, offset
            assert not offset.is_off
    assert all(offset.places for offset in offsets) == (
        name != "boxes.tiff"
    )  # 37 × 31 px is little


def test_sentences_say_what_is_off():
    fine = LevelOffset(1, 2.0, 0.02, -0.01, 0.05, 9)
    off = LevelOffset(2, 4.0, 3.0, -4.0, 0.1, 8)
    blank = LevelOffset(3, 8.0, None, None, None, 0)
    verdict, first, second, third = alignment_sentences((fine, off, blank), 0.25)
    assert "Level 2 of the file does not lie on level 0" in verdict
    assert "+0.02 px right, -0.01 px down" in first
    assert "9 places" in first
    assert "(1.25 µm)" in second
    assert "not measured" in third
    assert alignment_sentences((fine,), None)[0] == "All levels lie on level 0."
    assert "could be measured" in alignment_sentences((fine, blank), None)[0]
    assert alignment_sentences((blank,), None)[0] == "No level could be measured."
    assert "µm" not in " ".join(alignment_sentences((fine, off), None))
