"""The model configuration of WSInfer (https://wsinfer.readthedocs.io), read as a `ModelSpec`."""

import json
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ModelError
from napari_camelyon.models.tumour_class import tumour_index
from napari_camelyon.specs import ModelSpec

__all__ = ["read_wsinfer_spec"]

_KNOWN_TRANSFORMS = ("Resize", "ToTensor", "Normalize")


def read_wsinfer_spec(path: Path | str, tumour_class: str | None = None) -> ModelSpec:
    """Read a WSInfer ``config.json``.

    Parameters
    ----------
    path : path-like
    tumour_class : str, optional
        Name of the class that is tumour, where the names do not tell.

    Returns
    -------
    ModelSpec
        A resize in the transforms becomes the specification's patch and spacing: patches are
        resampled to it directly from the slide.

    Raises
    ------
    ModelError
        The file is damaged or incomplete, has a transform that we do not know, or leaves open
        which class is tumour.
    """
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        patch_px = int(config["patch_size_pixels"])
        mpp = float(config["spacing_um_px"])
        class_names = tuple(str(name) for name in config["class_names"])
        transforms = [(step["name"], step.get("arguments") or {}) for step in config["transform"]]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The model configuration {path} cannot be read: {error}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The model configuration {path} is incomplete or malformed ({error!r}). WSInfer needs "
            "patch_size_pixels, spacing_um_px, class_names and transform."
        ) from error

    input_px = patch_px
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    for name, arguments in transforms:
        if name == "Resize":
            input_px = _square_size(arguments, path)
        elif name == "Normalize":
            mean, std = _triple(arguments, "mean", path), _triple(arguments, "std", path)
        elif name != "ToTensor":
            raise ModelError(
                f"The model configuration {path} asks for the transform {name!r}, which is not "
                f"known here (known: {', '.join(_KNOWN_TRANSFORMS)}). Predictions without it would "
                "be wrong."
            )
    outputs = _outputs(config, class_names, path)
    names = class_names if len(class_names) > 1 else (f"not {class_names[0]}", class_names[0])
    architecture = config.get("architecture") or ""
    return ModelSpec(
        name=path.resolve().parent.name,
        patch_px=input_px,
        patch_mpp=patch_px * mpp / input_px,
        class_names=names,
        tumour_class=tumour_index(names, tumour_class, str(path)),
        activation="sigmoid" if outputs == 1 else "softmax",
        mean=mean,  # type: ignore[arg-type]
        std=std,  # type: ignore[arg-type]
        description=f"WSInfer model ({architecture or 'unknown architecture'}).",
        architecture=f"timm:{architecture}" if architecture else "",
    )


def _outputs(config: dict[str, Any], class_names: tuple[str, ...], path: Path) -> int:
    outputs = config.get("num_classes", len(class_names))
    # One output has one name or two: the positive class alone, or both.
    fitting = {1, 2} if outputs == 1 else {outputs}
    if len(class_names) not in fitting:
        raise ModelError(
            f"The model configuration {path} has num_classes {outputs!r}, but names "
            f"{len(class_names)} classes ({', '.join(class_names) or 'none'})."
        )
    return int(outputs)


def _square_size(arguments: dict[str, Any], path: Path) -> int:
    size = arguments.get("size")
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    if not isinstance(size, int) or size < 1:
        raise ModelError(
            f"The model configuration {path} resizes to {size!r}; expected one number."
        )
    return size


def _triple(arguments: dict[str, Any], name: str, path: Path) -> tuple[float, ...]:
    values = arguments.get(name)
    if not isinstance(values, list) or len(values) != 3:
        raise ModelError(f"The model configuration {path} needs three values in Normalize {name}.")
    return tuple(float(value) for value in values)
