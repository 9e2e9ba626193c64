"""Plain descriptions, free of torch, that the rooms above share."""

from napari_camelyon.specs.model_spec import (
    ModelSpec,
    StainVectors,
    ValueMeaning,
    read_model_spec,
    spec_from_entries,
    write_model_spec,
)

__all__ = [
    "ModelSpec",
    "StainVectors",
    "ValueMeaning",
    "read_model_spec",
    "spec_from_entries",
    "write_model_spec",
]
