"""The one function that every way of running uses: from an open slide to a heatmap that fills."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_camelyon.cohort.results import RunFacts
from napari_camelyon.errors import FileWriteError, ModelError, StainError
from napari_camelyon.heatmaps import Heatmap, HeatmapMethod
from napari_camelyon.inference import RunControl
from napari_camelyon.slides import Slide
from napari_camelyon.stain import (
    METHODS,
    StainFit,
    StainTransfer,
    make_transfer,
    stain_record,
    target_stain,
)
from napari_camelyon.tissue import (
    PatchGrid,
    TissueChoice,
    fit_slide_stain,
    plan_patches,
    tissue_choice,
)

if TYPE_CHECKING:
    from napari_camelyon.inference import (
        CompilingBeside,
        Finding,
        NumericPath,
        Predictor,
        SamplingPredictor,
        Update,
    )
    from napari_camelyon.models import Model

__all__ = [
    "LoadModel",
    "Planned",
    "PredictRequest",
    "Prepare",
    "RunPath",
    "choose_run_path",
    "predict_slide",
    "run_progress",
]


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What was chosen for a run; the same for every slide of it.

    Attributes
    ----------
    model : Path, str or None
        Where it lies, or its name in the registry; None: the bundled demonstration model.
    tumour_class : str or None
        Which of the model's classes is tumour, where its specification does not tell.
    mpp : float or None
        µm per level-0 pixel, for slides that do not say.
    stride_um : float or None
        Pitch of the patches; None: what the model's specification says.
    threshold : float or None
        Probability from which a patch counts as tumour; None: the specification's.
    min_tissue_fraction : float or None
        Patches with less tissue are left out; None: as a person left it, else 0.40.
    use_kept_tissue : bool
        Whether the tissue that a person kept beside the slide counts.
    device : str
        ``auto``, or a device's name.
    engine : str
        ``auto``, ``torch``, ``compiled``, ``openvino`` or ``onnxruntime``: what computes.
    precision : str
        ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    batch_size : int or None
        Patches predicted at once; None: found out by a short calibration.
    method : str
        ``auto``, ``patches`` (each on its own) or ``dense`` (a network over whole blocks, at
        strides that allow it); see `models.with_method`.
    stain : str
        ``none``, ``macenko`` or ``reinhard``: how patches are brought to the model's stain.
    leave_out : tuple of str
        Kinds of spoilt areas whose patches are left out: ``pen``, ``blur``, ``fold``.
    uncertainty : str
        ``none``, ``tta``, ``mc_dropout`` or ``ensemble``: how it is estimated.
    samples : int
        Predictions a patch for ``mc_dropout``.
    ensemble : tuple of str
        The other models of an ensemble, as paths or names.
    """

    model: Path | str | None = None
    tumour_class: str | None = None
    mpp: float | None = None
    stride_um: float | None = None
    threshold: float | None = None
    min_tissue_fraction: float | None = None
    use_kept_tissue: bool = True
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    method: Literal["auto", "patches", "dense"] = "auto"
    stain: str = "none"
    leave_out: tuple[str, ...] = ()
    uncertainty: str = "none"
    samples: int = 20
    ensemble: tuple[str, ...] = ()


class LoadModel(Protocol):
    """Loads a model, as `models.load_model` does."""

    def __call__(self, path: Path | str | None, /, *, tumour_class: str | None) -> "Model":
        """Return the model."""


class Prepare(Protocol):
    """Sets a model up on a numeric path, as `inference.prepare` does."""

    def __call__(
        self,
        model: "Model",
        path: "NumericPath",
        *,
        batch_size: int | None,
        stain: StainTransfer | None,
    ) -> "Predictor":
        """Return what predicts batches."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The run is ready to go: the patches are known, the heatmap is empty.

    Attributes
    ----------
    model : Model
    patch_grid : PatchGrid
    heatmap : Heatmap
        It is filled as the run goes on.
    path : NumericPath
        Device, engine and precision of the whole run.
    findings : tuple of Finding
        What is odd already, before anything is computed.
    facts : RunFacts
        For ``run.json``: what is known before anything is computed.
    expected_s : float or None
        How long it takes if nothing is known from before; None where this was never measured.
    compiling : CompilingBeside or None
        What is compiled beside this run for later ones, which are long enough to gain from it;
        this run keeps to its path.
    """

    model: "Model"
    patch_grid: PatchGrid
    heatmap: Heatmap
    path: "NumericPath"
    findings: "tuple[Finding, ...]"
    facts: RunFacts
    expected_s: float | None = None
    compiling: "CompilingBeside | None" = None


