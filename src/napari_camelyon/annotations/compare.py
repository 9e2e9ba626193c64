"""Comparing two annotators' outlines of one slide: what corresponds to what, and how well."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_camelyon.annotations.boundaries import boundary_distances
from napari_camelyon.annotations.meaning import (
    GroupProfile,
    area_mm2,
    meaning_of,
    region_from,
)
from napari_camelyon.annotations.model import Annotation, AnnotationSet
from napari_camelyon.annotations.profiles import profile_for
from napari_camelyon.annotations.regions import PRECISION_PX, merge, region_of
from napari_camelyon.geometry import Mpp

__all__ = [
    "AGREE_DICE",
    "MIN_IOU",
    "ComparedRegion",
    "Comparison",
    "Match",
    "compare",
]

MIN_IOU = 0.1
"""Overlap (IoU) from which two outlines of one meaning can be two drawings of one thing.

Detection of lesions is counted from the same value (``ap_match_ious`` in the experiments of the
Medical Detection Toolkit, the code of P. F. Jaeger et al., Retina U-Net): outlines by hand are
coarse, and lesions of one slide hardly overlap each other, so that little overlap already says
which one is meant."""

MIN_IOU_ACROSS = 0.5
"""The same for outlines of different meaning, as tumour and what is cut out of it lie in each other
by nature. Above a half at most one outline of a drawing without overlaps can fit (A. Kirillov et
al., Panoptic Segmentation, CVPR 2019)."""

AGREE_DICE = 0.9
"""Dice from which two outlines count as agreeing. A choice of ours: what is taken over without a
look should be nearly the same."""

PIECE_SHARE = 0.5
"""Share of a region that lies in a larger one of the other file when it is a piece of that."""


@dataclass(frozen=True, slots=True)
class ComparedRegion:
    """One outlined region of one of the files.

    Attributes
    ----------
    number : int
        Its place in the set, counted from 0.
    id, name, group
        Of the annotation.
    meaning : str
        ``"tumour"``, ``"cut-out"`` or ``""``.
    area_mm2 : float
    fingerprint : str
        Of its group and its points: the same wherever the same region is read again.
    shape : shapely.Polygon or shapely.MultiPolygon
        What it encloses, in slide points.
    """

    number: int
    id: str
    name: str
    group: str | None
    meaning: str
    area_mm2: float
    fingerprint: str
    shape: Any = field(repr=False, compare=False)

    def is_like(self, other: "ComparedRegion") -> bool:
        """Whether two regions have one meaning; without a meaning, whether they share a group."""
        if self.meaning or other.meaning:
            return self.meaning == other.meaning
        return self.group == other.group


@dataclass(frozen=True, slots=True)
class Match:
    """Regions of the first file that are the same thing as regions of the second.

    Attributes
    ----------
    first, second : tuple of ComparedRegion
        One each, except where one region was drawn as several.
    dice, iou : float
        Of what all of them enclose, 0 to 1.
    hausdorff_um, mean_distance_um : float
        Between the boundaries; see `boundary_distance`.
    """

    first: tuple[ComparedRegion, ...]
    second: tuple[ComparedRegion, ...]
    dice: float
    iou: float
    hausdorff_um: float
    mean_distance_um: float

    @property
    def first_mm2(self) -> float:
        """Area of the regions of the first file, mm²."""
        return sum(region.area_mm2 for region in self.first)

    @property
    def second_mm2(self) -> float:
        """Area of the regions of the second file, mm²."""
        return sum(region.area_mm2 for region in self.second)

    @property
    def groups_agree(self) -> bool:
        """Whether all of them have one meaning (without a meaning: one group)."""
        return all(a.is_like(b) for a in self.first for b in self.second)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two files of one slide have in common and in what they differ.

    Attributes
    ----------
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    profile : GroupProfile
        What the groups were taken to mean, in both files.
    profile_reason : str
        Why, in a sentence.
    min_iou, agree_dice : float
        The rule of matching and of agreement.
    pairs : tuple of Match
        One region each, in the order of the first file.
    regroupings : tuple of Match
        What one file has in one region and the other in several. Pairs that are part of one are
        in `pairs` too.
    only_in_first, only_in_second : tuple of ComparedRegion
        Regions without a counterpart.
    first_count, second_count : int
        Regions that were compared.
    first_left_out, second_left_out : int
        Annotations that enclose nothing (dots, rulers, outlines of two points): not compared.
    tumour_dice, tumour_iou : float or None
        Of the tumour regions of the whole slide; None where neither file has tumour.
    first_tumour_mm2, second_tumour_mm2, common_tumour_mm2 : float
        Areas of the tumour regions and of what they have in common.
    """

    mpp: Mpp
    profile: GroupProfile
    profile_reason: str
    min_iou: float
    agree_dice: float
    pairs: tuple[Match, ...]
    regroupings: tuple[Match, ...]
    only_in_first: tuple[ComparedRegion, ...]
    only_in_second: tuple[ComparedRegion, ...]
    first_count: int
    second_count: int
    first_left_out: int
    second_left_out: int
    tumour_dice: float | None
    tumour_iou: float | None
    first_tumour_mm2: float
    second_tumour_mm2: float
    common_tumour_mm2: float

    @property
    def single_pairs(self) -> tuple[Match, ...]:
        """The pairs that are no part of a regrouping."""
        grouped = {region.number for match in self.regroupings for region in match.first}
        return tuple(pair for pair in self.pairs if pair.first[0].number not in grouped)

    @property
    def compared(self) -> tuple[frozenset[int], frozenset[int]]:
        """The places in the two sets of all regions that were compared."""
        matches = (*self.pairs, *self.regroupings)
        first = [*self.only_in_first, *(region for match in matches for region in match.first)]
        second = [*self.only_in_second, *(region for match in matches for region in match.second)]
        return (
            frozenset(region.number for region in first),
            frozenset(region.number for region in second),
        )

    def agree_on(self, pair: Match) -> bool:
        """Whether both agree on a pair: one meaning, and Dice of at least `agree_dice`."""
        return pair.groups_agree and pair.dice >= self.agree_dice

    @property
    def agreeing(self) -> tuple[Match, ...]:
        """The single pairs on which both agree."""
        return tuple(filter(self.agree_on, self.single_pairs))


