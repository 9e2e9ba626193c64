"""Slides: opening them, where their pixels lie, and their pixels at any size."""

from napari_camelyon.slides.alignment import (
    LevelOffset,
    alignment_error,
    alignment_sentences,
    alignment_verdict,
    measure_alignment,
)
from napari_camelyon.slides.colour import ColourTransform, colour_transform, to_srgb
from napari_camelyon.slides.describe import describe
from napari_camelyon.slides.kept_mpp import forget_mpp, keep_mpp
from napari_camelyon.slides.layer_data import layer_data
from napari_camelyon.slides.lazy import dask_levels
from napari_camelyon.slides.levels import Level
from napari_camelyon.slides.mpp import mpp_hint
from napari_camelyon.slides.resample import (
    choose_level,
    read_downsampled,
    read_resampled,
    resize_box,
)
from napari_camelyon.slides.slide import Slide, is_slide, open_slide
from napari_camelyon.slides.writer import write_slide

__all__ = [
    "ColourTransform",
    "Level",
    "LevelOffset",
    "Slide",
    "alignment_error",
    "alignment_sentences",
    "alignment_verdict",
    "choose_level",
    "colour_transform",
    "dask_levels",
    "describe",
    "forget_mpp",
    "is_slide",
    "keep_mpp",
    "layer_data",
    "measure_alignment",
    "mpp_hint",
    "open_slide",
    "read_downsampled",
    "read_resampled",
    "resize_box",
    "to_srgb",
    "write_slide",
]
