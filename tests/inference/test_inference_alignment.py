"""Every cell stands where it says: against a plain loop over OpenSlide that shares no code."""

import itertools
import math
from dataclasses import replace

import numpy as np
import openslide
import pytest
import torch
from torch import nn

from napari_camelyon.inference import NumericPath, prepare, run
from napari_camelyon.models import Model, load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import PatchGrid, PatchRules, plan_patches

PATCH_PX = 32


class Waves(nn.Module):
    """Two logits from waves over the patch: a shift by a pixel shows, the rounding of one not."""

    def __init__(self):
        super().__init__()
        place = torch.arange(PATCH_PX) * (2 * math.pi / PATCH_PX)
        down, across = torch.meshgrid(place, place, indexing="ij")
        self.weights = torch.stack([down.sin() + across.cos(), (2 * down).cos() + across.sin()])

    def forward(self, pixels):
        return 10 * torch.einsum("kyx,ncyx->nk", self.weights, pixels) / (3 * PATCH_PX**2)


def means_over(values, edges):
    """Return exact means of a piecewise constant function between edges, along the first axis."""
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    whole = np.clip(np.floor(edges).astype(int), 0, len(values) - 1)
    share = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    at_edges = sums[whole] * (1 - share) + sums[whole + 1] * share
    return np.diff(at_edges, axis=0) / np.diff(edges).reshape(share[1:].shape)


def plain_loop(path, mpp, spec, stride_um, network, shift_px=0.0):
    """Predict every patch of a slide the slow way; returns values by (row, column)."""
    found = {}
    with openslide.OpenSlide(path) as slide, torch.inference_mode():
        width, height = slide.dimensions
        level = np.asarray(slide.read_region((0, 0), 0, (width, height)).convert("RGB"))
        stride = [max(1, round(stride_um / pixel)) for pixel in mpp]
        field = [
            whole * step if abs(whole - exact) < 0.01 else round(spec.field_um / pixel)
            for pixel, step, exact, whole in (
                (pixel, step, spec.field_um / stride_um, round(spec.field_um / stride_um))
                for pixel, step in zip(mpp, stride, strict=True)
            )
        ]
        white = np.full((height + 2 * field[1], width + 2 * field[0], 3), 255.0)
        white[:height, :width] = level
        rows = max(1, math.ceil((height - field[1]) / stride[1]) + 1)
        columns = max(1, math.ceil((width - field[0]) / stride[0]) + 1)
        for row, column in itertools.product(range(rows), range(columns)):
            x, y = column * stride[0] + shift_px, row * stride[1]
            steps = np.arange(spec.patch_px + 1) / spec.patch_px
            tall = means_over(white, y + steps * field[1])
            patch = means_over(tall.swapaxes(0, 1), x + steps * field[0]).swapaxes(0, 1)
            inputs = torch.from_numpy(
                ((patch / 255 - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
            )
            found[row, column] = network(inputs.permute(2, 0, 1)[None]).softmax(1)[0, 1].item()
    return found


@pytest.mark.parametrize("stride_um", [5.0, 8.0, 13.3, 40.0])
@pytest.mark.parametrize(
    ("mpp", "factors", "patch_mpp"),
    [
        ((0.25, 0.25), (1, 2, 4), 0.5),
        ((0.25, 0.25), (1, 4), 0.5),
        ((0.243, 0.243), (1, 2, 4), 0.5),
        ((0.25, 0.26), (1, 2), 0.7),
        ((0.5, 0.5), (1, 2), 0.5),
        ((0.5, 0.5), (1, 2), 2.0),
    ],
)
def test_values_equal_a_plain_loop_at_every_stride_and_spacing(
    make_slide, tmp_path, mpp, factors, patch_mpp, stride_um
):
    rng = np.random.default_rng(12)
    coarse = rng.integers(20, 235, (18, 21, 3), dtype=np.uint8)
    path = make_slide(coarse.repeat(8, 0).repeat(8, 1), mpp=mpp, factors=factors, tile_px=16)
    spec = ModelSpec("waves", PATCH_PX, patch_mpp)
    model = Model(spec, Waves(), tmp_path / "waves.pt", "0" * 64)
    with open_slide(path) as slide:
        plan = plan_patches(slide, spec, stride_um=stride_um, min_tissue_fraction=0)
        heatmap = list(run(slide, model, plan, device="cpu", batch_size=16))[-1].heatmap
    expected = plain_loop(path, mpp, spec, stride_um, model.module)
    assert max(expected) == (heatmap.grid.rows - 1, heatmap.grid.columns - 1)
    found = np.array([heatmap.values[cell] for cell in expected])
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-3)
    # The test would see a shift by less than one pixel of the model's input.
    shift_px = 0.5 * patch_mpp / mpp[0]
    shifted = plain_loop(path, mpp, spec, stride_um, model.module, shift_px)
    assert np.abs(found - list(shifted.values())).max() > 4e-3


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 2e-2)])
def test_a_real_slide_gives_what_a_plain_loop_gives(shared_data, precision, tolerance):
    path = shared_data / "slides" / "c16_mosaic_dev.tif"
    with openslide.OpenSlide(path) as plain:
        mpp = float(plain.properties["openslide.mpp-x"])
    model = load_model()
    spec = replace(model.spec, patch_mpp=mpp, stride_um=None)
    model = replace(model, spec=spec)
    px = spec.patch_px
    with open_slide(path) as slide, openslide.OpenSlide(path) as plain:
        whole = plan_patches(slide, spec, min_tissue_fraction=0.4)
        selected = np.zeros_like(whole.selected)
        cells = np.argwhere(whole.selected)
        cells = cells[:: max(1, len(cells) // 40)]
        selected[tuple(cells.T)] = True
        plan = PatchGrid(whole.grid, whole.tissue_fraction, selected)
        predictor = prepare(model, NumericPath("cpu", "torch", precision), batch_size=8)
        # Rules that all patches pass: they keep the model to single patches.
        rules = PatchRules(0, 0, 0, 0)
        update = list(run(slide, model, plan, predictor=predictor, rules=rules))[-1]
        predictor.close()
        expected = []
        for row, column in cells.tolist():
            region = plain.read_region((column * px, row * px), 0, (px, px)).convert("RGB")
            pixels = (np.asarray(region) / 255 - np.array(spec.mean)) / np.array(spec.std)
            inputs = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
            with torch.inference_mode():
                expected.append(model.module(inputs).sigmoid()[0, 0].item())
    assert update.heatmap.method == "patches"
    found = update.heatmap.values[tuple(cells.T)]
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert np.ptp(expected) > 0.5, "a test on equal values would show nothing"