def predict_slide(
    slide: Slide,
    request: PredictRequest,
    *,
    control: RunControl | None = None,
    checkpoint_folder: Path | str | None = None,
    tissue: TissueChoice | None = None,
    load: LoadModel | None = None,
    prepare: Prepare | None = None,
) -> "Iterator[Planned | Update]":
    """Load the model, plan the patches, and predict them; the window and all batches run this.

    Parameters
    ----------
    slide : Slide
        Open, and it stays so.
    request : PredictRequest
        What was chosen.
    control : RunControl, optional
        Stops the run, lets it rest, and says where somebody looks.
    checkpoint_folder : path-like, optional
        Where what is computed is kept as it comes, so that the run can be taken up again.
    tissue : TissueChoice, optional
        Where to look; what it says of spoilt areas and of the least tissue wins over the request.
        Default: what a person kept of the slide, else what is found.
    load, prepare : callable, optional
        Take the place of `models.load_model` and `inference.prepare`, for those who keep what these
        give from one run to the next. What a given `prepare` returns is not closed.

    Yields
    ------
    Planned
        Once, before anything is computed; not at all when the run is cancelled before.
    Update
        After every batch.

    Raises
    ------
    SlideError, ModelError, StainError, ResultError, FileWriteError
        As the rooms below do.
    """
    # Importing torch takes seconds; here it happens in the thread or process of the run.
    from napari_camelyon import inference
    from napari_camelyon.models import load_model, with_method

    control = control or RunControl()
    model = (load or load_model)(request.model, tumour_class=request.tumour_class)
    model = with_method(model, request.method)
    if _is_cancelled(control):
        return
    plan = _plan(slide, model, request, tissue)
    if _is_cancelled(control):
        return
    way = _choose_way(slide, request, plan, checkpoint_folder)
    with ExitStack() as stack:
        predictor: Predictor | SamplingPredictor | None = None
        batch_size = way.batch_size or _DENSE_BATCH
        sampling_key = ""
        if request.uncertainty != "none":
            sampler = _sampler(request, plan, way)
            stack.callback(sampler.close)
            predictor, sampling_key = sampler, sampler.sampling_key
        elif not way.own_dense:
            own = (prepare or inference.prepare)(
                model,
                way.path,
                batch_size=way.batch_size,
                stain=plan.stain,
            )
            if prepare is None:
                stack.callback(own.close)
            predictor = own
        if predictor is not None:
            batch_size = way.batch_size or predictor.batch_size
        method = inference.run_method(model, plan.patch_grid.grid, predictor)
        checkpoint = None
        if checkpoint_folder is not None:
            checkpoint = stack.enter_context(
                inference.open_checkpoint(
                    checkpoint_folder,
                    slide,
                    model,
                    plan.patch_grid,
                    way.path,
                    plan.stain_key,
                    sampling_key,
                    batch_size=batch_size,
                    method=method,
                )
            )
        findings = _odd_before(slide, plan, predictor, control)
        facts = _told(request, plan, way.path, method, batch_size, sampling_key)
        expected_s = _expected_s(plan, way, request)
        compiling = _compile_for_later(plan, way, request)
        yield Planned(
            model, plan.patch_grid, plan.heatmap, way.path, findings, facts, expected_s, compiling
        )
        update = None
        for update in inference.run(
            slide,
            model,
            plan.patch_grid,
            heatmap=plan.heatmap,
            device=way.path.device,
            predictor=predictor,
            batch_size=batch_size,
            control=control,
            checkpoint=checkpoint,
            watch=inference.new_watch(
                model.spec, plan.heatmap.threshold, planned=plan.patch_grid.patch_count
            ),
        ):
            yield update
        if update is not None and update.done >= _TELLS_THE_RATE and request.uncertainty == "none":
            with suppress(FileWriteError):  # the results do not depend on it
                inference.keep_run_rate(
                    model, way.path, update.patches_per_s, dense=method == "dense"
                )


