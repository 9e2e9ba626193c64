"""Heatmap over slide: each cell lies on what it was computed from, at every level."""

import numpy as np
import pytest

from made_models import write_wsinfer_model
from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.inference import run
from napari_camelyon.models import load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import plan_patches
from napari_camelyon.widgets.result_layers import heatmap_layer
from napari_camelyon.widgets.slide_layer import slide_layer

MPP = 0.5
CELLS = [(2, 3), (5, 1), (4, 6)]


@pytest.mark.parametrize("patch_px", [32, 50, 64])
@pytest.mark.parametrize("stride_um", [16.0, 31.5, 40.0])
def test_cell_centres_lie_on_marks_within_one_pixel_at_every_level(
    make_slide, tmp_path, patch_px, stride_um
):
    model = load_model(write_wsinfer_model(tmp_path / "m", patch_px=patch_px, mpp=MPP, centre_px=8))
    stride_px = round(stride_um / MPP)
    centres = [
        (column * stride_px + patch_px / 2, row * stride_px + patch_px / 2) for row, column in CELLS
    ]
    pixels = np.full((704, 832, 3), (220, 160, 205), np.uint8)
    for x, y in centres:
        pixels[int(y) - 8 : int(y) + 8, int(x) - 8 : int(x) + 8] = 0
    with open_slide(make_slide(pixels, name="marks", factors=(1, 2, 4), mpp=MPP)) as slide:
        plan = plan_patches(slide, model.spec, stride_um=stride_um, min_tissue_fraction=0)
        heatmap = list(run(slide, model, plan, device="cpu"))[-1].heatmap
        heat, picture = heatmap_layer(heatmap), slide_layer(slide)
        for cell, centre in zip(CELLS, centres, strict=True):
            assert heatmap.values[cell] > 0.9
            seen = np.asarray(heat.data_to_world(cell))
            mark = np.asarray(picture.data_to_world(slide_to_layer(centre)))
            assert np.abs(seen - mark).max() <= MPP
        # On every level of the picture the darkness around a cell is centred on that cell.
        factors = picture.downsample_factors[:, :2]
        for level, factor in zip(picture.data, factors, strict=True):
            dark = 255 - np.asarray(level).min(axis=2).astype(float)
            dark[dark < 128] = 0
            for cell in CELLS:
                row_column = np.asarray(picture.world_to_data(heat.data_to_world(cell)))[:2]
                first = np.floor((row_column + 0.5 - 12) / factor).astype(int)
                last = np.ceil((row_column + 0.5 + 12) / factor).astype(int)
                window = dark[first[0] : last[0], first[1] : last[1]]
                places = np.indices(window.shape).reshape(2, -1)
                centroid = (places * window.ravel()).sum(axis=1) / window.sum()
                # A level's pixel i covers [i, i + 1) × factor level-0 pixels.
                found = (first + centroid + 0.5) * factor - 0.5
                assert np.abs(found - row_column).max() <= 1
