"""Colours through the scanner's profile: LittleCMS's own, and only when asked for."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from napari_camelyon.slides import (
    SlideStream,
    colour_transform,
    describe,
    open_slide,
    to_srgb,
)

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def with_gamma(gamma: float) -> bytes:
    """The sRGB profile with another tone curve, as a scanner of linear light would have.

    The curve is replaced in the file: a "curv" of one value, unsigned 8.8 fixed (ICC.1, 10.6).
    """
    profile = bytearray(SRGB.tobytes())
    count = int.from_bytes(profile[128:132], "big")
    entries = [profile[132 + 12 * i : 144 + 12 * i] for i in range(count)]
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
    place = len(profile)
    for index, entry in enumerate(entries):
        if entry[:4] in (b"rTRC", b"gTRC", b"bTRC"):
            start = 132 + 12 * index
            profile[start + 4 : start + 8] = place.to_bytes(4, "big")
            profile[start + 8 : start + 12] = len(curve).to_bytes(4, "big")
    profile += curve + bytes(2)
    profile[:4] = len(profile).to_bytes(4, "big")
    return bytes(profile)


def literally(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    converted = ImageCms.profileToProfile(
        Image.fromarray(pixels), source, SRGB, ImageCms.getDefaultIntent(source)
    )
    return np.asarray(converted)


@pytest.fixture
def slide_with(tmp_path, noise):
    """Write noise as a slide that carries a profile."""

    def make(profile: bytes | None, name: str = "coloured"):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(
            path,
            noise,
            photometric="rgb",
            tile=(64, 64),
            compression="deflate",
            metadata=None,
            iccprofile=profile,
        )
        return path

    return make


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.4])
def test_equals_littlecms(slide_with, noise, gamma):
    profile = with_gamma(gamma)
    with open_slide(slide_with(profile)) as slide:
        assert slide.icc_profile == profile
        transform, note = colour_transform(slide)
        assert "colour profile is sRGB" in note
        stored = slide.read(0, 0, 524, 388)
    np.testing.assert_array_equal(stored, noise)
    shown = to_srgb(stored, transform)
    np.testing.assert_array_equal(stored, noise)
    np.testing.assert_array_equal(shown, literally(noise, profile))
    # Light = value ** gamma; sRGB's own curve is near 2.2, so this is no identity.
    middle = to_srgb(np.full((1, 1, 3), 128, np.uint8), transform)[0, 0]
    light = (128 / 255) ** gamma
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(middle - expected).max() <= 1.5
    assert np.abs(expected - 128) > 5


def test_without_a_profile_none_is_made_up(slide_with):
    with open_slide(slide_with(None)) as slide:
        assert slide.icc_profile is None
        transform, note = colour_transform(slide)
        facts = describe(slide)
    assert transform is None
    assert "no colour profile" in note
    assert facts["icc_profile"] is None
    assert facts["icc_note"] == note


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(bytes(600), id="zeros"),
        pytest.param(SRGB.tobytes()[:200], id="cut off"),
        pytest.param(b"x", id="one byte"),
        pytest.param(
            ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), id="not for RGB"
        ),
    ],
)
def test_a_profile_that_cannot_be_used_is_said(slide_with, profile):
    with open_slide(slide_with(profile)) as slide:
        transform, note = colour_transform(slide)
        assert transform is None
        assert "damaged or not one for RGB" in note
        assert describe(slide)["icc_profile"] is None
        slide.read(0, 0, 64, 64)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_profiles_give_a_transform_or_a_sentence(slide_with, data):
    profile = bytearray(with_gamma(1.8))
    for _ in range(data.draw(st.integers(1, 4))):
        profile[data.draw(st.integers(0, len(profile) - 1))] = data.draw(st.integers(0, 255))
    with open_slide(slide_with(bytes(profile))) as slide:
        transform, note = colour_transform(slide)
        assert note
        if transform is not None:
            assert to_srgb(slide.read(0, 0, 16, 16), transform).shape == (16, 16, 3)


def test_philips_files_have_theirs_in_the_tag_alone(make_philips, noise, tmp_path):
    """OpenSlide passes it over."""
    path = make_philips(noise, (0.25, 0.25), (1, 2))
    with tifffile.TiffFile(path) as tif:
        pages = [(page.asarray(), page.description, page.software) for page in tif.pages]
    profile = with_gamma(1.8)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for index, (pixels, description, software) in enumerate(pages):
            writer.write(
                pixels,
                photometric="rgb",
                tile=(256, 256),
                compression="deflate",
                description=description,
                software=software,
                subfiletype=int(index > 0),
                metadata=None,
                iccprofile=profile,
            )
    with open_slide(path) as slide:
        assert slide.vendor == "philips"
        assert slide.icc_profile == profile


def test_many_threads_get_the_same(slide_with):
    profile = with_gamma(1.8)
    with open_slide(slide_with(profile)) as slide:
        transform, _ = colour_transform(slide)
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (64, 200, 3), dtype=np.uint8) for _ in range(60)]
    alone = [literally(image, profile) for image in images]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda image: to_srgb(image, transform), images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_travels_to_another_process(slide_with):
    with open_slide(slide_with(with_gamma(1.8))) as slide:
        transform, _ = colour_transform(slide)
    assert pickle.loads(pickle.dumps(transform)) == transform


def test_empty_regions_stay_empty(slide_with):
    with open_slide(slide_with(with_gamma(1.8))) as slide:
        transform, _ = colour_transform(slide)
    assert to_srgb(np.empty((0, 7, 3), np.uint8), transform).shape == (0, 7, 3)


def test_a_stream_is_in_srgb_only_when_asked_for(slide_with, noise):
    profile = with_gamma(1.8)
    came = threading.Event()
    with open_slide(slide_with(profile)) as slide:
        transform, _ = colour_transform(slide)
        for colour, expected in ((None, noise), (transform, literally(noise, profile))):
            came.clear()
            stream = SlideStream(slide, on_arrival=came.set, colour=colour)
            stream.window(0, 0, 0, 388, 524)
            while not stream.is_complete:
                assert came.wait(60)
                came.clear()
            np.testing.assert_array_equal(stream.window(0, 0, 0, 388, 524), expected)


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("CMU-1-Small-Region.svs", None),
        ("CMU-1-Small-Region-dicom", "sRGB built-in"),
        ("tcga-cr-7395-01a-01-ts1.svs", "sRGB IEC61966-2.1"),
        ("boxes.tiff", "sRGB built-in"),
        ("c16_mosaic_dev.tif", None),
    ],
)
def test_real_slides(shared_data, name, profile):
    with open_slide(shared_data / "slides" / name) as slide:
        transform, _ = colour_transform(slide)
        assert (None if transform is None else transform.name) == profile
        if transform is not None:
            # These say that they are sRGB already: nothing but rounding may change.
            stored = slide.read(10, 10, 200, 200)
            assert np.abs(to_srgb(stored, transform).astype(int) - stored).max() <= 1


def test_a_slide_whose_pixels_cannot_be_read_still_tells_its_profile(shared_data):
    with open_slide(shared_data / "slides" / "unreadable.svs") as slide:
        assert slide.icc_profile is None
