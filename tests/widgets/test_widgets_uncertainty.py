"""The layers of uncertainty: in place, hidden, alike in scale, and growing with the run."""

import math

import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.widgets.result_layers import heatmap_layer
from napari_camelyon.widgets.uncertainty_layers import UNCERTAINTY_LAYERS, uncertainty_layers

GRID = Grid(
    rows=6,
    columns=8,
    x_px=100,
    y_px=300,
    patch_width_px=64,
    patch_height_px=64,
    stride_x_px=32,
    stride_y_px=32,
)


def heatmap_with(*names):
    empty = np.full(GRID.shape, np.nan, np.float32)
    maps = {name: empty.copy() for name in names}
    return Heatmap(GRID, empty, (0.5, 0.25), slide_name="node_1", maps=maps)


def test_each_map_has_a_hidden_layer_over_the_cells_of_the_heatmap():
    heatmap = heatmap_with("p_stroma", *UNCERTAINTY_LAYERS)
    layers = uncertainty_layers(heatmap)
    assert [layer.name for layer in layers] == list(UNCERTAINTY_LAYERS.values())
    beneath = heatmap_layer(heatmap)
    for layer, name in zip(layers, UNCERTAINTY_LAYERS, strict=True):
        assert not layer.visible
        assert layer.data is heatmap.maps[name]
        np.testing.assert_array_equal(layer.scale, beneath.scale)
        np.testing.assert_array_equal(layer.translate, beneath.translate)
        assert layer.units == beneath.units
        assert layer.contrast_limits == pytest.approx([0, math.log(2)])
        ours = layer.metadata["napari_camelyon"]
        assert (ours["slide"], ours["kind"], ours["map"]) == ("node_1", "uncertainty", name)


def test_a_heatmap_without_uncertainty_has_no_layers():
    assert uncertainty_layers(heatmap_with()) == []
    (only,) = uncertainty_layers(heatmap_with("uncertainty_epistemic"))
    assert only.name == "uncertainty: epistemic"


def test_its_colours_fall_evenly_in_lightness_and_are_not_the_heatmaps():
    heatmap = heatmap_with(*UNCERTAINTY_LAYERS)
    layer, beneath = uncertainty_layers(heatmap)[0], heatmap_layer(heatmap)
    colours = layer.colormap.map(np.linspace(0, 1, 65))
    lightness = rgb2lab(colours[None, :, :3])[0, :, 0]
    steps = -np.diff(lightness)
    assert (steps > 0).all()
    assert steps.max() < 1.5 * steps.min()
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert colours[0, 3] == 0
    # What is not known is not drawn, and no certain colour of the one is one of the other.
    assert layer.colormap.map(np.array([np.nan]))[0, 3] == 0
    seen, others = (lab_of(one)[16:, None] for one in (layer, beneath))
    assert np.linalg.norm(seen - others.swapaxes(0, 1), axis=2).min() > 20


def lab_of(layer):
    return rgb2lab(layer.colormap.map(np.linspace(0, 1, 65))[None, :, :3])[0]


@pytest.mark.gui
def test_the_layers_grow_with_the_run(docked):
    viewer, _, _ = docked
    heatmap = heatmap_with(*UNCERTAINTY_LAYERS)
    layer = viewer.add_layer(uncertainty_layers(heatmap)[0])
    layer.visible = True
    place = (float(layer.translate[0] + layer.scale[0]), float(layer.translate[1]))
    assert np.isnan(layer.get_value(place, world=True))
    heatmap.maps["uncertainty_total"][1, 0] = 0.5
    layer.refresh()
    assert layer.get_value(place, world=True) == pytest.approx(0.5)
