"""Making one file of two: what was decided on each difference, and by whom.

The trace of the decisions is a JSON file beside the adjudicated one. It is written after every
decision, so that work can be taken up again, and it says of everything where it came from.
"""

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import shapely

from napari_camelyon import __version__
from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.compare import ComparedRegion, Comparison, compare
from napari_camelyon.annotations.differences import Difference, differences
from napari_camelyon.annotations.formats import read, write
from napari_camelyon.annotations.geojson import annotation_from_region
from napari_camelyon.annotations.meaning import GroupProfile, lineage
from napari_camelyon.annotations.model import Annotation, AnnotationSet, Group, same_annotation
from napari_camelyon.annotations.regions import PRECISION_PX, merge
from napari_camelyon.errors import AnnotationError, ResultError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.geometry import Mpp

__all__ = [
    "Adjudication",
    "Choice",
    "Decision",
    "Trace",
    "adjudicate",
    "begin_adjudication",
    "choices_for",
    "decide",
    "decisions_path",
    "read_decisions",
    "save_adjudicated",
    "write_decisions",
]

SCHEMA_VERSION = 1

_ID_SPACE = uuid.UUID("6e1a5f0c-6a44-4a53-9d0e-0f6a4a1f8c11")
"""For ids that are the same each time the same is adjudicated."""

