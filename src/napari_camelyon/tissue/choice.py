"""What a person decides about a slide's tissue: outlines by group, and what a run makes of them.

The mask, its pieces and the spoilt areas are annotations, so that the same tools edit them. What
the groups are called says what they mean: `GROUPS`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.editing import with_region
from napari_camelyon.annotations.geojson import annotation_from_region
from napari_camelyon.annotations.model import AREA_KINDS, Annotation, AnnotationSet, Group
from napari_camelyon.annotations.regions import region_of
from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import Slide
from napari_camelyon.tissue.mask import MASK_MPP, TissueMask, tissue_mask
from napari_camelyon.tissue.outlines import mask_polygons, rasterise
from napari_camelyon.tissue.pieces import Pieces, find_pieces
from napari_camelyon.tissue.quality import (
    SPOILT_KINDS,
    Quality,
    SpoiltArea,
    find_quality,
    merged_quality,
)

__all__ = [
    "GROUPS",
    "OFF",
    "TISSUE",
    "TissueChoice",
    "TissueOutlines",
    "choice_of",
    "describe_choice",
    "find_tissue",
    "outlines_of_masks",
    "switch_piece",
]

TISSUE, OFF = "tissue", "tissue, switched off"

GROUPS = (
    Group(TISSUE, colour="#0072B2"),
    Group(OFF, colour="#8C8C8C"),
    Group("pen", colour="#E69F00"),
    Group("blur", colour="#CC79A7"),
    Group("fold", colour="#009E73"),
)
"""The groups of a tissue file, in colours that most people tell apart (Okabe and Ito, 2008)."""

MIN_TISSUE_FRACTION = 0.40
"""As the reference pipeline (`filters.PatchRules`)."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueOutlines:
    """The tissue of a slide as a person left it.

    Attributes
    ----------
    annotations : AnnotationSet
        Outlines in the groups `GROUPS`; others have no meaning here.
    looked_for : tuple of str
        Kinds of spoilt areas that were looked for, whether or not any was found.
    leave_out : tuple of str
        Kinds of spoilt areas whose patches are left out.
    min_tissue_fraction : float
        Patches with less tissue are left out, 0–1.
    """

    annotations: AnnotationSet
    looked_for: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    min_tissue_fraction: float = MIN_TISSUE_FRACTION


@dataclass(frozen=True, slots=True, eq=False)
class TissueChoice:
    """Where a run looks for tumour: what `plan_patches` needs, and what led to it.

    Attributes
    ----------
    mask : TissueMask
        The tissue, without the pieces that are switched off.
    leave_out : tuple of str
        Kinds of spoilt areas whose patches are left out.
    pieces, pieces_off : int
        How many pieces the slide has, and how many of them are switched off.
    min_tissue_fraction : float
        Patches with less tissue are left out, 0–1.
    quality : Quality or None
        Where the spoilt areas are; None when none were looked for.
    found : Pieces or None
        The pieces, those switched off too.
    off : frozenset of int
        Numbers of the pieces that are switched off.
    kept_in : str
        The file that the choice was kept in; empty when nothing was kept.
    note : str
        Why a kept file was not used, in a sentence; else empty.
    """

    mask: TissueMask
    leave_out: tuple[str, ...] = ()
    pieces: int = 0
    pieces_off: int = 0
    min_tissue_fraction: float = MIN_TISSUE_FRACTION
    quality: Quality | None = None
    found: Pieces | None = None
    off: frozenset[int] = field(default_factory=frozenset)
    kept_in: str = ""
    note: str = ""

    def describe(self) -> dict[str, Any]:
        """Return what a result says of the choice, ready for JSON."""
        spoilt = {} if self.quality is None else self.quality.masks
        return {
            "kept_file": self.kept_in or None,
            "min_tissue_fraction": self.min_tissue_fraction,
            "leave_out": list(self.leave_out),
            "pieces": self.pieces,
            "pieces_off": self.pieces_off,
            "spoilt_mm2": {
                kind: round(self.quality.area_mm2(kind), 4) for kind in spoilt if self.quality
            },
            "note": self.note or None,
        }


