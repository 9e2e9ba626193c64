"""What a stage hangs on: the thresholds over which it holds, and the least that would change it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from napari_camelyon.errors import StagingError
from napari_camelyon.staging.lesions import Lesion
from napari_camelyon.staging.nodes import (
    ITC_LIMIT_MM,
    MICRO_LIMIT_MM,
    NODE_CLASSES,
    NodeClass,
    NodeResult,
    node_class_of_size,
)
from napari_camelyon.staging.overrides import overrides_in_force
from napari_camelyon.staging.patients import PatientResult, Stage, stage_of_counts

__all__ = ["Change", "StageRange", "range_at", "stages_over_thresholds", "what_would_change"]

_LIMITS_MM: dict[NodeClass, float] = {"micro": ITC_LIMIT_MM, "macro": MICRO_LIMIT_MM}


@dataclass(frozen=True, slots=True)
class StageRange:
    """Neighbouring thresholds that all give one stage.

    Attributes
    ----------
    stage : str
    low, high : float
        The first and last threshold that was tried and gave it.
    """

    stage: Stage
    low: float
    high: float

    def describe(self) -> str:
        """Return it in words: "pN1 from 0.35 to 0.82"."""
        return f"{self.stage} from {self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would alter the stage.

    Attributes
    ----------
    kind : {"size", "threshold", "deposit", "class"}
        Another size of a node's largest deposit, another threshold, a deposit where none was
        found, or a class for a node without a result.
    node : str or None
        Which node; None for a threshold, which is that of all.
    amount : float
        How much: mm by which the deposit would have to be larger (negative: smaller), the size in
        mm of a new one, or by how much the threshold would have to be another. 0 for a class.
    value : float or None
        The size in mm, or the threshold, at which the stage alters.
    stage : str
        What the stage would be.
    sentence : str
        For people.
    """

    kind: Literal["size", "threshold", "deposit", "class"]
    node: str | None
    amount: float
    value: float | None
    stage: Stage
    sentence: str


def stages_over_thresholds(
    stage_at: Callable[[float], Stage],
    thresholds: Sequence[float],
    *,
    tolerance: float = 0.01,
) -> tuple[StageRange, ...]:
    """Return the ranges of thresholds over which the stage stays the same.

    The stage need not rise or fall steadily with the threshold: a lower one may join deposits, or
    drown a node. So every given threshold is tried, and between two that differ the change is
    looked for by halving. Two changes that cancel each other between neighbours are missed.

    Parameters
    ----------
    stage_at : callable
        Gives the stage at a threshold.
    thresholds : sequence of float
        Rising.
    tolerance : float
        To which a change is found.

    Returns
    -------
    tuple of StageRange
        Rising, from the first to the last threshold. Between the end of one and the begin of the
        next lies at most the tolerance.
    """
    if not thresholds or list(thresholds) != sorted(set(thresholds)):
        raise StagingError("The thresholds to be tried must be one or more, and rise.")
    tried = [(thresholds[0], stage_at(thresholds[0]))]
    for threshold in thresholds[1:]:
        tried += _refined(stage_at, tried[-1], (threshold, stage_at(threshold)), tolerance)
    ranges: list[StageRange] = []
    for threshold, stage in tried:
        if ranges and ranges[-1].stage == stage:
            ranges[-1] = StageRange(stage, ranges[-1].low, threshold)
        else:
            ranges.append(StageRange(stage, threshold, threshold))
    return tuple(ranges)


def range_at(ranges: Sequence[StageRange], threshold: float) -> StageRange | None:
    """Return the range in which a threshold lies, the nearest where it is between two."""
    return min(
        ranges, key=lambda one: max(one.low - threshold, threshold - one.high, 0.0), default=None
    )


def what_would_change(
    patient: PatientResult,
    results: Mapping[str, NodeResult | None],
    *,
    lesions: Mapping[str, Sequence[Lesion]] | None = None,
    ranges: Sequence[StageRange] = (),
    threshold: float | None = None,
) -> tuple[Change, ...]:
    """Return the smallest changes that would alter the stage, each of one thing alone.

    Parameters
    ----------
    patient : PatientResult
        The stage.
    results : mapping of str to NodeResult or None
        What was found in its nodes: gives the sizes. A node whose class a person has set is held
        to that class, whatever its size.
    lesions : mapping of str to sequence of Lesion, optional
        All of a node's. Where the largest would shrink, the next one counts; without them that is
        not known, and it is taken to be the only one.
    ranges : sequence of StageRange
        From `stages_over_thresholds`.
    threshold : float or None
        The one that holds now.

    Returns
    -------
    tuple of Change
        Sizes first, then thresholds, then new deposits, then nodes without a result; the smallest
        of each first, and the smallest only for each node and stage.
    """
    held = overrides_in_force(patient.overrides)
    sizes: list[Change] = []
    deposits: list[Change] = []
    unknown: list[Change] = []
    for name, node_class in patient.nodes.items():
        result = results.get(name)
        if node_class is None:
            unknown += _class_changes(patient, name)
        elif name in held or result is None:
            continue
        elif result.diameter_mm is None:
            deposits += _deposit_changes(patient, name)
        else:
            all_of_node = (lesions or {}).get(name, ())
            sizes += _size_changes(patient, name, result.diameter_mm, all_of_node)
    return (
        *sorted(sizes, key=lambda change: abs(change.amount)),
        *sorted(
            _threshold_changes(patient.stage, ranges, threshold),
            key=lambda change: abs(change.amount),
        ),
        *sorted(deposits, key=lambda change: change.amount),
        *unknown,
    )


