"""Measures of outlined tumour, against shapely and against the official labels."""

import csv

import numpy as np
import pytest
import shapely
from scipy.spatial.distance import pdist

from napari_camelyon import annotations
from napari_camelyon.errors import StagingError
from napari_camelyon.staging import (
    measure_lesions,
    measure_regions,
    node_class_of_regions,
)

MPP = (0.5, 0.25)


def drawn(tmp_path, *outlines, group="metastases"):
    """An ASAP file with rectangles (left, top, right, bottom) or rings of points."""
    rings = [
        [(o[0], o[1]), (o[2], o[1]), (o[2], o[3]), (o[0], o[3])] if len(np.shape(o)) == 1 else o
        for o in outlines
    ]
    entries = "".join(
        f'<Annotation Name="r{n}" Type="Polygon" PartOfGroup="{group}" Color="#F4FA58">'
        "<Coordinates>"
        + "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate(ring))
        + "</Coordinates></Annotation>"
        for n, ring in enumerate(rings)
    )
    path = tmp_path / "a.xml"
    path.write_text(
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{entries}</Annotations>'
        f'<AnnotationGroups><Group Name="{group}" PartOfGroup="None" Color="#00ff00">'
        "<Attributes/></Group></AnnotationGroups></ASAP_Annotations>"
    )
    return annotations.read(path)


def test_regions_are_measured_in_mm_where_pixels_are_not_square(tmp_path):
    found = drawn(tmp_path, (0, 0, 600, 1600), (10_000, 0, 10_040, 40))
    large, small = measure_regions(found, MPP)
    assert (large.name, large.group) == ("r0", "metastases")
    assert large.diameter_mm == pytest.approx(0.5)  # 300 by 400 µm
    assert large.area_mm2 == pytest.approx(0.12)
    assert small.diameter_mm == pytest.approx(np.hypot(20, 10) / 1000)
    assert node_class_of_regions([large, small]) == "micro"
    assert node_class_of_regions([]) == "negative"


def test_near_deposits_are_joined_and_their_extent_is_that_of_the_tissue(tmp_path):
    # 100 µm wide each, 60 µm of tissue between them; the third lies 200 µm off.
    found = drawn(tmp_path, (0, 0, 200, 400), (320, 0, 520, 400), (920, 0, 1120, 400))
    near, far = measure_lesions(found, MPP)
    assert near.diameter_mm == pytest.approx(np.hypot(260, 100) / 1000)
    assert near.area_mm2 == pytest.approx(0.02)
    assert near.outline.geom_type == "MultiPolygon"
    assert (near.id, far.id) == (1, 2)
    assert near.bounds_px == (0, 0, 520, 400)
    ends_um = np.array(near.diameter_ends_px) * MPP
    assert np.linalg.norm(ends_um[0] - ends_um[1]) == pytest.approx(near.diameter_mm * 1000)
    assert len(measure_lesions(found, MPP, join_dilation_um=0)) == 3
    assert len(measure_lesions(found, MPP, join_dilation_um=101)) == 1


def test_the_diameter_is_the_farthest_pair_of_corners(tmp_path):
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 4000, (60, 2))
    hull = shapely.get_coordinates(shapely.convex_hull(shapely.MultiPoint(points)))[:-1]
    (lesion,) = measure_lesions(drawn(tmp_path, hull), MPP)
    expected = pdist(hull * MPP).max() / 1000
    assert lesion.diameter_mm == pytest.approx(expected)
    (region,) = measure_regions(drawn(tmp_path, hull), MPP)
    assert region.diameter_mm == pytest.approx(expected)


def test_groups_that_nobody_knows_and_impossible_pixels_are_named(tmp_path):
    found = drawn(tmp_path, (0, 0, 9, 9), group="lesions of mine")
    with pytest.raises(StagingError, match="No group is known as tumour"):
        measure_regions(found, MPP)
    with pytest.raises(StagingError, match="two positive numbers"):
        measure_lesions(found, (0.0, 0.25))


def test_the_six_labelled_slides_have_their_official_class(shared_data):
    """Both by the largest outline and with near deposits joined."""
    table = shared_data / "tables" / "camelyon17_stages_patients_000-019.csv"
    with table.open(encoding="utf-8-sig") as file:
        labels = {row["patient"]: row["stage"] for row in csv.DictReader(file)}
    tried = 0
    for path in sorted((shared_data / "annotations" / "asap_c17").glob("*.xml")):
        label = labels.get(f"{path.stem}.tif")
        if label is None:
            continue
        tried += 1
        found = annotations.read(path)
        assert node_class_of_regions(measure_regions(found, (0.243, 0.243))) == label
        joined = measure_lesions(found, (0.243, 0.243))[0].diameter_mm
        assert ("macro" if joined > 2 else "micro" if joined > 0.2 else "itc") == label
    assert tried == 6