def compare(
    first: AnnotationSet,
    second: AnnotationSet,
    mpp: Mpp,
    *,
    profile: GroupProfile | None = None,
    min_iou: float = MIN_IOU,
    agree_dice: float = AGREE_DICE,
) -> Comparison:
    """Compare two annotators' outlines of one slide.

    Regions are those of `region_of`, holes and cut-outs as outlines of their own. Two regions can
    be paired when their overlap (IoU) is at least `min_iou`, and at least 0.5 where their meanings
    differ; of all ways to pair them one to one, the one with the greatest sum of IoU is taken. A
    region that is left over is a piece of a larger one of the other file, of the same meaning,
    when at least half of it lies in that and not in that one's partner. Marks (dots, rulers,
    lines) are not compared; they are counted.

    Parameters
    ----------
    first, second : AnnotationSet
        Outlines may cross themselves; see `ring_region`.
    mpp : tuple of float
        µm per level-0 pixel ``(x, y)``.
    profile : GroupProfile, optional
        What the groups mean; by default what `choose_profile` says of both files together.
    min_iou : float
        Above 0 and up to 1.
    agree_dice : float
        Dice from which the outlines of a pair agree, 0 to 1.

    Raises
    ------
    ValueError
        The pixel size is not positive, or a limit lies outside its bounds.
    """
    if not (np.isfinite(mpp).all() and min(mpp) > 0):
        raise ValueError(f"A pixel size is positive, not {mpp}.")
    if not (0 < min_iou <= 1 and 0 <= agree_dice <= 1):
        raise ValueError(f"Limits lie between 0 and 1, not {min_iou} and {agree_dice}.")
    both = AnnotationSet((*first.annotations, *second.annotations), (*first.groups, *second.groups))
    choice = profile_for(both, profile)
    profile = choice.profile
    ours, theirs = _regions(first, profile, mpp), _regions(second, profile, mpp)
    overlaps = _overlaps(ours, theirs)
    pairs, regroupings = _correspondence(ours, theirs, overlaps, min_iou)
    matches = _matches(ours, theirs, overlaps, [*pairs, *regroupings], mpp)
    matched = {k for firsts, _ in (*pairs, *regroupings) for k in firsts}
    matched_there = {k for _, seconds in (*pairs, *regroupings) for k in seconds}
    tumours = _tumour(ours), _tumour(theirs)
    areas = [area_mm2(tumour, mpp) for tumour in tumours]
    common = _common_px2(*tumours) * mpp[0] * mpp[1] / 1e6
    return Comparison(
        mpp=mpp,
        profile=profile,
        profile_reason=choice.reason,
        min_iou=min_iou,
        agree_dice=agree_dice,
        pairs=tuple(matches[: len(pairs)]),
        regroupings=tuple(matches[len(pairs) :]),
        only_in_first=tuple(r for k, r in enumerate(ours) if k not in matched),
        only_in_second=tuple(r for k, r in enumerate(theirs) if k not in matched_there),
        first_count=len(ours),
        second_count=len(theirs),
        first_left_out=len(first) - len(ours),
        second_left_out=len(second) - len(theirs),
        tumour_dice=_share(2 * common, sum(areas)),
        tumour_iou=_share(common, sum(areas) - common),
        first_tumour_mm2=areas[0],
        second_tumour_mm2=areas[1],
        common_tumour_mm2=common,
    )


