"""OME-Zarr slides in the window."""

import numpy as np
import pytest

from made_ome_zarr import halving, write
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui


def test_opens_by_command_and_by_napari(docked, tmp_path):
    viewer, _, _ = docked
    pixels = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    made = halving([pixels])
    made.scales = [{"y": 0.25, "x": 0.24}]
    path = write(tmp_path / "node_1.zarr", made)
    assert open_paths(viewer, [path]) == 0
    viewer.open(str(path), plugin="napari-camelyon")
    ours = [layer for layer in viewer.layers if layer.name.startswith("node_1")]
    assert len(ours) == 2
    for layer in ours:
        assert tuple(layer.scale) == (0.25, 0.24)
        np.testing.assert_array_equal(np.asarray(layer.data[0]), pixels)
