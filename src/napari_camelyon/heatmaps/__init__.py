"""A grid of values on a slide, and how it is kept on disk."""

from napari_camelyon.heatmaps.heatmap import Heatmap, HeatmapMethod, empty_heatmap
from napari_camelyon.heatmaps.patch_table import PatchTable, maps_of, read_patches, write_patches
from napari_camelyon.heatmaps.store import HEATMAP_FOLDER, read_heatmap, write_heatmap

__all__ = [
    "HEATMAP_FOLDER",
    "Heatmap",
    "HeatmapMethod",
    "PatchTable",
    "empty_heatmap",
    "maps_of",
    "read_heatmap",
    "read_patches",
    "write_heatmap",
    "write_patches",
]
