"""lesions.geojson and node.json: true to what was found, readable by others, explained if not."""

import json
import uuid

import numpy as np
import pytest
import shapely

from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    classify_node,
    find_lesions,
    read_lesions,
    read_node,
    write_lesions,
    write_node,
)


@pytest.fixture
def heatmap() -> Heatmap:
    values = np.zeros((60, 70), dtype=np.float32)
    values[5:30, 5:40] = 0.9
    values[12:18, 12:18] = 0.1  # a hole
    values[40:50, 10:13] = values[40:50, 14:20] = 0.7  # two deposits, joined
    values[45:47, 55:57] = 0.6
    return Heatmap(
        Grid(60, 70, 33, 44, 16, 16, 100, 100),
        values,
        (0.243, 0.2431),
        slide_name="patient_017_node_2",
        slide_fingerprint="abc",
    )


def test_lesions_come_back_as_they_were_written(heatmap, tmp_path):
    lesions = find_lesions(heatmap)
    assert [lesion.outline.geom_type for lesion in lesions] == [
        "Polygon",
        "MultiPolygon",
        "Polygon",
    ]
    path = write_lesions(lesions, tmp_path, slide_name="s")
    assert path == tmp_path / "lesions.geojson"
    assert read_lesions(tmp_path) == read_lesions(path) == lesions


def test_no_lesion_is_an_empty_collection(tmp_path):
    write_lesions([], tmp_path)
    assert read_lesions(tmp_path) == []
    assert json.loads((tmp_path / "lesions.geojson").read_text())["features"] == []


def test_the_geojson_is_what_qupath_reads(heatmap, tmp_path):
    """Held against RFC 7946 and against what QuPath's importer takes from a feature."""
    lesions = find_lesions(heatmap)
    path = write_lesions(lesions, tmp_path, slide_name="s", slide_fingerprint="abc")
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    for lesion, feature in zip(lesions, collection["features"], strict=True):
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        geometry = feature["geometry"]
        assert geometry["type"] == lesion.outline.geom_type
        polygons = geometry["coordinates"]
        for polygon in polygons if geometry["type"] == "MultiPolygon" else [polygons]:
            for line in polygon:
                assert len(line) >= 4
                assert line[0] == line[-1]
                assert all(len(point) == 2 for point in line)
        entries = feature["properties"]
        assert entries["objectType"] == "annotation"
        assert entries["classification"]["name"] == "Tumor"
        assert all(0 <= part <= 255 for part in entries["classification"]["color"])
        assert entries["isLocked"] is True
        assert all(isinstance(value, (int, float)) for value in entries["measurements"].values())
        assert entries["measurements"]["Greatest diameter (mm)"] == lesion.diameter_mm
    ids = [feature["id"] for feature in collection["features"]]
    assert len(set(ids)) == len(ids)
    again = json.loads(write_lesions(lesions, tmp_path, slide_fingerprint="abc").read_text())
    assert [feature["id"] for feature in again["features"]] == ids
    other = json.loads(write_lesions(lesions, tmp_path, slide_fingerprint="xyz").read_text())
    assert {feature["id"] for feature in other["features"]}.isdisjoint(ids)


def test_coordinates_are_slide_pixels_x_first(heatmap, tmp_path):
    collection = json.loads(write_lesions(find_lesions(heatmap), tmp_path).read_text())
    largest = shapely.from_geojson(json.dumps(collection["features"][0]["geometry"]))
    # Columns 5–39 and rows 5–29 of a stride of 100 px, whose first centre is at (41, 52).
    assert largest.bounds == pytest.approx((491, 502, 3991, 3002), abs=20)


def test_a_node_comes_back_with_its_lesion(heatmap, tmp_path):
    lesions = find_lesions(heatmap)
    node = classify_node(lesions, heatmap=heatmap)
    write_lesions(lesions, tmp_path)
    assert write_node(node, tmp_path) == tmp_path / "node.json"
    assert read_node(tmp_path) == read_node(tmp_path / "node.json") == node
    entries = json.loads((tmp_path / "node.json").read_text())
    assert entries["schema_version"] == 2
    assert entries["deciding_lesion"] == 1
    assert entries["complete"] is True
    assert entries["beyond_micro_limit_mm"] == pytest.approx(node.diameter_mm - 2)


def test_a_node_alone_comes_back_without_its_lesion(heatmap, tmp_path):
    node = classify_node(find_lesions(heatmap), heatmap=heatmap)
    write_node(node, tmp_path)
    alone = read_node(tmp_path)
    assert alone.deciding_lesion is None
    assert alone.diameter_mm == node.diameter_mm
    write_node(classify_node([], name="n"), tmp_path)
    assert read_node(tmp_path) == classify_node([], name="n")


def spoil(path, change):
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(schema_version=3), "newer napari-camelyon"),
        (lambda e: e.pop("schema_version"), "which schema"),
        (lambda e: e.pop("reasons"), "damaged"),
        (lambda e: e.update(name=3), "damaged"),
        (lambda e: e.update(node_class="large"), "damaged"),
        (lambda e: e.update(node_class=None), "damaged"),
        (lambda e: e.update(diameter_mm="big"), "damaged"),
        (lambda e: e.update(possible_classes=7), "damaged"),
        (lambda e: e.update(lesions=None), "damaged"),
    ],
)
def test_a_damaged_node_is_explained(tmp_path, change, message):
    path = write_node(classify_node([], name="n"), tmp_path)
    spoil(path, change)
    with pytest.raises(ResultError, match=message) as caught:
        read_node(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(schema_version=2), "newer napari-camelyon"),
        (lambda e: e.pop("features"), "damaged"),
        (lambda e: e.update(features=3), "damaged"),
        (lambda e: e["features"].append(None), "damaged"),
        (lambda e: e["features"][0].pop("properties"), "damaged"),
        (lambda e: e["features"][0].update(geometry=None), "damaged"),
        (lambda e: e["features"][0].update(geometry={"type": "Polygon"}), "damaged"),
        (lambda e: e["features"][0]["geometry"].update(coordinates=[[[0, 0], [1, 1]]]), "damaged"),
        (
            lambda e: e["features"][0].update(geometry={"type": "Point", "coordinates": [1, 2]}),
            "damaged",
        ),
        (lambda e: e["features"][0]["properties"]["napari_camelyon"].pop("patches"), "damaged"),
        (
            lambda e: e["features"][0]["properties"]["napari_camelyon"].update(bounds_px=[1, 2]),
            "damaged",
        ),
    ],
)
def test_damaged_lesions_are_explained(heatmap, tmp_path, change, message):
    path = write_lesions(find_lesions(heatmap), tmp_path)
    spoil(path, change)
    with pytest.raises(ResultError, match=message):
        read_lesions(tmp_path)


def test_missing_files_are_explained(tmp_path):
    with pytest.raises(ResultError, match=r"no node\.json"):
        read_node(tmp_path)
    with pytest.raises(ResultError, match=r"no lesions\.geojson"):
        read_lesions(tmp_path)