def _tumour(regions: Sequence[ComparedRegion]) -> Any:
    """Return what `tumour_region` does, of regions that are known already."""
    return region_from(
        [region.shape for region in regions if region.meaning == "tumour"],
        [region.shape for region in regions if region.meaning == "cut-out"],
    )


def _common_px2(first: Any, second: Any) -> float:
    """Return the area that two regions share, part by part: much faster than all at once."""
    parts, others = shapely.get_parts(first), shapely.get_parts(second)
    k, j = shapely.STRtree(others).query(parts, predicate="intersects")
    shared = shapely.intersection(parts[k], others[j], grid_size=PRECISION_PX)
    return float(shapely.area(shared).sum())


def _share(part: float, whole: float) -> float | None:
    return min(1.0, part / whole) if whole > 0 else None


def _regions(
    annotation_set: AnnotationSet, profile: GroupProfile, mpp: Mpp
) -> list[ComparedRegion]:
    regions = []
    for number, annotation in enumerate(annotation_set):
        shape = region_of(annotation)
        if shape.is_empty:
            continue
        meaning = meaning_of(annotation, annotation_set.groups, profile)
        regions.append(
            ComparedRegion(
                number=number,
                id=annotation.id,
                name=annotation.name,
                group=annotation.group,
                meaning=meaning,
                area_mm2=area_mm2(shape, mpp),
                fingerprint=_fingerprint(annotation),
                shape=shape,
            )
        )
    return regions


def _fingerprint(annotation: Annotation) -> str:
    digest = hashlib.sha256(repr((annotation.kind, annotation.group)).encode())
    for part in annotation.parts:
        for ring in (part.points, *part.holes):
            digest.update(len(ring).to_bytes(8, "little") + ring.tobytes())
    return digest.hexdigest()[:16]


# --- what corresponds to what ------------------------------------------------------------------

_Corresponding = list[tuple[tuple[int, ...], tuple[int, ...]]]
"""Places in the two lists of regions, those together that are the same thing."""

_Places = NDArray[np.intp]
_Floats = NDArray[np.float64]


_Overlaps = dict[tuple[int, int], float]
"""Which regions of the two files overlap, by their places in the lists, and on how many px²."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The regions of one file, and with which of the other file each is paired."""

    shapes: NDArray[np.object_]
    areas_px2: _Floats
    partner: dict[int, int]


def _overlaps(ours: Sequence[ComparedRegion], theirs: Sequence[ComparedRegion]) -> _Overlaps:
    shapes, others = _shapes(ours), _shapes(theirs)
    here, there = shapely.STRtree(others).query(shapes, predicate="intersects")
    common = shapely.intersection(shapes[here], others[there], grid_size=PRECISION_PX)
    found = zip(here.tolist(), there.tolist(), shapely.area(common).tolist(), strict=True)
    # In order, so that of two that are equally good the first one is taken every time.
    return {(i, j): shared for i, j, shared in sorted(found) if shared > 0}


def _correspondence(
    ours: Sequence[ComparedRegion],
    theirs: Sequence[ComparedRegion],
    overlaps: _Overlaps,
    min_iou: float,
) -> tuple[_Corresponding, _Corresponding]:
    """Return the pairs, and what is one region in one file and several in the other."""
    if not overlaps:
        return [], []
    shapes, other_shapes = _shapes(ours), _shapes(theirs)
    areas, other_areas = shapely.area(shapes), shapely.area(other_shapes)
    here, there = np.array(list(overlaps)).T
    common = np.array(list(overlaps.values()))
    like = np.array([ours[i].is_like(theirs[j]) for i, j in zip(here, there, strict=True)], bool)
    iou = common / (areas[here] + other_areas[there] - common)
    fits = iou >= np.where(like, min_iou, max(min_iou, MIN_IOU_ACROSS))
    pairs = _best_pairs(here[fits], there[fits], iou[fits])

    side = _Side(shapes, areas, dict(pairs))
    other_side = _Side(other_shapes, other_areas, {j: i for i, j in pairs})
    here, there, common = here[like], there[like], common[like]
    links = [
        *pairs,
        *((i, j) for j, i in _pieces(there, here, common, other_side, side)),
        *_pieces(here, there, common, side, other_side),
    ]
    regroupings = [
        (firsts, seconds)
        for firsts, seconds in _joined(links, len(ours), len(theirs))
        if len(firsts) + len(seconds) > 2
    ]
    return [((i,), (j,)) for i, j in pairs], regroupings


