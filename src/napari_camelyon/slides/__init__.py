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
from napari_camelyon.slides.folder import find_slides, natural_order
from napari_camelyon.slides.glass import glass_frame
from napari_camelyon.slides.kept_mpp import forget_mpp, keep_mpp
from napari_camelyon.slides.layer_data import layer_data
from napari_camelyon.slides.lazy import dask_levels
from napari_camelyon.slides.levels import Level
from napari_camelyon.slides.mpp import mpp_hint
from napari_camelyon.slides.preview import Preview, overview, read_preview
from napari_camelyon.slides.resample import (
    choose_level,
    read_downsampled,
    read_resampled,
    resize_box,
)
from napari_camelyon.slides.slide import Damage, Slide, open_slide
from napari_camelyon.slides.source import is_slide, slide_name
from napari_camelyon.slides.streaming import SlideStream
from napari_camelyon.slides.writer import write_slide

__all__ = [
    "ColourTransform",
    "Damage",
    "Level",
    "LevelOffset",
    "Preview",
    "Slide",
    "SlideStream",
    "alignment_error",
    "alignment_sentences",
    "alignment_verdict",
    "choose_level",
    "colour_transform",
    "dask_levels",
    "describe",
    "find_slides",
    "forget_mpp",
    "glass_frame",
    "is_slide",
    "keep_mpp",
    "layer_data",
    "measure_alignment",
    "mpp_hint",
    "natural_order",
    "open_slide",
    "overview",
    "read_downsampled",
    "read_preview",
    "read_resampled",
    "resize_box",
    "slide_name",
    "to_srgb",
    "write_slide",
]
