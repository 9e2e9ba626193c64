"""Slides: opening them, where their pixels lie, and their pixels at any size."""

from napari_camelyon.slides.describe import describe
from napari_camelyon.slides.folder import find_slides
from napari_camelyon.slides.layer_data import layer_data
from napari_camelyon.slides.lazy import dask_levels
from napari_camelyon.slides.levels import Level
from napari_camelyon.slides.preview import Preview, overview, read_preview
from napari_camelyon.slides.resample import (
    choose_level,
    read_downsampled,
    read_resampled,
    resize_box,
)
from napari_camelyon.slides.slide import Slide, is_slide, open_slide
from napari_camelyon.slides.writer import write_slide

__all__ = [
    "Level",
    "Preview",
    "Slide",
    "choose_level",
    "dask_levels",
    "describe",
    "find_slides",
    "is_slide",
    "layer_data",
    "open_slide",
    "overview",
    "read_downsampled",
    "read_preview",
    "read_resampled",
    "resize_box",
    "write_slide",
]
