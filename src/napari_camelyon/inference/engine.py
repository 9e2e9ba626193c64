"""The run: units are read ahead in threads, patches predicted in batches, values handed out."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import CamelyonError, DamagedSlideError, ModelError, SlideError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, HeatmapMethod, empty_heatmap
from napari_camelyon.inference.checkpoint import Checkpoint
from napari_camelyon.inference.computing import (
    AnyPredictor,
    Begun,
    Computing,
    begin,
    end,
    failure_in_place,
)
from napari_camelyon.inference.control import RunControl
from napari_camelyon.inference.dense import can_run_dense, finite, normalised, predict_block
from napari_camelyon.inference.guards import (
    Finding,
    Watch,
    findings,
    watch_batch,
    watch_picture,
)
from napari_camelyon.inference.numeric import choose_numeric_path, prepare
from napari_camelyon.inference.pace import Pace
from napari_camelyon.inference.predicted import OutOfMemoryError, Predicted, explained
from napari_camelyon.inference.reading import ReadAhead, ReadBatch, Reader
from napari_camelyon.inference.units import Waiting, batches_with, note_values, plan_units, wait_for
from napari_camelyon.models import Model, choose_device
from napari_camelyon.slides import Slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.stain import StainTransfer, stain_record
from napari_camelyon.tissue import PatchGrid, PatchRules

__all__ = ["Update", "new_heatmap", "predict_patches", "run", "run_method"]

Cells = NDArray[np.int64]
Values = NDArray[np.float32]
Patches = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Update:
    """What a run has just added to its heatmap.

    Attributes
    ----------
    heatmap : Heatmap
        The heatmap that is being filled; the same object in every update.
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of the cells just dealt with.
    done, total : int
        Cells dealt with so far, and to be dealt with by this run: without the `known` ones.
    patches_per_s : float
        Of the recent batches, pauses left out; 0 before the first.
    seconds_left : float
        At that rate; NaN before the first batch.
    damaged : int
        Cells of this run so far that were left at NaN, because they lie on a damaged part of the
        slide; as `Heatmap.damaged_cells`.
    known : int
        Cells taken from the checkpoint at the start.
    batch_size : int
        Patches predicted at once by now: fewer than at the start if the device had no room, and
        then the last digits of later values may differ from those of another run. 0: whole blocks.
    findings : tuple of Finding
        What the `watch` finds odd so far.
    problem : str
        Why what is computed cannot be kept in the checkpoint at this moment, as a sentence; else
        empty. The run goes on.
    """

    heatmap: Heatmap
    cells: Cells
    done: int
    total: int
    patches_per_s: float
    seconds_left: float
    damaged: int = 0
    known: int = 0
    batch_size: int = 0
    findings: tuple[Finding, ...] = ()
    problem: str = ""


def new_heatmap(
    slide: Slide, model: Model, patch_grid: PatchGrid, *, stain: StainTransfer | None = None
) -> Heatmap:
    """Return the empty heatmap that a run of this model over this grid fills.

    Parameters
    ----------
    slide : Slide
    model : Model
    patch_grid : PatchGrid
    stain : StainTransfer, optional
        What the run's predictor does to patches.

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    heatmap = empty_heatmap(
        patch_grid.grid,
        slide.require_mpp(),
        model.spec,
        planned_cells=patch_grid.patch_count,
        slide_name=slide.name,
        slide_fingerprint=slide.fingerprint,
        model_sha256=model.sha256,
    )
    heatmap.stain = stain_record(stain)
    return heatmap


def run_method(
    model: Model,
    grid: Grid,
    predictor: AnyPredictor | None = None,
    rules: PatchRules | None = None,
) -> HeatmapMethod:
    """Return whether `run` predicts patch by patch or whole blocks at once, given the same.

    Densely where the network is fully convolutional and its outputs fit the grid, no rules leave
    patches out, and no predictor is given: those see single patches.
    """
    dense = rules is None and predictor is None and can_run_dense(model, grid)
    return "dense" if dense else "patches"


