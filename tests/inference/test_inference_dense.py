"""Dense prediction against the network applied literally, place by place."""

import numpy as np
import pytest
import torch

from napari_camelyon.errors import ModelError
from napari_camelyon.geometry import Grid
from napari_camelyon.inference import new_heatmap, run, units
from napari_camelyon.inference.dense import can_run_dense
from napari_camelyon.models import Model
from napari_camelyon.models.networks import MARGIN_PX, STRIDE_PX, TissueNet
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import PatchRules, plan_patches


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(7)
    network = TissueNet().eval()
    with torch.no_grad():
        # Without training the outputs are all but constant; make them tell places apart.
        for parameter in network.parameters():
            parameter.mul_(2.0)
    spec = ModelSpec(
        "t", 128, 0.5, activation="sigmoid", stride_um=32.0, value_meaning="covered_fraction"
    )
    path = tmp_path_factory.mktemp("m") / "t.safetensors"
    return Model(spec, network, path, "0", STRIDE_PX, MARGIN_PX)


@pytest.fixture(scope="module")
def textured(make_slide):
    rng = np.random.default_rng(11)
    coarse = rng.integers(60, 230, (60, 70, 3), dtype=np.uint8)
    return make_slide(coarse.repeat(16, 0).repeat(16, 1), name="textured", mpp=0.5)


def test_values_are_the_mean_of_the_network_over_each_patch(textured, model):
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec)
        heatmap = list(run(slide, model, plan, device="cpu"))[-1].heatmap
        assert heatmap.method == "dense"
        mean, std = np.array(model.spec.mean), np.array(model.spec.std)
        side = 128 + 2 * MARGIN_PX
        computed = np.argwhere(np.isfinite(heatmap.values))
        assert {0, plan.grid.rows - 1} <= set(computed[:, 0]), "both borders should be tried"
        for row, column in computed[:: len(computed) // 6]:
            x, y = (plan.grid.corners((row, column)) - MARGIN_PX).tolist()
            seen = read_resampled(slide, x, y, side, side, side, side)
            inputs = torch.from_numpy(((seen / 255 - mean) / std).astype(np.float32))
            with torch.inference_mode():
                shares = model.module.dense(inputs.permute(2, 0, 1)[None]).sigmoid()[0, 0]
            margin = MARGIN_PX // STRIDE_PX
            expected = shares[margin:-margin, margin:-margin].mean().item()
            assert heatmap.values[row, column] == pytest.approx(expected, abs=1e-5)
    assert np.nanstd(heatmap.values) > 1e-3, "a test on constant values would show nothing"


def test_values_do_not_depend_on_how_blocks_are_cut(textured, model, monkeypatch):
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec)
        large = list(run(slide, model, plan, device="cpu"))[-1].heatmap.values.copy()
        monkeypatch.setattr(units, "BLOCK_PX", 200)
        small = list(run(slide, model, plan, device="cpu"))[-1].heatmap.values
    np.testing.assert_allclose(small, large, atol=1e-5)


@pytest.mark.parametrize("backend", ["tiff", "openslide"])
def test_damage_costs_what_sees_it_and_nothing_else(
    textured, model, damage_tile, tmp_path, backend
):
    path = tmp_path / "damaged.tif"
    path.write_bytes(textured.read_bytes())
    damage_tile(path, 6, 5)
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec)
        expected = list(run(slide, model, plan, device="cpu"))[-1].heatmap.values
    with open_slide(path, backend=backend) as slide:
        update = list(run(slide, model, plan, device="cpu"))[-1]
    assert update.heatmap.method == "dense"
    corners = plan.grid.corners(np.argwhere(plan.selected))
    begins, ends = corners - MARGIN_PX - 1, corners + 128 + MARGIN_PX + 1
    touched = ((begins < (7 * 64, 6 * 64)) & (ends > (6 * 64, 5 * 64))).all(axis=1)
    found = update.heatmap.values[plan.selected]
    assert 0 < touched.sum() < len(touched)
    np.testing.assert_array_equal(np.isnan(found), touched)
    np.testing.assert_allclose(found[~touched], expected[plan.selected][~touched], atol=1e-6)
    assert update.damaged == touched.sum()


@pytest.mark.parametrize("mpp", [0.226, 0.243, 0.25, 0.486, 0.499, 0.5])
def test_the_planned_grid_of_every_scanner_can_be_run_densely(make_slide, model, mpp):
    path = make_slide(np.full((600, 600, 3), 200, np.uint8), name=f"scan{mpp}", mpp=mpp)
    with open_slide(path) as slide:
        assert can_run_dense(model, plan_patches(slide, model.spec).grid)
        odd = plan_patches(slide, model.spec, stride_um=29.7).grid
        assert not can_run_dense(model, odd)


def test_grids_that_do_not_fit_and_rules_are_run_patch_by_patch(textured, model):
    with open_slide(textured) as slide:
        odd = plan_patches(slide, model.spec, stride_um=61.5)
        assert list(run(slide, model, odd, device="cpu"))[-1].heatmap.method == "patches"
        plan = plan_patches(slide, model.spec, stride_um=64)
        ruled = list(run(slide, model, plan, device="cpu", rules=PatchRules()))[-1].heatmap
        assert ruled.method == "patches"


def test_one_heatmap_is_never_filled_in_two_ways(textured, model):
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec, stride_um=64)
        heatmap = new_heatmap(slide, model, plan)
        next(run(slide, model, plan, heatmap=heatmap, device="cpu", rules=PatchRules(0, 0, 0, 0)))
        with pytest.raises(ModelError, match="begun with the method 'patches'"):
            next(run(slide, model, plan, heatmap=heatmap, device="cpu"))


def test_margin_is_as_wide_as_the_network_sees(model):
    inputs = torch.zeros(1, 3, 264, 264, requires_grad=True)
    network = TissueNet()
    network.dense(inputs)[0, 0, 16, 16].backward()
    rows = torch.nonzero(inputs.grad.abs().sum(dim=(0, 1, 3)))
    first, last = int(rows.min()), int(rows.max())
    assert first >= 16 * STRIDE_PX - MARGIN_PX
    assert last < 17 * STRIDE_PX + MARGIN_PX


def test_grid_whose_patch_is_no_whole_number_of_outputs_is_refused(model):
    assert can_run_dense(model, Grid(3, 3, 0, 0, 256, 256, 128, 128))
    assert not can_run_dense(model, Grid(3, 3, 0, 0, 256, 256, 100, 128))
