"""What the groups mean: which outlines are tumour, which are cut out of it, and what remains."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely

from napari_camelyon.annotations.model import AREA_KINDS, Annotation, AnnotationSet, Group
from napari_camelyon.annotations.regions import PRECISION_PX, cut, merge, region_of
from napari_camelyon.geometry import Mpp, slide_to_um

__all__ = [
    "CAMELYON16",
    "CAMELYON17",
    "PROFILES",
    "GroupProfile",
    "Meaning",
    "ProfileChoice",
    "area_mm2",
    "choose_profile",
    "greatest_diameter_um",
    "group_colour",
    "group_meaning",
    "lineage",
    "meaning_of",
    "perimeter_mm",
    "region_from",
    "tumour_region",
]

Meaning = Literal["tumour", "cut-out", ""]
"""What an outline is; the empty string is neither."""

ISLAND_INSIDE = 0.9
"""Share of a tumour outline that lies inside a cut-out when it is an island drawn in that hole.

Hand-drawn islands may touch the edge of their hole. In the official files that have them
(test_026, tumor_110) the share is 1.0 for every island and at most 0.25 for all others."""


@dataclass(frozen=True, slots=True)
class GroupProfile:
    """What the groups of a data set mean.

    Attributes
    ----------
    name : str
        For people.
    tumour : frozenset of str
        Groups whose outlines are tumour.
    cut_out : frozenset of str
        Groups whose outlines are cut out of the tumour around them.
    """

    name: str
    tumour: frozenset[str]
    cut_out: frozenset[str]


CAMELYON16 = GroupProfile(
    "CAMELYON16", frozenset({"Tumor", "_0", "_1"}), frozenset({"_2", "Exclusion"})
)
CAMELYON17 = GroupProfile("CAMELYON17", frozenset({"metastases"}), frozenset({"normal"}))
PROFILES = (CAMELYON16, CAMELYON17)
"""The two official data sets (the README files beside their annotations)."""


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """A profile and, in a sentence, why it was chosen."""

    profile: GroupProfile
    reason: str


def choose_profile(annotation_set: AnnotationSet) -> ProfileChoice:
    """Choose the profile by the names of the groups that outlines use.

    Returns
    -------
    ProfileChoice
        CAMELYON16 or CAMELYON17; both together if groups of both are used; if none is, a profile
        without groups, whose tumour region is empty, and a reason that says so.
    """
    own = {annotation.group for annotation in annotation_set if annotation.kind in AREA_KINDS}
    used = {name for group in own for name in lineage(group, annotation_set.groups)}
    fitting = [p for p in PROFILES if used & (p.tumour | p.cut_out)]
    if not fitting:
        names = ", ".join(sorted(used)) or "none"
        return ProfileChoice(
            GroupProfile("none", frozenset(), frozenset()),
            f"No group is known as tumour (groups used: {names}); say which ones are.",
        )
    known = sorted(used & frozenset().union(*(p.tumour | p.cut_out for p in fitting)))
    listed = ", ".join(known)
    reason = f"The file uses the group{'s' if len(known) > 1 else ''} {listed}."
    if len(fitting) == 1:
        return ProfileChoice(fitting[0], reason)
    both = GroupProfile(
        " + ".join(p.name for p in fitting),
        frozenset().union(*(p.tumour for p in fitting)),
        frozenset().union(*(p.cut_out for p in fitting)),
    )
    return ProfileChoice(both, reason)


def meaning_of(annotation: Annotation, groups: Collection[Group], profile: GroupProfile) -> Meaning:
    """Return ``"tumour"``, ``"cut-out"`` or ``""`` for an annotation.

    A group without a meaning of its own has that of the group it belongs to.
    """
    if annotation.kind not in AREA_KINDS:
        return ""
    return group_meaning(annotation.group, groups, profile)


def group_meaning(group: str | None, groups: Collection[Group], profile: GroupProfile) -> Meaning:
    """Return what the outlines of a group mean, see `meaning_of`."""
    for name in lineage(group, groups):
        if name in profile.tumour:
            return "tumour"
        if name in profile.cut_out:
            return "cut-out"
    return ""


def tumour_region(
    annotation_set: AnnotationSet,
    profile: GroupProfile | None = None,
    *,
    splines_as_drawn: bool = True,
) -> Any:
    """Return the tumour on a slide: tumour outlines without what is cut out of them.

    A cut-out cuts every tumour outline except those drawn inside it: an island in a hole stays
    tumour, whatever the order of the file, and may have holes of its own. Painting all holes last
    would erase islands that the official files contain.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Outlines that cross themselves count as in `ring_region`.
    profile : GroupProfile, optional
        What the groups mean; by default `choose_profile` decides.
    splines_as_drawn : bool
        As in `region_of`; False reproduces the official masks.

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon
        Valid, in slide points (px²); empty where there is none.
    """
    chosen = choose_profile(annotation_set).profile if profile is None else profile
    regions: dict[str, list[Any]] = {"tumour": [], "cut-out": [], "": []}
    for annotation in annotation_set:
        meaning = meaning_of(annotation, annotation_set.groups, chosen)
        if meaning:
            regions[meaning].append(region_of(annotation, splines_as_drawn=splines_as_drawn))
    return region_from(regions["tumour"], regions["cut-out"])


def region_from(tumours: Collection[Any], cut_outs: Collection[Any]) -> Any:
    """Return tumour polygons without cut-outs, islands inside cut-outs kept.

    Parameters
    ----------
    tumours, cut_outs : collections of shapely.Polygon or shapely.MultiPolygon
        Valid; empty ones count for nothing.

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon
    """
    tumours = [region for region in tumours if not region.is_empty]
    cut_outs = [region for region in cut_outs if not region.is_empty]
    tree = shapely.STRtree(cut_outs)
    kept = []
    for tumour in tumours:
        near = [cut_outs[k] for k in tree.query(tumour, predicate="intersects")]
        kept.append(cut(tumour, [other for other in near if not _is_island(tumour, other)]))
    return merge(kept)


def area_mm2(region: Any, mpp: Mpp) -> float:
    """Return the area of a shapely geometry in slide points, mm²."""
    return float(region.area) * mpp[0] * mpp[1] / 1e6


def perimeter_mm(region: Any, mpp: Mpp) -> float:
    """Return the length of all edges of a shapely geometry in slide points, mm, holes included."""
    return float(shapely.transform(region, lambda points: slide_to_um(points, mpp)).length) / 1000


def greatest_diameter_um(region: Any, mpp: Mpp) -> float:
    """Return the greatest (Feret) diameter of a shapely geometry in slide points, µm.

    The greatest distance between any two of its points, as pathologists measure a deposit; 0 for
    an empty geometry. Distances are exact for pixels that are not square.
    """
    hull = shapely.convex_hull(shapely.transform(region, lambda points: slide_to_um(points, mpp)))
    left, top, right, bottom = shapely.bounds(hull)
    if hull.geom_type != "Polygon" or hull.is_empty:
        return 0.0 if hull.is_empty else float(np.hypot(right - left, bottom - top))
    # Corners of straight sides that only rounding makes corners have no direction.
    hull = shapely.simplify(hull, 1e-9 * max(right - left, bottom - top))
    corners = shapely.get_coordinates(hull)
    # The farthest two corners of a convex ring lie opposite each other: between parallels of which
    # one runs along an edge (Shamos' calipers). All pairs would be billions for a round outline.
    ring = corners[:-1] if shapely.LinearRing(corners).is_ccw else corners[:0:-1]
    step = np.roll(ring, -1, axis=0) - ring
    direction = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    turned = (direction + np.pi - direction[0]) % (2 * np.pi)
    opposite = np.searchsorted(direction - direction[0], turned)
    # Edges that are nearly parallel may change places by rounding: one corner more on each side.
    others = ring[(opposite[:, None] + (-1, 0, 1)) % len(ring)]
    ends = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)
    gaps = ends[:, :, None] - others[:, None]
    return float(np.hypot(gaps[..., 0], gaps[..., 1]).max())


def group_colour(name: str | None, groups: Collection[Group]) -> str | None:
    """Return the colour ASAP draws a group in: that of the outermost group it belongs to.

    As ``QtAnnotation::getDrawingColor`` in ASAP's source; None if that has none.
    """
    colours = {group.name: group.colour for group in groups}
    defined = [colours[ancestor] for ancestor in lineage(name, groups) if ancestor in colours]
    return defined[-1] if defined else None


def _is_island(tumour: Any, cut_out: Any) -> bool:
    if cut_out.area <= tumour.area:
        return False
    common = shapely.intersection(tumour, cut_out, grid_size=PRECISION_PX)
    return bool(common.area >= ISLAND_INSIDE * tumour.area)


def lineage(name: str | None, groups: Collection[Group]) -> list[str]:
    """Return a group, its parent, its parent's parent; a circle ends where it closes."""
    parents: Mapping[str, str | None] = {group.name: group.parent for group in groups}
    lineage: list[str] = []
    while name is not None and name not in lineage:
        lineage.append(name)
        name = parents.get(name)
    return lineage