_PAYS_CALIBRATING = 5000
"""Patches from which a run first measures which batch is fastest: some seconds, once a machine."""

_TELLS_THE_RATE = 500
"""Patches from which a run tells how fast the next one will be."""

_DENSE_BATCH = 16
"""A model that sees whole blocks has no batches, but its runs want a number all the same."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be predicted, and of what."""

    model: "Model"
    tissue: TissueChoice
    patch_grid: PatchGrid
    heatmap: Heatmap
    stain: StainTransfer | None

    @property
    def stain_key(self) -> str:
        return "" if self.stain is None else self.stain.key


@dataclass(frozen=True, slots=True)
class _Way:
    """How the values come about.

    Attributes
    ----------
    path : NumericPath
    batch_size : int or None
        None: the predictor's own.
    own_dense : bool
        Whether the engine runs the model over whole blocks itself, without a predictor.
    """

    path: "NumericPath"
    batch_size: int | None
    own_dense: bool = False


def _plan(
    slide: Slide, model: "Model", request: PredictRequest, tissue: TissueChoice | None
) -> _Plan:
    from napari_camelyon.inference import new_heatmap

    tissue = tissue or tissue_choice(
        slide,
        leave_out=request.leave_out,
        min_tissue_fraction=request.min_tissue_fraction,
        use_kept=request.use_kept_tissue,
    )
    patch_grid = plan_patches(
        slide,
        model.spec,
        stride_um=request.stride_um,
        min_tissue_fraction=tissue.min_tissue_fraction,
        mask=tissue.mask,
        leave_out=tissue.leave_out,
        quality=tissue.quality,
    )
    # Without patches there is no stain either, and nothing to bring to another one.
    wanted = request.stain if patch_grid.patch_count else "none"
    stain = _stain_transfer(slide, model, tissue, wanted)
    heatmap = new_heatmap(slide, model, patch_grid, stain=stain)
    if request.threshold is not None:
        heatmap.threshold = request.threshold
    return _Plan(model, tissue, patch_grid, heatmap, stain)


def _choose_way(
    slide: Slide, request: PredictRequest, plan: _Plan, checkpoint_folder: Path | str | None
) -> _Way:
    """Choose the numeric path; an interrupted run goes on with its own, if nothing else is asked.

    What is chosen by itself may be chosen otherwise the next day, and one run keeps to one path.
    """
    from napari_camelyon.inference import calibrate, find_interrupted

    if request.method == "dense":
        _require_dense(plan, _is_plain(request))
    dense = _is_dense(plan.model, plan.patch_grid, request)
    asked = _in_blocks(request) if dense else request
    if checkpoint_folder is not None and request.uncertainty == "none":
        there = find_interrupted(
            checkpoint_folder,
            slide,
            plan.model,
            plan.patch_grid,
            plan.stain_key,
            method="dense" if dense else "patches",
        )
        if there is not None and _allows(asked, there.path, there.batch_size, plan.model):
            return _Way(there.path, there.batch_size, dense)
    path = choose_run_path(plan.model, plan.patch_grid, request).path
    batch_size = request.batch_size
    long = plan.patch_grid.patch_count >= _PAYS_CALIBRATING
    if batch_size is None and long and not dense and request.uncertainty == "none":
        batch_size = calibrate(plan.model, path).batch_size
    return _Way(path, batch_size, dense)


@dataclass(frozen=True, slots=True)
class RunPath:
    """How a run computes that begins now.

    Attributes
    ----------
    path : NumericPath
    dense : bool
        Whether it goes over whole blocks instead of patch by patch.
    """

    path: "NumericPath"
    dense: bool


