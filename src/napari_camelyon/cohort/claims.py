"""Who predicts which slide of a batch, and how that ended: small files that all computers see.

A slide's state is the file ``DIR/.batch/<slide name>/<number>.json`` with the highest number.
Whoever wants the slide creates the next number, which the file system lets only one do; so two
processes, on one computer or on several, never predict a slide at once. While they predict they
touch the file now and then. A claim whose process is gone, or which nobody has touched for
`SILENT_S`, may be followed by the next number; one that was taken for gone by mistake finds the
higher number and keeps its hands off the results.
"""

import json
import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.files import write_error, write_json

__all__ = [
    "BATCH_FILE",
    "Claim",
    "SlideState",
    "SlideTakenError",
    "claimed",
    "read_states",
    "write_batch_file",
]

BATCH_FILE = "batch.json"
"""What became of every slide, in one file for people; written again whenever a slide is done."""

SILENT_S = 180.0
"""After this long without a touch, a claim by another computer counts as given up."""

_TOUCH_EVERY_S = 20.0
_FOLDER = ".batch"
_SCHEMA = 1

State = Literal["waiting", "running", "stopped", "failed", "done"]


class SlideTakenError(ResultError):
    """Another process predicts this slide at this moment."""


@dataclass(frozen=True, slots=True)
class SlideState:
    """How it stands with one slide of a batch.

    Attributes
    ----------
    name : str
        Of the slide.
    state : {"waiting", "running", "stopped", "failed", "done"}
        Stopped and failed slides are taken up again by the next run.
    slide_path : str
        Where it lies.
    problem : str
        Why it failed, as a sentence.
    computer, process : str, int
        Where it was predicted last.
    since, until : str
        When that began and ended, in UTC, ISO 8601; empty: not yet.
    """

    name: str
    state: State = "waiting"
    slide_path: str = ""
    problem: str = ""
    computer: str = ""
    process: int = 0
    since: str = ""
    until: str = ""
    # To tell a process from a later one of the same number.
    process_started_s: float = 0.0
    processes_of: str = ""


@dataclass(slots=True)
class Claim:
    """A slide that this process predicts now; from `claimed`.

    Attributes
    ----------
    path : Path
        The file that says so.
    state : SlideState
        What it says.
    before : SlideState or None
        How it stood before.
    """

    path: Path
    state: SlideState
    before: SlideState | None = None

    def hold(self) -> None:
        """Make sure that nobody has taken the slide over. Raises `SlideTakenError`."""
        if _newest(self.path.parent) != int(self.path.stem):
            raise SlideTakenError(
                f"{self.state.name} was taken over by another process, as this one gave no sign of "
                "life for minutes. Its result is left to the other."
            )

    def end(self, state: State, problem: str = "") -> None:
        """Write how it ended. Raises `FileWriteError`."""
        self.state = replace(self.state, state=state, problem=problem, until=_now())
        _write(self.path, self.state)

    def end_as_before(self) -> None:
        """Write that nothing was done, as it was done before. Raises `FileWriteError`."""
        if self.before is None or self.before.state != "done":
            self.end("done")
            return
        self.state = self.before
        _write(self.path, self.state)


@contextmanager
def claimed(out: Path | str, name: str, slide_path: Path | str) -> Iterator[Claim]:
    """Claim a slide of a batch for this process, and give it back at the end.

    Where the block does not `Claim.end` it itself, the slide counts as stopped.

    Parameters
    ----------
    out : path-like
        The batch's folder of results, created if needed.
    name : str
        Of the slide.
    slide_path : path-like
        Where it lies.

    Raises
    ------
    SlideTakenError
        Another process is at it.
    FileWriteError
        The folder cannot be written.
    """
    claim = _claim(Path(out) / _FOLDER / name, name, str(slide_path))
    given_back = threading.Event()
    toucher = threading.Thread(
        target=_touch_until, args=(claim.path, given_back), name=f"claim-{name}", daemon=True
    )
    toucher.start()
    try:
        yield claim
    finally:
        given_back.set()
        toucher.join()
        if claim.state.state == "running":
            with suppress(FileWriteError):  # on a full disk the process's end tells the same
                claim.end("stopped")


def read_states(out: Path | str) -> dict[str, SlideState]:
    """Return the states of all slides that were begun in a folder, by name.

    A slide whose process is gone counts as stopped. Raises `ResultError` where the folder cannot
    be read; one without a batch gives nothing.
    """
    folder = Path(out) / _FOLDER
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ResultError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    states = {}
    for name in names:
        number = _newest(folder / name)
        if number is None:
            continue
        path = _path(folder / name, number)
        state = _read(path, name)
        if state.state == "running" and not _is_alive(path, state):
            state = replace(state, state="stopped")
        states[name] = state
    return states


