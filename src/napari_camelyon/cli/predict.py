"""``napari-camelyon predict``: slides one after another, with a bar, a table and a way to stop."""

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned, duration
from napari_camelyon.errors import CamelyonError, FileWriteError, ModelError

if TYPE_CHECKING:
    from napari_camelyon.cohort import PredictRequest
    from napari_camelyon.inference import Update
    from napari_camelyon.staging import NodeResult, PatientResult

__all__ = ["STOPPED_EXIT_CODE", "predict_slides"]

STOPPED_EXIT_CODE = 130
"""What shells report for a program ended by Ctrl-C: 128 + SIGINT."""

_LONGEST_LABEL = 28


@dataclass(frozen=True, slots=True)
class _Row:
    node: "NodeResult"
    done: int
    total: int
    damaged: int
    seconds: float


@dataclass(slots=True)
class _Stop:
    """A wish to stop, which is heeded between batches."""

    wished: bool = False
    nothing_computed: bool = True

    def ask(self, _signal: int, _frame: object) -> None:
        # Before the first batch there is nothing to keep, and an earlier result must stay; and
        # whoever asks twice does not want to wait.
        if self.nothing_computed or self.wished:
            raise KeyboardInterrupt
        self.wished = True


@dataclass(slots=True)
class _Outcome:
    rows: list[_Row] = field(default_factory=list)
    failed: int = 0
    stopped: bool = False


def predict_slides(slides: Sequence[Path], out: Path, request: "PredictRequest") -> None:
    """Run a model over slides, say how it goes, and print what came out.

    Raises
    ------
    CamelyonError
        Nothing could be done, or some of it failed.
    SystemExit
        With `STOPPED_EXIT_CODE`, after Ctrl-C.
    """
    _refuse_same_names(slides)
    _refuse_unwritable(out)
    _import_models()
    outcome = _run(slides, out, request)
    if outcome.rows:
        _print_outcome(slides, out, outcome)
    if outcome.stopped:
        click.echo(_stopped_sentence(slides, out, outcome), err=True)
        raise SystemExit(STOPPED_EXIT_CODE)
    if outcome.failed and len(slides) > 1:
        raise CamelyonError(
            f"{outcome.failed} of {len(slides)} slides could not be predicted: see above."
        )
    if outcome.failed:
        raise SystemExit(1)


def _run(slides: Sequence[Path], out: Path, request: "PredictRequest") -> _Outcome:
    outcome = _Outcome()
    width = min(_LONGEST_LABEL, max(len(path.name) for path in slides))
    for path in slides:
        stop = _Stop()
        try:
            with _stopped_by_ctrl_c(stop):
                row = _predict_one(path, out, request, stop, _shortened(path.name, width))
        except KeyboardInterrupt:
            outcome.stopped = True
        except CamelyonError as error:
            outcome.failed += 1
            click.echo(f"Error: {error}", err=True)
            if isinstance(error, ModelError):  # it works with the other slides no better
                break
        else:
            outcome.rows.append(row)
            outcome.stopped = stop.wished
        if outcome.stopped:
            break
    return outcome


def _predict_one(path: Path, out: Path, request: "PredictRequest", stop: _Stop, label: str) -> _Row:
    from napari_camelyon.cohort import predict_to_folder
    from napari_camelyon.inference import RunControl

    control = RunControl()
    started = time.monotonic()
    done = total = damaged = 0
    with _bar(label) as show:

        def on_update(update: "Update") -> None:
            nonlocal done, total, damaged
            stop.nothing_computed = False
            done, total, damaged = update.done, update.total, update.damaged
            show(update)
            if stop.wished:
                control.cancel()

        _, node = predict_to_folder(path, out, request, on_update=on_update, control=control)
    return _Row(node, done, total, damaged, time.monotonic() - started)


