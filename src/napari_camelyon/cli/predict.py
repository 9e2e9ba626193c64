"""``napari-camelyon predict``: slides of a batch, with a bar, a table and a way to stop."""

import importlib
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned, duration
from napari_camelyon.errors import CamelyonError, FileWriteError

if TYPE_CHECKING:
    from napari_camelyon.cohort import Attempt, BatchTask, Outcome, Progress
    from napari_camelyon.inference import RunControl
    from napari_camelyon.staging import NodeResult, PatientResult

__all__ = ["STOPPED_EXIT_CODE", "predict_slides"]

STOPPED_EXIT_CODE = 130
"""What shells report for a program ended by Ctrl-C: 128 + SIGINT."""

_LONGEST_LABEL = 28


@dataclass(slots=True)
class _Batch:
    """What came of the slides so far."""

    slides: Sequence[Path]
    out: Path
    attempts: "list[Attempt]" = field(default_factory=list)
    interrupted: bool = False

    def of_state(self, state: str) -> "list[Attempt]":
        return [attempt for attempt in self.attempts if attempt.state == state]


def predict_slides(
    words: Sequence[Path | str],
    task: "BatchTask",
    *,
    workers: int | None = None,
    scheduler: str | None = None,
) -> None:
    """Run a model over slides, say how it goes, and print what came out.

    Parameters
    ----------
    words : sequence of path-like
        Files, folders and patterns.
    task : BatchTask
    workers : int or None
        Processes; None: one for each GPU, else one.
    scheduler : str or None
        Address of a Dask scheduler, or ``local``; None: the processes of this computer.

    Raises
    ------
    CamelyonError
        Nothing could be done, or some of it failed.
    SystemExit
        With `STOPPED_EXIT_CODE`, after Ctrl-C.
    """
    from napari_camelyon.cohort import (
        bound_tile_cache,
        choose_slides,
        run_batch,
        run_on_dask,
        usual_workers,
    )
    from napari_camelyon.inference import RunControl

    _refuse_unwritable(task.out)
    chosen = choose_slides(words)
    for note in chosen.notes:
        click.echo(note, err=True)
    _import_models()
    control = RunControl()
    batch = _Batch(chosen.slides, task.out)
    count = workers or usual_workers(task.request, len(batch.slides))
    if scheduler is not None:
        steps = run_on_dask(batch.slides, task, scheduler, workers=workers, control=control)
    else:
        steps = run_batch(batch.slides, task, workers=count, control=control)
    one_by_one = scheduler is None and min(count, len(batch.slides)) == 1
    bounded = bound_tile_cache() if one_by_one else nullcontext()
    with bounded, _stopped_by_ctrl_c(control):
        try:
            (_show_each if one_by_one else _show_together)(steps, batch)
        except KeyboardInterrupt:
            batch.interrupted = True
    _print_outcomes(batch)
    if batch.interrupted or control.cancelled:
        click.echo(_stopped_sentence(batch), err=True)
        raise SystemExit(STOPPED_EXIT_CODE)
    _finish_compiling()
    _raise_for_failures(batch)


def _finish_compiling() -> None:
    """Wait for what was begun for later runs: it ends with this program, and the run is over."""
    from napari_camelyon.inference import end_compiling, is_compiling, wait_for_compiling

    if not is_compiling():
        return
    click.echo(
        "The results are written. Compiling the model for later runs takes a minute or two more; "
        "Ctrl-C leaves it, and --engine torch does without.",
        err=True,
    )
    try:
        wait_for_compiling()
    except KeyboardInterrupt:
        end_compiling()


def _show_each(steps: "Iterator[Progress | Attempt]", batch: _Batch) -> None:
    """Go through slides that come one after another, with a bar for each."""
    from napari_camelyon.cohort import Attempt

    width = min(_LONGEST_LABEL, max(len(path.name) for path in batch.slides))
    for first in steps:
        assert not isinstance(first, Attempt), "a slide is begun before it ends"
        with _bar(_shortened(first.slide.name, width)) as bar:
            for step in steps:
                if isinstance(step, Attempt):
                    attempt = step
                    break
                _say(step)
                bar.length = max(1, step.total)
                bar.update(step.done - bar.pos, _progress_text(step))
        _note(batch, attempt)


def _show_together(steps: "Iterator[Progress | Attempt]", batch: _Batch) -> None:
    """Go through slides of which several run at once, with one bar for all."""
    from napari_camelyon.cohort import Attempt

    running: dict[Path, Progress] = {}
    count = len(batch.slides)
    with _bar(f"{count} slide{'' if count == 1 else 's'}") as bar:
        bar.length = count
        for step in steps:
            if isinstance(step, Attempt):
                running.pop(step.slide, None)
                _note(batch, step)
                if not sys.stderr.isatty():
                    done = f"{len(batch.attempts)} of {count}"
                    click.echo(f"{step.slide.name}: {step.state}, {done}", err=True)
            else:
                running[step.slide] = step
                _say(step)
            rate = sum(progress.patches_per_s for progress in running.values())
            bar.update(
                len(batch.attempts) - bar.pos,
                f"{len(running)} running, {rate:.0f} patches a second",
            )


def _say(progress: "Progress") -> None:
    """Say at once what a person may want to stop a run for."""
    for note in progress.notes:
        click.echo(f"\n{progress.slide.name}: {note}", err=True)


def _note(batch: _Batch, attempt: "Attempt") -> None:
    batch.attempts.append(attempt)
    if attempt.problem:
        click.echo(f"{'Error: ' * (attempt.state == 'failed')}{attempt.problem}", err=True)


