"""Many slides, one after another or by several processes: the same function for each of them."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Literal

from napari_camelyon.cohort.claims import (
    SlideTakenError,
    claimed,
    write_batch_file,
)
from napari_camelyon.cohort.kept_model import KeptModel
from napari_camelyon.cohort.predicting import Planned, PredictRequest
from napari_camelyon.cohort.to_folder import Outcome, steps_to_folder
from napari_camelyon.errors import CamelyonError, FileWriteError, ModelError
from napari_camelyon.inference import RunControl
from napari_camelyon.slides import slide_name

if TYPE_CHECKING:
    from napari_camelyon.inference import Update

__all__ = [
    "Attempt",
    "BatchTask",
    "Progress",
    "attempt_slide",
    "bound_tile_cache",
    "run_batch",
    "usual_workers",
]

_TOLD_EVERY_S = 0.2
_LISTED_EVERY_S = 30.0
_LOOKED_EVERY_S = 0.25
_CACHE_BYTES = 1 << 28
"""Of decoded tiles, by all processes together: with more of it a run is no faster, measured with
4,357 patches of 224 px from JPEG tiles of 512 px."""
_LEAST_CACHE_BYTES = 1 << 26
_TRIES = 2
"""A slide whose process dies is tried once more: the system may have had a bad moment."""


@dataclass(frozen=True, slots=True)
class BatchTask:
    """What is the same for every slide of a batch; it pickles.

    Attributes
    ----------
    out : Path
        Absolute; results of a slide go to ``out/<slide name>/``.
    request : PredictRequest
    again : bool
        Compute also what is there already.
    """

    out: Path
    request: PredictRequest
    again: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a slide is; plain numbers, so that it goes from process to process.

    Attributes
    ----------
    slide : Path
    done, total : int
        Patches, with those of earlier runs; 0 of 0 while the run is being planned.
    patches_per_s, seconds_left : float
        As in `inference.Update`.
    notes : tuple of str
        Sentences that are new: what is odd about the slide, or cannot be kept.
    """

    slide: Path
    done: int = 0
    total: int = 0
    patches_per_s: float = 0.0
    seconds_left: float = float("nan")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """How it went with a slide.

    Attributes
    ----------
    slide : Path
    state : {"done", "stopped", "failed", "taken"}
        Taken: another process is at it.
    outcome : Outcome or None
        None where it failed or is taken.
    problem : str
        Why, as a sentence.
    hits_all : bool
        Whether the other slides would fail in the same way: the model or the disk is to blame.
    """

    slide: Path
    state: Literal["done", "stopped", "failed", "taken"]
    outcome: Outcome | None = None
    problem: str = ""
    hits_all: bool = False


def usual_workers(request: PredictRequest, slides: int) -> int:
    """Return how many processes suit a batch: one for each GPU, else one."""
    return max(1, min(slides, len(_gpus(request))))


def run_batch(
    slides: Sequence[Path],
    task: BatchTask,
    *,
    workers: int = 1,
    control: RunControl | None = None,
) -> Iterator[Progress | Attempt]:
    """Predict slides into a folder, each by one process, and say how it goes.

    One slide that fails does not stop the others, unless it is the model or the disk that fails.
    Several calls may work on one folder at once, on one computer or on many that share it.

    Parameters
    ----------
    slides : sequence of Path
        From `choose_slides`.
    task : BatchTask
    workers : int
        With 1 it happens in this process. Else in as many new ones as there are slides for; on
        a computer with GPUs each has one of them, else they share the cores.
    control : RunControl, optional
        When it is cancelled each process ends after the batch at hand. Closing the iterator ends
        them at once. In either case the next call goes on from there.

    Yields
    ------
    Progress
        A few times a second.
    Attempt
        Once a slide, in the order in which they end; none for slides that were not begun.

    Raises
    ------
    FileWriteError
        The folder cannot be written.
    CamelyonError
        A process cannot be started.
    """
    control = control or RunControl()
    workers = min(workers, len(slides))
    steps = (
        _one_after_another(slides, task, control)
        if workers <= 1
        else _by_processes(slides, task, workers, control)
    )
    yield from listed(steps, slides, task.out)


def listed(
    steps: Iterator[Progress | Attempt], slides: Sequence[Path], out: Path
) -> Iterator[Progress | Attempt]:
    """Pass the steps of a batch on and keep ``batch.json`` up to date meanwhile."""
    waiting = {slide_name(slide): str(slide) for slide in slides}
    written_s = -_LISTED_EVERY_S
    try:
        for step in steps:
            if isinstance(step, Attempt) and monotonic() - written_s > _LISTED_EVERY_S:
                _list_states(out, waiting)
                written_s = monotonic()
            yield step
    finally:
        _list_states(out, waiting)