def describe_choice(choice: TissueChoice) -> str:
    """Say a choice in one line for people."""
    parts = [f"at least {choice.min_tissue_fraction:.0%} tissue"]
    if choice.pieces_off:
        parts.insert(0, f"{choice.pieces - choice.pieces_off} of {choice.pieces} pieces")
    if choice.leave_out:
        *first, last = choice.leave_out
        kinds = f"{', '.join(first)} and {last}" if first else last
        parts.append(f"{kinds} left out")
    return ", ".join(parts)


def find_tissue(
    slide: Slide,
    *,
    kinds: Sequence[str] = SPOILT_KINDS,
    progress: Callable[[int, int], None] | None = None,
) -> TissueOutlines:
    """Find the tissue of a slide, its pieces and its spoilt areas, as outlines to be edited.

    Parameters
    ----------
    slide : Slide
    kinds : sequence of str
        Kinds of spoilt areas to look for.
    progress : callable, optional
        As of `find_quality`.

    Raises
    ------
    MissingMppError, SlideError
        As of `find_quality`.
    """
    mpp = slide.require_mpp()
    mask = tissue_mask(slide)
    quality = find_quality(slide, mask, kinds=kinds, progress=progress)
    outlines = outlines_of_masks(mask, find_pieces(mask, mpp), quality)
    return TissueOutlines(outlines, looked_for=tuple(kinds))


def outlines_of_masks(mask: TissueMask, pieces: Pieces, quality: Quality | None) -> AnnotationSet:
    """Return a mask with its pieces, and spoilt areas, as annotations: one a piece, one an area."""
    annotations = []
    polygons = np.array(mask_polygons(mask.values, mask.pixel_px), dtype=object)
    owners = _pieces_under(polygons, pieces, mask.pixel_px)
    for piece in pieces.pieces:
        region = shapely.multipolygons(polygons[owners == piece.number])
        annotations.append(
            annotation_from_region(region, name=f"piece {piece.number}", group=TISSUE)
        )
    areas = () if quality is None else quality.areas
    numbers = dict.fromkeys(SPOILT_KINDS, 0)
    for area in areas:
        numbers[area.kind] += 1
        annotations.append(
            annotation_from_region(
                area.region, name=f"{area.kind} {numbers[area.kind]}", group=area.kind
            )
        )
    return AnnotationSet(tuple(annotations), GROUPS)


def _pieces_under(polygons: NDArray[Any], pieces: Pieces, pixel_px: float) -> NDArray[np.int32]:
    """Return the number of the piece that each polygon belongs to; 0 for none."""
    if not len(polygons):
        return np.zeros(0, np.int32)
    places = shapely.get_coordinates(shapely.point_on_surface(polygons)) / pixel_px
    rows = np.clip(places[:, 1].astype(int), 0, pieces.labels.shape[0] - 1)
    columns = np.clip(places[:, 0].astype(int), 0, pieces.labels.shape[1] - 1)
    here = pieces.labels[rows, columns]
    lost = np.flatnonzero(here == 0)  # by simplifying, or by an edit that has just begun
    boxes = np.array([piece.bounds_px for piece in pieces.pieces]).reshape(-1, 4)
    for index in lost if len(boxes) else ():
        overlap = np.minimum(boxes[:, 2:], polygons[index].bounds[2:]) - np.maximum(
            boxes[:, :2], polygons[index].bounds[:2]
        )
        here[index] = pieces.pieces[int(overlap.min(axis=1).argmax())].number
    return np.asarray(here)


