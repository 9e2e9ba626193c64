"""The table of outlines, and a person's own map of groups."""

import csv

import numpy as np
import pytest

from napari_camelyon import annotations
from napari_camelyon.errors import AnnotationError, FileWriteError

SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def made_set():
    return annotations.AnnotationSet(
        (
            annotations.make_annotation(
                "polygon",
                SQUARE * 4000,
                name='a, "b"\nc',
                group="Tumor",
                holes=[SQUARE * 1000 + 100],
            ),
            annotations.make_annotation("ruler", [(0, 0), (300, 400)], name="länge"),
            annotations.make_annotation("polygon", [(0, 0), (9, 9)], group="Exclusion"),
            annotations.make_annotation("dot", [(7, 8)]),
            annotations.make_annotation("pointset", np.empty((0, 2))),
        ),
        (annotations.Group("Tumor"), annotations.Group("Exclusion")),
    )


def test_a_row_says_what_can_be_measured(tmp_path):
    annotations.write_summary(made_set(), tmp_path / "a.csv", mpp=(0.25, 0.5))
    square, ruler, short, dot, empty = rows_of(tmp_path / "a.csv")
    assert square["name"] == 'a, "b"\nc'
    assert [square[key] for key in ("order", "group", "meaning", "kind")] == [
        "1", "Tumor", "tumour", "polygon",
    ]  # fmt: skip
    assert [square[key] for key in ("parts", "holes", "points")] == ["1", "1", "8"]
    assert float(square["area_mm2"]) == 1.0 * 2.0 - 0.25 * 0.5
    assert float(square["perimeter_mm"]) == 2 * (1 + 2) + 2 * (0.25 + 0.5)
    assert float(square["greatest_diameter_mm"]) == pytest.approx(np.hypot(1, 2), rel=1e-5)
    assert (square["centroid_x_px"], square["problems"]) == ("2093.3", "")
    assert (ruler["area_mm2"], ruler["perimeter_mm"]) == ("", "")
    assert float(ruler["greatest_diameter_mm"]) == pytest.approx(np.hypot(75, 200) / 1000, rel=1e-5)
    assert (short["meaning"], short["problems"]) == ("cut-out", "too-few-points")
    assert (short["area_mm2"], short["centroid_x_px"]) == ("", "")
    assert (dot["greatest_diameter_mm"], dot["centroid_x_px"]) == ("0", "7.0")
    assert empty["problems"] == "empty"


def test_without_a_pixel_size_there_are_no_millimetres(tmp_path):
    annotations.write_summary(made_set(), tmp_path / "a.csv", slide_size_px=(2000, 2000))
    square, *_ = rows_of(tmp_path / "a.csv")
    assert [square[key] for key in square if key.endswith(("mm", "mm2"))] == ["", "", ""]
    assert (square["points"], square["problems"]) == ("8", "outside-slide")


def test_areas_of_official_outlines(shared_data, tmp_path):
    found = annotations.read(shared_data / "annotations/asap_c17/patient_010_node_4.xml")
    annotations.write_summary(found, tmp_path / "a.csv", mpp=(0.25, 0.25))
    rows = rows_of(tmp_path / "a.csv")
    assert len(rows) == len(found)
    odd = {problem.annotation_id for problem in found.problems}
    plain = [pair for pair in zip(rows, found, strict=True) if pair[1].id not in odd]
    assert len(plain) > 1
    for row, annotation in plain:
        x, y = annotation.points.T  # the shoelace formula
        twice = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
        assert float(row["area_mm2"]) == pytest.approx(twice / 2 * 0.0625e-6, rel=1e-5)


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError):
        annotations.write_summary(made_set(), tmp_path / "file" / "a.csv")


def test_a_map_of_groups_is_read_from_a_file(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text('{"tumour": ["A", "B"], "cut_out": ["C"]}', encoding="utf-8")
    profile = annotations.read_profile(path)
    assert (profile.tumour, profile.cut_out) == ({"A", "B"}, {"C"})
    made = annotations.AnnotationSet(
        (
            annotations.make_annotation("polygon", SQUARE * 10, group="A"),
            annotations.make_annotation("polygon", SQUARE * 2, group="C"),
        )
    )
    assert annotations.tumour_region(made, profile).area == 96


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("tumour: A", "no JSON file"),
        ("[]", "one JSON object"),
        ('{"tumor": ["A"]}', '"tumor", which means nothing'),
        ('{"tumour": "A"}', "list of names"),
        ('{"tumour": [1]}', "list of names"),
        ('{"cut_out": ["A"]}', "no group is tumour"),
        ('{"tumour": ["A"], "cut_out": ["A"]}', "A is tumour and cut out"),
    ],
)
def test_a_map_that_makes_no_sense_is_explained(tmp_path, content, words):
    path = tmp_path / "groups.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AnnotationError, match=words) as caught:
        annotations.read_profile(path)
    assert "groups.json" in str(caught.value)
