"""The one function that every way of running uses, and from a slide's file to its result folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_camelyon.cohort.results import write_slide_results
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.inference import RunControl
from napari_camelyon.slides import Slide, open_slide
from napari_camelyon.staging import (
    JOIN_DILATION_UM,
    MIN_PATCHES,
    NodeResult,
    classify_node,
    find_lesions,
)
from napari_camelyon.tissue import PatchGrid, plan_patches

if TYPE_CHECKING:
    from napari_camelyon.inference import Update
    from napari_camelyon.models import Model

__all__ = ["Planned", "PredictRequest", "predict_slide", "predict_to_folder"]


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
    stain: str = "none"
    leave_out: tuple[str, ...] = ()
    uncertainty: str = "none"
    samples: int = 20
    ensemble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """The run is ready to go: the patches are known, the heatmap is empty.

    Attributes
    ----------
    model : Model
    patch_grid : PatchGrid
    heatmap : Heatmap
        It is filled as the run goes on.
    """

    model: "Model"
    patch_grid: PatchGrid
    heatmap: Heatmap


def predict_slide(
    slide: Slide,
    request: PredictRequest,
    *,
    control: RunControl | None = None,
    checkpoint_folder: Path | str | None = None,  # noqa: ARG001
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

    Yields
    ------
    Planned
        Once, before anything is computed.
    Update
        After every batch.

    Raises
    ------
    SlideError, ModelError
        As the rooms below do.
    """
    # Importing torch takes seconds; here it happens in the thread or process of the run.
    from napari_camelyon.inference import new_heatmap, run
    from napari_camelyon.models import load_model

    control = control or RunControl()
    model = load_model(request.model, tumour_class=request.tumour_class)
    patch_grid = plan_patches(
        slide,
        model.spec,
        stride_um=request.stride_um,
        min_tissue_fraction=request.min_tissue_fraction,
    )
    heatmap = new_heatmap(slide, model, patch_grid)
    if request.threshold is not None:
        heatmap.threshold = request.threshold
    yield Planned(model, patch_grid, heatmap)
    for update in run(
        slide,
        model,
        patch_grid,
        heatmap=heatmap,
        device=request.device,
        batch_size=request.batch_size or 16,
        cancelled=lambda: control.cancelled,
    ):
        yield update
        control.wait_while_paused()


def predict_to_folder(
    slide_path: Path | str,
    out: Path | str,
    request: PredictRequest,
    *,
    on_update: "Callable[[Update], object]" = lambda _update: None,
    control: RunControl | None = None,
) -> tuple[str, NodeResult]:
    """Run a model over a slide, find lesions, classify the node, and write its result folder.

    Parameters
    ----------
    slide_path : path-like
        The slide.
    out : path-like
        Results go to ``out/<slide name>/``.
    request : PredictRequest
        What was chosen.
    on_update : callable
        Called with each `inference.Update`.
    control : RunControl, optional
        Stops the run; what was computed by then is written, and said to be incomplete.

    Returns
    -------
    name : str
        Of the slide.
    node : NodeResult
        Its class.

    Raises
    ------
    SlideError, ModelError, StagingError, FileWriteError
        As the rooms below do; nothing is written then, or what was there before stays.
    """
    with open_slide(slide_path, mpp=request.mpp) as slide:
        mpp_note = slide.mpp_note
        steps = predict_slide(slide, request, control=control)
        for step in steps:
            if isinstance(step, Planned):
                planned = step
            else:
                on_update(step)
    patch_grid, heatmap = planned.patch_grid, planned.heatmap
    lesions = find_lesions(heatmap)
    node = classify_node(lesions, heatmap=heatmap, planned=patch_grid.selected)
    write_slide_results(
        out,
        heatmap,
        lesions,
        node,
        slide_path=slide_path,
        planned=patch_grid.selected,
        tissue_fraction=patch_grid.tissue_fraction,
        parameters=_parameters(request, mpp_note),
    )
    return heatmap.slide_name, node


def _parameters(request: PredictRequest, mpp_note: str) -> dict[str, str | float | None]:
    return {
        "model": None if request.model is None else str(request.model),
        "tumour_class": request.tumour_class,
        "mpp": request.mpp,
        "mpp_note": mpp_note,
        "stride_um": request.stride_um,
        "min_patches": MIN_PATCHES,
        "join_dilation_um": JOIN_DILATION_UM,
        "min_tissue_fraction": request.min_tissue_fraction,
        "device": request.device,
        "batch_size": request.batch_size,
    }