def choose_run_path(model: "Model", patch_grid: PatchGrid, request: PredictRequest) -> RunPath:
    """Return how a run computes that begins now.

    Parameters
    ----------
    model : Model
        After `models.with_method`.
    patch_grid : PatchGrid
    request : PredictRequest

    Raises
    ------
    ModelError
        What is asked for is not available here.
    """
    from napari_camelyon.inference import choose_numeric_path

    dense = _is_dense(model, patch_grid, request)
    asked = _in_blocks(request) if dense else request
    if asked.uncertainty == "mc_dropout" and asked.engine == "auto":
        asked = replace(asked, engine="torch")  # the others take dropout out
    path = choose_numeric_path(
        model,
        device=asked.device,
        engine=asked.engine,
        precision=asked.precision,
        expected_patches=patch_grid.patch_count,
    )
    return RunPath(path, dense)


def _is_plain(request: PredictRequest) -> bool:
    return (
        request.engine in {"auto", "torch"}
        and request.precision in {"auto", "fp32"}
        and request.stain == "none"
        and request.uncertainty == "none"
    )


def _is_dense(model: "Model", patch_grid: PatchGrid, request: PredictRequest) -> bool:
    from napari_camelyon.inference.dense import can_run_dense

    return _is_plain(request) and can_run_dense(model, patch_grid.grid)


def _in_blocks(request: PredictRequest) -> PredictRequest:
    """Over whole blocks the engine computes in float32."""
    return replace(request, engine="torch", precision="fp32")


def _expected_s(plan: _Plan, way: _Way, request: PredictRequest) -> float | None:
    from napari_camelyon.inference import cost_factor, expected_rate

    rate = expected_rate(plan.model, way.path, dense=way.own_dense)
    if rate is None:
        return None
    cost = cost_factor(
        request.uncertainty, samples=request.samples, models=1 + len(request.ensemble)
    )
    return plan.patch_grid.patch_count * cost / rate


def run_progress(
    planned: Planned, last: "Update | None", seconds: float | None = None
) -> dict[str, Any]:
    """Return how far a run came, for `RunFacts.progress`.

    Parameters
    ----------
    planned : Planned
    last : Update or None
        The last there was.
    seconds : float, optional
        That it took.
    """
    computed, known = (0, 0) if last is None else (last.done, last.known)
    progress: dict[str, Any] = {
        "planned": planned.patch_grid.patch_count,
        "computed": computed,
        "known": known,
        "damaged": planned.heatmap.damaged_cells,
        "problem": "" if last is None else last.problem,
    }
    if last is not None and last.batch_size:
        progress["batch_size"] = last.batch_size
    if seconds is not None:
        progress["seconds"] = round(seconds, 3)
        progress["patches_per_s"] = round(computed / seconds, 2)
    return progress


def _compile_for_later(plan: _Plan, way: _Way, request: PredictRequest) -> "CompilingBeside | None":
    """Begin to compile the model where runs like this one gain from it, unless told otherwise.

    Who names an engine gets that one, now and later, and nothing is compiled.
    """
    from napari_camelyon.inference import compile_beside, compiling_pays_later, cost_factor

    if request.engine != "auto" or way.own_dense or request.uncertainty not in {"none", "tta"}:
        return None
    patches = plan.patch_grid.patch_count * cost_factor(request.uncertainty)
    if not compiling_pays_later(plan.model, way.path, round(patches)):
        return None
    return compile_beside(
        plan.model,
        way.path.precision,
        source=request.model,
        tumour_class=request.tumour_class,
        method=request.method,
    )


def _require_dense(plan: _Plan, plain: bool) -> None:
    """Raise ModelError where a run over whole blocks was asked for and cannot be had."""
    from napari_camelyon.inference.dense import require_dense

    if plan.patch_grid.patch_count == 0:
        return
    if not plain:
        raise ModelError(
            "Over whole blocks (dense), torch computes in fp32, without stain normalisation and "
            "uncertainty. Choose these, or the method patches."
        )
    require_dense(plan.model, plan.patch_grid.grid)