def write_batch_file(out: Path | str, waiting: Mapping[str, str] | None = None) -> Path:
    """Write `BATCH_FILE`: how it stands with every slide, for people and other programs.

    Parameters
    ----------
    out : path-like
    waiting : mapping of str to str
        Paths of slides by name that are to be predicted; those not begun are listed as waiting.

    Raises
    ------
    FileWriteError
    """
    states = read_states(out)
    for name, slide_path in (waiting or {}).items():
        states.setdefault(name, SlideState(name, slide_path=slide_path))
    counts = dict.fromkeys(get_args(State), 0)
    for state in states.values():
        counts[state.state] += 1
    path = Path(out) / BATCH_FILE
    entries = {
        "schema_version": _SCHEMA,
        "updated": _now(),
        "counts": {word: count for word, count in counts.items() if count},
        "slides": [_for_people(state) for _, state in sorted(states.items())],
    }
    write_json(entries, path)
    return path


def _for_people(state: SlideState) -> dict[str, Any]:
    entries = asdict(state)
    del entries["process_started_s"], entries["processes_of"]
    return entries


def _claim(folder: Path, name: str, slide_path: str) -> Claim:
    number = _newest(folder)
    before = None
    if number is not None:
        path = _path(folder, number)
        before = _read(path, name)
        if before.state == "running" and _is_alive(path, before):
            raise _taken(before)
    ours = (number or 0) + 1
    path = _path(folder, ours)
    state = SlideState(
        name,
        "running",
        slide_path,
        computer=platform.node(),
        process=os.getpid(),
        since=_now(),
        process_started_s=_started_s(os.getpid()),
        processes_of=_processes_of(),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_text(state))
    except FileExistsError as error:
        raise _taken(_read(path, name)) from error
    except OSError as error:
        raise write_error(path, error) from error
    # Somebody who was slow to look may have created a number that had been used up and cleared.
    if _newest(folder) != ours:
        path.unlink(missing_ok=True)
        raise SlideTakenError(f"Another process has just begun with {name}.")
    for lower in range(max(1, ours - 2), ours):
        with suppress(OSError):
            _path(folder, lower).unlink(missing_ok=True)
    return Claim(path, state, before)


def _taken(state: SlideState) -> SlideTakenError:
    return SlideTakenError(
        f"{state.name} is being predicted by process {state.process} on {state.computer}, since "
        f"{state.since}. Nothing is done about it here."
    )


def _is_alive(path: Path, state: SlideState) -> bool:
    """Whether the process that runs a slide still does."""
    if state.processes_of == _processes_of():
        return _started_s(state.process) == state.process_started_s
    return _silent_s(path) < SILENT_S


def _silent_s(path: Path) -> float:
    """Return how long ago a claim was touched, by the clock of the disk that holds it."""
    probe = path.with_name(f".clock-{platform.node()}-{os.getpid()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0  # what cannot be told is not taken over
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _touch_until(path: Path, given_back: threading.Event) -> None:
    while not given_back.wait(_TOUCH_EVERY_S):
        with suppress(OSError):
            os.utime(path)


def _started_s(process: int) -> float:
    """Return when a process began, 0 when there is none of that number."""
    import psutil

    try:
        found = psutil.Process(process)
        return 0.0 if found.status() == psutil.STATUS_ZOMBIE else float(found.create_time())
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.AccessDenied:
        return -1.0


def _processes_of() -> str:
    """Name what numbers its processes on its own: this computer, or this container on it."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def _newest(folder: Path) -> int | None:
    """Return the highest number in a slide's folder of claims."""
    try:
        stems = [path.stem for path in folder.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    return max((int(stem) for stem in stems if stem.isdecimal()), default=None)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.json"


def _text(state: SlideState) -> str:
    return json.dumps({"schema_version": _SCHEMA, **asdict(state)}, indent=2) + "\n"


def _write(path: Path, state: SlideState) -> None:
    write_json({"schema_version": _SCHEMA, **asdict(state)}, path)


def _read(path: Path, name: str) -> SlideState:
    """Read a state; a file that is still empty, or damaged, is a claim just being made."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        entries.pop("schema_version")
        return SlideState(**entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return SlideState(name, "running")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