Choice = Literal["A", "B", "both", "neither", "A ∪ B", "A ∩ B", "undecided"]
"""What becomes of a difference; "undecided" takes an earlier decision back."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided on one difference.

    Attributes
    ----------
    difference : str
        The `Difference.key`.
    chosen : Choice
    by : str
        Initials.
    when : str
        UTC, ISO 8601.
    note : str
        Free text.
    """

    difference: str
    chosen: Choice
    by: str
    when: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The decisions of an earlier sitting, as a file holds them.

    Attributes
    ----------
    first_path, second_path : Path or None
        The files that were compared; None for sets that came from none.
    first_sha256, second_sha256 : str or None
        Of their contents then.
    decisions : tuple of Decision
        In the order in which they were made; the last on a difference counts.
    """

    first_path: Path | None
    second_path: Path | None
    first_sha256: str | None
    second_sha256: str | None
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Adjudication:
    """Two files being made into one.

    Attributes
    ----------
    first, second : AnnotationSet
        As they were read: A and B.
    comparison : Comparison
    differences : tuple of Difference
        Worst first.
    decisions : tuple of Decision
        All that were ever made, in their order.
    out : Path
        The third file. Its decisions go beside it, to `decisions_path`.
    """

    first: AnnotationSet
    second: AnnotationSet
    comparison: Comparison
    differences: tuple[Difference, ...]
    decisions: tuple[Decision, ...]
    out: Path

    @property
    def current(self) -> dict[str, Decision]:
        """The decision that counts on each difference, by its key; undecided ones have none."""
        keys = {difference.key for difference in self.differences}
        last = {decision.difference: decision for decision in self.decisions}
        return {
            key: decision
            for key, decision in last.items()
            if key in keys and decision.chosen != "undecided"
        }


# --- deciding ----------------------------------------------------------------------------------


def begin_adjudication(
    first_path: str | os.PathLike[str],
    second_path: str | os.PathLike[str],
    mpp: Mpp,
    *,
    profile: GroupProfile | None = None,
) -> Adjudication:
    """Read and compare two files, and take up the decisions that were made on them before.

    The third file is called ``<name of A>.adjudicated.xml`` (or ``.geojson``, as A is), beside A.
    Where that belongs to other files already, a number is added.

    Parameters
    ----------
    first_path, second_path : path-like
        A and B.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    profile : GroupProfile, optional
        As in `compare`.

    Raises
    ------
    AnnotationError
        A file cannot be read, or both are the same.
    """
    paths = Path(first_path).absolute(), Path(second_path).absolute()
    if paths[0].resolve() == paths[1].resolve():
        raise AnnotationError(
            f"{paths[0].name} was chosen twice: choose the files of two annotators."
        )
    first, second = read(paths[0]), read(paths[1])
    comparison = compare(first, second, mpp, profile=profile)
    out, trace = _place_beside(first, second, paths[0])
    decisions = () if trace is None else trace.decisions
    return Adjudication(first, second, comparison, differences(comparison), decisions, out)


def choices_for(difference: Difference) -> tuple[Choice, ...]:
    """Return what can be chosen: where one file has nothing, or groups differ, nothing is joined.

    "A" on what only B outlines leaves it out, and the other way round.
    """
    if not (difference.first and difference.second):
        return ("A", "B")
    if difference.kind == "group":
        return ("A", "B", "both", "neither")
    return ("A", "B", "both", "neither", "A ∪ B", "A ∩ B")


def decide(
    adjudication: Adjudication, difference: Difference, chosen: Choice, by: str, note: str = ""
) -> Adjudication:
    """Return the adjudication with one more decision, made now.

    Raises
    ------
    AnnotationError
        This cannot be chosen for the difference, or nobody says who chose.
    """
    if not by.strip():
        raise AnnotationError("A decision needs the initials of who makes it.")
    if chosen != "undecided" and chosen not in choices_for(difference):
        possible = ", ".join(choices_for(difference))
        raise AnnotationError(
            f"“{chosen}” cannot be chosen where the kind is “{difference.kind}”: choose {possible}."
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Decision(difference.key, chosen, by.strip(), now, note.strip())
    return replace(adjudication, decisions=(*adjudication.decisions, made))


def adjudicate(
    first: AnnotationSet,
    second: AnnotationSet,
    comparison: Comparison,
    decisions: Iterable[Decision],
) -> AnnotationSet:
    """Return the third set: what both agree on, and of the rest what was decided.

    What both agree on is taken from A, and so is what is undecided; `write_decisions` names the
    latter. Marks and outlines that enclose nothing cannot be compared: those of both are taken,
    equal ones once. What is taken of A or B has the same float64 points as before. Only a union
    or an intersection is computed (see `PRECISION_PX`); it bears the name and group of A.

    Parameters
    ----------
    first, second : AnnotationSet
        A and B, as they were compared.
    comparison : Comparison
        Of these two.
    decisions : iterable of Decision
        In their order: the last on a difference counts.

    Returns
    -------
    AnnotationSet
        Has the source of A, so that saving it in A's format keeps what was not changed. In it,
        annotations of B have their own ids where A does not use them.

    Raises
    ------
    AnnotationError
        A decision is on no difference between these two, or the sets are not those compared.
    """
    found = {difference.key: difference for difference in differences(comparison)}
    last = {decision.difference: decision for decision in decisions}
    if strange := last.keys() - found.keys():
        raise AnnotationError(
            f"{len(strange)} of {len(last)} decisions are on no difference between these files. "
            "Were the files changed since? Compare them again."
        )
    removed: set[int] = set()
    taken: list[int] = []
    made: list[Annotation] = []
    for key, difference in found.items():
        chosen = last[key].chosen if key in last else "undecided"
        numbers = [_checked(region, first) for region in difference.first]
        others = [_checked(region, second) for region in difference.second]
        if chosen in {"B", "neither", "A ∪ B", "A ∩ B"}:
            removed.update(numbers)
        if chosen in {"B", "both"}:
            taken += others
        if chosen in {"A ∪ B", "A ∩ B"}:
            made += _joined(difference, chosen, first)
    taken += _marks_to_add(first, second, comparison)
    own_ids = {annotation.id for annotation in first}
    kept = [one for number, one in enumerate(first) if number not in removed]
    added = [_with_free_id(second.annotations[number], own_ids) for number in sorted(taken)]
    groups = (*first.groups, *_groups_to_add(first, second, added))
    result = AnnotationSet((*kept, *made, *added), groups, source=first.source)
    return replace(result, problems=check(result))


def save_adjudicated(adjudication: Adjudication, out: str | os.PathLike[str]) -> Adjudication:
    """Write the third file and, beside it, the decisions.

    Returns
    -------
    Adjudication
        With `out` as its third file from now on.

    Raises
    ------
    AnnotationError
        It would replace one of the two files, or its extension is of no format.
    FileWriteError
        It cannot be written.
    """
    out = Path(out).absolute()
    for source in (adjudication.first.source, adjudication.second.source):
        if source is not None and source.path.resolve() == out.resolve():
            raise AnnotationError(
                f"{out.name} is one of the two files that are compared: choose another name."
            )
    adjudication = replace(adjudication, out=out)
    keys = {difference.key for difference in adjudication.differences}
    write(
        adjudicate(
            adjudication.first,
            adjudication.second,
            adjudication.comparison,
            [made for made in adjudication.decisions if made.difference in keys],
        ),
        out,
    )
    write_decisions(adjudication)
    return adjudication


def _checked(region: ComparedRegion, annotation_set: AnnotationSet) -> int:
    number = region.number
    if number >= len(annotation_set) or annotation_set.annotations[number].id != region.id:
        raise AnnotationError("The comparison is of other annotations than these: compare again.")
    return number


def _joined(difference: Difference, chosen: Choice, first: AnnotationSet) -> list[Annotation]:
    model = first.annotations[difference.first[0].number]
    here, there = (
        merge([region.shape for region in side]) for side in (difference.first, difference.second)
    )
    if chosen == "A ∪ B":
        region = merge([here, there])
    else:
        region = shapely.intersection(here, there, grid_size=PRECISION_PX)
    made = annotation_from_region(
        region,
        name=model.name,
        group=model.group,
        colour=model.colour,
        annotation_id=_derived_id(f"{chosen} {difference.key}"),
    )
    return [made]


def _marks_to_add(first: AnnotationSet, second: AnnotationSet, comparison: Comparison) -> list[int]:
    """Return the places in B of what was not compared and is not in A in the same way."""
    compared, compared_there = comparison.compared
    known = [replace(one, id="") for k, one in enumerate(first) if k not in compared]
    return [
        number
        for number, one in enumerate(second)
        if number not in compared_there
        and not any(same_annotation(replace(one, id=""), other) for other in known)
    ]


def _groups_to_add(
    first: AnnotationSet, second: AnnotationSet, added: Iterable[Annotation]
) -> list[Group]:
    """Return the groups of B, with those they belong to, that A does not define."""
    defined = {group.name for group in first.groups}
    wanted = {name for one in added for name in lineage(one.group, second.groups)}
    return [group for group in second.groups if group.name in wanted and group.name not in defined]


def _with_free_id(annotation: Annotation, used: set[str]) -> Annotation:
    # Not even the id of what was removed from A: saving takes one of the same id for its change.
    if annotation.id not in used:
        return annotation
    return replace(annotation, id=_derived_id(f"B {annotation.id}"))


def _derived_id(name: str) -> str:
    return str(uuid.uuid5(_ID_SPACE, name))


# --- the trace ---------------------------------------------------------------------------------


def decisions_path(out: str | os.PathLike[str]) -> Path:
    """Return where the decisions behind a third file are kept: ``<its name>.decisions.json``."""
    return Path(out).with_suffix(".decisions.json")


def write_decisions(adjudication: Adjudication) -> Path:
    """Write the trace of an adjudication beside its third file.

    It names both files with their SHA-256, the rule of comparison, every difference with what
    was chosen ("undecided" where nothing was), and every decision that was ever made.

    Returns
    -------
    Path
        See `decisions_path`.

    Raises
    ------
    FileWriteError
        It cannot be written; an older one is untouched.
    """
    path = decisions_path(adjudication.out)
    comparison, current = adjudication.comparison, adjudication.current
    entries = {
        "schema_version": SCHEMA_VERSION,
        "kind": "adjudication",
        "program": f"napari-camelyon {__version__}",
        "first": _file_entry(adjudication.first, path),
        "second": _file_entry(adjudication.second, path),
        "adjudicated": adjudication.out.name,
        "rule": {
            "mpp": list(comparison.mpp),
            "min_iou": comparison.min_iou,
            "agree_dice": comparison.agree_dice,
            "tumour_groups": sorted(comparison.profile.tumour),
            "cut_out_groups": sorted(comparison.profile.cut_out),
            "agreed": "taken from A",
            "undecided": "taken from A",
            "not compared": "taken from both",
        },
        "agreed": len(comparison.agreeing),
        "decided": len(current),
        "undecided": len(adjudication.differences) - len(current),
        "differences": [
            _difference_entry(difference, current.get(difference.key))
            for difference in adjudication.differences
        ],
        "decisions": [asdict(decision) for decision in adjudication.decisions],
    }
    write_json(entries, path)
    return path


def read_decisions(path: str | os.PathLike[str]) -> Trace:
    """Read the decisions that `write_decisions` wrote.

    Raises
    ------
    ResultError
        The file is missing, damaged, of a newer schema or something else.
    """
    path = Path(path)
    entries = read_json_result(path, newest_schema=SCHEMA_VERSION)
    try:
        if entries["kind"] != "adjudication":
            raise ValueError(entries["kind"])
        files = [_read_file_entry(entries[side], path) for side in ("first", "second")]
        decisions = tuple(map(_read_decision, entries["decisions"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(
            f"{path} holds no decisions on annotations, or they are damaged ({error!r}). Move it "
            "away to begin anew."
        ) from error
    return Trace(files[0][0], files[1][0], files[0][1], files[1][1], decisions)


def _place_beside(
    first: AnnotationSet, second: AnnotationSet, first_path: Path
) -> tuple[Path, Trace | None]:
    """Return the third file's name, and what was decided before if it is of the same two files."""
    extension = ".xml" if first.source is not None and first.source.format == "asap" else ".geojson"
    for number in itertools.count(1):
        ending = ".adjudicated" if number == 1 else f".adjudicated-{number}"
        out = first_path.with_name(f"{first_path.stem}{ending}{extension}")
        trace_path = decisions_path(out)
        if not trace_path.exists():
            if not out.exists():
                return out, None
            continue
        with suppress(ResultError):  # what cannot be understood is left alone
            trace = read_decisions(trace_path)
            if _is_of(trace, first, second):
                return out, trace
    raise AssertionError("itertools.count does not end")