def run(
    slide: Slide,
    model: Model,
    patch_grid: PatchGrid,
    *,
    heatmap: Heatmap | None = None,
    device: str = "auto",
    predictor: AnyPredictor | None = None,
    batch_size: int | None = None,
    read_threads: int | None = None,
    rules: PatchRules | None = None,
    control: RunControl | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Watch | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Update]:
    """Predict the selected patches of a slide and fill a heatmap, batch by batch.

    What is in view comes first, then a sparse pass over the whole slide, then the neighbours of
    high values (`inference.units`). The order changes no value: what shares a batch is decided by
    the grid and the size of a batch.

    Every selected cell is predicted once, and a value that is there is never replaced. A fully
    convolutional model whose outputs fit the grid is run densely, block by block
    (`napari_camelyon.inference.dense`): the value of a patch is then the mean of all outputs that
    meet in it. The heatmap's ``method`` says which way was taken.

    Patches that lie on a damaged part of the slide are left at NaN and counted; densely, those too
    whose margin does, for it reaches into their values. They are tried again by the next run.

    Cancelling ends the run when the batches that are under way are done; what was computed stays
    in the heatmap, and in the checkpoint. So it does when the slide or the model fails: the error
    is raised after the batches under way.

    Memory is bounded whatever the slide: the pixels of ``read_threads + 2 + depth`` units (of 64
    patches, or of one batch where that is more) and as many blocks of 3 MB as there are threads,
    beside the cache of decoded tiles, the model and the grid itself.

    Parameters
    ----------
    slide : Slide
    model : Model
    patch_grid : PatchGrid
        As `tissue.plan_patches` gives it for this slide and the model's specification.
    heatmap : Heatmap, optional
        To be filled; cells that already hold a value are not computed again. Default: a new one.
    device : str
        ``auto`` (CUDA, then MPS, then CPU) or a device's name. Not used with a `predictor`.
    predictor : optional
        From `prepare`, or anything with its ``submit``, ``batch_size`` and ``depth``, and with its
        ``stain`` where it has one; it is not closed. Default: torch in float32 on `device`, closed
        at the end.
    batch_size : int, optional
        Patches predicted at once. Default: the predictor's.
    read_threads : int, optional
        Threads that read ahead. Default: 1 beside a model on a CPU of few cores, else up to 16.
    rules : PatchRules, optional
        Patches that do not pass are left at NaN. Default: every selected patch is predicted.
    control : RunControl, optional
        Pauses, cancels, says what is in view.
    checkpoint : Checkpoint, optional
        From `open_checkpoint`: what it knows is not computed again but handed out with the first
        update, what is computed is appended. It is not closed.
    watch : Watch, optional
        From `new_watch`: looks at every batch; its findings are in the updates.
    cancelled : callable
        Asked before each batch, as ``control.cancelled``.

    Yields
    ------
    Update

    Raises
    ------
    SlideError
        The slide cannot be read any more, or everything that was wanted of it is damaged.
    ModelError
        The device is missing or went away, the model fails on a patch (the message says where), or
        returns something else than probabilities.
    """
    if heatmap is None:
        stain = None if predictor is None else getattr(predictor, "stain", None)
        heatmap = new_heatmap(slide, model, patch_grid, stain=stain)
    control = control or RunControl()
    grid = patch_grid.grid
    method = run_method(model, grid, predictor, rules)
    _keep_to_one_method(heatmap, method)
    known, others = _take_known(heatmap, patch_grid, checkpoint)
    dense, computing, owned = None, None, None
    if method == "dense":
        dense = _dense(model, grid, choose_device(device))
    else:
        if predictor is None:
            path = choose_numeric_path(model, device=device, engine="torch", precision="fp32")
            predictor = owned = prepare(model, path, batch_size=batch_size)
        computing = Computing(predictor, batch_size or predictor.batch_size)
    plan = plan_units(
        grid,
        patch_grid.selected & ~others,
        model.spec.patch_px,
        None if computing is None else computing.at_once,
    )
    unknown = np.isnan(heatmap.values[plan.cells[:, 0], plan.cells[:, 1]])
    progress = _Progress(heatmap, int(unknown.sum()), len(known), checkpoint, watch)
    heatmap.damaged_cells = 0  # they are tried again
    if len(known):
        yield progress.update(known, _at_once(computing))
    needed = batches_with(plan, unknown)
    waiting = wait_for(plan, needed)
    margin_px = None if dense is None else model.dense_margin_px
    reader = Reader(slide, plan, needed, model.spec.patch_px, rules, margin_px)
    computes_on = str(choose_device(device)) if predictor is None else predictor.path.device
    reading = ReadAhead(reader, waiting, read_threads or _usual_threads(computes_on))
    job = _Job(model, grid, control, cancelled, waiting, reading, progress, computing, dense)
    try:
        yield from _batches(job)
        if progress.damage is not None:
            _refuse_nothing(slide, progress)
    finally:
        reading.close()
        if owned is not None:
            owned.close()