def _list_states(out: Path, waiting: dict[str, str]) -> None:
    # The list is for people and made of what stands elsewhere; a full disk is told by the slides.
    if out.is_dir():
        with suppress(FileWriteError):
            write_batch_file(out, waiting)


def attempt_slide(
    slide: Path,
    task: BatchTask,
    *,
    tell: Callable[[Progress], object],
    control: RunControl,
    kept: KeptModel,
) -> Attempt:
    """Predict one slide of a batch, wherever this runs, and return how it went.

    Parameters
    ----------
    slide : Path
    task : BatchTask
    tell : callable
        Called a few times a second.
    control : RunControl
    kept : KeptModel
        Keeps the model from one slide to the next.
    """
    for step in _steps(slide, task, control, kept):
        if isinstance(step, Attempt):
            return step
        tell(step)
    raise AssertionError("the last step is the attempt")


def _steps(
    slide: Path, task: BatchTask, control: RunControl, kept: KeptModel
) -> Iterator[Progress | Attempt]:
    told_s = -_TOLD_EVERY_S
    anything = False
    outcome = None
    told: set[str] = set()
    yield Progress(slide)
    try:
        for step in steps_to_folder(
            slide,
            task.out,
            task.request,
            control=control,
            again=task.again,
            load=kept.load,
            prepare=kept.prepare,
        ):
            if isinstance(step, Outcome):
                outcome = step
                continue
            odd = {kind: note for kind, note in _odd(step) if kind not in told}
            told.update(odd)
            notes = tuple(odd.values())
            if isinstance(step, Planned):
                yield Progress(slide, 0, step.patch_grid.patch_count, notes=notes)
                continue
            anything = True
            if notes or monotonic() - told_s >= _TOLD_EVERY_S or step.done == step.total:
                told_s = monotonic()
                yield _progress(slide, step, notes)
    except SlideTakenError as error:
        yield Attempt(slide, "taken", problem=str(error))
        return
    except CamelyonError as error:
        # A model that fails before it has predicted anything does so on every slide.
        hits_all = (isinstance(error, ModelError) and not anything) or _is_full_disk(error)
        yield Attempt(slide, "failed", problem=str(error), hits_all=hits_all)
        return
    assert outcome is not None, "the last step is the outcome"
    yield Attempt(slide, "done" if outcome.complete else "stopped", outcome)


def _odd(step: "Planned | Update") -> Iterator[tuple[str, str]]:
    """Yield what a person should know at once, each with its kind, of which one is enough."""
    for finding in step.findings:
        yield finding.kind, finding.sentence  # its figures go on changing
    if isinstance(step, Planned) and step.compiling is not None:
        yield "compiling", "Compiling this model for later runs in the background."
    note = step.facts.tissue["note"] if isinstance(step, Planned) else step.problem
    if note:
        yield ("tissue" if isinstance(step, Planned) else "keeping"), note


def _progress(slide: Path, update: "Update", notes: tuple[str, ...]) -> Progress:
    return Progress(
        slide,
        update.done + update.known,
        update.total + update.known,
        update.patches_per_s,
        update.seconds_left,
        notes,
    )


def _is_full_disk(error: CamelyonError) -> bool:
    cause = error.__cause__
    return (
        isinstance(error, FileWriteError)
        and isinstance(cause, OSError)
        and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    )


def _one_after_another(
    slides: Sequence[Path], task: BatchTask, control: RunControl
) -> Iterator[Progress | Attempt]:
    kept = KeptModel()
    try:
        for slide in slides:
            if control.cancelled:
                return
            for step in _steps(slide, task, control, kept):
                yield step
                if isinstance(step, Attempt) and step.hits_all:
                    return
    finally:
        kept.close()


# -- several processes ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Worker:
    """A process that predicts one slide at a time, as its parent sees it."""

    process: BaseProcess
    connection: Connection
    device: str
    slide: Path | None = None
    ready: bool = False


@dataclass(slots=True)
class _Pool:
    """What is still to do, and who does it."""

    task: BatchTask
    waiting: list[Path]
    workers: list[_Worker] = field(default_factory=list)
    deaths: dict[Path, int] = field(default_factory=dict)
    told_to_stop: bool = False


