"""The measures of lesions from outlines that a person drew, to compare them with a heatmap's."""

import math
from dataclasses import dataclass, replace

import numpy as np
import shapely
from scipy.spatial.distance import cdist
from shapely.geometry import MultiPolygon, Polygon

from napari_camelyon.annotations.meaning import (
    GroupProfile,
    area_mm2,
    choose_profile,
    greatest_diameter_um,
    meaning_of,
    tumour_region,
)
from napari_camelyon.annotations.model import AnnotationSet
from napari_camelyon.annotations.regions import region_of
from napari_camelyon.errors import StagingError
from napari_camelyon.geometry import Mpp, slide_to_um, um_to_slide
from napari_camelyon.staging.lesions import Lesion, gathered, join_deposits
from napari_camelyon.staging.measuring import Excess
from napari_camelyon.staging.nodes import NodeClass, node_class_of_size
from napari_camelyon.staging.rules import JOIN_DILATION_UM

__all__ = ["Region", "measure_lesions", "measure_regions", "node_class_of_regions"]


@dataclass(frozen=True, slots=True)
class Region:
    """One tumour outline.

    Attributes
    ----------
    name, group : str
        As in the file.
    area_mm2 : float
        Without its own holes.
    diameter_mm : float
        Greatest (Feret) diameter.
    """

    name: str
    group: str
    area_mm2: float
    diameter_mm: float


def measure_regions(
    annotation_set: AnnotationSet, mpp: Mpp, profile: GroupProfile | None = None
) -> list[Region]:
    """Measure each tumour outline on its own; the largest diameter first.

    Parameters
    ----------
    annotation_set : AnnotationSet
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    profile : GroupProfile, optional
        Which groups are tumour; by default `choose_profile` decides.

    Returns
    -------
    list of Region
        Empty when no outline is tumour. Outlines that enclose nothing are left out.

    Raises
    ------
    StagingError
        The pixel size is no pair of positive numbers, or no group is known as tumour although
        there are outlines.
    """
    _check_mpp(mpp)
    chosen = _profile(annotation_set, profile)
    regions = []
    for annotation in annotation_set:
        if meaning_of(annotation, annotation_set.groups, chosen) != "tumour":
            continue
        drawn = region_of(annotation)
        if not drawn.is_empty:
            regions.append(
                Region(
                    name=annotation.name,
                    group=annotation.group or "",
                    area_mm2=area_mm2(drawn, mpp),
                    diameter_mm=greatest_diameter_um(drawn, mpp) / 1000,
                )
            )
    return sorted(regions, key=lambda region: -region.diameter_mm)


def node_class_of_regions(regions: list[Region]) -> NodeClass:
    """Return the class by the largest outline; "negative" without any.

    No outlines are joined: an annotator who draws two has seen what lies between them. On the 50
    outlined slides of CAMELYON17 this agrees with the official label on 46.
    """
    largest = max((region.diameter_mm for region in regions), default=None)
    return "negative" if largest is None else node_class_of_size(largest)


def measure_lesions(
    annotation_set: AnnotationSet,
    mpp: Mpp,
    *,
    join_dilation_um: float = JOIN_DILATION_UM,
    profile: GroupProfile | None = None,
) -> list[Lesion]:
    """Measure the tumour on a slide as `find_lesions` measures that of a heatmap.

    Outlines that overlap are one, what is cut out is left out, and deposits near each other are
    joined.

    Parameters
    ----------
    annotation_set, mpp, profile
        As in `measure_regions`.
    join_dilation_um : float
        As in `LesionRules`.

    Returns
    -------
    list of Lesion
        The largest diameter first. Probabilities are NaN, the margin and the patches 0: nothing
        was sampled.

    Raises
    ------
    StagingError
        As `measure_regions`.
    """
    _check_mpp(mpp)
    tumour = tumour_region(annotation_set, _profile(annotation_set, profile))
    parts = np.array([part for part in shapely.get_parts(tumour) if part.area > 0], dtype=object)
    if not len(parts):
        return []
    parts_um = shapely.transform(parts, lambda points: slide_to_um(points, mpp))
    lesion_of = join_deposits(parts_um, join_dilation_um, Excess())
    lesions = [
        _lesion(shape if len(shape.geoms) > 1 else shape.geoms[0], mpp)
        for shape in gathered(parts_um, lesion_of)
    ]
    lesions.sort(key=lambda lesion: (-lesion.diameter_mm, -lesion.area_mm2, lesion.bounds_px))
    return [replace(lesion, id=number) for number, lesion in enumerate(lesions, start=1)]


def _lesion(shape_um: Polygon | MultiPolygon, mpp: Mpp) -> Lesion:
    corners = shapely.get_coordinates(shapely.convex_hull(shape_um))
    # A hull with very many corners is round, where any pair of opposite ones will do.
    corners = corners[:: max(1, len(corners) // 2000)]
    gaps = cdist(corners, corners)
    first, second = np.unravel_index(gaps.argmax(), gaps.shape)
    ends = um_to_slide(corners[[first, second]], mpp).tolist()
    outline = shapely.transform(shape_um, lambda points: um_to_slide(points, mpp))
    left, top, right, bottom = outline.bounds
    return Lesion(
        id=0,
        diameter_mm=float(gaps.max()) / 1000,
        margin_mm=0.0,
        diameter_ends_px=((ends[0][0], ends[0][1]), (ends[1][0], ends[1][1])),
        area_mm2=float(shape_um.area) * 1e-6,
        mean_probability=math.nan,
        max_probability=math.nan,
        patches=0,
        bounds_px=(left, top, right, bottom),
        outline=outline,
    )


def _profile(annotation_set: AnnotationSet, profile: GroupProfile | None) -> GroupProfile:
    if profile is not None:
        return profile
    choice = choose_profile(annotation_set)
    if not choice.profile.tumour and len(annotation_set):
        raise StagingError(choice.reason)
    return choice.profile


def _check_mpp(mpp: Mpp) -> None:
    if not (len(mpp) == 2 and np.isfinite(mpp).all() and min(mpp) > 0):
        raise StagingError(f"µm per pixel must be two positive numbers, not {mpp}.")
