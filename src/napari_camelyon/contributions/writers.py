"""Writers: annotation layers back into the file they came from, or into a new one."""

from types import SimpleNamespace
from typing import Any

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet
from napari_camelyon.errors import AnnotationError

__all__ = ["write_annotations"]

LayerData = tuple[Any, dict[str, Any], str]


def write_annotations(path: str, layers: list[LayerData]) -> list[str]:
    """Write Shapes and Points layers as ASAP XML or GeoJSON, by the extension.

    Layers that a reader of ours made are written back into the whole set that they show: what
    was not edited keeps every byte. Other layers, drawn by hand in slide pixels, become
    annotations of a group named after the layer.

    Raises
    ------
    AnnotationError
        The layers come from several files, or the extension is unknown.
    FileWriteError
        The file cannot be written.
    """
    shown = [_as_layer(data, attributes, kind) for data, attributes, kind in layers]
    sets = {
        id(found): found
        for layer in shown
        if (found := layer.metadata["napari_camelyon"].get("annotation_set")) is not None
    }
    if len(sets) > 1:
        raise AnnotationError(
            "The selected layers come from several annotation files. Select the layers of one "
            "file and save again."
        )
    annotation_set = next(iter(sets.values()), AnnotationSet())
    annotations.write(annotations.annotations_from_layers(annotation_set, shown), path)
    return [path]


def _as_layer(data: Any, attributes: dict[str, Any], kind: str) -> Any:
    metadata = attributes.get("metadata") or {}
    if metadata.get("napari_camelyon", {}).get("kind") != "annotation":
        ours = {"kind": "annotation", "group": attributes.get("name", "annotations"), "rings": ()}
        metadata = {**metadata, "napari_camelyon": ours}
    layer = SimpleNamespace(data=data, features=attributes["features"], metadata=metadata)
    if kind == "shapes":
        layer.shape_type = attributes["shape_type"]
    return layer
