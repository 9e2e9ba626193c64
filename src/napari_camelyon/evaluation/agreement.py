"""Agreement of predicted with true labels: quadratic-weighted kappa, and who was taken for whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.errors import EvaluationError

__all__ = ["Agreement", "Confusion", "compare_labels", "compare_per_centre", "quadratic_kappa"]


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Who was taken for whom.

    Attributes
    ----------
    order : tuple of str
        The labels, the lowest first.
    counts : ndarray of int64, shape (labels, labels)
        Rows are the truth, columns what was predicted.
    cases : mapping of (str, str) to tuple of str
        For each pair ``(true, predicted)`` that occurs, the names.
    """

    order: tuple[str, ...]
    counts: NDArray[np.int64]
    cases: Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How predicted labels agree with true ones.

    Attributes
    ----------
    kappa : float or None
        Quadratic-weighted; None where it is not defined: all labels, true and predicted, are one.
    accuracy : float
        Share of equal labels.
    confusion : Confusion
    count : int
        How many were compared.
    """

    kappa: float | None
    accuracy: float
    confusion: Confusion
    count: int


def compare_labels(
    predicted: Mapping[str, str], true: Mapping[str, str], order: Sequence[str]
) -> Agreement:
    """Compare labels by name.

    Parameters
    ----------
    predicted, true : mapping of str to str
        Labels of the same names.
    order : sequence of str
        All labels, the lowest first.

    Raises
    ------
    EvaluationError
        There is nothing to compare, names are on one side only, or a label is unknown.
    """
    _same_names(predicted, true)
    place = {label: number for number, label in enumerate(order)}
    for side, labels in (("predicted", predicted), ("true", true)):
        strange = {name: label for name, label in labels.items() if label not in place}
        if strange:
            name, label = next(iter(strange.items()))
            raise EvaluationError(
                f"The {side} label {label!r} of {name} is none of {', '.join(order)}."
            )
    counts = np.zeros((len(order), len(order)), dtype=np.int64)
    cases: dict[tuple[str, str], list[str]] = {}
    for name in sorted(true):
        counts[place[true[name]], place[predicted[name]]] += 1
        cases.setdefault((true[name], predicted[name]), []).append(name)
    confusion = Confusion(
        tuple(order), counts, {pair: tuple(names) for pair, names in cases.items()}
    )
    accuracy = float(np.trace(counts) / counts.sum())
    return Agreement(quadratic_kappa(counts), accuracy, confusion, int(counts.sum()))


def compare_per_centre(
    predicted: Mapping[str, str],
    true: Mapping[str, str],
    order: Sequence[str],
    centres: Mapping[str, int],
) -> dict[int, Agreement]:
    """Compare labels for each centre on its own; names without a centre are left out."""
    return {
        centre: compare_labels(
            {name: predicted[name] for name in names}, {name: true[name] for name in names}, order
        )
        for centre in sorted(set(centres.values()))
        if (names := [name for name in true if centres.get(name) == centre])
    }


def quadratic_kappa(counts: ArrayLike) -> float | None:
    """Return Cohen's kappa with quadratic weights, as CAMELYON17 scores patients.

    ``1 - Σ w·observed / Σ w·expected`` with ``w = (i - j)²``, and as expected what the two sides'
    frequencies alone would give (Cohen, Psychol. Bull. 70(4), 1968; the challenge's evaluation
    takes the stages pN0, pN0(i+), pN1mi, pN1, pN2 as 0 to 4).

    Parameters
    ----------
    counts : array_like of int, shape (labels, labels)
        Rows are the truth, columns what was predicted.

    Returns
    -------
    float or None
        At most 1; None where all labels are one, which leaves 0/0.
    """
    observed = np.asarray(counts, dtype=np.float64)
    labels = np.arange(len(observed))
    weights = (labels[:, None] - labels) ** 2
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / observed.sum()
    at_random = float((weights * expected).sum())
    if at_random == 0:
        return None
    return 1 - float((weights * observed).sum()) / at_random


def _same_names(predicted: Mapping[str, str], true: Mapping[str, str]) -> None:
    if not true:
        raise EvaluationError("There are no true labels to compare with.")
    missing, extra = sorted(set(true) - set(predicted)), sorted(set(predicted) - set(true))
    if missing:
        raise EvaluationError(
            f"{_listed(missing)} {'has' if len(missing) == 1 else 'have'} a true label but no "
            "prediction. Predict the rest, or leave them out of the truth."
        )
    if extra:
        raise EvaluationError(
            f"{_listed(extra)} {'has' if len(extra) == 1 else 'have'} a prediction but no true "
            "label. Leave them out, or give their labels."
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