@dataclass(frozen=True, eq=False, slots=True)
class _Job:
    """What a run works with."""

    model: Model
    grid: Grid
    control: RunControl
    cancelled: Callable[[], bool]
    waiting: Waiting
    reading: ReadAhead
    progress: "_Progress"
    computing: Computing | None
    dense: Callable[[Patches, Cells], Values] | None


@dataclass(frozen=True, eq=False, slots=True)
class _Launched:
    """A batch under way; nothing is begun where nothing of it is to be predicted."""

    batch: ReadBatch
    patches: Patches
    begun: Begun | None


def _batches(job: _Job) -> Iterator[Update]:
    """Keep the device busy until everything is done, somebody says stop, or something fails."""
    flight: deque[_Launched] = deque()
    failure: CamelyonError | None = None
    ended = False
    job.progress.pace.start()
    while True:
        if not (ended or failure):
            try:
                ended = _launch_next(job, flight)
            except SlideError as error:
                failure = error
        if flight:
            try:
                update = _finish(job, flight.popleft())
            except ModelError as error:
                failure = failure or error
            else:
                yield update
        elif failure:
            raise failure
        elif ended:
            return
        else:
            job.control.wait_while_paused()
            job.progress.pace.start()


def _launch_next(job: _Job, flight: deque[_Launched]) -> bool:
    """Launch as many batches as keep the device busy; return whether the run ends with them."""
    if job.control.view_px != job.waiting.view:
        job.reading.look(job.control.view_px)
    depth = 1 if job.computing is None else job.computing.predictor.depth
    while len(flight) < depth and not job.control.paused:
        batch = job.reading.take(may_wait=not flight)
        if batch is None:
            return not flight
        if job.cancelled() or job.control.cancelled:
            return True
        # A choice would be a copy.
        patches = batch.pixels if batch.passing.all() else batch.pixels[batch.passing]
        begun = None
        if job.computing is not None and (batch.passing & ~batch.lost).any():
            # With the damaged ones: the others then share their batch with as many as if all
            # were sound.
            begun = begin(job.computing, patches)
        flight.append(_Launched(batch, patches, begun))
    return False


def _finish(job: _Job, launched: _Launched) -> Update:
    batch = launched.batch
    maps: dict[str, Values] = {}
    if job.computing is None:
        values = _predict_block(job, batch)
    else:
        values, maps = _land(job, job.computing, launched)
    _look_at(job, batch, values)
    job.reading.finished(batch)
    note_values(job.waiting, batch.cells, values)
    return job.progress.fill(batch, values, maps, _at_once(job.computing))


def _look_at(job: _Job, batch: ReadBatch, values: Values) -> None:
    watch = job.progress.watch
    if watch is None:
        return
    if job.computing is not None:
        watch_batch(watch, batch.pixels, values)
        return
    spec, grid = job.model.spec, job.grid
    corners = grid.corners(batch.cells)
    scale = spec.patch_px / np.array([grid.patch_width_px, grid.patch_height_px])
    places = (corners - corners.min(axis=0)) * scale + job.model.dense_margin_px
    watch_picture(watch, batch.pixels, np.rint(places).astype(np.int64), spec.patch_px, values)


