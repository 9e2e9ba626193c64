"""Looking closer: one patch as the model sees it, and what it says of that and its neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.inference.numeric import Predictor, choose_numeric_path, prepare
from napari_camelyon.inference.patches import read_block, touched_cells
from napari_camelyon.models import Model
from napari_camelyon.slides import Damage, Slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.stain import StainTransfer, stain_record, transfer

__all__ = ["PatchView", "grid_around", "look_closer"]


@dataclass(frozen=True, slots=True, eq=False)
class PatchView:
    """A patch, and what a model says of it.

    Attributes
    ----------
    grid : Grid
        On which the patch lies: the heatmap's, or one laid around the point.
    cell : tuple of int
        ``(row, column)`` of the patch in that grid.
    raw : ndarray of uint8, shape (px, px, 3)
        The patch at the model's spacing, as it is on the slide.
    normalised : ndarray of uint8, shape (px, px, 3), or None
        After stain normalisation; None without one.
    input_range : tuple of float
        Least and largest number that the network is given.
    class_names : tuple of str
    tumour_class : int
        Index into `class_names`.
    probabilities : tuple of float
        Of each class, computed for this patch on its own.
    heatmap_value : float or None
        Probability of tumour that the heatmap holds for this cell; differs from that of the patch
        on its own where the run was dense or took another numeric path. None: no heatmap, or not
        computed.
    neighbours : ndarray of float32, shape (3, 3)
        Probability of tumour of the patches around, this one in the middle; NaN beyond the grid
        and on damaged parts of the slide.
    from_heatmap : ndarray of bool, shape (3, 3)
        Which of them the heatmap held; the others were computed now.
    note : str
        Why values of a heatmap that lies there are not taken, as a sentence; else empty.
    """

    grid: Grid
    cell: tuple[int, int]
    raw: NDArray[np.uint8]
    normalised: NDArray[np.uint8] | None
    input_range: tuple[float, float]
    class_names: tuple[str, ...]
    tumour_class: int
    probabilities: tuple[float, ...]
    heatmap_value: float | None
    neighbours: NDArray[np.float32]
    from_heatmap: NDArray[np.bool_]
    note: str = ""

    @property
    def tumour(self) -> float:
        """Probability of tumour of this patch on its own."""
        return self.probabilities[self.tumour_class]

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """Where the patch lies: ``(x, y, width, height)`` in level-0 pixels."""
        x_px, y_px = self.grid.corners(self.cell).tolist()
        return x_px, y_px, self.grid.patch_width_px, self.grid.patch_height_px


def grid_around(
    slide: Slide, spec: ModelSpec, point_px: tuple[float, float], *, stride_um: float | None = None
) -> Grid:
    """Return a grid of 3 × 3 patches whose middle one is centred on a point, to half a pixel.

    Parameters
    ----------
    slide : Slide
    spec : ModelSpec
        Gives the patches' size, and the stride unless it is given.
    point_px : tuple of float
        A slide point.
    stride_um : float, optional
        From one patch to the next.

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    mpp_x, mpp_y = slide.require_mpp()
    wanted_um = stride_um or spec.stride_um or spec.field_um
    stride_x_px, stride_y_px = max(1, round(wanted_um / mpp_x)), max(1, round(wanted_um / mpp_y))
    width_px, height_px = (max(1, round(spec.field_um / mpp)) for mpp in (mpp_x, mpp_y))
    return Grid(
        rows=3,
        columns=3,
        x_px=round(point_px[0] - width_px / 2) - stride_x_px,
        y_px=round(point_px[1] - height_px / 2) - stride_y_px,
        patch_width_px=width_px,
        patch_height_px=height_px,
        stride_x_px=stride_x_px,
        stride_y_px=stride_y_px,
    )


