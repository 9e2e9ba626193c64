"""How sure a score is, by drawing its cases again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from napari_camelyon.errors import EvaluationError

__all__ = ["Interval", "bootstrap_interval"]

_Case = TypeVar("_Case")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval.

    Attributes
    ----------
    low, high : float
    level : float
        Share of draws between them.
    draws : int
        Draws on which the score was defined.
    undefined : int
        Draws on which it was not, such as those with one kind of slide only.
    """

    low: float
    high: float
    level: float
    draws: int
    undefined: int


def bootstrap_interval(
    cases: Sequence[_Case],
    score: Callable[[Sequence[_Case]], float | None],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a score (Efron, Ann. Stat. 7(1), 1979).

    Cases are drawn with replacement, as many as there are. With few cases the interval is too
    narrow, and it knows nothing of patients unlike those at hand.

    Parameters
    ----------
    cases : sequence
        Patients or slides: what is drawn as a whole.
    score : callable
        Gives the score of a sequence of cases; None or EvaluationError where it is not defined.
    draws : int
    level : float
        Between 0 and 1.
    seed : int
        The same seed gives the same interval.

    Raises
    ------
    EvaluationError
        There is no case, a parameter is out of range, or no draw gives a score.
    """
    if not cases:
        raise EvaluationError("There is nothing to draw from.")
    if draws < 1 or not 0 < level < 1:
        raise EvaluationError("An interval needs at least one draw and a level between 0 and 1.")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = [cases[place] for place in rng.integers(len(cases), size=len(cases))]
        try:
            value = score(drawn)
        except EvaluationError:
            continue
        if value is not None:
            found.append(value)
    if not found:
        raise EvaluationError("The score is not defined on any draw, so it has no interval.")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, level, len(found), draws - len(found))
