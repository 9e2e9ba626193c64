"""What a patch model expects and what its values mean."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from napari_camelyon.errors import ModelError
from napari_camelyon.files import write_json

__all__ = ["Activation", "ModelSpec", "ValueMeaning", "read_model_spec", "write_model_spec"]

Activation = Literal["softmax", "sigmoid"]
ValueMeaning = Literal["any_tumour", "centre", "covered_fraction"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of the ImageNet training set, RGB in 0–1 (torchvision documentation)."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations of the ImageNet training set, RGB in 0–1 (as above)."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Description of a patch classifier.

    Attributes
    ----------
    name : str
        Shown to people and written into results.
    patch_px : int
        Width and height of the model's input in pixels.
    patch_mpp : float
        µm per pixel of that input.
    class_names : tuple of str
        One name an output; a model with a single logit names its negative and positive class.
    tumour_class : int
        Index into `class_names`.
    activation : {"softmax", "sigmoid"}
        What turns the outputs into probabilities.
    mean, std : tuple of float
        Per channel (RGB, 0–1): the input is ``(pixel / 255 - mean) / std``.
    value_meaning : {"any_tumour", "centre", "covered_fraction"}
        What a probability says of the patch's area: some tumour anywhere in it, tumour in its
        centre (see `centre_px`), or the share of it that is tumour. Measuring depends on this.
    centre_px : int or None
        Side of the central square, in input pixels, that a "centre" value speaks of.
    stride_um : float or None
        The pitch at which the model is meant to be run; None: its field, patches side by side.
    threshold : float
        Probability from which a patch counts as tumour unless the person says otherwise.
    description : str
        One or two sentences: origin, training data, what it may not be used for.
    """

    name: str
    patch_px: int
    patch_mpp: float
    class_names: tuple[str, ...] = ("normal", "tumour")
    tumour_class: int = 1
    activation: Activation = "softmax"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    value_meaning: ValueMeaning = "any_tumour"
    centre_px: int | None = None
    stride_um: float | None = None
    threshold: float = 0.5
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse descriptions that cannot be true."""
        if self.patch_px < 1 or not 0.05 <= self.patch_mpp <= 20:
            raise ModelError(
                f"The model specification {self.name!r} has a patch of {self.patch_px} px at "
                f"{self.patch_mpp} µm/px; expected at least 1 px and 0.05–20 µm/px."
            )
        if not 0 <= self.tumour_class < len(self.class_names):
            raise ModelError(
                f"The model specification {self.name!r} names {len(self.class_names)} classes, "
                f"but calls number {self.tumour_class} tumour; count from 0."
            )
        if self.activation not in get_args(Activation):
            raise ModelError(
                f"The model specification {self.name!r} has the activation {self.activation!r}; "
                f"expected one of {', '.join(get_args(Activation))}."
            )
        if self.value_meaning not in get_args(ValueMeaning):
            raise ModelError(
                f"The model specification {self.name!r} has the value meaning "
                f"{self.value_meaning!r}; expected one of {', '.join(get_args(ValueMeaning))}."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError(
                f"The model specification {self.name!r} needs three means and three positive "
                "standard deviations (RGB)."
            )

    @property
    def field_um(self) -> float:
        """Side of the square of tissue that one patch shows, in µm."""
        return self.patch_px * self.patch_mpp


def read_model_spec(path: Path | str) -> ModelSpec:
    """Read a specification from a JSON file as written by `write_model_spec`.

    Raises
    ------
    ModelError
        The file is missing, is no JSON, or has unknown, missing or impossible entries.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"There is no model specification at {path}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"The model specification {path} cannot be read: {error}.") from error
    if not isinstance(entries, dict):
        raise ModelError(f"The model specification {path} should be one JSON object.")
    return _spec_from_entries(entries, path)


def write_model_spec(spec: ModelSpec, path: Path | str) -> None:
    """Write a specification as JSON, atomically. Raises `FileWriteError`."""
    write_json(asdict(spec), path)


def _spec_from_entries(entries: dict[str, Any], path: Path) -> ModelSpec:
    known = {field.name for field in fields(ModelSpec)}
    unknown = sorted(set(entries) - known)
    if unknown:
        raise ModelError(
            f"The model specification {path} has unknown entries: {', '.join(unknown)}. "
            f"Known are {', '.join(sorted(known))}."
        )
    lists_as_tuples: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()
    }
    try:
        return ModelSpec(**lists_as_tuples)
    except TypeError as error:
        raise ModelError(f"The model specification {path} is incomplete: {error}.") from error