def _land(job: _Job, computing: Computing, launched: _Launched) -> tuple[Values, dict[str, Values]]:
    """Return the values of a batch under way, NaN for what is lost or does not pass."""
    batch = launched.batch
    values = np.full(len(batch.cells), np.nan, dtype=np.float32)
    if launched.begun is None:
        return values, {}
    passing, patches = batch.passing, launched.patches
    try:
        predicted = end(computing, patches, launched.begun)
    except OutOfMemoryError:
        raise
    except ModelError as error:
        cells = batch.cells[passing]
        raise failure_in_place(computing, error, patches, cells, job.grid) from error
    values[passing] = predicted.probabilities[:, job.model.spec.tumour_class]
    values[batch.lost] = np.nan
    maps: dict[str, Values] = {}
    for name, column in _columns(predicted, job.model.spec).items():
        maps[name] = np.full(len(values), np.nan, dtype=np.float32)
        maps[name][passing] = column
        maps[name][batch.lost] = np.nan
    return values, maps


@dataclass(slots=True)
class _Progress:
    """What a run has filled so far."""

    heatmap: Heatmap
    total: int
    known: int
    checkpoint: Checkpoint | None
    watch: Watch | None
    done: int = 0
    damage: DamagedSlideError | None = None
    pace: Pace = field(default_factory=Pace)

    def fill(
        self, batch: ReadBatch, values: Values, maps: Mapping[str, Values], batch_size: int
    ) -> Update:
        """Put a batch into the heatmap and the checkpoint."""
        # A batch is predicted as a whole, also where a part of it is known: what is known stays.
        fresh = np.isnan(self.heatmap.values[batch.cells[:, 0], batch.cells[:, 1]])
        cells = batch.cells[fresh]
        places = cells[:, 0], cells[:, 1]
        own = {name: column[fresh] for name, column in maps.items()}
        self.heatmap.values[places] = values[fresh]
        for name, column in own.items():
            _map_of(self.heatmap, name)[places] = column
        if self.checkpoint is not None:
            self.checkpoint.append(cells, values[fresh], own, batch_size=batch_size)
        self.damage = self.damage or batch.damage
        self.heatmap.damaged_cells += int(batch.lost[fresh].sum())
        self.done += len(cells)
        self.pace.note(len(cells))
        return self.update(cells, batch_size)

    def update(self, cells: Cells, batch_size: int) -> Update:
        """Say what these cells have brought."""
        return Update(
            self.heatmap,
            cells,
            self.done,
            self.total,
            self.pace.patches_per_s,
            self.pace.seconds_for(self.total - self.done),
            self.heatmap.damaged_cells,
            self.known,
            batch_size,
            () if self.watch is None else findings(self.watch),
            "" if self.checkpoint is None else self.checkpoint.problem,
        )


def _take_known(
    heatmap: Heatmap, patch_grid: PatchGrid, checkpoint: Checkpoint | None
) -> tuple[Cells, NDArray[np.bool_]]:
    """Fill in what the checkpoint knows of the selected cells.

    Returns
    -------
    cells : ndarray of int64, shape (n, 2)
        What was filled in.
    others : ndarray of bool, shape grid.shape
        Those of them that were computed for another selection of patches. They are left out of the
        plan: so its batches are full, and remain the same when this run is interrupted.
    """
    others = np.zeros(heatmap.grid.shape, dtype=np.bool_)
    if checkpoint is None:
        return np.empty((0, 2), dtype=np.int64), others
    found = checkpoint.known
    rows, columns = found.cells[:, 0], found.cells[:, 1]
    taken = patch_grid.selected[rows, columns] & np.isnan(heatmap.values[rows, columns])
    places = rows[taken], columns[taken]
    heatmap.values[places] = found.values[taken]
    for name, column in found.maps.items():
        _map_of(heatmap, name)[places] = column[taken]
    others[places] = ~found.same_plan[taken]
    return found.cells[taken], others


def _map_of(heatmap: Heatmap, name: str) -> Values:
    if name not in heatmap.maps:
        heatmap.maps[name] = np.full(heatmap.grid.shape, np.nan, dtype=np.float32)
    return heatmap.maps[name]


def _columns(predicted: Predicted, spec: ModelSpec) -> dict[str, Values]:
    """Return what else is kept of a batch: of more than two classes, the probability of each."""
    classes = spec.class_names if len(spec.class_names) > 2 else ()
    columns = {f"p_{name}": predicted.probabilities[:, at] for at, name in enumerate(classes)}
    return {**columns, **predicted.maps}


