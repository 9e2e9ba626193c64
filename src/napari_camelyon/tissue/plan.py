"""The grid of patches over a slide's tissue."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.geometry import Grid
from napari_camelyon.slides import Slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue.mask import TissueMask, tissue_mask
from napari_camelyon.tissue.quality import SPOILT_KINDS, Quality

__all__ = ["SPOILT_SHARE", "PatchGrid", "plan_patches", "reference_spec"]

SPOILT_SHARE = 0.25
"""A patch is left out when at least this share of it lies on a spoilt area of one kind."""


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """A grid over a slide, with the cells that are to be predicted.

    Attributes
    ----------
    grid : Grid
        Where each patch lies.
    tissue_fraction : ndarray of float32, shape grid.shape
        Share of tissue in each patch, 0–1.
    selected : ndarray of bool, shape grid.shape
        The cells to predict.
    left_out : mapping of str to int
        For each kind of spoilt area that was left out, how many patches with enough tissue it cost;
        a patch on several counts for the first one.
    """

    grid: Grid
    tissue_fraction: NDArray[np.float32]
    selected: NDArray[np.bool_]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def patch_count(self) -> int:
        """Number of patches to predict."""
        return int(self.selected.sum())

    @property
    def left_out_sentence(self) -> str:
        """What was left out: ``153 patches left out (pen 120, blur 33)``; empty if nothing was."""
        counts = {kind: count for kind, count in self.left_out.items() if count}
        if not counts:
            return ""
        total = sum(counts.values())
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
        return f"{total:,} patch{'' if total == 1 else 'es'} left out ({kinds})"


def plan_patches(
    slide: Slide,
    spec: ModelSpec,
    *,
    stride_um: float | None = None,
    min_tissue_fraction: float = 0.40,
    mask: TissueMask | None = None,
    leave_out: Sequence[str] = (),
    quality: Quality | None = None,
) -> PatchGrid:
    """Lay a grid of patches over a slide and select those with enough tissue.

    The stride is rounded to whole level-0 pixels, and so is the patch, which remains a whole
    number of strides if it was one: so the place of every cell is exact. The grid begins at the
    corner of the slide and covers all of it; the last row and column may reach beyond the edge,
    where a slide reads as white.

    Parameters
    ----------
    slide : Slide
        Needs to know its mpp.
    spec : ModelSpec
        Gives patch size and spacing.
    stride_um : float, optional
        Pitch in µm. Default: the specification's own stride, else patches side by side.
    min_tissue_fraction : float
        Patches with less tissue are left out; 0 keeps every patch, glass included.
    mask : TissueMask, optional
        Default: `tissue_mask` of the slide.
    leave_out : sequence of str
        Kinds of spoilt areas (`SPOILT_KINDS`) whose patches are not selected: those of which at
        least a quarter lies on them (`SPOILT_SHARE`).
    quality : Quality, optional
        Where these areas are (`find_quality`); needed for all kinds that are left out.

    Returns
    -------
    PatchGrid

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    SlideError
        The slide cannot be read.
    ValueError
        `quality` does not tell where the areas are that are to be left out.
    """
    mpp_x, mpp_y = slide.require_mpp()
    known = {} if quality is None else quality.masks
    if missing := [kind for kind in leave_out if kind not in known]:
        raise ValueError(f"Where to leave out {', '.join(missing)} was not looked for.")
    wanted_stride_um = stride_um or spec.stride_um or spec.field_um
    stride_x_px = max(1, round(wanted_stride_um / mpp_x))
    stride_y_px = max(1, round(wanted_stride_um / mpp_y))
    patch_width_px = _patch_length_px(spec.field_um / mpp_x, wanted_stride_um / mpp_x, stride_x_px)
    patch_height_px = _patch_length_px(spec.field_um / mpp_y, wanted_stride_um / mpp_y, stride_y_px)
    grid = Grid(
        rows=_cells_to_cover(slide.height_px, patch_height_px, stride_y_px),
        columns=_cells_to_cover(slide.width_px, patch_width_px, stride_x_px),
        x_px=0,
        y_px=0,
        patch_width_px=patch_width_px,
        patch_height_px=patch_height_px,
        stride_x_px=stride_x_px,
        stride_y_px=stride_y_px,
    )
    mask = mask or tissue_mask(slide)
    fraction = _fractions(mask, grid)
    selected = fraction >= min_tissue_fraction
    left_out: dict[str, int] = {}
    for kind in (kind for kind in SPOILT_KINDS if kind in leave_out):
        spoilt = selected & (_fractions(known[kind], grid) >= SPOILT_SHARE)
        left_out[kind] = int(spoilt.sum())
        selected &= ~spoilt
    return PatchGrid(grid, fraction, selected, left_out)


def _fractions(mask: TissueMask, grid: Grid) -> NDArray[np.float32]:
    return mask.fractions(
        np.arange(grid.columns, dtype=np.float64) * grid.stride_x_px,
        np.arange(grid.rows, dtype=np.float64) * grid.stride_y_px,
        grid.patch_width_px,
        grid.patch_height_px,
    )


def reference_spec(slide: Slide, *, patch_px: int = 224, level: int = 2) -> ModelSpec:
    """Return the patches of the published CAMELYON17 reference pipeline on this slide.

    Its patches are 224 × 224 pixels of pyramid level 2, side by side: about 218 µm, too coarse
    to measure isolated tumour cells.

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    mpp_x, mpp_y = slide.require_mpp()
    downsample = slide.levels[level].downsample_x if level < len(slide.levels) else 2.0**level
    return ModelSpec(
        name=f"reference pipeline, {patch_px} px at level {level}",
        patch_px=patch_px,
        patch_mpp=math.sqrt(mpp_x * mpp_y) * downsample,
    )


def _patch_length_px(exact_px: float, exact_stride_px: float, stride_px: int) -> int:
    """Round a patch; one that is a whole number of strides stays so."""
    strides = round(exact_px / exact_stride_px)
    if strides >= 1 and abs(exact_px / exact_stride_px - strides) < 0.01:
        return strides * stride_px
    return max(1, round(exact_px))


def _cells_to_cover(length_px: int, patch_px: int, stride_px: int) -> int:
    return max(1, math.ceil((length_px - patch_px) / stride_px) + 1)
