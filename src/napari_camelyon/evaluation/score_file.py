"""Scores as ``evaluate`` writes them, with the cases behind each number."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ResultError
from napari_camelyon.evaluation.froc import Detection, FrocPoint, Lesion
from napari_camelyon.files import read_json_result

__all__ = ["Case", "ScoreFile", "Table", "cases_at", "cases_of_cell", "read_score_file"]

_NEWEST_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Case:
    """Something to look at.

    Attributes
    ----------
    name : str
        Of the slide, or of the patient.
    what : str
        Why, in a few words.
    x_px, y_px : float or None
        Where on the slide, level-0 pixels; None: the whole of it.
    """

    name: str
    what: str
    x_px: float | None = None
    y_px: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A confusion: who was taken for whom.

    Attributes
    ----------
    what : str
        "patients" or "nodes".
    summary : str
        Its score in words.
    order : tuple of str
    counts : tuple of tuple of int
        Rows are the truth.
    names : dict of (true, predicted) to tuple of str
    """

    what: str
    summary: str
    order: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    names: dict[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """What a file of scores holds: a FROC, or tables of stages.

    Attributes
    ----------
    summary : str
    points : tuple of FrocPoint
    detections : tuple of Detection
    lesions : tuple of Lesion
    tables : tuple of Table
    """

    summary: str
    points: tuple[FrocPoint, ...] = ()
    detections: tuple[Detection, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    tables: tuple[Table, ...] = ()


def read_score_file(path: Path | str) -> ScoreFile:
    """Read what ``napari-camelyon evaluate … --out`` wrote.

    Raises
    ------
    ResultError
        It is missing, something else, damaged, or follows a newer schema.
    """
    path = Path(path)
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    try:
        if "froc_score" in entries:
            return _froc(entries)
        if "patients" in entries:
            tables = [_table("patients", entries["patients"])]
            if entries.get("nodes"):
                tables.append(_table("nodes", entries["nodes"]))
            return ScoreFile(summary=tables[0].summary, tables=tuple(tables))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path} is damaged ({error}). Evaluate again.") from error
    raise ResultError(
        f"{path} holds no scores. Write them with: napari-camelyon evaluate … --out FILE."
    )


def cases_at(scores: ScoreFile, threshold: float) -> tuple[Case, ...]:
    """Return what is wrong at a point of the FROC: missed tumours, then false detections.

    Parameters
    ----------
    scores : ScoreFile
    threshold : float
        Of the point: detections of less do not count.
    """
    missed = [
        Case(one.slide, f"missed (best {one.probability:.2f})", one.x_px, one.y_px)
        for one in sorted(scores.lesions, key=lambda one: one.probability)
        if one.probability < threshold
    ]
    false = [
        Case(one.slide, f"false, {one.probability:.2f}", one.x_px, one.y_px)
        for one in sorted(scores.detections, key=lambda one: -one.probability)
        if one.fate == "false positive" and one.probability >= threshold
    ]
    return (*missed, *false)


def cases_of_cell(table: Table, true: str, predicted: str) -> tuple[Case, ...]:
    """Return who lies in a cell of a confusion."""
    what = f"{true}, and found so" if true == predicted else f"{true}, taken for {predicted}"
    return tuple(Case(name, what) for name in table.names.get((true, predicted), ()))


def _froc(entries: dict[str, Any]) -> ScoreFile:
    auc = "" if entries["auc"] is None else f", AUC of slides {float(entries['auc']):.3f}"
    return ScoreFile(
        summary=f"FROC score {float(entries['froc_score']):.3f} over {int(entries['slides'])} "
        f"slides with {int(entries['tumours'])} tumours that count{auc}",
        points=tuple(
            FrocPoint(
                math.inf if one["threshold"] is None else float(one["threshold"]),
                float(one["false_positives_per_slide"]),
                float(one["sensitivity"]),
            )
            for one in entries["points"]
        ),
        detections=tuple(Detection(**one) for one in entries["detections"]),
        lesions=tuple(Lesion(**one) for one in entries["lesions"]),
    )


def _table(what: str, entries: dict[str, Any]) -> Table:
    kappa = entries["kappa"]
    said = "not defined" if kappa is None else f"{float(kappa):.3f}"
    return Table(
        what=what,
        summary=f"{int(entries['count'])} {what}: quadratic-weighted kappa {said}, "
        f"{float(entries['accuracy']):.0%} equal",
        order=tuple(map(str, entries["order"])),
        counts=tuple(tuple(map(int, row)) for row in entries["confusion"]),
        names={
            (str(one["true"]), str(one["predicted"])): tuple(map(str, one["names"]))
            for one in entries["cases"]
        },
    )