def _refined(
    stage_at: Callable[[float], Stage],
    low: tuple[float, Stage],
    high: tuple[float, Stage],
    tolerance: float,
) -> list[tuple[float, Stage]]:
    """Return what was tried above `low`, up to `high`."""
    if low[1] == high[1] or high[0] - low[0] <= tolerance * (1 + 1e-9):
        return [high]
    middle = (low[0] + high[0]) / 2
    between = (middle, stage_at(middle))
    return [
        *_refined(stage_at, low, between, tolerance),
        *_refined(stage_at, between, high, tolerance),
    ]


def _size_changes(
    patient: PatientResult, name: str, size_mm: float, lesions: Sequence[Lesion]
) -> list[Change]:
    next_mm = sorted((lesion.diameter_mm for lesion in lesions), reverse=True)[1:2]
    floor = node_class_of_size(next_mm[0]) if next_mm else "negative"
    changes = []
    for other in NODE_CLASSES:
        place, now = NODE_CLASSES.index(other), NODE_CLASSES.index(node_class_of_size(size_mm))
        stage = _stage_with(patient, name, other)
        if stage == patient.stage or place == now or place < NODE_CLASSES.index(floor):
            continue
        if place > now:
            limit = _LIMITS_MM[other]
            text = f"more than {_mm(limit - size_mm)} larger"
        elif other == "negative":
            limit, text = 0.0, "not tumour"
        else:
            limit = ITC_LIMIT_MM if other == "itc" else MICRO_LIMIT_MM
            text = f"{_mm(size_mm - limit)} smaller"
        changes.append(
            Change(
                "size",
                name,
                limit - size_mm,
                limit,
                stage,
                f"If the largest deposit of {name} ({size_mm:.2f} mm) were {text}, the stage would "
                f"be {stage}.",
            )
        )
    return _smallest_of_each_stage(changes)


def _deposit_changes(patient: PatientResult, name: str) -> list[Change]:
    changes = []
    for other in NODE_CLASSES[1:]:
        stage = _stage_with(patient, name, other)
        if stage != patient.stage:
            limit = _LIMITS_MM.get(other, 0.0)
            size = f"of more than {limit} mm" if limit else "of any size"
            text = f"If {name} held a deposit {size}, the stage would be {stage}."
            changes.append(Change("deposit", name, limit, limit, stage, text))
    return _smallest_of_each_stage(changes)


def _class_changes(patient: PatientResult, name: str) -> list[Change]:
    changes = []
    for other in NODE_CLASSES[1:]:
        stage = _stage_with(patient, name, other)
        if stage != patient.stage:
            text = f"If {name}, which has no result, were {other}, the stage would be {stage}."
            changes.append(Change("class", name, 0.0, None, stage, text))
    return _smallest_of_each_stage(changes)


def _threshold_changes(
    stage: Stage, ranges: Sequence[StageRange], threshold: float | None
) -> list[Change]:
    if threshold is None or not ranges:
        return []
    changes = []
    below = [one for one in ranges if one.high < threshold and one.stage != stage]
    above = [one for one in ranges if one.low > threshold and one.stage != stage]
    for found, value, way in (
        (below[-1:], below[-1].high if below else 0.0, "lowered to"),
        (above[:1], above[0].low if above else 0.0, "raised to"),
    ):
        for one in found:
            text = (
                f"If the threshold ({threshold:.2f}) were {way} {value:.2f}, the stage would be "
                f"{one.stage}."
            )
            changes.append(Change("threshold", None, value - threshold, value, one.stage, text))
    return changes


def _stage_with(patient: PatientResult, name: str, node_class: NodeClass) -> Stage:
    classes = [*{**patient.nodes, name: node_class}.values()]
    counts = (classes.count("itc"), classes.count("micro"), classes.count("macro"))
    return stage_of_counts(*counts, patient.scheme)


def _smallest_of_each_stage(changes: Sequence[Change]) -> list[Change]:
    smallest: dict[Stage, Change] = {}
    for change in sorted(changes, key=lambda one: abs(one.amount)):
        smallest.setdefault(change.stage, change)
    return list(smallest.values())


def _mm(length_mm: float) -> str:
    return f"{length_mm:.2f} mm" if length_mm >= 0.005 else f"{length_mm * 1000:.1f} µm"
