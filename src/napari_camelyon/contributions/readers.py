"""Readers: slides and annotations, in any order, each in its place."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from napari import current_viewer
from napari.layers import Layer
from napari.utils.notifications import show_warning

from napari_camelyon import annotations
from napari_camelyon.errors import AnnotationError
from napari_camelyon.geometry import Mpp, world_placement
from napari_camelyon.slides import is_slide, layer_data, open_slide

__all__ = ["get_annotation_reader", "get_slide_reader"]

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str], list[LayerData]]


def get_slide_reader(path: str | list[str]) -> Reader | None:
    """Return a reader if the path is a slide; answers from the first bytes of the file.

    Of a folder it looks at the metadata alone; napari asks for folders of any name.
    """
    return read_slide if isinstance(path, str) and is_slide(path) else None


def read_slide(path: str) -> list[LayerData]:
    """Read a slide as a multiscale image. Raises `SlideError`.

    Annotations that were opened before, alone, take on the scale and units of the slide.
    """
    slide = open_slide(path)
    for layer in _our_layers("annotation"):
        if _meta(layer)["slide"] is None:
            _meta(layer)["slide"] = slide.name
            placement = world_placement(slide.mpp)
            layer.scale, layer.units = placement["scale"], placement["units"]
    return [layer_data(slide, tell=show_warning)]


def get_annotation_reader(path: str | list[str]) -> Reader | None:
    """Return a reader if the file holds annotations; other XML and JSON is left to others."""
    if not isinstance(path, str):
        return None
    if path.lower().endswith(".ndpa"):
        return read_annotations  # which says what is missing
    try:
        annotations.read(path)
    except AnnotationError:
        return None
    return read_annotations


def read_annotations(path: str) -> list[LayerData]:
    """Read annotations as one layer a group. Raises `AnnotationError`, `SlideError`.

    They lie on the slide that is in the viewer, or in slide pixels until one comes.
    """
    slide_name: str | None = None
    mpp: Mpp | None = None
    slides = _our_layers("slide")
    if slides:
        slide_name = _meta(slides[-1])["slide"]
        mpp = _mpp_of(slides[-1])
    if path.lower().endswith(".ndpa"):
        from napari_camelyon.cohort import read_annotations as read_with_slide

        with open_slide(_meta(slides[-1])["path"]) if slides else nullcontext() as slide:
            annotation_set = read_with_slide(Path(path), slide)
    else:
        annotation_set = annotations.read(path)
    return annotations.layer_data(annotation_set, slide_name, mpp)


def _our_layers(kind: str) -> list[Layer]:
    viewer = current_viewer()
    if viewer is None:
        return []
    return [layer for layer in viewer.layers if _meta(layer).get("kind") == kind]


def _meta(layer: Layer) -> dict[str, Any]:
    return layer.metadata.get("napari_camelyon", {})


def _mpp_of(layer: Layer) -> Mpp | None:
    if str(layer.units[0]) == "pixel":
        return None
    return float(layer.scale[1]), float(layer.scale[0])
