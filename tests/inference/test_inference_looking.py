"""Looking closer: the very patch that a run sees, its probability and its neighbours'."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from made_models import Darkness, write_wsinfer_model
from napari_camelyon.errors import DamagedSlideError, MissingMppError, SlideError
from napari_camelyon.inference import (
    choose_numeric_path,
    look_closer,
    new_heatmap,
    prepare,
    read_patch,
    run,
)
from napari_camelyon.models import load_model
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.stain import StainFit, make_transfer, transfer
from napari_camelyon.tissue import plan_patches

MARK = (900, 600)  # the middle of a dark square of 200 px
STAIN = make_transfer(StainFit((0.60, 0.75, 0.25), (0.25, 0.91, 0.32), (2.2, 1.1)))


def marked_pixels():
    rng = np.random.default_rng(5)
    pixels = np.full((1100, 1400, 3), (220, 160, 205), np.uint8)
    pixels[..., 1] += rng.integers(0, 30, pixels.shape[:2], dtype=np.uint8)
    pixels[MARK[1] - 100 : MARK[1] + 100, MARK[0] - 100 : MARK[0] + 100] = (40, 5, 40)
    return pixels


@pytest.fixture(scope="module")
def marked(make_slide):
    """Pink tissue at 0.5 µm/px; patches are 64 px of level 0."""
    with open_slide(make_slide(marked_pixels(), name="marked", mpp=0.5)) as slide:
        yield slide


@pytest.fixture(scope="module")
def darkness(tmp_path_factory):
    return load_model(write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark"))


def plainly(patch):
    """What the network says of a patch, without anything of ours."""
    pixels = torch.from_numpy(patch.copy()).permute(2, 0, 1)[None] / 255
    return Darkness(8)(pixels).softmax(1)[0].tolist()


def test_without_a_run_the_patch_is_centred_on_the_point(marked, darkness):
    seen = look_closer(marked, darkness, MARK)
    x_px, y_px, width_px, height_px = seen.box_px
    assert (x_px + width_px / 2, y_px + height_px / 2) == MARK
    assert (width_px, height_px) == (64, 64)
    expected = read_resampled(marked, x_px, y_px, 64, 64, 32, 32)
    np.testing.assert_array_equal(seen.raw, expected)
    assert seen.normalised is None
    np.testing.assert_allclose(seen.probabilities, plainly(expected), atol=1e-5)
    assert seen.tumour == seen.probabilities[1] > 0.99
    assert seen.class_names == ("normal", "tumour")
    assert seen.heatmap_value is None
    assert not seen.from_heatmap.any()
    assert seen.input_range == pytest.approx((expected.min() / 255, expected.max() / 255))


def test_neighbours_are_what_lies_around(marked, darkness):
    """At the left edge of the mark its neighbours to the left are light, all others dark."""
    seen = look_closer(marked, darkness, (MARK[0] - 70, MARK[1]))
    assert (seen.neighbours[:, 0] < 0.1).all()
    assert (seen.neighbours[:, 1:] > 0.9).all()
    for row in range(3):
        for column in range(3):
            patch = read_patch(marked, seen.grid, row, column, 32)
            assert seen.neighbours[row, column] == pytest.approx(plainly(patch)[1], abs=1e-4)


def test_over_a_heatmap_the_patch_is_the_cell_under_the_cursor(marked, darkness):
    plan = plan_patches(marked, darkness.spec, stride_um=16)
    heatmap = list(run(marked, darkness, plan, device="cpu"))[-1].heatmap
    x_px, y_px = heatmap.grid.centres((9, 14))
    point = (x_px + 10, y_px - 15)  # half a stride is 16
    heatmap.values[10, 15] = np.nan  # as if the run had not come there yet
    seen = look_closer(marked, darkness, point, heatmap=heatmap)
    assert seen.cell == (9, 14)
    assert seen.grid == heatmap.grid
    np.testing.assert_array_equal(seen.raw, read_patch(marked, heatmap.grid, 9, 14, 32))
    assert seen.heatmap_value == pytest.approx(seen.tumour, abs=2e-2)
    around = heatmap.values[8:11, 13:16]
    assert seen.from_heatmap.tolist() == [[True] * 3, [True] * 3, [True, True, False]]
    np.testing.assert_allclose(
        seen.neighbours[seen.from_heatmap], around[~np.isnan(around)], atol=2e-2
    )
    patch = read_patch(marked, heatmap.grid, 10, 15, 32)
    assert seen.neighbours[2, 2] == pytest.approx(plainly(patch)[1], abs=1e-4)


def test_beyond_the_grid_there_is_no_neighbour(marked, darkness):
    plan = plan_patches(marked, darkness.spec)
    heatmap = new_heatmap(marked, darkness, plan)
    seen = look_closer(marked, darkness, (3, 3), heatmap=heatmap)
    assert seen.cell == (0, 0)
    assert np.isnan(seen.neighbours[0]).all()
    assert np.isnan(seen.neighbours[:, 0]).all()
    assert np.isfinite(seen.neighbours[1:, 1:]).all()
    # The last column may reach beyond the slide; the point still belongs to it.
    seen = look_closer(marked, darkness, (1399.5, 1099.5), heatmap=heatmap)
    assert seen.cell == (heatmap.grid.rows - 1, heatmap.grid.columns - 1)


@pytest.mark.parametrize("stranger", ["model_sha256", "slide_fingerprint"])
def test_a_heatmap_of_something_else_is_passed_over(marked, darkness, stranger):
    plan = plan_patches(marked, darkness.spec)
    heatmap = new_heatmap(marked, darkness, plan)
    heatmap.values[:] = 0.123
    seen = look_closer(marked, darkness, MARK, heatmap=replace(heatmap, **{stranger: "another"}))
    assert seen.heatmap_value is None
    assert (seen.neighbours != np.float32(0.123)).all()
    assert seen.grid.shape == (3, 3)


def test_with_a_stain_the_model_is_given_the_normalised_patch(marked, darkness):
    at = (MARK[0] - 103, MARK[1])  # half light, half dark
    seen = look_closer(marked, darkness, at, stain=STAIN)
    plain = look_closer(marked, darkness, at)
    np.testing.assert_array_equal(seen.raw, plain.raw)
    np.testing.assert_array_equal(seen.normalised, transfer(seen.raw, STAIN))
    np.testing.assert_allclose(seen.probabilities, plainly(seen.normalised), atol=2e-3)
    assert abs(seen.tumour - plain.tumour) > 0.01
    assert seen.input_range[1] == pytest.approx(seen.normalised.max() / 255)


def test_values_of_a_run_with_another_stain_are_not_mixed_in(marked, darkness):
    plan = plan_patches(marked, darkness.spec, stride_um=16)
    other = make_transfer(StainFit((0.55, 0.78, 0.30), (0.25, 0.91, 0.32), (2.2, 1.1)))
    path = choose_numeric_path(darkness, device="cpu", engine="torch", precision="fp32")
    predictor = prepare(darkness, path, stain=STAIN)
    stained = list(run(marked, darkness, plan, predictor=predictor))[-1].heatmap
    predictor.close()
    plain = list(run(marked, darkness, plan, device="cpu"))[-1].heatmap
    same = look_closer(marked, darkness, MARK, heatmap=stained, stain=STAIN)
    assert same.from_heatmap.all()
    assert not same.note
    assert look_closer(marked, darkness, MARK, heatmap=plain).from_heatmap.all()
    for heatmap, stain, words in (
        (stained, None, "another stain normalisation (Macenko)"),
        (plain, STAIN, "made without stain normalisation"),
        (stained, other, "fitted otherwise"),
        (replace(plain, stain=None), None, "does not say"),
    ):
        seen = look_closer(marked, darkness, MARK, heatmap=heatmap, stain=stain)
        assert words in seen.note
        assert not seen.from_heatmap.any()
        assert seen.heatmap_value is None
        assert seen.grid == heatmap.grid, "the patch is still the cell that is seen"
        # All nine are of the stain that is chosen now.
        patch = read_patch(marked, seen.grid, seen.cell[0], seen.cell[1] + 1, 32)
        given = patch if stain is None else transfer(patch, stain)
        assert seen.neighbours[1, 2] == pytest.approx(plainly(given)[1], abs=2e-3)


def test_a_predictor_that_is_given_stays_open(marked, darkness):
    path = choose_numeric_path(darkness, device="cpu", engine="torch", precision="fp32")
    predictor = prepare(darkness, path)
    first = look_closer(marked, darkness, MARK, predictor=predictor)
    second = look_closer(marked, darkness, MARK, predictor=predictor)
    assert first.probabilities == second.probabilities
    predictor.close()


@pytest.mark.parametrize("point", [(-1, 5), (5, -0.5), (1400, 5), (5, 1100)])
def test_beside_the_slide_there_is_nothing_to_see(marked, darkness, point):
    with pytest.raises(SlideError, match="point at the slide"):
        look_closer(marked, darkness, point)


def test_without_a_pixel_size_it_is_asked_for(make_slide, darkness):
    path = make_slide(marked_pixels()[:200, :200], name="unknown", mpp=None)
    with open_slide(path) as slide, pytest.raises(MissingMppError, match="pixel size"):
        look_closer(slide, darkness, (100, 100))


def test_a_damaged_patch_is_told_and_a_damaged_neighbour_left_out(
    make_slide, darkness, damage_tile
):
    path = make_slide(marked_pixels()[:512, :512], name="hurt", mpp=0.5, factors=(1,), jpeg=True)
    damage_tile(path, 3, 3)  # 192–256 px
    with open_slide(path) as slide:
        with pytest.raises(DamagedSlideError):
            look_closer(slide, darkness, (224, 224))
        seen = look_closer(slide, darkness, (160, 224))
    assert np.isnan(seen.neighbours[1, 2])
    assert np.isfinite(seen.neighbours[:, :2]).all()