def _by_processes(
    slides: Sequence[Path], task: BatchTask, workers: int, control: RunControl
) -> Iterator[Progress | Attempt]:
    gpus = _gpus(task.request)
    devices = [gpus[at % len(gpus)] if gpus else task.request.device for at in range(workers)]
    cores = _usable_cores()
    threads = cores if gpus else max(1, cores // workers)
    pool = _Pool(task, list(slides))
    try:
        pool.workers = [_started(task, device, threads, workers) for device in devices]
        while any(worker.slide for worker in pool.workers) or pool.waiting:
            if control.cancelled:
                _stop(pool)
            _hand_out(pool)
            by_connection = {worker.connection: worker for worker in pool.workers}
            for connection in wait(list(by_connection), timeout=_LOOKED_EVERY_S):
                worker = by_connection[connection]  # type: ignore[index]
                try:
                    step = worker.connection.recv()
                except (EOFError, ConnectionError):
                    step = _died(pool, worker)
                    if pool.waiting:
                        pool.workers.append(_started(task, worker.device, threads, workers))
                if step is None:
                    worker.ready = True
                    continue
                if isinstance(step, Attempt):
                    worker.slide = None
                    if step.hits_all:
                        _stop(pool)
                yield step
    finally:
        for worker in pool.workers:
            _end(worker)


def _hand_out(pool: _Pool) -> None:
    """Give every idle process a slide."""
    for worker in pool.workers:
        if worker.slide is None and worker.ready and pool.waiting:
            worker.slide = pool.waiting.pop(0)
            with suppress(OSError):  # it has just died, which is dealt with when it is heard
                worker.connection.send(worker.slide)


def _stop(pool: _Pool) -> None:
    pool.waiting.clear()
    if pool.told_to_stop:
        return
    pool.told_to_stop = True
    for worker in pool.workers:
        with suppress(OSError):
            worker.connection.send("stop")


def _died(pool: _Pool, worker: _Worker) -> Progress | Attempt | None:
    """Deal with the end of a process that nobody asked for."""
    pool.workers.remove(worker)
    worker.process.join()
    how = _how_it_ended(worker.process.exitcode)
    worker.connection.close()
    slide = worker.slide
    if slide is None:
        raise CamelyonError(
            f"A process that should predict slides {how} before it had begun. Try --workers 1; if "
            "that fails too, type: napari-camelyon doctor"
        )
    pool.deaths[slide] = pool.deaths.get(slide, 0) + 1
    if pool.deaths[slide] < _TRIES and not pool.told_to_stop:
        pool.waiting.insert(0, slide)
        return Progress(slide)
    return Attempt(slide, "failed", problem=fail_dead(slide, pool.task.out, how))


def fail_dead(slide: Path, out: Path, how: str) -> str:
    """Note that a slide failed with the process that predicted it, and return the sentence."""
    problem = (
        f"The process that predicted {slide.name} {how}. What it had computed is kept and the next "
        "run goes on from there; with fewer workers each has more memory."
    )
    with suppress(FileWriteError, SlideTakenError), claimed(out, slide_name(slide), slide) as claim:
        claim.end("failed", problem)
    return problem


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by the signal {name}{memory}"
    return f"ended with the status {exit_code}"


def _started(task: BatchTask, device: str, threads: int, workers: int) -> _Worker:
    context = get_context("spawn")  # a fork of a process with threads may hang
    ours, theirs = context.Pipe()
    own = replace(task, request=replace(task.request, device=device))
    process = context.Process(target=_serve, args=(theirs, own, threads, workers), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process is heard
    return _Worker(process, ours, device)


def _end(worker: _Worker) -> None:
    with suppress(OSError):
        worker.connection.send(None)
    if worker.slide is not None:
        worker.process.terminate()
    worker.process.join()
    worker.connection.close()


def _serve(connection: Connection, task: BatchTask, threads: int, workers: int) -> None:
    """Predict slides as they come, until None does; the life of a process of a batch."""
    # Ctrl-C goes to all processes of a terminal; this one hears of it from its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
    control = RunControl()
    slides: SimpleQueue[Path | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, slides, control), daemon=True).start()
    kept = KeptModel()
    connection.send(None)
    with bound_tile_cache(workers):
        while (slide := slides.get()) is not None:
            attempt = attempt_slide(slide, task, tell=connection.send, control=control, kept=kept)
            connection.send(attempt)


def _listen(
    connection: Connection, slides: "SimpleQueue[Path | None]", control: RunControl
) -> None:
    """Take what the parent sends; when the parent is gone, stop as if it had said so."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            message = None
        if message is None:
            control.cancel()
            slides.put(None)
            return
        if message == "stop":
            control.cancel()
        else:
            slides.put(message)


@contextmanager
def bound_tile_cache(processes: int = 1) -> Iterator[None]:
    """Let the processes of a batch hold fewer decoded tiles each than a window does.

    Runs go over a slide so that they need few of them twice. What a person has set holds.
    """
    name = "NAPARI_CAMELYON_CACHE_BYTES"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(_LEAST_CACHE_BYTES, _CACHE_BYTES // processes))
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus(request: PredictRequest) -> list[str]:
    """Return the names of the GPUs among which processes may be spread."""
    if request.device not in {"auto", "cuda"}:
        return []
    from napari_camelyon.models import available_devices

    return [name for name in available_devices() if name.startswith("cuda")]
