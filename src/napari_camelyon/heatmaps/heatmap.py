"""The heatmap: one value a patch, in place on the slide."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.geometry import Grid, Mpp
from napari_camelyon.specs import ModelSpec, ValueMeaning

__all__ = ["Heatmap", "HeatmapMethod", "empty_heatmap"]

HeatmapMethod = Literal["patches", "dense"]


@dataclass(eq=False, slots=True)
class Heatmap:
    """A grid of tumour probabilities on one slide, and what they mean.

    Unlike our other records it is not frozen: inference fills `values` in place, so that what
    is shown grows without being copied.

    Attributes
    ----------
    grid : Grid
        Where the patches are; cell ``(row, column)`` stands for the centre of its patch.
    values : ndarray of float32, shape (rows, columns)
        Probability of tumour, 0–1; NaN where it was not computed.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    threshold : float
        Probability from which a cell counts as tumour unless the person says otherwise.
    value_meaning : {"any_tumour", "centre", "covered_fraction"}
        What a value says of its patch, as in `ModelSpec`; measuring depends on it.
    centre_um : float or None
        Side of the central square that a "centre" value speaks of.
    planned_cells : int or None
        How many cells were meant to be computed; None when nobody said.
    damaged_cells : int
        How many of them were left at NaN because they lie on a damaged part of the slide.
    slide_name, slide_fingerprint : str
        Which slide it is of; empty when unknown.
    model_name, model_sha256 : str
        Which model it is from; empty when unknown.
    method : {"patches", "dense"}
        Whether the model saw each patch on its own, or whole blocks at once.
    stain : dict or None
        To which stain patches were brought before the model saw them, and how, as
        `stain.stain_record` tells it; None when unknown.
    maps : dict of str to ndarray of float32, shape (rows, columns)
        What else was computed for each cell, NaN where it was not: ``p_<class>``,
        ``uncertainty_total``, ``uncertainty_aleatoric``, ``uncertainty_epistemic``.
    """

    grid: Grid
    values: NDArray[np.float32]
    mpp: Mpp
    threshold: float = 0.5
    value_meaning: ValueMeaning = "any_tumour"
    centre_um: float | None = None
    planned_cells: int | None = None
    slide_name: str = ""
    slide_fingerprint: str = ""
    model_name: str = ""
    model_sha256: str = ""
    method: HeatmapMethod = "patches"
    damaged_cells: int = 0
    stain: dict[str, Any] | None = None
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that do not fit the grid."""
        if self.values.shape != self.grid.shape or self.values.dtype != np.float32:
            raise ValueError(
                f"A heatmap on this grid needs float32 values of shape {self.grid.shape}, not "
                f"{self.values.dtype} of shape {self.values.shape}."
            )
        if not (np.isfinite(self.mpp).all() and min(self.mpp) > 0):
            raise ValueError(f"µm per pixel must be two positive numbers, not {self.mpp}.")
        if self.value_meaning not in get_args(ValueMeaning):
            raise ValueError(f"A heatmap cannot hold values that mean {self.value_meaning!r}.")
        if self.value_meaning == "centre" and self.centre_um is None:
            raise ValueError("A heatmap of 'centre' values needs the side of the centre in µm.")

    @property
    def computed_cells(self) -> int:
        """Number of cells that hold a value."""
        return int(np.count_nonzero(~np.isnan(self.values)))

    @property
    def computed_share(self) -> float | None:
        """Computed cells over planned cells, 0–1; 1 when none was planned, None when unknown."""
        if self.planned_cells is None:
            return None
        if self.planned_cells == 0:
            return 1.0
        return min(1.0, self.computed_cells / self.planned_cells)


def empty_heatmap(
    grid: Grid,
    mpp: Mpp,
    spec: ModelSpec,
    *,
    planned_cells: int | None = None,
    slide_name: str = "",
    slide_fingerprint: str = "",
    model_sha256: str = "",
) -> Heatmap:
    """Return a heatmap with nothing computed yet, for inference to fill.

    Parameters
    ----------
    grid : Grid
        The patches.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)`` of the slide.
    spec : ModelSpec
        The model that will fill it: gives the threshold, the meaning of a value and the name.
    planned_cells : int or None
        How many cells will be computed.
    slide_name, slide_fingerprint, model_sha256 : str
        Where the values come from.
    """
    return Heatmap(
        grid=grid,
        values=np.full(grid.shape, np.nan, dtype=np.float32),
        mpp=mpp,
        threshold=spec.threshold,
        value_meaning=spec.value_meaning,
        centre_um=None if spec.centre_px is None else spec.centre_px * spec.patch_mpp,
        planned_cells=planned_cells,
        slide_name=slide_name,
        slide_fingerprint=slide_fingerprint,
        model_name=spec.name,
        model_sha256=model_sha256,
    )