def _bar(label: str) -> Any:
    """Return a bar on the standard error stream, so that the table alone is what one redirects."""
    # Typed loosely, as click takes the items of a bar for numbers when only a length is given.
    return click.progressbar(
        length=1,
        label=label,
        width=20,
        show_eta=False,  # click's own forgets what was slow; the run knows better
        item_show_func=lambda text: text,
        file=sys.stderr,
    )


def _progress_text(progress: "Progress") -> str:
    if not progress.total:
        return "planning"
    left = progress.seconds_left
    return f"{progress.done} of {progress.total} patches, {progress.patches_per_s:.0f} a second" + (
        "" if math.isnan(left) else f", {duration(left)} left"
    )


@contextmanager
def _stopped_by_ctrl_c(control: "RunControl") -> Iterator[None]:
    """Stop after the batch at hand when Ctrl-C is pressed, and at once when it is pressed again."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return

    def stop(_signal: int, _frame: object) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _print_outcomes(batch: _Batch) -> None:
    by_slide = {attempt.slide: attempt.outcome for attempt in batch.attempts}
    outcomes = [outcome for slide in batch.slides if (outcome := by_slide.get(slide)) is not None]
    rows = [(outcome, outcome.node) for outcome in outcomes if outcome.node is not None]
    if not rows:
        return
    header = ("node", "class", "size mm", "lesions", "patches", "seconds")
    cells = [
        (
            node.name,
            node.node_class if node.complete else f"{node.node_class} or more",
            _size(node),
            str(node.lesions),
            _patches(outcome),
            f"{outcome.seconds:.1f}",
        )
        for outcome, node in rows
    ]
    click.echo()
    for line in aligned(header, cells, right=header[2:]):
        click.echo(line)
    for outcome in outcomes:
        for sentence in _remarks(outcome):
            click.echo(sentence)
    if len(batch.slides) > 1:
        click.echo()
        for patient in _patients(batch, [node for _, node in rows]):
            click.echo(f"{patient.name}: {patient.describe()}")
    click.echo(f"\nResults are in {batch.out}. {DISCLAIMER}")


def _patches(outcome: "Outcome") -> str:
    done = outcome.computed + outcome.known
    return str(outcome.planned) if done == outcome.planned else f"{done} of {outcome.planned}"


def _remarks(outcome: "Outcome") -> Iterator[str]:
    name = outcome.name
    if outcome.how == "kept":
        yield f"{name} was predicted before in the same way; --again computes it anew."
    if outcome.how == "restaged":
        yield f"{name} was predicted before: only the threshold is new, nothing was computed."
    if outcome.how == "continued":
        yield f"Of {name} {outcome.known} patches were known from an interrupted run."
    if outcome.planned == 0 and outcome.node is not None:
        yield (
            f"On {name} no patch has enough tissue, so nothing was predicted: look at the slide, "
            "or lower --min-tissue."
        )
    if outcome.damaged:
        yield (
            f"On {name} {outcome.damaged} of {outcome.planned} patches lie on damaged parts of the "
            "file and were not computed: fetch the slide again."
        )
    if outcome.left_out:
        yield f"On {name}: {outcome.left_out}."


def _patients(batch: _Batch, nodes: "Sequence[NodeResult]") -> "list[PatientResult]":
    """Stage what there is; slides without a result bound the stage from below only."""
    from napari_camelyon.cohort import patient_of_node, stage_nodes
    from napari_camelyon.slides import slide_name

    named = [node for node in nodes if patient_of_node(node.name) is not None]
    others = [node for node in nodes if patient_of_node(node.name) is None]
    expected = sum(patient_of_node(slide_name(path)) is None for path in batch.slides)
    name = batch.out.resolve().name
    return [
        *stage_nodes(named, other_patient=name),
        *stage_nodes(others, other_patient=name, expected_nodes=expected),
    ]


def _stopped_sentence(batch: _Batch) -> str:
    sentences = ["Stopped."]
    for attempt in batch.of_state("stopped"):
        node = attempt.outcome.node if attempt.outcome is not None else None
        if node is not None:
            sentences.append(
                f"What was computed of {node.name} ({node.computed_share or 0:.0%} of its patches) "
                f"is in {batch.out / node.name}, marked as incomplete."
            )
    untouched = len(batch.slides) - len(batch.attempts)
    if untouched:
        slides_word = "slide was" if untouched == 1 else "slides were"
        sentences.append(f"{untouched} {slides_word} not predicted.")
    sentences.append("The same command goes on from here.")
    return " ".join(sentences)


def _raise_for_failures(batch: _Batch) -> None:
    """End with a sentence where slides failed or were not reached."""
    failed = len(batch.of_state("failed"))
    if not failed:
        return
    count = len(batch.slides)
    if count == 1:
        raise SystemExit(1)
    untouched = count - len(batch.attempts)
    sentence = f"{failed} of {count} slides could not be predicted: see above."
    if untouched:
        sentence += f" {untouched} more were not begun, as they would fail in the same way."
    raise CamelyonError(f"{sentence} How it stands with each is in {batch.out / 'batch.json'}.")


def _size(node: "NodeResult") -> str:
    if node.diameter_mm is None:
        return "–"
    return f"{node.diameter_mm:.2f} ± {node.margin_mm or 0:.2f}"


def _shortened(name: str, width: int) -> str:
    return name.ljust(width) if len(name) <= width else f"{name[: width - 1]}…"


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
        importlib.import_module("napari_camelyon.inference.engine")
    except (ImportError, OSError, RuntimeError) as error:
        raise CamelyonError(
            f"torch cannot be imported ({error}). Type: napari-camelyon doctor"
        ) from error