def _dense(model: Model, grid: Grid, device: torch.device) -> Callable[[Patches, Cells], Values]:
    """Return what predicts the cells of a picture as a whole."""
    module = model.module.to(device).to(memory_format=torch.channels_last)

    def predict(picture: Patches, cells: Cells) -> Values:
        try:
            return predict_block(model, module, picture, grid, cells, device)
        except RuntimeError as error:
            raise explained(error, model, str(device)) from error

    return predict


def _at_once(computing: Computing | None) -> int:
    return 0 if computing is None else computing.at_once


def _predict_block(job: _Job, batch: ReadBatch) -> Values:
    """Return the values of a block, NaN for what is lost; where there is no room, of its halves."""
    values = np.full(len(batch.cells), np.nan, dtype=np.float32)
    if job.dense is None or batch.lost.all():
        return values
    try:
        values[:] = job.dense(batch.pixels, batch.cells)
    except OutOfMemoryError:
        extent = np.ptp(batch.cells, axis=0)
        if not extent.any():
            raise
        axis = int(np.argmax(extent))
        early = batch.cells[:, axis] <= batch.cells[:, axis].min() + extent[axis] // 2
        for half in (early, ~early):
            values[half] = _predict_block(job, job.reading.part_of(batch, half))
    except ModelError as error:
        x_px, y_px = job.grid.corners(batch.cells).min(axis=0).tolist()
        raise ModelError(
            f"{error} It happened with the block of {len(batch.cells)} patches at slide point "
            f"({x_px}, {y_px})."
        ) from error
    values[batch.lost] = np.nan
    return values


def _usual_threads(device: str) -> int:
    """Return how many threads feed a device: on a CPU, few, for the model wants the cores."""
    cores = _cores()
    return max(1, cores // 4) if device == "cpu" else min(16, cores)


def _cores() -> int:
    """Return how many cores this process may use; batches of slides share them out."""
    # sched_getaffinity is not there on Windows and macOS.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(share))) if share.isdecimal() else cores


def _refuse_nothing(slide: Slide, progress: _Progress) -> None:
    heatmap = progress.heatmap
    if heatmap.damaged_cells == progress.total and heatmap.computed_cells == 0:
        raise SlideError(
            f"All {progress.total} patches of {slide.path.name} lie on damaged parts of the file, "
            f"so nothing was computed. {progress.damage}"
        ) from progress.damage


def _keep_to_one_method(heatmap: Heatmap, method: HeatmapMethod) -> None:
    if heatmap.computed_cells and heatmap.method != method:
        raise ModelError(
            f"The heatmap of {heatmap.slide_name} was begun with the method {heatmap.method!r} and "
            f"cannot go on with {method!r}. Begin a new one."
        )
    heatmap.method = method


def predict_patches(
    model: Model,
    patches: Patches,
    device: torch.device,
    module: torch.nn.Module | None = None,
) -> NDArray[np.float32]:
    """Return the probability of tumour of each patch.

    Parameters
    ----------
    model : Model
    patches : ndarray of uint8, shape (n, px, px, 3)
        RGB at the model's spacing.
    device : torch.device
    module : torch.nn.Module, optional
        The model's network if it is already on the device.

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    ModelError
        The outputs have another shape than the specification says, or are not finite.
    """
    spec = model.spec
    module = module if module is not None else model.module.to(device)
    with torch.inference_mode():
        pixels = torch.from_numpy(patches).to(device).permute(0, 3, 1, 2)
        outputs = module(normalised(pixels, model))
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        allowed = {len(spec.class_names), 1 if spec.activation == "sigmoid" else 0}
        if outputs.ndim != 2 or outputs.shape[1] not in allowed:
            raise ModelError(
                f"The model {model.path} returns {tuple(outputs.shape[1:])} values a patch, but "
                f"its specification names {len(spec.class_names)} classes."
            )
        if spec.activation == "softmax":
            probabilities = outputs.float().softmax(1)[:, spec.tumour_class]
        elif outputs.shape[1] == 1:
            positive = outputs.float().sigmoid()[:, 0]
            probabilities = positive if spec.tumour_class == 1 else 1 - positive
        else:
            probabilities = outputs.float().sigmoid()[:, spec.tumour_class]
        values = probabilities.cpu().numpy()
    return finite(values, model)
