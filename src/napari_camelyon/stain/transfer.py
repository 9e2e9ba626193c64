"""Bringing pixels from one stain to another.

Both methods are, to a pixel, the same few steps with other numbers: a linear mixture of the three
colours, its logarithm, another linear mixture, and the way back. `log_steps` gives the numbers, so
that numpy here and torch on a device (`inference.transfer_tensor`) cannot differ in the formulas.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StainError
from napari_camelyon.stain.macenko import GLASS_LEVEL, REFERENCE_STAIN, StainFit, fit_macenko
from napari_camelyon.stain.reinhard import (
    LMS_TO_LAB,
    MIN_RESPONSE,
    REFERENCE_COLOUR,
    RGB_TO_LMS,
    ColourFit,
    fit_reinhard,
)

__all__ = [
    "METHODS",
    "LogSteps",
    "StainMethod",
    "StainTransfer",
    "fit_stain",
    "log_steps",
    "make_transfer",
    "stain_record",
    "transfer",
]

StainMethod = Literal["macenko", "reinhard"]
METHODS: tuple[StainMethod, ...] = get_args(StainMethod)

_PIXELS_AT_ONCE = 1 << 16
"""What fits into a core's cache: in pieces it takes half the time, and memory stays bounded."""


@dataclass(frozen=True, slots=True)
class StainTransfer:
    """From the stain of one slide to another stain.

    Attributes
    ----------
    source, target : StainFit or ColourFit
        Both of one kind.
    """

    source: StainFit | ColourFit
    target: StainFit | ColourFit

    @property
    def method(self) -> StainMethod:
        """Which of `METHODS` it is."""
        return "macenko" if isinstance(self.source, StainFit) else "reinhard"

    @property
    def key(self) -> str:
        """A short text that differs where results may: the method and a hash of its figures."""
        figures = json.dumps(self.describe(), sort_keys=True)
        return f"{self.method}-{hashlib.sha256(figures.encode()).hexdigest()[:16]}"

    def describe(self) -> dict[str, Any]:
        """Return what is worth keeping with a result, as plain values."""
        return {
            "method": self.method,
            "source": asdict(self.source),
            "target": asdict(self.target),
        }


@dataclass(frozen=True, slots=True, eq=False)
class LogSteps:
    """The figures of a transfer.

    ``p' = out @ exp(between @ log(max(into @ p + offset, floor)) + bias) - offset``

    Attributes
    ----------
    into, between, out : ndarray of float64, shape (3, 3)
    bias : ndarray of float64, shape (3,)
    offset : float
        Is added to the pixels' mixture at first, and taken from the result at last.
    floor : float
        Least value whose logarithm is taken.
    """

    into: NDArray[np.float64]
    between: NDArray[np.float64]
    bias: NDArray[np.float64]
    out: NDArray[np.float64]
    offset: float
    floor: float


def fit_stain(pixels: NDArray[np.uint8], method: StainMethod) -> StainFit | ColourFit:
    """Fit pixels of tissue, shape (..., 3), by one of `METHODS`. Raises `StainError`."""
    if method == "macenko":
        return fit_macenko(pixels)
    if method == "reinhard":
        return fit_reinhard(pixels)
    raise StainError(
        f"There is no stain normalisation called {method!r}; there are {', '.join(METHODS)}."
    )


def make_transfer(
    fit: StainFit | ColourFit, target: StainFit | ColourFit | None = None
) -> StainTransfer:
    """Return the transfer from a slide's stain to another.

    Parameters
    ----------
    fit : StainFit or ColourFit
        Of the slide.
    target : StainFit or ColourFit, optional
        Default: the published reference of the method. `target_stain` makes one from the stain
        that a model knew; to a `ColourFit` it does not apply.

    Raises
    ------
    StainError
        The two are of different methods.
    """
    if target is None:
        target = REFERENCE_STAIN if isinstance(fit, StainFit) else REFERENCE_COLOUR
    if type(fit) is not type(target):
        raise StainError(
            "A stain that was fitted by one method cannot be brought to the target of another: "
            f"{type(fit).__name__} and {type(target).__name__}."
        )
    return StainTransfer(fit, target)


def stain_record(stain: StainTransfer | None) -> dict[str, Any]:
    """Return what is kept with a result: ``method``, and unless that is ``none``, all figures.

    Results whose ``method`` and ``key`` are the same were made with the same stain.
    """
    return {"method": "none"} if stain is None else {"key": stain.key, **stain.describe()}


def log_steps(stain: StainTransfer) -> LogSteps:
    """Return the figures of a transfer, see `LogSteps`."""
    source, target = stain.source, stain.target
    if isinstance(source, StainFit) and isinstance(target, StainFit):
        return _macenko_steps(source, target)
    if isinstance(source, ColourFit) and isinstance(target, ColourFit):
        return _reinhard_steps(source, target)
    raise StainError("A transfer needs a source and a target of one method; use make_transfer.")


def transfer(pixels: NDArray[np.uint8], stain: StainTransfer) -> NDArray[np.uint8]:
    """Return pixels as if they had been stained like the target.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (..., 3)
        RGB.
    stain : StainTransfer

    Returns
    -------
    ndarray of uint8, shape (..., 3)
        Rounded to whole grey levels, 0–255.
    """
    steps = log_steps(stain)
    into, between, out = (
        matrix.T.astype(np.float32) for matrix in (steps.into, steps.between, steps.out)
    )
    bias = steps.bias.astype(np.float32)
    flat = pixels.reshape(-1, 3)
    result = np.empty_like(flat)
    for start in range(0, len(flat), _PIXELS_AT_ONCE):
        part = flat[start : start + _PIXELS_AT_ONCE].astype(np.float32) @ into
        part += np.float32(steps.offset)
        np.maximum(part, np.float32(steps.floor), out=part)
        np.log(part, out=part)
        part = part @ between
        part += bias
        np.exp(part, out=part)
        part = part @ out
        # Half a level more: what is cut off to whole levels is rounded.
        part += np.float32(0.5 - steps.offset)
        result[start : start + _PIXELS_AT_ONCE] = np.clip(part, 0, 255.5, out=part)
    return result.reshape(pixels.shape)


def _macenko_steps(source: StainFit, target: StainFit) -> LogSteps:
    """``OD' = HE_target · diag(strengths_target / strengths_source) · HE_source⁺ · OD``."""
    of_source = np.stack(source.vectors, axis=1)
    of_target = np.stack(target.vectors, axis=1)
    stronger = np.diag(np.array(target.strengths) / np.array(source.strengths))
    between = of_target @ stronger @ np.linalg.pinv(of_source)
    # OD = ln(240) − ln(I + 1), on either side.
    glass = np.full(3, np.log(GLASS_LEVEL))
    identity = np.eye(3)
    return LogSteps(identity, between, glass - between @ glass, identity, offset=1, floor=1)


def _reinhard_steps(source: ColourFit, target: ColourFit) -> LogSteps:
    """``lαβ' = (lαβ − mean_source) · deviation_target / deviation_source + mean_target``."""
    wider = np.array(target.deviations) / np.array(source.deviations)
    shift = np.array(target.means) - np.array(source.means) * wider
    from_lab = np.linalg.inv(LMS_TO_LAB)
    between = from_lab @ np.diag(wider) @ LMS_TO_LAB
    return LogSteps(
        RGB_TO_LMS, between, from_lab @ shift, np.linalg.inv(RGB_TO_LMS), 0, MIN_RESPONSE
    )