def _best_pairs(here: _Places, there: _Places, iou: _Floats) -> list[tuple[int, int]]:
    """Return the one-to-one pairs with the greatest sum of IoU, in the order of the first file."""
    if not len(here):
        return []
    rows, columns = here.max() + 1, there.max() + 1
    links = coo_array((iou, (here, rows + there)), shape=(rows + columns, rows + columns))
    _, cluster = connected_components(links, directed=False)
    order = np.argsort(cluster[here], kind="stable")
    starts = np.flatnonzero(np.diff(cluster[here][order], prepend=-1))
    pairs: list[tuple[int, int]] = []
    for members in np.split(order, starts[1:]):
        # Clusters are small, and alone they are solved: a table of all regions would not be.
        own, row = np.unique(here[members], return_inverse=True)
        others, column = np.unique(there[members], return_inverse=True)
        table = np.zeros((len(own), len(others)))
        table[row, column] = iou[members]
        chosen = zip(*linear_sum_assignment(table, maximize=True), strict=True)
        pairs += [(int(own[r]), int(others[c])) for r, c in chosen if table[r, c] > 0]
    return sorted(pairs)


def _pieces(
    piece: _Places, host: _Places, common_px2: _Floats, pieces: _Side, hosts: _Side
) -> list[tuple[int, int]]:
    """Return which regions without a partner are pieces of which larger ones of the other file."""
    largest: dict[int, tuple[float, int]] = {}
    for k, h, shared in zip(piece.tolist(), host.tolist(), common_px2.tolist(), strict=True):
        area = pieces.areas_px2[k]
        fits = area < hosts.areas_px2[h] and shared >= PIECE_SHARE * area
        if k not in pieces.partner and fits and shared > largest.get(k, (0.0, 0))[0]:
            largest[k] = shared, h
    return [
        (k, h)
        for k, (_, h) in largest.items()
        if h not in hosts.partner or not _lies_in(k, hosts.partner[h], pieces)
    ]


def _lies_in(k: int, other: int, side: _Side) -> bool:
    """Whether a region lies in another one of its own file, as an island lies in a hole."""
    common = shapely.intersection(side.shapes[k], side.shapes[other], grid_size=PRECISION_PX)
    return bool(common.area >= PIECE_SHARE * side.areas_px2[k])


def _joined(links: Sequence[tuple[int, int]], count: int, other_count: int) -> _Corresponding:
    if not links:
        return []
    here, there = np.array(links).T
    graph = coo_array(
        (np.ones(len(links)), (here, count + there)), shape=(count + other_count,) * 2
    )
    _, cluster = connected_components(graph, directed=False)
    joined: dict[int, tuple[set[int], set[int]]] = {}
    for i, j in links:
        firsts, seconds = joined.setdefault(int(cluster[i]), (set(), set()))
        firsts.add(i)
        seconds.add(j)
    return [(tuple(sorted(firsts)), tuple(sorted(seconds))) for firsts, seconds in joined.values()]


def _shapes(regions: Sequence[ComparedRegion]) -> NDArray[np.object_]:
    return np.array([region.shape for region in regions], dtype=object)


# --- how well ----------------------------------------------------------------------------------


def _matches(
    ours: Sequence[ComparedRegion],
    theirs: Sequence[ComparedRegion],
    overlaps: _Overlaps,
    corresponding: _Corresponding,
    mpp: Mpp,
) -> list[Match]:
    sides = [
        (_as_one(ours[i].shape for i in firsts), _as_one(theirs[j].shape for j in seconds))
        for firsts, seconds in corresponding
    ]
    distances = boundary_distances(sides, mpp)
    matches = []
    for (firsts, seconds), side, distance in zip(corresponding, sides, distances, strict=True):
        single = len(firsts) == len(seconds) == 1
        common = overlaps[firsts[0], seconds[0]] if single else _common_px2(*side)
        areas = side[0].area + side[1].area
        matches.append(
            Match(
                first=tuple(ours[i] for i in firsts),
                second=tuple(theirs[j] for j in seconds),
                dice=_share(2 * common, areas) or 0.0,
                iou=_share(common, areas - common) or 0.0,
                hausdorff_um=distance.hausdorff_um,
                mean_distance_um=distance.mean_um,
            )
        )
    return matches


def _as_one(shapes: Iterable[Any]) -> Any:
    several = list(shapes)
    return several[0] if len(several) == 1 else merge(several)