def look_closer(
    slide: Slide,
    model: Model,
    point_px: tuple[float, float],
    *,
    heatmap: Heatmap | None = None,
    stride_um: float | None = None,
    stain: StainTransfer | None = None,
    predictor: Predictor | None = None,
) -> PatchView:
    """Show the patch at a point exactly as a model sees it, and what it says.

    Parameters
    ----------
    slide : Slide
    model : Model
    point_px : tuple of float
        A slide point ``(x, y)`` on the slide.
    heatmap : Heatmap, optional
        Of this slide and model, complete or being filled: the patch is that of the cell whose
        centre is nearest, and neighbours that it holds are not computed again. If it was made with
        another stain, or does not say with which, none of its values is taken. A heatmap of another
        model or slide is passed over. Default: the patch is centred on the point.
    stride_um : float, optional
        From the patch to its neighbours where there is no heatmap. Default: the model's own.
    stain : StainTransfer, optional
        Stain normalisation, as in the run (which does not round to whole grey levels).
    predictor : Predictor, optional
        The model prepared without stain normalisation. Default: torch in float32 on the CPU,
        which needs no time to start.

    Returns
    -------
    PatchView

    Raises
    ------
    SlideError
        The point is not on the slide, or the slide is damaged or unreadable there.
    MissingMppError
        The slide does not say how large its pixels are.
    ModelError
        The model failed.
    """
    x_px, y_px = point_px
    if not (0 <= x_px < slide.width_px and 0 <= y_px < slide.height_px):
        raise SlideError(f"There is nothing of {slide.name} at this place: point at the slide.")
    fits = heatmap is not None and _is_of(heatmap, slide, model)
    known = heatmap if fits else None
    grid = (
        known.grid
        if known is not None
        else grid_around(slide, model.spec, point_px, stride_um=stride_um)
    )
    nearest = np.round(grid.cells_at(point_px)).astype(int)
    row, column = np.clip(nearest, 0, np.array(grid.shape) - 1).tolist()
    cells = np.array([[row + down, column + right] for down in (-1, 0, 1) for right in (-1, 0, 1)])
    inside = ((cells >= 0) & (cells < grid.shape)).all(axis=1)
    values = np.full(9, np.nan, np.float32)
    note = "" if known is None else _why_other_stain(known, stain)
    if known is not None and not note:
        values[inside] = known.values[tuple(cells[inside].T)]
    held = values[4]
    from_heatmap = ~np.isnan(values)
    wanted = inside & ~from_heatmap
    wanted[4] = True

    damages: list[Damage] = []
    patches = read_block(slide, grid, cells[wanted], model.spec.patch_px, damages.append)
    lost = touched_cells(slide, grid, cells[wanted], model.spec.patch_px, damages)
    at = int(wanted[:4].sum())  # of the patch itself among those that are read
    if lost[at]:
        raise damages[0].error
    given = patches if stain is None else transfer(patches, stain)
    own = predictor or _plain_predictor(model)
    try:
        probabilities = own.submit(given).result().probabilities
    finally:
        if own is not predictor:
            own.close()
    values[wanted] = np.where(lost, np.nan, probabilities[:, model.spec.tumour_class])
    return PatchView(
        grid=grid,
        cell=(row, column),
        raw=patches[at],
        normalised=None if stain is None else given[at],
        input_range=_input_range(given[at], model.spec),
        class_names=model.spec.class_names,
        tumour_class=model.spec.tumour_class,
        probabilities=tuple(float(value) for value in probabilities[at]),
        heatmap_value=None if np.isnan(held) else float(held),
        neighbours=values.reshape(3, 3),
        from_heatmap=from_heatmap.reshape(3, 3),
        note=note,
    )


def _is_of(heatmap: Heatmap, slide: Slide, model: Model) -> bool:
    """Whether a heatmap is what this model gives for this slide."""
    of_slide = not heatmap.slide_fingerprint or heatmap.slide_fingerprint == slide.fingerprint
    return of_slide and heatmap.model_sha256 == model.sha256


def _why_other_stain(heatmap: Heatmap, stain: StainTransfer | None) -> str:
    """Say that a heatmap was made with another stain than is chosen; empty: with the same."""
    theirs, ours = heatmap.stain, stain_record(stain)
    if theirs is None:
        how = "does not say with which stain normalisation it was made"
    elif theirs.get("method") != ours["method"]:
        method = theirs.get("method")
        how = "was made without stain normalisation"
        if method != "none":
            how = f"was made with another stain normalisation ({str(method).capitalize()})"
    elif theirs.get("key") != ours.get("key"):
        how = "was made with the same stain normalisation, fitted otherwise or to another target"
    else:
        return ""
    return f"The heatmap {how}; all values here are computed now."


def _plain_predictor(model: Model) -> Predictor:
    path = choose_numeric_path(model, device="cpu", engine="torch", precision="fp32")
    return prepare(model, path, batch_size=9)


def _input_range(patch: NDArray[np.uint8], spec: ModelSpec) -> tuple[float, float]:
    numbers = (patch / 255 - np.array(spec.mean)) / np.array(spec.std)
    return float(numbers.min()), float(numbers.max())
