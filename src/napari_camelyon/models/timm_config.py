"""The configuration of a timm model as the hub keeps it (``config.json``), as a `ModelSpec`.

It says architecture, input size, normalisation and, sometimes, names of classes; it does not say
at which spacing the patches were, so that has to come from somewhere else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ModelError
from napari_camelyon.models.tumour_class import tumour_index
from napari_camelyon.specs import ModelSpec

__all__ = ["read_timm_arguments", "read_timm_spec"]


def read_timm_spec(
    path: Path, tumour_class: str | None = None, patch_mpp: float | None = None
) -> ModelSpec:
    """Read a timm ``config.json``.

    Parameters
    ----------
    path : Path
    tumour_class : str, optional
        Name of the class that is tumour, where the names do not tell.
    patch_mpp : float, optional
        µm per pixel of the model's input.

    Returns
    -------
    ModelSpec
        With ``timm:`` and the architecture's name.

    Raises
    ------
    ModelError
        The file is damaged or incomplete, the input is no square of RGB, or the spacing is unknown.
    TumourClassError
        Which class is tumour has to be said.
    """
    config = _read(path)
    # The newer layout keeps what is said of the weights apart; the older one is flat.
    weights = config.get("pretrained_cfg", config)
    try:
        architecture = str(config["architecture"])
        channels, height, width = weights["input_size"]
        outputs = int(config["num_classes"] if "num_classes" in config else weights["num_classes"])
        mean, std = tuple(map(float, weights["mean"])), tuple(map(float, weights["std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The model configuration {path} is incomplete or malformed ({error!r}). A timm model "
            "needs architecture, num_classes and pretrained_cfg with input_size, mean and std."
        ) from error
    if channels != 3 or height != width:
        raise ModelError(
            f"The model of {path} takes {channels} × {height} × {width}; expected squares of RGB."
        )
    if patch_mpp is None:
        raise ModelError(
            f"{path} does not say at which µm/px the model of {width} px was trained. Put a "
            "specification spec.json beside it, or say it once: napari-camelyon models add "
            f"{path.parent} --patch-mpp µM/PX."
        )
    names = _class_names(config, weights, outputs, path)
    return ModelSpec(
        name=path.resolve().parent.name,
        patch_px=width,
        patch_mpp=patch_mpp,
        class_names=names,
        tumour_class=tumour_index(names, tumour_class, str(path)),
        activation="sigmoid" if outputs == 1 else "softmax",
        mean=mean,  # type: ignore[arg-type]
        std=std,  # type: ignore[arg-type]
        description=f"timm model ({architecture}).",
        architecture=f"timm:{architecture}",
        licence=weights.get("license"),
    )


def read_timm_arguments(path: Path) -> dict[str, Any]:
    """Return what else the network is built with (``model_args``); empty where nothing is said."""
    arguments = _read(path).get("model_args") or {}
    if not isinstance(arguments, dict):
        raise ModelError(f"The model configuration {path} has model_args that are no object.")
    return arguments


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The model configuration {path} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"The model configuration {path} should be one JSON object.")
    return config


def _class_names(
    config: Mapping[str, Any], weights: Mapping[str, Any], outputs: int, path: Path
) -> tuple[str, ...]:
    names = config.get("label_names") or weights.get("label_names") or weights.get("labels")
    if not names:
        # No name that could be taken for tumour: it is asked for.
        return ("negative", "positive") if outputs == 1 else _numbered(outputs)
    if not isinstance(names, list) or len(names) != outputs:
        raise ModelError(f"{path} should name {outputs} classes in label_names, not {names!r}.")
    named = tuple(map(str, names))
    return (f"not {named[0]}", named[0]) if outputs == 1 else named


def _numbered(outputs: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(outputs))
