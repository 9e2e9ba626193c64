"""A table of the outlines: one row an annotation, with what can be measured of it."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import shapely

from napari_camelyon.annotations.checks import check
from napari_camelyon.annotations.meaning import (
    GroupProfile,
    area_mm2,
    choose_profile,
    greatest_diameter_um,
    meaning_of,
    perimeter_mm,
)
from napari_camelyon.annotations.model import AREA_KINDS, Annotation, AnnotationSet, Group
from napari_camelyon.annotations.regions import outline_rings, region_of
from napari_camelyon.files import atomic_file
from napari_camelyon.geometry import Mpp

__all__ = ["SUMMARY_COLUMNS", "write_summary"]

SUMMARY_COLUMNS = (
    "order",
    "id",
    "name",
    "group",
    "meaning",
    "kind",
    "parts",
    "holes",
    "points",
    "area_mm2",
    "perimeter_mm",
    "greatest_diameter_mm",
    "centroid_x_px",
    "centroid_y_px",
    "problems",
)


def write_summary(
    annotation_set: AnnotationSet,
    path: str | os.PathLike[str],
    *,
    mpp: Mpp | None = None,
    profile: GroupProfile | None = None,
    slide_size_px: tuple[int, int] | None = None,
) -> None:
    """Write a table of the annotations as CSV (UTF-8, commas, a header of `SUMMARY_COLUMNS`).

    Measured is the region that an annotation encloses by itself: without its own holes, and not
    without what other annotations cut out of it. The diameter is the greatest (Feret) one; that
    of a ruler is its length. Marks have no area.

    Parameters
    ----------
    annotation_set : AnnotationSet
        In the order of which the rows are numbered from 1.
    path : path-like
        The file to write.
    mpp : tuple of float, optional
        Micrometres per level-0 pixel; without it the columns in millimetres stay empty.
    profile : GroupProfile, optional
        What the groups mean (``tumour``, ``cut-out`` or nothing); by default `choose_profile`
        decides.
    slide_size_px : tuple of int, optional
        Width and height of the slide, to find what lies outside it.

    Raises
    ------
    FileWriteError
        The file cannot be written; what stood there before is untouched.
    """
    chosen = choose_profile(annotation_set).profile if profile is None else profile
    told = (*annotation_set.problems, *check(annotation_set, slide_size_px))
    codes: dict[str, dict[str, None]] = {}
    for problem in told:
        if problem.annotation_id is not None:
            codes.setdefault(problem.annotation_id, {})[problem.code] = None
    with (
        atomic_file(Path(path)) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(SUMMARY_COLUMNS)
        for number, annotation in enumerate(annotation_set, start=1):
            found = " ".join(codes.get(annotation.id, ()))
            row = _row(annotation, annotation_set.groups, chosen, mpp)
            table.writerow([number, *row, found])


def _row(
    annotation: Annotation, groups: Iterable[Group], profile: GroupProfile, mpp: Mpp | None
) -> list[object]:
    region = region_of(annotation)
    rings = outline_rings(annotation)
    if annotation.kind not in AREA_KINDS:
        region = shapely.MultiPoint(np.concatenate([outer for outer, _ in rings]))
    is_area = annotation.kind in AREA_KINDS and not region.is_empty
    measures: list[object] = ["", "", ""]
    if mpp is not None and not region.is_empty:
        measures = [
            _rounded(area_mm2(region, mpp)) if is_area else "",
            _rounded(perimeter_mm(region, mpp)) if is_area else "",
            _rounded(greatest_diameter_um(region, mpp) / 1000),
        ]
    centre = shapely.centroid(region)
    place = ["", ""] if region.is_empty else [f"{centre.x:.1f}", f"{centre.y:.1f}"]
    return [
        annotation.id,
        annotation.name,
        annotation.group or "",
        meaning_of(annotation, tuple(groups), profile),
        annotation.kind,
        len(annotation.parts),
        sum(len(part.holes) for part in annotation.parts),
        sum(len(ring) for part in annotation.parts for ring in (part.points, *part.holes)),
        *measures,
        *place,
    ]


def _rounded(value: float) -> str:
    return f"{value:.6g}"
