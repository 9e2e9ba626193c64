"""GeoJSON: what QuPath and others write, and that a round trip keeps all of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.geojson import geojson_bytes, read_geojson
from napari_camelyon.errors import AnnotationError

NUMBER = st.one_of(st.floats(-1e7, 1e7, allow_nan=False), st.integers(0, 250_000).map(float))
RING = st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=6).map(np.array)
COLOUR = st.one_of(st.none(), st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}"))
KINDS = ["polygon", "rectangle", "spline", "dot", "pointset", "ruler", "polyline"]
TEXT = st.text('aé😀"\\{\n', max_size=5)


@st.composite
def annotation_sets(draw):
    groups = draw(st.dictionaries(st.sampled_from(["Tumor", "_2", "Ä: b"]), COLOUR))
    made = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(
            st.sampled_from(
                ["polygon", "rectangle", "spline", "dot", "pointset", "ruler", "polyline"]
            )
        )
        points = draw(RING)
        points = {"dot": points[:1], "ruler": points[:2]}.get(kind, points)
        whole = kind == "polygon"
        made.append(
            annotations.make_annotation(
                kind,
                points,
                name=draw(TEXT),
                group=draw(st.sampled_from([None, *groups])),
                colour=draw(COLOUR),
                holes=draw(st.lists(RING, max_size=2)) if whole else (),
                more_parts=[
                    annotations.Part(draw(RING), tuple(draw(st.lists(RING, max_size=1))))
                    for _ in range(draw(st.integers(0, 2)) if whole else 0)
                ],
            )
        )
    used = {annotation.group for annotation in made}
    return annotations.AnnotationSet(
        tuple(made), tuple(annotations.Group(n, colour=c) for n, c in groups.items() if n in used)
    )


def read(data) -> annotations.AnnotationSet:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return read_geojson(Path("made.geojson"), raw)


@given(annotation_sets())
def test_a_round_trip_keeps_class_name_colour_parts_holes_and_every_digit(made):
    after = read(geojson_bytes(made))
    assert {g.name: g.colour for g in after.groups} == {g.name: g.colour for g in made.groups}
    assert [a.id for a in after] == [a.id for a in made]
    for now, was in zip(after, made, strict=True):
        # ASAP's default colour means that no colour was chosen.
        colour = None if was.colour == "#f4fa58" else was.colour
        assert (now.kind, now.name, now.group) == (was.kind, was.name, was.group)
        assert now.colour == colour
        assert annotations.same_annotation(replace(now, extra={}), replace(was, colour=colour))


@given(annotation_sets())
def test_what_is_written_is_geojson_as_another_library_reads_it(made):
    for feature, annotation in zip(annotations.to_geojson(made)["features"], made, strict=True):
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        if annotation.kind in {"polygon", "rectangle"}:
            outers = [part.points for part in annotation.parts]
            polygons = shapely.get_parts(shape)
            assert len(polygons) == len(outers)
            for polygon, outer in zip(polygons, outers, strict=True):
                assert_array_equal(np.asarray(polygon.exterior.coords)[:-1], outer)


def test_a_spline_keeps_its_control_points_unless_another_program_moved_its_outline():
    made = annotations.AnnotationSet(
        (annotations.make_annotation("spline", [(0, 0), (100, 0), (50, 80.5)]),)
    )
    data = annotations.to_geojson(made)
    ring = data["features"][0]["geometry"]["coordinates"][0]
    assert len(ring) > 10
    back = annotations.from_geojson(data).annotations[0]
    assert back.kind == "spline"
    assert_array_equal(back.points, made.annotations[0].points)
    ring[5][0] += 1
    moved = annotations.from_geojson(data).annotations[0]
    assert moved.kind == "polygon"
    assert_array_equal(moved.points, ring[:-1])


def test_an_asap_file_goes_to_geojson_and_back(shared_data, tmp_path):
    before = annotations.read(shared_data / "annotations/asap_c17/patient_010_node_4.xml")
    annotations.write(before, tmp_path / "a.geojson")
    between = annotations.read(tmp_path / "a.geojson")
    annotations.write(between, tmp_path / "b.xml")
    after = annotations.read(tmp_path / "b.xml")
    assert {g.name: g.colour for g in after.groups} == {g.name: g.colour for g in before.groups}
    for now, was in zip(after, before, strict=True):
        assert (now.kind, now.name, now.group) == (was.kind, was.name, was.group)
        assert_array_equal(now.points, was.points)


def test_members_that_only_other_programs_know_are_kept():
    feature = {
        "type": "Feature",
        "id": "4f3a",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "nucleusGeometry": {"type": "Point", "coordinates": [3, 4]},
        "properties": {
            "objectType": "cell",
            "isLocked": True,
            "measurements": {"Area": 3.5},
            "classification": {"names": ["Tumor", "Positive"], "color": [200, 0, 0]},
        },
    }
    before = read({"type": "FeatureCollection", "features": [feature]})
    assert before.groups == (annotations.Group("Tumor: Positive", colour="#c80000"),)
    renamed = annotations.replace_annotation(before, replace(before.annotations[0], name="mine"))
    (written,) = annotations.to_geojson(renamed)["features"]
    assert written["nucleusGeometry"] == feature["nucleusGeometry"]
    assert written["properties"]["measurements"] == {"Area": 3.5}
    assert written["properties"]["objectType"] == "cell"
    assert written["properties"]["isLocked"] is True
    assert written["properties"]["name"] == "mine"
    assert (
        geojson_bytes(before)
        == json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    )


def test_packed_colours_and_repeated_ids_of_older_qupath():
    feature = {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": {"type": "MultiPolygon", "coordinates": [[[[0, 0], [4, 0], [0, 4], [0, 0]]]]},
        "properties": {"classification": {"name": "Tumor", "colorRGB": -3670016}},
    }
    annotation_set = read([feature, feature])
    assert annotation_set.groups == (annotations.Group("Tumor", colour="#c80000"),)
    assert len({annotation.id for annotation in annotation_set}) == 2
    assert annotation_set.annotations[0].id == "PathAnnotationObject"
    assert [p.code for p in annotation_set.problems] == ["duplicate"]


def test_unreadable_geometry_is_kept_and_told():
    broken = {"type": "CircularString", "coordinates": [[1, 2]]}
    features = [
        {"type": "Feature", "geometry": geometry, "properties": None}
        for geometry in (
            broken,
            None,
            {"type": "Point", "coordinates": []},
            {"type": "Polygon", "coordinates": [[["a", "b"]]]},
            {"type": "Point", "coordinates": [10**400, 1]},
        )
    ]
    annotation_set = read({"type": "FeatureCollection", "features": features})
    assert [len(a.points) for a in annotation_set] == [0] * 5
    assert sum(p.code == "unreadable-geometry" for p in annotation_set.problems) == 4
    written = annotations.to_geojson(annotation_set)["features"]
    assert [feature["geometry"] for feature in written] == [f["geometry"] for f in features]


def test_third_coordinates_are_left_out_and_told():
    data = {"type": "LineString", "coordinates": [[1, 2, 9], [3, 4, 9], [5, 6, 9]]}
    annotation_set = read(data)
    assert annotation_set.annotations[0].kind == "polyline"
    assert_array_equal(annotation_set.annotations[0].points, [(1, 2), (3, 4), (5, 6)])
    assert [p.code for p in annotation_set.problems] == ["third-coordinate"]


def test_regions_become_annotations_with_their_holes():
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(2, 2, 4, 4))
    region = shapely.union_all([ring, shapely.box(20, 20, 30, 30)])
    made = annotations.annotation_from_region(region, name="lesion 1", group="Tumor")
    assert (len(made.parts), sum(len(part.holes) for part in made.parts)) == (2, 1)
    assert annotations.region_of(made).equals(region)
    assert len(annotations.annotation_from_region(shapely.Polygon()).points) == 0


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"type": "FeatureCollection", "features": [', "cut off in line 1"),
        (b'{"type": "Feature"\n "geometry": null}', "line 2"),
        (b'{"id": 1, "content": []}', "no GeoJSON"),
        (b'[{"id": 1, "type": "Polyline"}]', "Polyline"),
        (b"[1, 2]", "list of something"),
        (b'{"type": "FeatureCollection"}', "without a list"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_other_json_is_refused_in_a_sentence(raw, words):
    with pytest.raises(AnnotationError, match=words) as caught:
        read(raw)
    assert "made.geojson" in str(caught.value)


def test_files_of_other_tools_open(shared_data):
    folder = shared_data / "annotations/other_formats"
    files = [*folder.glob("napari_geojson/*"), *folder.glob("wsidicom_annotations/qupath*/*")]
    assert len(files) >= 15
    for path in files:
        annotation_set = annotations.read(path)
        assert len(annotation_set) >= 1, path.name
        features = json.dumps(annotations.to_geojson(annotation_set))
        assert len(annotations.from_geojson(json.loads(features))) == len(annotation_set)
    (hole,) = annotations.read(folder / "napari_geojson/polygon_with_hole.geojson")
    assert annotations.region_of(hole).area == 100 - 4
    for path in (folder / "wsidicom_annotations/sectra").iterdir():
        with pytest.raises(AnnotationError):
            annotations.read(path)


def test_the_content_decides_between_formats_and_the_extension_when_writing(tmp_path):
    made = annotations.AnnotationSet((annotations.make_annotation("dot", [(1, 2)]),))
    annotations.write(made, tmp_path / "a.xml")
    annotations.write(made, tmp_path / "b.GeoJSON")
    (tmp_path / "a.json").write_bytes((tmp_path / "a.xml").read_bytes())
    (tmp_path / "b.txt").write_bytes((tmp_path / "b.GeoJSON").read_bytes())
    for name in ("a.xml", "b.GeoJSON", "a.json", "b.txt"):
        assert_array_equal(annotations.read(tmp_path / name).annotations[0].points, [(1, 2)])
    (tmp_path / "c.csv").write_text("x;y")
    with pytest.raises(AnnotationError, match="ASAP XML or Aperio ImageScope XML"):
        annotations.read(tmp_path / "c.csv")
    with pytest.raises(AnnotationError, match="extension"):
        annotations.write(made, tmp_path / "d.txt")
    assert not (tmp_path / "d.txt").exists()