def _allows(request: PredictRequest, path: "NumericPath", batch_size: int, model: "Model") -> bool:
    """Whether a request leaves room for a numeric path, and this computer has it."""
    from napari_camelyon.inference import choose_numeric_path

    asked = (request.device, request.engine, request.precision)
    pairs = zip(asked, (path.device, path.engine, path.precision), strict=True)
    if request.batch_size not in {None, batch_size}:
        return False
    if not all(word in {"auto", found, found.partition(":")[0]} for word, found in pairs):
        return False
    try:
        choose_numeric_path(model, device=path.device, engine=path.engine, precision=path.precision)
    except ModelError:
        return False
    return True


def _sampler(request: PredictRequest, plan: _Plan, way: _Way) -> "SamplingPredictor":
    from napari_camelyon.inference import sampling_predictor
    from napari_camelyon.models import load_model

    others = [load_model(name) for name in request.ensemble]
    return sampling_predictor(
        request.uncertainty,
        [plan.model, *others] if request.uncertainty == "ensemble" else [plan.model],
        way.path,
        samples=request.samples,
        batch_size=way.batch_size,
        stain=plan.stain,
    )


def _odd_before(
    slide: Slide,
    plan: _Plan,
    predictor: "Predictor | SamplingPredictor | None",
    control: RunControl,
) -> "tuple[Finding, ...]":
    """Look for what is odd before anything is computed."""
    from napari_camelyon.inference import (
        check_before,
        check_probe,
        choose_numeric_path,
        look_first,
        prepare,
    )

    found = check_before(
        slide, plan.model, plan.patch_grid, stain_fit=_known_stain_fit(slide, plan)
    )
    if plan.patch_grid.patch_count == 0:
        return found
    with ExitStack() as stack:
        if predictor is None:  # of a run in blocks; few patches are soon predicted one by one
            path = choose_numeric_path(plan.model, device="cpu", engine="torch", precision="fp32")
            predictor = prepare(plan.model, path)
            stack.callback(predictor.close)
        threshold = plan.heatmap.threshold
        found += check_probe(predictor, threshold)
        if control.view_px is None:  # who looks on wants the first values now, and sees them
            found += look_first(slide, predictor, plan.patch_grid, threshold)
    return found


def _known_stain_fit(slide: Slide, plan: _Plan) -> StainFit | None:
    """Return the slide's stain where the model says which one it knew, else None."""
    if plan.model.spec.stain is None or plan.patch_grid.patch_count == 0:
        return None
    if plan.stain is not None and isinstance(plan.stain.source, StainFit):
        return plan.stain.source
    try:
        fit = fit_slide_stain(slide, plan.tissue.mask, "macenko")
    except StainError:
        return None  # it is only for a warning; a run that needs the stain has told by now
    return fit if isinstance(fit, StainFit) else None


def _told(
    request: PredictRequest,
    plan: _Plan,
    path: "NumericPath",
    method: HeatmapMethod,
    batch_size: int,
    sampling_key: str,
) -> RunFacts:
    sampling: dict[str, Any] = {"method": request.uncertainty}
    if sampling_key:
        sampling["key"] = sampling_key
    if request.uncertainty == "mc_dropout":
        sampling["samples"] = request.samples
    if request.uncertainty == "ensemble":
        sampling["others"] = list(request.ensemble)
    return RunFacts(
        numeric_path={
            "path": path.describe(),
            **asdict(path),
            "method": method,
            "batch_size": batch_size,
        },
        stain=stain_record(plan.stain),
        tissue={**plan.tissue.describe(), "left_out": dict(plan.patch_grid.left_out)},
        sampling=sampling,
    )


def _is_cancelled(control: RunControl) -> bool:
    return control.cancelled


def _stain_transfer(
    slide: Slide,
    model: "Model",
    tissue: TissueChoice,
    wanted: str,
) -> StainTransfer | None:
    if wanted == "none":
        return None
    method = next((known for known in METHODS if known == wanted), None)
    if method is None:
        raise StainError(
            f"There is no stain normalisation {wanted!r}. Choose one of: none, "
            f"{', '.join(METHODS)}."
        )
    fit = fit_slide_stain(slide, tissue.mask, method)
    if method == "reinhard":
        return make_transfer(fit)
    return make_transfer(fit, target_stain(model.spec.stain))