def choice_of(slide: Slide, outlines: TissueOutlines, *, kept_in: str = "") -> TissueChoice:
    """Return what a run makes of outlines: masks at 8 µm/px, pieces, and which are switched off.

    A piece is switched off when most of its area is.

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    mpp = slide.require_mpp()
    pixel_px = max(1.0, MASK_MPP / mean_mpp(mpp))
    shape = (math.ceil(slide.height_px / pixel_px), math.ceil(slide.width_px / pixel_px))
    regions = _regions_by_group(outlines.annotations)

    def mask_of(group: str) -> NDArray[np.bool_]:
        return rasterise(regions.get(group, []), shape, pixel_px)

    on, off = mask_of(TISSUE), mask_of(OFF)
    off &= ~on
    found = find_pieces(TissueMask(on | off, pixel_px), mpp)
    count = len(found.pieces) + 1
    size = np.bincount(found.labels.ravel(), minlength=count)
    size_off = np.bincount(found.labels[off], minlength=count)
    is_off = (size_off > size / 2) & (size > 0)
    is_off[0] = False
    kinds = {*outlines.looked_for, *(kind for kind in SPOILT_KINDS if kind in regions)}
    masks = {kind: TissueMask(mask_of(kind), pixel_px) for kind in SPOILT_KINDS if kind in kinds}
    areas = [
        SpoiltArea(kind, region, float(region.area) * mpp[0] * mpp[1] / 1e6)
        for kind in masks
        for region in regions.get(kind, [])
    ]
    return TissueChoice(
        TissueMask(on, pixel_px),
        tuple(kind for kind in SPOILT_KINDS if kind in outlines.leave_out and kind in masks),
        pieces=len(found.pieces),
        pieces_off=int(is_off.sum()),
        min_tissue_fraction=outlines.min_tissue_fraction,
        quality=Quality(masks, tuple(areas)) if masks else None,
        found=found,
        off=frozenset(np.flatnonzero(is_off).tolist()),
        kept_in=kept_in,
    )


def with_quality(choice: TissueChoice, quality: Quality, leave_out: Sequence[str]) -> TissueChoice:
    """Return a choice that leaves out more kinds of spoilt areas, which `quality` knows."""
    whole = quality if choice.quality is None else merged_quality(choice.quality, quality)
    kinds = tuple(kind for kind in SPOILT_KINDS if kind in leave_out)
    return replace(choice, quality=whole, leave_out=kinds)


def switch_piece(
    annotation_set: AnnotationSet, pieces: Pieces, pixel_px: float, number: int, *, on: bool
) -> AnnotationSet:
    """Return outlines with one piece of tissue switched on or off.

    Polygons of the piece go to the other group; an annotation of which some belong to another piece
    is divided.

    Parameters
    ----------
    annotation_set : AnnotationSet
    pieces : Pieces
        As `choice_of` found them in these outlines.
    pixel_px : float
        Side of the pixels of its labels.
    number : int
        Of the piece.
    on : bool
    """
    old, new = (OFF, TISSUE) if on else (TISSUE, OFF)
    result: list[Annotation] = []
    for annotation in annotation_set:
        if annotation.group != old or annotation.kind not in AREA_KINDS:
            result.append(annotation)
            continue
        polygons = np.array(shapely.get_parts(region_of(annotation)), dtype=object)
        mine = _pieces_under(polygons, pieces, pixel_px) == number
        if mine.all():
            result.append(replace(annotation, group=new))
        elif not mine.any():
            result.append(annotation)
        else:
            staying = with_region(annotation, shapely.multipolygons(polygons[~mine]))
            result += [] if staying is None else [staying]
            moved = shapely.multipolygons(polygons[mine])
            result.append(annotation_from_region(moved, name=annotation.name, group=new))
    return replace(annotation_set, annotations=tuple(result))


def _regions_by_group(annotation_set: AnnotationSet) -> dict[str, list[Any]]:
    regions: dict[str, list[Any]] = {}
    for annotation in annotation_set:
        if annotation.group is not None and annotation.kind in AREA_KINDS:
            regions.setdefault(annotation.group, []).append(region_of(annotation))
    return regions
