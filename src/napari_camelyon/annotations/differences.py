"""Where two annotators differ, as a list that a person can go through."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import shapely

from napari_camelyon.annotations.compare import ComparedRegion, Comparison, Match
from napari_camelyon.annotations.meaning import greatest_diameter_um

__all__ = ["Difference", "DifferenceKind", "DifferenceOrder", "differences"]

DifferenceKind = Literal[
    "only in A", "only in B", "outline", "group", "split", "merged", "regrouped"
]
DifferenceOrder = Literal["worst", "reading"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two files differ; A is the first of them, B the second.

    Attributes
    ----------
    key : str
        Stays the same as long as the regions concerned do, whatever else changes in the files.
    kind : DifferenceKind
        ``"split"`` is one region in A and several in B, ``"merged"`` several in A and one in B,
        ``"regrouped"`` several in both.
    first, second : tuple of ComparedRegion
        The regions concerned; empty where a file has none.
    match : Match or None
        How well they fit; None where one file has nothing.
    differs_mm2 : float
        The area on which the files say different things.
    size_mm : float
        Greatest diameter of all that is concerned.
    bounds_px : tuple of float
        ``(left, top, right, bottom)``, level-0 pixels.
    sentence : str
        For people.
    """

    key: str
    kind: DifferenceKind
    first: tuple[ComparedRegion, ...]
    second: tuple[ComparedRegion, ...]
    match: Match | None
    differs_mm2: float
    size_mm: float
    bounds_px: tuple[float, float, float, float]
    sentence: str

    @property
    def dice(self) -> float:
        """Of all that is concerned; 0 where one file has nothing."""
        return 0.0 if self.match is None else self.match.dice

    @property
    def at_xy(self) -> tuple[float, float]:
        """The slide point in its middle."""
        left, top, right, bottom = self.bounds_px
        return (left + right) / 2, (top + bottom) / 2


def differences(
    comparison: Comparison, *, order: DifferenceOrder = "worst"
) -> tuple[Difference, ...]:
    """Return all places in which two files differ, each of them once.

    Parameters
    ----------
    comparison : Comparison
        Pairs of it that agree are no difference.
    order : {"worst", "reading"}
        Largest differing area first; or by rows, from the top of the slide to its bottom.
    """
    found = [
        *(_one_sided(comparison, region, "only in A") for region in comparison.only_in_first),
        *(_one_sided(comparison, region, "only in B") for region in comparison.only_in_second),
        *(
            _of_match(comparison, pair, "outline" if pair.groups_agree else "group")
            for pair in comparison.single_pairs
            if not comparison.agree_on(pair)
        ),
        *(_of_match(comparison, match, _how(match)) for match in comparison.regroupings),
    ]
    in_reading_order = sorted(found, key=lambda one: (one.bounds_px[1], one.bounds_px[0]))
    numbered = _told_apart(in_reading_order)
    if order == "reading":
        return tuple(numbered)
    return tuple(sorted(numbered, key=lambda one: -one.differs_mm2))


def _how(match: Match) -> DifferenceKind:
    if len(match.first) == 1:
        return "split"
    return "merged" if len(match.second) == 1 else "regrouped"


def _one_sided(comparison: Comparison, region: ComparedRegion, kind: DifferenceKind) -> Difference:
    in_first = kind == "only in A"
    first, second = ((region,), ()) if in_first else ((), (region,))
    size_mm, bounds_px = _extent(comparison, (region,))
    sentence = (
        f"Only {'A' if in_first else 'B'} outlines this: {_called(region)}, "
        f"{_area(region.area_mm2)}, {_length(size_mm)} across."
    )
    return Difference(
        key=_key(first, second),
        kind=kind,
        first=first,
        second=second,
        match=None,
        differs_mm2=region.area_mm2,
        size_mm=size_mm,
        bounds_px=bounds_px,
        sentence=sentence,
    )


def _of_match(comparison: Comparison, match: Match, kind: DifferenceKind) -> Difference:
    areas = match.first_mm2 + match.second_mm2
    common = match.dice * areas / 2
    size_mm, bounds_px = _extent(comparison, (*match.first, *match.second))
    return Difference(
        key=_key(match.first, match.second),
        kind=kind,
        first=match.first,
        second=match.second,
        match=match,
        # Of what is called differently, nothing is agreed on.
        differs_mm2=max(0.0, areas - (common if kind == "group" else 2 * common)),
        size_mm=size_mm,
        bounds_px=bounds_px,
        sentence=_sentence(match, kind),
    )


def _sentence(match: Match, kind: DifferenceKind) -> str:
    agreement = (
        f"Dice {match.dice:.2f}, boundaries up to {match.hausdorff_um:,.0f} µm apart; "
        f"A {_area(match.first_mm2)}, B {_area(match.second_mm2)}."
    )
    if kind == "outline":
        return f"The outlines differ: {agreement}"
    if kind == "group":
        return f"A calls this {_called(match.first[0])}, B {_called(match.second[0])}. {agreement}"
    ours, theirs = _regions(len(match.first)).capitalize(), _regions(len(match.second))
    are = "is" if len(match.first) == 1 else "are"
    return f"{ours} of A {are} {theirs} of B. Together: {agreement}"


def _extent(
    comparison: Comparison, regions: Iterable[ComparedRegion]
) -> tuple[float, tuple[float, float, float, float]]:
    shapes = shapely.GeometryCollection([region.shape for region in regions])
    left, top, right, bottom = map(float, shapely.bounds(shapes))
    return greatest_diameter_um(shapes, comparison.mpp) / 1000, (left, top, right, bottom)


def _key(first: Iterable[ComparedRegion], second: Iterable[ComparedRegion]) -> str:
    sides = [sorted(region.fingerprint for region in side) for side in (first, second)]
    return hashlib.sha256(repr(sides).encode()).hexdigest()[:16]


def _told_apart(found: Iterable[Difference]) -> list[Difference]:
    """Give each difference a key of its own, also where a file holds an outline twice."""
    seen: Counter[str] = Counter()
    apart = []
    for one in found:
        seen[one.key] += 1
        number = seen[one.key]
        apart.append(one if number == 1 else replace(one, key=f"{one.key}-{number}"))
    return apart


def _called(region: ComparedRegion) -> str:
    return f"“{region.group}”" if region.group else "no group"


def _regions(count: int) -> str:
    return "one region" if count == 1 else f"{count:,} regions"


def _area(mm2: float) -> str:
    # Isolated tumour cells cover hundredths of a square millimetre.
    return f"{mm2:.2f} mm²" if mm2 >= 0.1 else f"{mm2:.2g} mm²"


def _length(mm: float) -> str:
    return f"{mm:.2f} mm" if mm >= 0.1 else f"{mm * 1000:.0f} µm"
