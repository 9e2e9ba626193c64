"""Batches on the device: halved where it has no room, and their failures put in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import ModelError
from napari_camelyon.geometry import Grid
from napari_camelyon.inference.numeric import NumericPath
from napari_camelyon.inference.predicted import OutOfMemoryError, Pending, Predicted

__all__ = ["AnyPredictor", "Begun", "Computing", "begin", "end", "failure_in_place"]

Patches = NDArray[np.uint8]
Begun = list[Pending] | ModelError
"""The parts of a batch under way, or why it could not be begun."""


class AnyPredictor(Protocol):
    """What a run asks of a predictor: numeric's, or one that samples uncertainty."""

    @property
    def path(self) -> NumericPath:
        """How its numbers come about."""

    @property
    def batch_size(self) -> int:
        """Patches predicted at once."""

    @property
    def depth(self) -> int:
        """Batches in flight that keep it busy."""

    def submit(self, patches: Patches) -> Pending:
        """Begin to predict patches of shape (n, px, px, 3)."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(slots=True)
class Computing:
    """A predictor, and how many patches it is given at once by now.

    Attributes
    ----------
    predictor : AnyPredictor
    at_once : int
        The size of a batch until the device has no room for it; then half of that, and so on.
    """

    predictor: AnyPredictor
    at_once: int


def begin(computing: Computing, patches: Patches) -> Begun:
    """Begin a batch; `end` deals with what goes wrong already here."""
    try:
        return [computing.predictor.submit(part) for part in _parts(patches, computing.at_once)]
    except ModelError as error:
        return error


def end(computing: Computing, patches: Patches, begun: Begun) -> Predicted:
    """Return what a batch gave; where the device has no room, in smaller and smaller parts.

    Raises
    ------
    ModelError
        The model or its device failed, or has no room even for one patch.
    """
    try:
        if isinstance(begun, ModelError):
            raise begun
        return _joined([part.result() for part in begun])
    except OutOfMemoryError:
        if len(patches) == 1:
            raise
    # What was begun may be larger than what fits by now: only a part that failed on its own counts.
    tried = len(patches) if isinstance(begun, ModelError) else -(-len(patches) // len(begun))
    at_once = max(1, min(computing.at_once, tried // 2))
    while True:
        try:
            parts = _parts(patches, at_once)
            found = _joined([computing.predictor.submit(part).result() for part in parts])
        except OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
        else:
            computing.at_once = at_once
            return found


def failure_in_place(
    computing: Computing, error: ModelError, patches: Patches, cells: NDArray[np.int64], grid: Grid
) -> ModelError:
    """Return the error with the place of the patch that the model fails on.

    The batch is tried again in halves until one patch is left. Where all parts are right on their
    own, the place is that of the batch.

    Parameters
    ----------
    computing : Computing
    error : ModelError
        What the batch ended with.
    patches : ndarray of uint8, shape (n, px, px, 3)
    cells : ndarray of int64, shape (n, 2)
    grid : Grid
    """
    first, last = 0, len(patches)
    while last - first > 1:
        middle = (first + last) // 2
        if _fails(computing.predictor, patches[first:middle]):
            last = middle
        elif _fails(computing.predictor, patches[middle:last]):
            first = middle
        else:
            break
    x_px, y_px = grid.corners(cells[first]).tolist()
    which = "the patch" if last - first == 1 else f"the batch of {last - first} patches"
    return ModelError(f"{error} It happened with {which} at slide point ({x_px}, {y_px}).")


def _fails(predictor: AnyPredictor, patches: Patches) -> bool:
    try:
        predictor.submit(patches).result()
    except ModelError:
        return True
    return False


def _parts(patches: Patches, at_once: int) -> list[Patches]:
    return [patches[start : start + at_once] for start in range(0, len(patches), at_once)]


def _joined(parts: list[Predicted]) -> Predicted:
    if len(parts) == 1:
        return parts[0]
    maps: Mapping[str, NDArray[np.float32]] = {
        name: np.concatenate([part.maps[name] for part in parts]) for name in parts[0].maps
    }
    return Predicted(np.concatenate([part.probabilities for part in parts]), maps)
