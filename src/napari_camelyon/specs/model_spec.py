"""What a patch model expects and what its values mean."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from napari_camelyon.errors import ModelError
from napari_camelyon.files import write_json

__all__ = [
    "Activation",
    "ModelSpec",
    "StainVectors",
    "ValueMeaning",
    "read_model_spec",
    "spec_from_entries",
    "write_model_spec",
]

Activation = Literal["softmax", "sigmoid", "none"]
ValueMeaning = Literal["any_tumour", "centre", "covered_fraction"]
StainVectors = tuple[tuple[float, float, float], tuple[float, float, float]]

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
    activation : {"softmax", "sigmoid", "none"}
        What turns the outputs into probabilities; none: they are probabilities already. A loaded
        model never has none: its outputs are turned back into logits.
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
    architecture : str
        What the network is called in torchvision or timm, for weights that do not show it; empty
        where they do.
    licence : str or None
        Of the weights, as whoever published them says, best as an SPDX identifier; None: unknown.
    source : str or None
        Where the weights come from: an address or a repository; None: unknown.
    stain : tuple of tuple of float or None
        The stain that the model knew: haematoxylin and eosin as vectors of optical density (RGB)
        of length 1; None: unknown.
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
    architecture: str = ""
    licence: str | None = None
    source: str | None = None
    stain: StainVectors | None = None

    def __post_init__(self) -> None:
        """Refuse descriptions that cannot be true."""
        for is_true, problem in self._claims():
            if not is_true:
                raise ModelError(f"The model specification {self.name!r} {problem}.")

    def _claims(self) -> Iterator[tuple[bool, str]]:
        """Yield what must be true of a specification, and what to say where it is not.

        Later claims rely on earlier ones: take them in turn, and stop at the first untrue one.
        """
        yield isinstance(self.name, str), "needs a text as its name"
        yield isinstance(self.description, str), "needs a text as its description"
        yield (
            _is_whole(self.patch_px) and self.patch_px >= 1,
            f"has patches of {self.patch_px!r} px; expected a whole number from 1",
        )
        yield (
            _is_number(self.patch_mpp) and 0.05 <= self.patch_mpp <= 20,
            f"has patches at {self.patch_mpp!r} µm/px; expected 0.05–20",
        )
        names = self.class_names
        yield (
            isinstance(names, tuple) and all(isinstance(name, str) for name in names),
            f"has the class names {names!r}; expected a list of texts",
        )
        yield (
            _is_whole(self.tumour_class) and 0 <= self.tumour_class < len(names),
            f"names {len(names)} classes, counted from 0; {self.tumour_class!r} is none of them",
        )
        yield (
            self.activation in get_args(Activation),
            f"has the activation {self.activation!r}; {_one_of(Activation)}",
        )
        yield (
            self.activation != "softmax" or len(names) >= 2,
            "has one class only, for which a softmax is always 1; expected two classes",
        )
        yield (
            _are_three_numbers(self.mean) and _are_three_numbers(self.std) and min(self.std) > 0,
            "needs three means and three positive standard deviations (RGB)",
        )
        yield (
            self.value_meaning in get_args(ValueMeaning),
            f"has the value meaning {self.value_meaning!r}; {_one_of(ValueMeaning)}",
        )
        yield (
            self.centre_px is None
            or (_is_whole(self.centre_px) and 1 <= self.centre_px <= self.patch_px),
            f"has a centre of {self.centre_px!r} px; expected 1 to {self.patch_px}",
        )
        yield (
            self.value_meaning != "centre" or self.centre_px is not None,
            "speaks of the centre of a patch; it needs centre_px, the side of that square",
        )
        yield (
            self.stride_um is None or (_is_number(self.stride_um) and self.stride_um > 0),
            f"has a stride of {self.stride_um!r} µm; expected a positive number",
        )
        yield (
            _is_number(self.threshold) and 0 < self.threshold < 1,
            f"has the threshold {self.threshold!r}; expected a number between 0 and 1",
        )
        yield isinstance(self.architecture, str), "needs a text as its architecture"
        for what, text in (("licence", self.licence), ("source", self.source)):
            yield text is None or isinstance(text, str), f"needs a text as its {what}, or none"
        yield (
            self.stain is None or _are_stain_vectors(self.stain),
            f"has the stain {self.stain!r}; expected two vectors of optical density of length 1",
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
    return spec_from_entries(entries, path)


def spec_from_entries(entries: dict[str, Any], path: Path) -> ModelSpec:
    """Return the specification that entries of JSON describe.

    Parameters
    ----------
    entries : dict
        As ``dataclasses.asdict`` makes them of a `ModelSpec`, lists for tuples.
    path : Path
        For messages: the file that they come from.

    Raises
    ------
    ModelError
        There are unknown, missing or impossible entries.
    """
    known = {field.name for field in fields(ModelSpec)}
    unknown = sorted(set(entries) - known)
    if unknown:
        raise ModelError(
            f"The model specification {path} has unknown entries: {', '.join(unknown)}. "
            f"Known are {', '.join(sorted(known))}."
        )
    lists_as_tuples = {name: _as_tuples(value) for name, value in entries.items()}
    try:
        return ModelSpec(**lists_as_tuples)
    except TypeError as error:
        raise ModelError(f"The model specification {path} is incomplete: {error}.") from error


def write_model_spec(spec: ModelSpec, path: Path | str) -> None:
    """Write a specification as JSON, atomically. Raises `FileWriteError`."""
    write_json(asdict(spec), path)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _one_of(words: Any) -> str:
    return f"expected one of {', '.join(get_args(words))}"


def _are_three_numbers(values: object) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(_is_number, values))


def _are_stain_vectors(vectors: object) -> bool:
    # To three digits, as people write them.
    return (
        isinstance(vectors, tuple)
        and len(vectors) == 2
        and all(_are_three_numbers(v) and abs(math.hypot(*v) - 1) < 5e-3 for v in vectors)
    )


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
