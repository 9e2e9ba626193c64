"""Which file of a model holds its weights, and what is said about them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ModelError
from napari_camelyon.models.timm_config import read_timm_arguments, read_timm_spec
from napari_camelyon.models.wsinfer import read_wsinfer_spec
from napari_camelyon.specs import ModelSpec, read_model_spec

__all__ = [
    "CARD",
    "CONFIG",
    "SPEC",
    "WEIGHTS",
    "Layout",
    "find_layout",
    "find_weights",
    "is_wsinfer_config",
]

CONFIG = "config.json"
SPEC = "spec.json"
CARD = "README.md"

WEIGHTS = (
    "torchscript_model.pt",
    "model.safetensors",
    "pytorch_model.bin",
    "model.pt2",
    "model.onnx",
    "model.pt",
    "model.pth",
)
"""Names of weights in the folders of WSInfer, timm and the hub, those first that say most."""

_SUFFIXES = {".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pt2", ".onnx"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A model as it lies on the disk.

    Attributes
    ----------
    weights : Path
        The file with the weights or the program.
    spec : ModelSpec or None
        What is said about them; None: nothing.
    arguments : mapping
        What else a timm network is built with.
    """

    weights: Path
    spec: ModelSpec | None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def find_layout(
    path: Path,
    *,
    spec: ModelSpec | None = None,
    tumour_class: str | None = None,
    patch_mpp: float | None = None,
) -> Layout:
    """Find the weights of a model and what is said about them.

    Parameters
    ----------
    path : Path
        A file with weights, beside which a specification of the same name ending ``.json`` may
        lie; or a folder with weights and ``spec.json`` (ours) or ``config.json`` (WSInfer, timm).
    spec : ModelSpec, optional
        Takes the place of what is found.
    tumour_class : str, optional
        Name of the class that is tumour, where the names do not tell.
    patch_mpp : float, optional
        µm per pixel of the input, where nothing says so.

    Raises
    ------
    ModelError
        There is no model, or its description is damaged or leaves something open.
    """
    weights = find_weights(path)
    # Weights with one of these names mean the folder that they lie in.
    if path.is_dir() or (path.name in WEIGHTS and (path.parent / CONFIG).is_file()):
        return _of_folder(weights.parent, weights, spec, tumour_class, patch_mpp)
    beside = path.with_suffix(".json")
    if spec is None and beside.is_file():
        spec = read_model_spec(beside)
    return Layout(path, spec)


def find_weights(path: Path) -> Path:
    """Return the file with the weights of a model: the path itself, or what its folder holds.

    Raises
    ------
    ModelError
        There is nothing, or it is not clear which.
    """
    if path.is_file():
        return path
    if path.is_dir():
        return _weights_in(path)
    raise ModelError(f"There is no model at {path}.")


def is_wsinfer_config(path: Path) -> bool:
    """Whether a ``config.json`` is one of WSInfer; timm's say neither of these."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The model configuration {path} cannot be read: {error}.") from error
    return isinstance(entries, dict) and bool({"patch_size_pixels", "transform"} & set(entries))


def _of_folder(
    folder: Path,
    weights: Path,
    spec: ModelSpec | None,
    tumour_class: str | None,
    patch_mpp: float | None,
) -> Layout:
    config = folder / CONFIG
    if spec is None and (folder / SPEC).is_file():
        spec = read_model_spec(folder / SPEC)
    if not config.is_file():
        if spec is None:
            raise ModelError(
                f"The folder {folder} is no model: beside {weights.name} it should hold "
                "config.json (WSInfer, timm) or spec.json."
            )
        return Layout(weights, spec)
    if is_wsinfer_config(config):
        return Layout(weights, spec or read_wsinfer_spec(config, tumour_class))
    return Layout(
        weights,
        spec or read_timm_spec(config, tumour_class, patch_mpp),
        read_timm_arguments(config),
    )


def _weights_in(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(others) == 1:
        return others[0]
    found = f"holds {', '.join(path.name for path in others)}" if others else "holds none"
    raise ModelError(
        f"The folder {folder} is no model: expected one file with weights, named for instance "
        f"torchscript_model.pt (WSInfer) or model.safetensors (timm); it {found}."
    )
