"""What a model says of patches: its outputs checked, and turned into probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_camelyon.errors import ModelError
from napari_camelyon.models import Model

__all__ = [
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "check_outputs",
    "explained",
    "probabilities",
]


class OutOfMemoryError(ModelError):
    """The device has no room for a batch of this size; a smaller one may do."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of a batch of patches.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (n, classes)
        In the order of the specification's class names; a model with one logit gives two columns,
        negative and positive.
    maps : mapping of str to ndarray of float32, shape (n,)
        Other values by name, such as uncertainties.
    """

    probabilities: NDArray[np.float32]
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that is under way.

    Attributes
    ----------
    result : callable
        Waits for the batch and returns it as `Predicted`; raises ModelError where the model or
        its device failed, `OutOfMemoryError` where a smaller batch may do.
    """

    result: Callable[[], Predicted]


def probabilities(outputs: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Turn the checked outputs of a model into probabilities.

    Parameters
    ----------
    outputs : ndarray of float32, shape (n, k)
        From `check_outputs`.
    model : Model

    Returns
    -------
    ndarray of float32, shape (n, classes)
    """
    values = torch.from_numpy(outputs)
    if model.spec.activation == "softmax":
        return np.asarray(values.softmax(1).numpy(), dtype=np.float32)
    shares = values.sigmoid()
    if shares.shape[1] == 1:
        shares = torch.cat([1 - shares, shares], dim=1)
    return np.asarray(shares.numpy(), dtype=np.float32)


def check_outputs(outputs: object, patches: int, model: Model) -> NDArray[np.float32]:
    """Return what a network gave as an array, or say why it cannot be used.

    Parameters
    ----------
    outputs : Tensor or ndarray
        Of any floating type, on any device.
    patches : int
        How many patches it was given.
    model : Model

    Returns
    -------
    ndarray of float32, shape (n, k)

    Raises
    ------
    ModelError
        It is no array of one row a patch and one column a class, or holds what is no number.
    """
    if isinstance(outputs, Tensor):
        outputs = outputs.detach().float().cpu().numpy()
    if not isinstance(outputs, np.ndarray):
        raise ModelError(
            f"The model {model.path} returns a {type(outputs).__name__}; expected one tensor with "
            "a row for each patch."
        )
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    spec = model.spec
    allowed = {len(spec.class_names), 1 if spec.activation == "sigmoid" else 0}
    if outputs.ndim != 2 or outputs.shape[1] not in allowed:
        raise ModelError(
            f"The model {model.path} returns {tuple(outputs.shape[1:])} values a patch, but "
            f"its specification names {len(spec.class_names)} classes."
        )
    if len(outputs) != patches:
        raise ModelError(
            f"The model {model.path} returns {len(outputs)} rows for {patches} patches. It cannot "
            "be used with batches; export it with a batch of any size."
        )
    if not np.isfinite(outputs).all():
        raise ModelError(
            f"The model {model.path} returned values that are no numbers. Everything computed "
            "before is kept; check the model's weights and normalisation."
        )
    return np.ascontiguousarray(outputs, dtype=np.float32)


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
_GONE = ("cuda error", "cuda driver", "cudnn error", "cublas error", "hip error", "mps backend")


def explained(error: Exception, model: Model, device: str) -> ModelError:
    """Return the error that tells a person what an exception of a network means.

    Parameters
    ----------
    error : Exception
        As the network or its engine raised it.
    model : Model
    device : str

    Returns
    -------
    ModelError
        `OutOfMemoryError` where a smaller batch may do; to be raised from `error`.
    """
    if isinstance(error, ModelError):
        return error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    lower = str(error).lower()
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        sign in lower for sign in _NO_MEMORY
    ):
        return OutOfMemoryError(
            f"The device {device} has no room for a batch of the model {model.path}. Use smaller "
            "batches, or free memory."
        )
    if any(sign in lower for sign in _GONE):
        return ModelError(
            f"The device {device} failed while the model {model.path} ran ({reason}). Everything "
            "computed before is kept; restart the program, or go on with the device cpu."
        )
    return ModelError(
        f"The model {model.path} failed on a batch of patches ({reason}). Everything computed "
        "before is kept; check that it takes float32 pictures of "
        f"{model.spec.patch_px} × {model.spec.patch_px} px."
    )
