"""Slides: pyramids in, pyramids out."""

from napari_camelyon.slides.writer import write_slide

__all__ = ["write_slide"]
