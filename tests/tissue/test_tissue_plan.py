"""The tissue mask and the grid of patches over it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import MissingMppError
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import TissueMask, plan_patches, reference_spec, tissue_mask

PINK = (205, 130, 185)


@pytest.fixture(scope="module")
def island(make_slide):
    """White glass, 1600 × 1200 px at 0.5 µm/px, with a rectangle of tissue and a speck of dust."""
    pixels = np.full((1200, 1600, 3), 245, np.uint8)
    pixels[320:800, 480:1280] = PINK
    pixels[500:520, 800:820] = 250  # a hole of 10 µm: smaller than what counts
    pixels[1000:1016, 100:116] = PINK
    return make_slide(pixels, name="island", mpp=0.5)


def test_mask_finds_the_tissue_and_neither_dust_nor_small_holes(island):
    with open_slide(island) as slide:
        mask = tissue_mask(slide)
    assert mask.pixel_px == pytest.approx(16)
    expected = np.zeros_like(mask.values)
    expected[20:50, 30:80] = True
    assert (mask.values == expected).all()


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-5, 60),
    st.floats(-5, 60),
)
def test_fractions_equal_the_area_counted_pixel_by_pixel(seed, width, height, left, top):
    values = np.random.default_rng(seed).random((6, 8)) < 0.5
    left, top = round(left), round(top)
    found = TissueMask(values, 5.0).fractions(
        np.array([float(left)]), np.array([float(top)]), width, height
    )
    fine = np.kron(values, np.ones((5, 5)))
    padded = np.pad(fine, 100)
    window = padded[100 + top : 100 + top + height, 100 + left : 100 + left + width]
    assert found[0, 0] == pytest.approx(window.mean(), abs=1e-5)


def test_plan_selects_patches_with_enough_tissue(island):
    spec = ModelSpec("test", patch_px=80, patch_mpp=1.0)  # 160 px on the slide
    with open_slide(island) as slide:
        plan = plan_patches(slide, spec)
    assert plan.grid.shape == (8, 10)
    assert (plan.grid.patch_width_px, plan.grid.stride_x_px) == (160, 160)
    expected = np.zeros((8, 10), dtype=bool)
    expected[2:5, 3:8] = True
    assert (plan.selected == expected).all()
    assert plan.patch_count == 15
    assert plan.tissue_fraction[3, 4] == 1


def test_plan_keeps_stride_and_patch_apart_and_covers_the_edges(island):
    spec = ModelSpec("test", patch_px=80, patch_mpp=1.0, stride_um=31.0)
    with open_slide(island) as slide:
        plan = plan_patches(slide, spec, min_tissue_fraction=0)
        assert (plan.grid.stride_x_px, plan.grid.stride_y_px) == (62, 62)
        assert plan_patches(slide, spec, stride_um=50).grid.stride_x_px == 100
    last = plan.grid.corners((plan.grid.rows - 1, plan.grid.columns - 1))
    assert (last + 160 >= (1600, 1200)).all()
    assert (last - 62 + 160 < (1600, 1200)).all()
    assert plan.selected.all()


def test_plan_keeps_anisotropic_pixels_apart(make_slide):
    path = make_slide(np.full((300, 400, 3), 200, np.uint8), name="aniso", mpp=(0.5, 0.25))
    with open_slide(path) as slide:
        grid = plan_patches(slide, ModelSpec("test", patch_px=50, patch_mpp=1.0)).grid
    assert (grid.patch_width_px, grid.patch_height_px) == (100, 200)


def test_reference_patches_are_224_px_of_level_2(island):
    with open_slide(island) as slide:
        spec = reference_spec(slide)
        plan = plan_patches(slide, spec)
    assert spec.patch_px == 224
    assert spec.patch_mpp == pytest.approx(2.0)
    assert plan.grid.patch_width_px == 896


def test_without_pixel_size_planning_is_refused_with_advice(make_slide):
    path = make_slide(np.full((300, 400, 3), 200, np.uint8), name="nompp", mpp=None)
    with open_slide(path) as slide:
        tissue_mask(slide)
        with pytest.raises(MissingMppError, match="--mpp"):
            plan_patches(slide, ModelSpec("test", patch_px=50, patch_mpp=1.0))


@pytest.mark.parametrize("ink", [(40, 80, 170), (40, 130, 60)], ids=["blue", "green"])
def test_ink_is_no_tissue(make_slide, ink):
    pixels = np.full((640, 640, 3), 245, np.uint8)
    pixels[:, :320] = PINK
    pixels[:, 320:] = ink
    with open_slide(make_slide(pixels, name="ink", mpp=0.5)) as slide:
        values = tissue_mask(slide).values
    assert values[:, :20].all()
    assert not values[:, 20:].any()


def test_no_real_tissue_is_taken_for_ink(shared_data, make_slide):
    from PIL import Image

    def share(path):
        pixels = np.asarray(Image.open(path).convert("RGB").reduce(4))
        with open_slide(make_slide(pixels, name=path.stem, factors=(1,), mpp=8.0)) as slide:
            return tissue_mask(slide, mask_mpp=8.0).values.mean()

    for path in sorted((shared_data / "patches" / "camelyon17_centres").glob("*.jpeg")):
        assert share(path) > 0.97


def test_mask_of_a_real_mosaic_covers_its_patches(shared_data):
    with open_slide(shared_data / "slides" / "c16_mosaic_dev.tif") as slide:
        plan = plan_patches(slide, ModelSpec("test", 128, 0.486, stride_um=62.2))
    # 57 patches of 256 px lie on a grid of 256 px.
    assert plan.grid.stride_x_px == 256
    assert 50 <= plan.patch_count <= 60