@contextmanager
def _stopped_by_ctrl_c(stop: _Stop) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return
    before = signal.signal(signal.SIGINT, stop.ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar(label: str) -> "Iterator[Callable[[Update], None]]":
    """Show a bar on the standard error stream, so that the table alone is what one redirects."""
    # Typed loosely, as click takes the items of a bar for numbers when only a length is given.
    bar: Any = click.progressbar(
        length=1,
        label=label,
        width=20,
        show_eta=False,  # click's own forgets what was slow; the run knows better
        item_show_func=_progress_text,
        file=sys.stderr,
    )
    with bar:

        def show(update: "Update") -> None:
            bar.length = update.total
            bar.update(update.done - bar.pos, update)

        yield show


def _progress_text(update: "Update | None") -> str | None:
    if update is None:
        return None
    return (
        f"{update.done} of {update.total} patches, {update.patches_per_s:.0f} a second, "
        f"{duration(update.seconds_left)} left"
    )


def _print_outcome(slides: Sequence[Path], out: Path, outcome: _Outcome) -> None:
    header = ("node", "class", "size mm", "lesions", "patches", "seconds")
    cells = [
        (
            row.node.name,
            row.node.node_class if row.node.complete else f"{row.node.node_class} or more",
            _size(row.node),
            str(row.node.lesions),
            str(row.total) if row.done == row.total else f"{row.done} of {row.total}",
            f"{row.seconds:.1f}",
        )
        for row in outcome.rows
    ]
    click.echo()
    for line in aligned(header, cells, right=header[2:]):
        click.echo(line)
    for row in outcome.rows:
        if row.total == 0:
            click.echo(
                f"On {row.node.name} no patch has enough tissue, so nothing was predicted: look "
                "at the slide, or lower --min-tissue."
            )
        if row.damaged:
            click.echo(
                f"On {row.node.name} {row.damaged} of {row.total} patches lie on damaged parts of "
                "the file and were not computed: fetch the slide again."
            )
    if len(slides) > 1:
        click.echo()
        for patient in _patients(slides, out, outcome.rows):
            click.echo(f"{patient.name}: {patient.describe()}")
    click.echo(f"\nResults are in {out}. {DISCLAIMER}")


def _patients(slides: Sequence[Path], out: Path, rows: Sequence[_Row]) -> "list[PatientResult]":
    """Stage what there is; slides without a result bound the stage from below only."""
    from napari_camelyon.cohort import patient_of_node, stage_nodes
    from napari_camelyon.slides import slide_name

    nodes = [row.node for row in rows]
    named = [node for node in nodes if patient_of_node(node.name) is not None]
    others = [node for node in nodes if patient_of_node(node.name) is None]
    expected = sum(patient_of_node(slide_name(path)) is None for path in slides)
    name = out.resolve().name
    return [
        *stage_nodes(named, other_patient=name),
        *stage_nodes(others, other_patient=name, expected_nodes=expected),
    ]


def _stopped_sentence(slides: Sequence[Path], out: Path, outcome: _Outcome) -> str:
    unfinished = [row.node for row in outcome.rows if not row.node.complete]
    untouched = len(slides) - len(outcome.rows) - outcome.failed
    sentences = [
        "Stopped.",
        *(
            f"What was computed of {node.name} ({node.computed_share or 0:.0%} of its patches) is "
            f"in {out / node.name}, marked as incomplete."
            for node in unfinished
        ),
    ]
    if untouched:
        slides_word = "slide was" if untouched == 1 else "slides were"
        sentences.append(f"{untouched} {slides_word} not predicted.")
    return " ".join(sentences)


def _size(node: "NodeResult") -> str:
    if node.diameter_mm is None:
        return "–"
    return f"{node.diameter_mm:.2f} ± {node.margin_mm or 0:.2f}"


def _shortened(name: str, width: int) -> str:
    return name.ljust(width) if len(name) <= width else f"{name[: width - 1]}…"


def _refuse_same_names(slides: Sequence[Path]) -> None:
    from napari_camelyon.slides import slide_name

    seen: dict[str, Path] = {}
    for path in slides:
        name = slide_name(path)
        if name in seen:
            raise CamelyonError(
                f"{seen[name]} and {path} are both named {name}, so the results of one would "
                "replace those of the other. Predict them into different folders."
            )
        seen[name] = path


def _refuse_unwritable(out: Path) -> None:
    """Find out before hours of computing, and without creating anything."""
    there = out.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise FileWriteError(
            f"Results cannot go to {out}: {there} is a file. Choose a folder with --out."
        )
    if not os.access(there, os.W_OK):
        raise FileWriteError(
            f"Results cannot go to {out}: writing is not permitted in {there}. Choose another "
            "folder with --out."
        )


def _import_models() -> None:
    """Import torch here, where a broken installation can be explained."""
    try:
        importlib.import_module("napari_camelyon.inference")
    except (ImportError, OSError, RuntimeError) as error:
        raise CamelyonError(
            f"torch cannot be imported ({error}). Type: napari-camelyon doctor"
        ) from error
