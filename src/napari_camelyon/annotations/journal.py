"""Autosave: every edit is on the disk the moment it is made, and can be brought back after a crash.

Beside ``NAME.xml`` lies ``.NAME.xml.journal`` while there is unsaved work: one JSON object a line,
only ever appended to. Line 1 says which file it is about, ``.NAME.xml.before`` is that file as it
was, and every further line is one `Change`, or says that the file was saved. A process that is
killed leaves at most its last line torn; everything before it is read back.
"""

import base64
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from napari_camelyon.annotations.formats import parse
from napari_camelyon.annotations.history import Change, History, apply_change, change_between
from napari_camelyon.annotations.model import Annotation, AnnotationSet, Group, Part, Points
from napari_camelyon.annotations.vertices import rings
from napari_camelyon.errors import AnnotationError, FileWriteError
from napari_camelyon.files import atomic_file

__all__ = [
    "Journal",
    "Unsaved",
    "discard_journal",
    "end_journal",
    "find_unsaved",
    "first_changes",
    "note_saved",
    "place_for_new",
    "record",
    "recover",
    "resume_journal",
]

SCHEMA_VERSION = 1


@dataclass(slots=True)
class Journal:
    """The journal of one annotation file; nothing is written before the first edit.

    Attributes
    ----------
    file : Path
        The annotation file, which need not exist yet.
    began_with : AnnotationSet
        The set that the first change begins at: what was read, or an empty set.
    begun : bool
        Whether the journal is there.
    """

    file: Path
    began_with: AnnotationSet
    begun: bool = False

    @property
    def path(self) -> Path:
        """The journal itself."""
        return _beside(self.file, "journal")


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Work that was not saved when a program ended.

    Attributes
    ----------
    file : Path
        The annotation file.
    edits : int
        Edits since it was opened or saved last.
    last_edit : datetime
        When the last one was made, UTC.
    labels : tuple of str
        What they were, oldest first.
    file_changed : bool
        The file on the disk is neither what was opened nor what was saved: somebody else wrote it
        since.
    in_use : bool
        The program that writes the journal is still running on this computer.
    """

    file: Path
    edits: int
    last_edit: datetime
    labels: tuple[str, ...]
    file_changed: bool
    in_use: bool


def record(journal: Journal, change: Change) -> None:
    """Append a change; it is with the operating system when this returns.

    Raises
    ------
    FileWriteError
        The folder cannot be written, or another window edits the same file: the edits are not safe
        until they are saved elsewhere.
    """
    if not journal.begun:
        _begin(journal)
    _append(journal, _change_entry(change))


def resume_journal(file: Path, began_with: AnnotationSet) -> Journal:
    """Return the journal that `recover` has read, to go on where it ends.

    Parameters
    ----------
    file : Path
        The annotation file.
    began_with : AnnotationSet
        What the file held when it was opened first, see `recover`.

    Raises
    ------
    FileWriteError
        The journal cannot be written.
    """
    journal = Journal(file, began_with)
    try:
        with journal.path.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)  # a torn last line
    except OSError as error:
        raise _not_safe(journal, error) from error
    journal.begun = True
    return journal


def note_saved(journal: Journal, content: bytes) -> None:
    """Append that the file was saved with this content; raises `FileWriteError`."""
    if journal.begun:
        _append(journal, {"saved": hashlib.sha256(content).hexdigest(), "time": _now()})


def first_changes(annotation_set: AnnotationSet, imported_from: Path | None) -> tuple[Change, ...]:
    """Return what a journal of new annotations begins with, for no file holds them yet.

    Parameters
    ----------
    annotation_set : AnnotationSet
        What was there before the first edit: groups, or all that was read from another file.
    imported_from : Path or None
        That file.
    """
    change = change_between(AnnotationSet(), annotation_set, _first_label(imported_from))
    return () if change.is_empty else (change,)


def place_for_new(slide_path: Path, imported_from: Path | None) -> Path | None:
    """Return where new annotations of a slide are to be saved: beside it, under its name.

    Returns
    -------
    Path or None
        None if there is a file already, or unsaved work that began with other annotations.
    """
    path = slide_path.with_suffix(".xml")
    if path.exists():
        return None
    try:
        unsaved = find_unsaved(path)
    except AnnotationError:
        return None
    if unsaved is None or imported_from is None:
        return path
    return path if unsaved.labels[0] == _first_label(imported_from) else None


def _first_label(imported_from: Path | None) -> str:
    return "begin" if imported_from is None else f"open {imported_from.name}"


def end_journal(journal: Journal, *, keep: bool) -> None:
    """Delete the journal, unless there is unsaved work to come back to."""
    if journal.begun and not keep:
        discard_journal(journal.file)


def discard_journal(file: Path) -> None:
    """Delete the journal of an annotation file, and with it what could be recovered."""
    for path in (_beside(file, "journal"), _beside(file, "before")):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def find_unsaved(file: Path) -> Unsaved | None:
    """Look for unsaved work on an annotation file; None if there is none.

    Raises
    ------
    AnnotationError
        There is a journal, but it was written by a newer program or is no journal.
    """
    path = _beside(file, "journal")
    if not path.exists():
        return None
    head, entries = _read(path)
    saved_at = max((k for k, entry in enumerate(entries) if "saved" in entry), default=-1)
    unsaved = [entry for entry in entries[saved_at + 1 :] if "label" in entry]
    if not unsaved:
        return None
    known = {head["sha256"], *(entry["saved"] for entry in entries if "saved" in entry)}
    return Unsaved(
        file,
        len(unsaved),
        datetime.fromisoformat(unsaved[-1]["time"]),
        tuple(entry["label"] for entry in unsaved),
        file_changed=_sha256(file) not in known,
        in_use=_is_running(head),
    )


def recover(file: Path) -> tuple[AnnotationSet, History]:
    """Bring back the set as it was after the last edit, with all of its undo steps.

    Parameters
    ----------
    file : Path
        The annotation file. It is not changed.

    Returns
    -------
    began_with : AnnotationSet
        What the file held when it was opened first.
    history : History
        Its ``saved`` is the set as it was saved last; None if there was no file yet.

    Raises
    ------
    AnnotationError
        The journal or the copy of the file that it begins with cannot be read.
    """
    path = _beside(file, "journal")
    head, entries = _read(path)
    opened = AnnotationSet()
    if head["sha256"] is not None:
        before = _beside(file, "before")
        if _sha256(before) != head["sha256"]:
            raise AnnotationError(
                f"The unsaved edits of {file} cannot be brought back: {before.name}, the copy "
                "of the file that they begin with, is missing or was changed."
            )
        opened = parse(before.read_bytes(), file)
    history = History(opened, saved=opened if head["sha256"] is not None else None)
    for number, entry in enumerate(entries, start=2):
        if "saved" in entry:
            history.saved = history.now
            continue
        try:
            change = _change(entry, history.now)
            history.now = apply_change(history.now, change)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise AnnotationError(
                f"The unsaved edits of {file} cannot be brought back beyond line {number:,} of "
                f"{path.name}, which is damaged ({error})."
            ) from error
        history.done.append(change)
    return opened, history


# --- the file ----------------------------------------------------------------------------------


def _begin(journal: Journal) -> None:
    _refuse_if_in_use(journal)
    source = journal.began_with.source
    head = {
        "schema_version": SCHEMA_VERSION,
        "file": journal.file.name,
        "sha256": None if source is None else hashlib.sha256(source.raw).hexdigest(),
        "process": os.getpid(),
        "computer": socket.gethostname(),
        "time": _now(),
    }
    if source is not None:
        with atomic_file(_beside(journal.file, "before")) as temporary:
            temporary.write_bytes(source.raw)
    with atomic_file(journal.path) as temporary:
        temporary.write_bytes(_line(head))
    journal.begun = True


def _refuse_if_in_use(journal: Journal) -> None:
    try:
        unsaved = find_unsaved(journal.file)
    except AnnotationError:
        return  # a damaged one protects nothing
    if unsaved is not None and unsaved.in_use:
        raise FileWriteError(
            f"{journal.file} is being edited in another window, so edits made here are not kept "
            "safe. Close one of the two."
        )


def _append(journal: Journal, entry: Mapping[str, Any]) -> None:
    # Opened each time: a file that stays open cannot be deleted on Windows.
    try:
        with journal.path.open("ab") as stream:
            stream.write(_line(entry))
    except OSError as error:
        raise _not_safe(journal, error) from error


def _not_safe(journal: Journal, error: OSError) -> FileWriteError:
    return FileWriteError(
        f"The edits cannot be kept safe in {journal.path} ({error.strerror or error}). Save the "
        "annotations elsewhere."
    )


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
        # What follows the last line break was being written when the program ended.
        entries = [json.loads(line) for line in lines[:-1]]
        head = entries[0]
        version = head["schema_version"]
        head["sha256"], head["process"], head["computer"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AnnotationError(
            f"{path} should hold unsaved edits, but cannot be read ({error}). Move it away to go "
            "on without them."
        ) from error
    if version != SCHEMA_VERSION:
        raise AnnotationError(
            f"{path} was written by a newer napari-camelyon (schema {version}). Update it to bring "
            "the unsaved edits back."
        )
    return head, entries[1:]


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(f".{file.name}.{ending}")


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError:
        return "unreadable"


def _is_running(head: Mapping[str, Any]) -> bool:
    if head["computer"] != socket.gethostname() or head["process"] == os.getpid():
        return False
    import psutil

    return bool(psutil.pid_exists(head["process"]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- a change as JSON --------------------------------------------------------------------------


def _change_entry(change: Change) -> dict[str, Any]:
    taken = {annotation.id: (place, annotation) for place, annotation in change.taken}
    entry: dict[str, Any] = {
        "label": change.label,
        "time": _now(),
        "taken": [[place, annotation.id] for place, annotation in change.taken],
        "put": [
            [place, _annotation_entry(annotation, taken.get(annotation.id, (0, None))[1])]
            for place, annotation in change.put
        ],
    }
    if change.groups is not None:
        entry["groups"] = [
            {
                "name": group.name,
                "parent": group.parent,
                "colour": group.colour,
                "attributes": dict(group.attributes),
            }
            for group in change.groups[1]
        ]
    return entry


def _change(entry: Mapping[str, Any], now: AnnotationSet) -> Change:
    taken = tuple((place, now.annotations[place]) for place, _ in entry["taken"])
    if [annotation.id for _, annotation in taken] != [found for _, found in entry["taken"]]:
        raise ValueError("it is about other annotations")
    before = {annotation.id: annotation for _, annotation in taken}
    put = tuple(
        (place, _annotation(found, before.get(found["id"]))) for place, found in entry["put"]
    )
    groups = None
    if "groups" in entry:
        groups = (now.groups, tuple(Group(**group) for group in entry["groups"]))
    return Change(entry["label"], taken, put, groups)


def _ring_at(annotation: Annotation | None) -> dict[tuple[int, int], Points]:
    return {} if annotation is None else {(k, j): ring for k, j, ring in rings(annotation)}


def _annotation_entry(annotation: Annotation, before: Annotation | None) -> dict[str, Any]:
    old = _ring_at(before)
    return {
        "id": annotation.id,
        "kind": annotation.kind,
        "name": annotation.name,
        "group": annotation.group,
        "colour": annotation.colour,
        "extra": dict(annotation.extra),
        "holes": [len(part.holes) for part in annotation.parts],
        "rings": [
            _ring_entry(ring, old.get(place)) for place, ring in _ring_at(annotation).items()
        ],
    }


def _annotation(entry: Mapping[str, Any], before: Annotation | None) -> Annotation:
    old = _ring_at(before)
    stored = iter(entry["rings"])
    parts = [
        Part(
            _ring(next(stored), old.get((part, 0))),
            tuple(_ring(next(stored), old.get((part, k + 1))) for k in range(holes)),
        )
        for part, holes in enumerate(entry["holes"])
    ]
    return Annotation(
        id=entry["id"],
        kind=entry["kind"],
        points=parts[0].points,
        name=entry["name"],
        group=entry["group"],
        colour=entry["colour"],
        holes=parts[0].holes,
        more_parts=tuple(parts[1:]),
        extra=entry["extra"],
    )


def _ring_entry(ring: Points, before: Points | None) -> dict[str, Any]:
    """Return a ring: how many points it shares with the one before at both ends, and the rest.

    The numbers are stored bit for bit, so that NaN and the last digit come back.
    """
    start = end = 0
    if before is not None:
        start = _common_start(ring, before)
        end = _common_start(ring[start:][::-1], before[start:][::-1])
    middle = np.ascontiguousarray(ring[start : len(ring) - end], dtype="<f8")
    return {"start": start, "end": end, "xy": base64.b64encode(middle.tobytes()).decode("ascii")}


def _ring(entry: Mapping[str, Any], before: Points | None) -> Points:
    middle = np.frombuffer(base64.b64decode(entry["xy"]), dtype="<f8").reshape(-1, 2)
    old = np.empty((0, 2)) if before is None else before
    start, end = entry["start"], entry["end"]
    if start + end > len(old):
        raise ValueError("it shares more points than there are")
    return np.concatenate([old[:start], middle, old[len(old) - end :]])


def _common_start(first: Points, second: Points) -> int:
    count = min(len(first), len(second))
    one, other = first[:count].view(np.uint64), second[:count].view(np.uint64)
    differ = (one != other).any(axis=1)
    return int(differ.argmax()) if differ.any() else count
