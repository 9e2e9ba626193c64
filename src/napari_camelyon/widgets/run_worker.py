"""The run in its thread: a frozen request in, plain values out, no widget in sight."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_camelyon.cohort import PredictRequest
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.slides import Slide
from napari_camelyon.tissue import PatchGrid, plan_patches

if TYPE_CHECKING:
    from napari_camelyon.inference import Update
    from napari_camelyon.models import Model

__all__ = ["Planned", "predict_slide"]


@dataclass(frozen=True, slots=True)
class Planned:
    """The run is ready to go: the patches are known, the heatmap is empty."""

    model: "Model"
    patch_grid: PatchGrid
    heatmap: Heatmap


def predict_slide(
    slide: Slide, request: PredictRequest, cancelled: Callable[[], bool]
) -> "Iterator[Planned | Update]":
    """Load the model, plan the patches, predict them.

    Yields `Planned` once, then an `inference.Update` a batch; ends early, within one batch, when
    `cancelled` turns true. Raises `CamelyonError`.
    """
    # Importing torch takes seconds; here it happens in the worker's thread.
    from napari_camelyon.inference import new_heatmap, run
    from napari_camelyon.models import load_model

    model = load_model(request.model_path, tumour_class=request.tumour_class)
    patch_grid = plan_patches(
        slide,
        model.spec,
        stride_um=request.stride_um,
        min_tissue_fraction=request.min_tissue_fraction,
    )
    heatmap = new_heatmap(slide, model, patch_grid)
    yield Planned(model, patch_grid, heatmap)
    yield from run(
        slide, model, patch_grid, heatmap=heatmap, device=request.device, cancelled=cancelled
    )