def _is_of(trace: Trace, first: AnnotationSet, second: AnnotationSet) -> bool:
    """Whether decisions are on these two files: by their contents, or by where they lie."""
    if (trace.first_sha256, trace.second_sha256) == (_sha256(first), _sha256(second)):
        return True
    paths = trace.first_path, trace.second_path
    return all(
        path is not None and one.source is not None and path.resolve() == one.source.path.resolve()
        for path, one in zip(paths, (first, second), strict=True)
    )


def _file_entry(annotation_set: AnnotationSet, trace_path: Path) -> dict[str, Any]:
    source = annotation_set.source
    path = None
    if source is not None:
        try:  # a folder may be moved as a whole
            path = Path(os.path.relpath(source.path, trace_path.parent)).as_posix()
        except ValueError:  # on another drive
            path = str(source.path)
    return {"path": path, "sha256": _sha256(annotation_set), "annotations": len(annotation_set)}


def _sha256(annotation_set: AnnotationSet) -> str | None:
    # Of what was read, which the file may be no more.
    source = annotation_set.source
    return None if source is None else hashlib.sha256(source.raw).hexdigest()


def _read_file_entry(entry: Mapping[str, Any], trace_path: Path) -> tuple[Path | None, str | None]:
    path, digest = entry["path"], entry["sha256"]
    if not all(value is None or isinstance(value, str) for value in (path, digest)):
        raise TypeError(entry)
    return None if path is None else trace_path.parent / path, digest


def _difference_entry(difference: Difference, decision: Decision | None) -> dict[str, Any]:
    x, y = difference.at_xy
    return {
        "difference": difference.key,
        "kind": difference.kind,
        "chosen": "undecided" if decision is None else decision.chosen,
        "by": None if decision is None else decision.by,
        "when": None if decision is None else decision.when,
        "note": "" if decision is None else decision.note,
        "sentence": difference.sentence,
        "x_px": round(x, 1),
        "y_px": round(y, 1),
        "a": [_region_entry(region) for region in difference.first],
        "b": [_region_entry(region) for region in difference.second],
    }


def _region_entry(region: ComparedRegion) -> dict[str, Any]:
    return {
        "number": region.number,
        "name": region.name,
        "group": region.group,
        "area_mm2": region.area_mm2,
    }


def _read_decision(entry: Mapping[str, Any]) -> Decision:
    decision = Decision(**entry)
    if not all(isinstance(value, str) for value in entry.values()):
        raise TypeError(entry)
    if decision.chosen not in get_args(Choice):
        raise ValueError(decision.chosen)
    return decision
