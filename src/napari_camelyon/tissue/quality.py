"""Spoilt areas of a slide: ink of pens, places out of focus, folds. Found once, at low resolution.

The rules stand in `ink`, `focus` and `folds`; the measurements in ``docs/decisions.md``.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Damage, Slide, read_downsampled
from napari_camelyon.tissue.focus import CELL_UM, find_blur, focus_blocks
from napari_camelyon.tissue.folds import fold_pixels
from napari_camelyon.tissue.ink import ink_pixels
from napari_camelyon.tissue.mask import MASK_MPP, TissueMask, tissue_mask
from napari_camelyon.tissue.outlines import mask_polygons
from napari_camelyon.tissue.pictures import coherent, disc, resampled

__all__ = [
    "SPOILT_KINDS",
    "Quality",
    "SpoiltArea",
    "find_quality",
    "merged_quality",
]

SPOILT_KINDS = ("pen", "blur", "fold")
"""In the order in which a patch that lies on several counts for one."""

_BLUR_MIN_UM2 = 30_000.0


@dataclass(frozen=True, slots=True, eq=False)
class SpoiltArea:
    """One coherent spoilt area.

    Attributes
    ----------
    kind : str
        One of `SPOILT_KINDS`.
    region : shapely.Polygon
        In slide points.
    area_mm2 : float
    """

    kind: str
    region: Any
    area_mm2: float


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """The spoilt areas of a slide.

    Attributes
    ----------
    masks : mapping of str to TissueMask
        For each kind that was looked for, True where it was found.
    areas : tuple of SpoiltArea
        The same as polygons, largest first within a kind.
    """

    masks: Mapping[str, TissueMask]
    areas: tuple[SpoiltArea, ...]

    def area_mm2(self, kind: str) -> float:
        """Return the area of one kind in mm²."""
        return sum(area.area_mm2 for area in self.areas if area.kind == kind)


def find_quality(
    slide: Slide,
    mask: TissueMask | None = None,
    *,
    kinds: Sequence[str] = SPOILT_KINDS,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Look for spoilt areas of a slide.

    Ink and folds are found in the picture at 8 µm/px (62 MB for the largest slides), blur in
    blocks of a millimetre at 1 µm/px, read where there is tissue only.

    Parameters
    ----------
    slide : Slide
        Needs to know its mpp.
    mask : TissueMask, optional
        Where tissue is; default: `tissue_mask`.
    kinds : sequence of str
        What to look for.
    progress : callable, optional
        Called with ``(steps done, steps in all)``; what it raises stops the work.

    Returns
    -------
    Quality

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    SlideError
        It cannot be read.
    """
    mpp = slide.require_mpp()
    mask = mask or tissue_mask(slide)
    if unknown := set(kinds) - set(SPOILT_KINDS):
        raise ValueError(f"These are no kinds of spoilt areas: {', '.join(sorted(unknown))}.")
    pixel_px = max(1.0, MASK_MPP / mean_mpp(mpp))
    pixel_um = pixel_px * mean_mpp(mpp)
    blocks = list(focus_blocks(slide, mask)) if "blur" in kinds else []
    tell = _Steps(len(blocks) + 3, progress)
    found: dict[str, NDArray[np.bool_]] = {}
    picture = _picture(slide, pixel_px)
    tell()
    ink = ink_pixels(picture, pixel_um)
    tell()
    if "pen" in kinds:
        found["pen"] = ink
    tissue = resampled(mask, picture.shape[:2], pixel_px)
    clear = tissue & ~ink
    if "blur" in kinds:
        blurred = resampled(find_blur(slide, mask, blocks, tell), ink.shape, pixel_px)
        found["blur"] = coherent(blurred & clear, _BLUR_MIN_UM2 / pixel_um**2)
        # What is blurred has no gaps between its nuclei, and seems dense; so does its rim.
        clear &= ~ndimage.binary_dilation(found["blur"], disc(3 * CELL_UM / pixel_um))
    if "fold" in kinds:
        found["fold"] = fold_pixels(picture, clear, pixel_um)
    tell()
    masks = {kind: TissueMask(found[kind], pixel_px) for kind in SPOILT_KINDS if kind in found}
    return Quality(masks, tuple(_areas(masks, mpp[0] * mpp[1])))


def merged_quality(first: Quality, second: Quality) -> Quality:
    """Return what either found; where both looked for a kind, the second counts."""
    kept = [area for area in first.areas if area.kind not in second.masks]
    return Quality({**first.masks, **second.masks}, (*kept, *second.areas))


class _Steps:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _picture(slide: Slide, pixel_px: float) -> NDArray[np.uint8]:
    columns, rows = math.ceil(slide.width_px / pixel_px), math.ceil(slide.height_px / pixel_px)
    return read_downsampled(slide, 0, 0, columns, rows, factor=pixel_px, on_damage=_pass_over)


def _pass_over(_damage: Damage) -> None:
    """Let damaged parts be: `tissue_mask` says them, and so does the run."""


def _areas(masks: Mapping[str, TissueMask], px2_um2: float) -> Iterator[SpoiltArea]:
    for kind, mask in masks.items():
        regions = mask_polygons(mask.values, mask.pixel_px)
        sizes = shapely.area(regions) * px2_um2 / 1e6
        for index in np.argsort(-sizes, kind="stable"):
            yield SpoiltArea(kind, regions[index], float(sizes[index]))
