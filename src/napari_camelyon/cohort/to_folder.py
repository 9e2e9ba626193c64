"""A slide's file becomes its result folder; what is there already is not computed again."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_camelyon.cohort.claims import Claim, claimed
from napari_camelyon.cohort.predicting import (
    LoadModel,
    Planned,
    PredictRequest,
    Prepare,
    predict_slide,
    run_progress,
)
from napari_camelyon.cohort.results import (
    RunFacts,
    RunRecord,
    read_prediction,
    read_run,
    write_slide_results,
)
from napari_camelyon.errors import CamelyonError, FileWriteError, ResultError
from napari_camelyon.files import file_sha256
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.inference import RunControl
from napari_camelyon.slides import Slide, open_slide, slide_name
from napari_camelyon.staging import (
    JOIN_DILATION_UM,
    MIN_PATCHES,
    NodeResult,
    classify_node,
    find_lesions,
    read_node,
)
from napari_camelyon.tissue import PatchGrid, find_kept_tissue

if TYPE_CHECKING:
    from napari_camelyon.inference import Update
    from napari_camelyon.models import Model

__all__ = ["Outcome", "predict_to_folder", "steps_to_folder"]

How = Literal["computed", "continued", "restaged", "kept"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a slide.

    Attributes
    ----------
    name : str
        Of the slide.
    how : {"computed", "continued", "restaged", "kept"}
        Whether everything was computed now; or a part of it by an earlier run; or only the
        threshold was new; or all of it was there.
    node : NodeResult or None
        None where the run was stopped before anything was computed: nothing was written then.
    planned, computed, known, damaged : int
        Patches: all, those computed now, those of earlier runs, and those on damaged parts.
    seconds : float
        That it took now.
    left_out : str
        How many patches were left out for what, as `PatchGrid.left_out_sentence`.
    """

    name: str
    how: How
    node: NodeResult | None
    planned: int
    computed: int
    known: int
    damaged: int
    seconds: float
    left_out: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be computed."""
        return self.node is not None and self.computed + self.known >= self.planned


def predict_to_folder(
    slide_path: Path | str,
    out: Path | str,
    request: PredictRequest,
    *,
    on_update: "Callable[[Update], object]" = lambda _update: None,
    control: RunControl | None = None,
    again: bool = False,
) -> Outcome:
    """Run a model over a slide, find lesions, classify the node, and write its result folder.

    What `steps_to_folder` does, in one call.

    Parameters
    ----------
    slide_path, out, request, control, again
        As in `steps_to_folder`.
    on_update : callable
        Called with each `inference.Update`.

    Returns
    -------
    Outcome

    Raises
    ------
    CamelyonError
        As `steps_to_folder` does.
    """
    outcome = None
    for step in steps_to_folder(slide_path, out, request, control=control, again=again):
        if isinstance(step, Outcome):
            outcome = step
        elif not isinstance(step, Planned):
            on_update(step)
    assert outcome is not None, "the last step is the outcome"
    return outcome


def steps_to_folder(
    slide_path: Path | str,
    out: Path | str,
    request: PredictRequest,
    *,
    control: RunControl | None = None,
    again: bool = False,
    load: LoadModel | None = None,
    prepare: Prepare | None = None,
) -> "Iterator[Planned | Update | Outcome]":
    """Predict a slide step by step and write its result folder, unless it is there already.

    A finished result of the same model, slide and request is kept; where only the threshold is
    another, lesions and class are derived from the kept heatmap. Every patch that an earlier run
    has computed in the same way, interrupted or with another tissue, is taken from there.

    Parameters
    ----------
    slide_path : path-like
        The slide.
    out : path-like
        Results go to ``out/<slide name>/``. Who works on what, and patches as they are computed,
        go to ``out/.batch/<slide name>/``.
    request : PredictRequest
        What was chosen.
    control : RunControl, optional
        Stops the run; what was computed by then is written, and said to be incomplete.
    again : bool
        Compute also what is there already.
    load, prepare : callable, optional
        As in `predict_slide`.

    Yields
    ------
    Planned, Update
        As `predict_slide` does; none where nothing has to be computed.
    Outcome
        At last.

    Raises
    ------
    SlideTakenError
        Another process predicts this slide into this folder at this moment.
    SlideError, ModelError, StainError, StagingError, FileWriteError, ResultError
        As the rooms below do. Earlier results stay, and so does what was computed.
    """
    from napari_camelyon.inference import forget_checkpoints
    from napari_camelyon.models import load_model

    started_s = time.monotonic()
    control = control or RunControl()
    # Before the slide is claimed: a model that cannot be loaded is no fault of the slide.
    model = (load or load_model)(request.model, tumour_class=request.tumour_class)
    with claimed(out, slide_name(Path(slide_path)), slide_path) as claim:
        try:
            with open_slide(slide_path, mpp=request.mpp) as slide:
                key = _request_key(slide, model, request)
                job = _Job(slide, model, Path(out), claim.path.parent, request, key)
                if not again and (outcome := _use_again(job, claim, started_s)) is not None:
                    yield outcome
                    return
                if again:
                    forget_checkpoints(job.kept, slide.fingerprint)
                yield from _compute(job, claim, control, prepare, started_s)
        except CamelyonError as error:
            with suppress(FileWriteError):  # on a full disk the first error is the one to tell
                claim.end("failed", str(error))
            raise


@dataclass(frozen=True, slots=True)
class _Job:
    slide: Slide
    model: "Model"
    out: Path
    kept: Path  # where what is computed is kept as it comes
    request: PredictRequest
    key: str

    @property
    def folder(self) -> Path:
        return self.out / self.slide.name

    def loaded(self, path: Path | str | None, *, tumour_class: str | None) -> "Model":  # noqa: ARG002
        """Stand for `models.load_model`."""
        return self.model


def _compute(
    job: _Job,
    claim: Claim,
    control: RunControl,
    prepare: Prepare | None,
    started_s: float,
) -> "Iterator[Planned | Update | Outcome]":
    planned, last = None, None
    for step in predict_slide(
        job.slide,
        job.request,
        control=control,
        checkpoint_folder=job.kept,
        load=job.loaded,
        prepare=prepare,
    ):
        if isinstance(step, Planned):
            planned = step
        else:
            last = step
        yield step
    if planned is None or (control.cancelled and planned.heatmap.computed_cells == 0):
        count = 0 if planned is None else planned.patch_grid.patch_count
        seconds = time.monotonic() - started_s
        yield Outcome(job.slide.name, "computed", None, count, 0, 0, 0, seconds)
        return
    claim.hold()
    outcome = _write(job, planned, last, time.monotonic() - started_s)
    claim.end("done" if outcome.complete else "stopped")
    yield outcome


def _write(job: _Job, planned: Planned, last: "Update | None", seconds: float) -> Outcome:
    heatmap, patch_grid = planned.heatmap, planned.patch_grid
    computed, known = (0, 0) if last is None else (last.done, last.known)
    progress = run_progress(planned, last, seconds)
    found = planned.findings + (() if last is None else last.findings)
    findings = tuple({finding.kind: asdict(finding) for finding in found}.values())
    facts = replace(planned.facts, request_key=job.key, findings=findings, progress=progress)
    node = _stage_and_write(job, heatmap, patch_grid, _parameters(job), facts)
    return Outcome(
        job.slide.name,
        "continued" if known else "computed",
        node,
        patch_grid.patch_count,
        computed,
        known,
        heatmap.damaged_cells,
        seconds,
        patch_grid.left_out_sentence,
    )


def _stage_and_write(
    job: _Job,
    heatmap: Heatmap,
    patch_grid: PatchGrid,
    parameters: Mapping[str, Any],
    facts: RunFacts,
) -> NodeResult:
    lesions = find_lesions(heatmap)
    node = classify_node(lesions, heatmap=heatmap, planned=patch_grid.selected)
    write_slide_results(
        job.out,
        heatmap,
        lesions,
        node,
        slide_path=job.slide.path,
        planned=patch_grid.selected,
        tissue_fraction=patch_grid.tissue_fraction,
        parameters=parameters,
        facts=facts,
    )
    return node


def _use_again(job: _Job, claim: Claim, started_s: float) -> Outcome | None:
    """Return the outcome that earlier results already give, or None where there is none."""
    try:
        run = read_run(job.folder)
        if not _answers(run, job):
            return None
        wanted = (
            job.model.spec.threshold if job.request.threshold is None else job.request.threshold
        )
        how: How = "kept" if run.parameters.get("threshold") == wanted else "restaged"
        heatmap, patch_grid = read_prediction(job.folder)
        node = read_node(job.folder)
    except ResultError:
        return None
    if how == "restaged":
        heatmap.threshold = wanted
        parameters = {key: value for key, value in run.parameters.items() if key != "threshold"}
        claim.hold()
        node = _stage_and_write(job, heatmap, patch_grid, parameters, run.facts)
        claim.end("done")
    else:
        claim.end_as_before()
    planned = patch_grid.patch_count
    return Outcome(
        job.slide.name,
        how,
        node,
        planned,
        0,
        planned,
        heatmap.damaged_cells,
        time.monotonic() - started_s,
    )


def _answers(run: RunRecord, job: _Job) -> bool:
    """Whether a finished run has computed what is asked for now."""
    if run.facts.request_key != job.key:
        return False
    progress = run.facts.progress
    if progress["computed"] + progress["known"] < progress["planned"]:
        return False
    asked = {"engine": job.request.engine, "precision": job.request.precision}
    return all(
        word == "auto" or word == run.facts.numeric_path.get(name) for name, word in asked.items()
    )


def _request_key(slide: Slide, model: "Model", request: PredictRequest) -> str:
    """Hash all that the values of a run depend on, but for threshold and numeric path."""
    spec = asdict(model.spec)
    for words_only in ("name", "description", "threshold", "licence", "source"):
        spec.pop(words_only, None)
    entries = {
        "model": model.sha256,
        "spec": spec,
        "slide": slide.fingerprint,
        "mpp": slide.require_mpp(),
        "stride_um": request.stride_um or model.spec.stride_um or model.spec.field_um,
        "min_tissue_fraction": request.min_tissue_fraction,
        "kept_tissue": _kept_tissue(slide) if request.use_kept_tissue else None,
        "stain": request.stain,
        "leave_out": sorted(request.leave_out),
        "uncertainty": request.uncertainty,
        "samples": request.samples if request.uncertainty == "mc_dropout" else None,
        "ensemble": request.ensemble,
    }
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _kept_tissue(slide: Slide) -> str | None:
    """Name what a person kept of the tissue by its hash."""
    kept = find_kept_tissue(slide)
    return None if kept is None or kept.outlines is None else file_sha256(kept.path)


def _parameters(job: _Job) -> dict[str, Any]:
    chosen = asdict(job.request)
    del chosen["threshold"]  # the heatmap's own is told
    return {
        **chosen,
        "model": None if job.request.model is None else str(job.request.model),
        "mpp_note": job.slide.mpp_note,
        "min_patches": MIN_PATCHES,
        "join_dilation_um": JOIN_DILATION_UM,
    }
