"""The one function that every way of running uses: from an open slide to a heatmap that fills."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_camelyon.cohort.results import RunFacts
from napari_camelyon.heatmaps import Heatmap, HeatmapMethod
from napari_camelyon.inference import RunControl
from napari_camelyon.slides import Slide
from napari_camelyon.stain import StainTransfer, make_transfer, target_stain
from napari_camelyon.tissue import (
    PatchGrid,
    TissueMask,
    fit_slide_stain,
    plan_patches,
    tissue_mask,
)

if TYPE_CHECKING:
    from napari_camelyon.inference import NumericPath, Predictor, Update
    from napari_camelyon.models import Model

__all__ = ["LoadModel", "Planned", "PredictRequest", "Prepare", "predict_slide"]


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
    min_tissue_fraction : float
        Patches with less tissue are left out.
    device : str
        ``auto``, or a device's name.
    engine : str
        ``auto``, ``torch``, ``compiled``, ``openvino`` or ``onnxruntime``: what computes.
    precision : str
        ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    batch_size : int or None
        Patches predicted at once; None: found out by a short calibration.
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
    min_tissue_fraction: float = 0.40
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    stain: Literal["none", "macenko", "reinhard"] = "none"
    leave_out: tuple[str, ...] = ()
    uncertainty: str = "none"
    samples: int = 20
    ensemble: tuple[str, ...] = ()


class LoadModel(Protocol):
    """Loads a model, as `models.load_model` does."""

    def __call__(self, path: Path | str | None, *, tumour_class: str | None) -> "Model":
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
    facts : RunFacts
        For ``run.json``: what is known before anything is computed.
    """

    model: "Model"
    patch_grid: PatchGrid
    heatmap: Heatmap
    path: "NumericPath"
    facts: RunFacts


def predict_slide(
    slide: Slide,
    request: PredictRequest,
    *,
    control: RunControl | None = None,
    checkpoint_folder: Path | str | None = None,
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
    from napari_camelyon.models import load_model

    control = control or RunControl()
    model = (load or load_model)(request.model, tumour_class=request.tumour_class)
    if _is_cancelled(control):
        return
    mask = tissue_mask(slide)
    patch_grid = plan_patches(
        slide,
        model.spec,
        stride_um=request.stride_um,
        min_tissue_fraction=request.min_tissue_fraction,
        mask=mask,
    )
    heatmap = inference.new_heatmap(slide, model, patch_grid)
    if request.threshold is not None:
        heatmap.threshold = request.threshold
    stain = _stain_transfer(slide, model, mask, request.stain)
    way = _choose_way(model, patch_grid, request, stain)
    if _is_cancelled(control):
        return
    with ExitStack() as stack:
        predictor = None
        batch_size = request.batch_size or _DENSE_BATCH
        if way.method == "patches":
            predictor = (prepare or inference.prepare)(
                model,
                way.path,
                batch_size=request.batch_size,
                stain=stain,
            )
            batch_size = request.batch_size or predictor.batch_size
            if prepare is None:
                stack.callback(predictor.close)
        checkpoint = None
        if checkpoint_folder is not None:
            checkpoint = stack.enter_context(
                inference.open_checkpoint(
                    checkpoint_folder,
                    slide,
                    model,
                    patch_grid,
                    way.path,
                    stain_key="" if stain is None else stain.key,
                    batch_size=batch_size,
                    method=way.method,
                )
            )
        facts = RunFacts(
            numeric_path=_told_path(way, batch_size),
            stain={"method": "none"} if stain is None else {"key": stain.key, **stain.describe()},
        )
        yield Planned(model, patch_grid, heatmap, way.path, facts)
        yield from inference.run(
            slide,
            model,
            patch_grid,
            heatmap=heatmap,
            device=way.path.device,
            predictor=predictor,
            batch_size=batch_size,
            control=control,
            checkpoint=checkpoint,
        )


_DENSE_BATCH = 16
"""A model that sees whole blocks has no batches, but its runs want a number all the same."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the values come about."""

    path: "NumericPath"
    method: HeatmapMethod


def _choose_way(
    model: "Model", patch_grid: PatchGrid, request: PredictRequest, stain: StainTransfer | None
) -> _Way:
    from napari_camelyon.inference import choose_numeric_path
    from napari_camelyon.inference.dense import can_run_dense

    plain = request.engine in {"auto", "torch"} and request.precision in {"auto", "fp32"}
    if plain and stain is None and can_run_dense(model, patch_grid.grid):
        # Over whole blocks torch computes in float32.
        path = choose_numeric_path(model, device=request.device, engine="torch", precision="fp32")
        return _Way(path, "dense")
    path = choose_numeric_path(
        model,
        device=request.device,
        engine=request.engine,
        precision=request.precision,
        expected_patches=patch_grid.patch_count,
    )
    return _Way(path, "patches")


def _is_cancelled(control: RunControl) -> bool:
    return control.cancelled


def _stain_transfer(
    slide: Slide, model: "Model", mask: TissueMask, method: Literal["none", "macenko", "reinhard"]
) -> StainTransfer | None:
    if method == "none":
        return None
    fit = fit_slide_stain(slide, mask, method)
    if method == "reinhard":
        return make_transfer(fit)
    return make_transfer(fit, target_stain(getattr(model.spec, "stain", None)))


def _told_path(way: _Way, batch_size: int) -> dict[str, Any]:
    return {
        "path": way.path.describe(),
        "device": way.path.device,
        "engine": way.path.engine,
        "precision": way.path.precision,
        "method": way.method,
        "batch_size": batch_size,
    }
