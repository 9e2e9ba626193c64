"""Annotation files and the slide that they belong to: by their name, and by their glass."""

from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet
from napari_camelyon.errors import AnnotationError, SlideError
from napari_camelyon.geometry import GlassFrame
from napari_camelyon.slides import Slide, glass_frame

__all__ = ["ANNOTATION_EXTENSIONS", "annotated_slide", "read_annotations"]

_ON_GLASS = ".ndpa"
ANNOTATION_EXTENSIONS = (*annotations.FORMATS, _ON_GLASS)
"""Of files that are opened as annotations; those that are not in `FORMATS` cannot be written."""


def annotated_slide(path: Path, names: Container[str]) -> str | None:
    """Return which of some slides an annotation file belongs to by its name, or None.

    ``a.xml`` belongs to the slide ``a``; so does ``a.ndpi.ndpa``, as NDP.view calls its files.
    """
    found = [path.stem]
    if path.suffix.lower() == _ON_GLASS:
        found.append(Path(path.stem).stem)
    return next((name for name in found if name in names), None)


def read_annotations(path: Path, slide: Slide | None) -> AnnotationSet:
    """Read annotations; those that are measured from the middle of the glass with their slide.

    Raises
    ------
    AnnotationError
        As `annotations.read`, or an NDPA file has no slide.
    SlideError
        It is NDPA, and the slide does not say where on its glass it lies, or how large its pixels
        are.
    """
    if slide is None and path.suffix.lower() == _ON_GLASS:
        raise AnnotationError(
            f"{path} is a Hamamatsu NDPA file, whose coordinates are nanometres from the centre "
            "of the glass slide: open its slide first, then this file."
        )
    return annotations.read(path, frame=_frame(path, slide))


def _frame(path: Path, slide: Slide | None) -> GlassFrame | None:
    if slide is None:
        return None
    if path.suffix.lower() == _ON_GLASS:
        return glass_frame(slide)
    with suppress(SlideError):  # others do without, unless their name says nothing
        return glass_frame(slide)
    return None
