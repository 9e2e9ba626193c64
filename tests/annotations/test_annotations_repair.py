"""Repairs: the problem is gone, here and in the file, and nothing else changed."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from asap_documents import documents
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.asap import read_asap
from napari_camelyon.annotations.asap_write import asap_bytes
from napari_camelyon.errors import AnnotationError

SIZE = (100_000, 90_000)


def read(raw: bytes):
    return read_asap(Path("made.xml"), raw)


def described(problem):
    return problem.code, problem.annotation_id


def is_about(problem, annotation_set):
    """Whether the same problem is still told of the same annotation or, of a group, of its name."""
    if problem.annotation_id is None or problem.code == "unknown-group":
        names = re.findall('"([^"]*)"', problem.message)
        return any(
            p.code == problem.code and re.findall('"([^"]*)"', p.message) == names
            for p in annotations.check(annotation_set, SIZE)
        )
    found = annotations.check(annotation_set, SIZE)
    return any(described(p) == described(problem) for p in found)


@given(documents(min_annotations=1), st.data())
def test_one_repair_mends_one_problem_here_and_in_the_saved_file(document, data):
    before = read(document.raw)
    problems = [p for p in annotations.check(before, SIZE) if annotations.repairs_for(p)]
    assume(problems)
    problem = data.draw(st.sampled_from(problems))
    after = annotations.repair(before, problem, SIZE)

    assert not is_about(problem, after)
    assert after.problems == annotations.check(after, SIZE)
    if problem.code in {"unknown-group", "duplicate-group"}:
        assert after.annotations == before.annotations
    else:
        assert after.groups == before.groups
        others = [a for a in before if a.id != problem.annotation_id]
        kept = [a for a in after if a.id != problem.annotation_id]
        assert all(map(annotations.same_annotation, others, kept))
        assert len(others) == len(kept)
        mended = [a for a in after if a.id == problem.annotation_id]
        for annotation in mended:
            was = before[annotation.id]
            assert (annotation.name, annotation.group) == (was.name, was.group)

    saved = read(asap_bytes(after))
    if problem.annotation_id is None:
        assert not is_about(problem, saved)
    elif problem.code != "unknown-group" and mended:
        number = [a.id for a in after].index(problem.annotation_id)
        codes = {p.code for p in annotations.check(saved, SIZE) if p.annotation_id == str(number)}
        assert problem.code not in codes


@given(documents())
def test_all_repairs_together_leave_nothing_that_can_be_repaired(document):
    before = read(document.raw)
    after, done = annotations.repair_all(before, slide_size_px=SIZE)
    assert not [p for p in after.problems if annotations.repairs_for(p)]
    saved = read(asap_bytes(after))
    assert not [p for p in annotations.check(saved, SIZE) if annotations.repairs_for(p)]
    if not done:
        assert asap_bytes(after) == document.raw


RING = st.lists(
    st.tuples(st.integers(0, 30).map(float), st.integers(0, 30).map(float)), min_size=4, max_size=12
).map(np.array)


@given(RING, st.sampled_from([0.0, 12_345.678901]))
def test_an_uncrossed_outline_encloses_the_same_and_keeps_its_points(ring, shift):
    made = annotations.AnnotationSet((annotations.make_annotation("polygon", ring + shift),))
    crossing = [p for p in annotations.check(made) if p.code == "self-crossing"]
    assume(crossing)
    (before,) = made
    (after,) = annotations.repair(made, crossing[0])
    region = annotations.region_of(before)
    if region.is_empty:
        assert (after.kind, len(after.points)) == ("polyline", len(ring))
        return
    now = annotations.region_of(after)
    assert shapely.symmetric_difference(now, region).area < 1e-3
    rings = [r for part in after.parts for r in (part.points, *part.holes)]
    assert all(shapely.Polygon(r).is_valid for r in rings)
    # A point is concerned when another piece of the line meets it.
    points = {tuple(point) for point in np.concatenate(rings)}
    line = shapely.linestrings(np.stack([before.points, np.roll(before.points, -1, axis=0)], 1))
    for k, point in enumerate(before.points):
        others = np.delete(line, [k, k - 1])
        alone = shapely.distance(shapely.Point(point), others).min() > 0.01
        if alone and shapely.boundary(region).distance(shapely.Point(point)) < 1e-6:
            assert tuple(point) in points


def test_every_crossing_outline_of_the_official_files(shared_data, tmp_path):
    count = 0
    for path in sorted(shared_data.glob("annotations/asap_c1?/*.xml")):
        before = annotations.read(path)
        after, done = annotations.repair_all(before)
        assert after.problems == ()
        count += sum(problem.code == "self-crossing" for problem in done)
        touched = {problem.annotation_id for problem in done}
        for now, was in zip(after, before, strict=True):
            if now.id not in touched:
                assert now is was
            elif was.kind in annotations.AREA_KINDS and len(was.points) > 2:
                region = annotations.region_of(was)
                assert shapely.symmetric_difference(region, annotations.region_of(now)).area < 0.5
                new = {tuple(p) for part in now.parts for p in part.points.tolist()}
                if was.kind == "polygon":
                    old = {tuple(p) for p in was.points.tolist()}
                    assert len(new & old) > 0.5 * len(new)
        annotations.write(after, tmp_path / "a.xml")
        assert annotations.check(annotations.read(tmp_path / "a.xml")) == ()
    assert count == 74


def one(kind, points, **more):
    made = annotations.make_annotation(kind, points, **more)
    return annotations.AnnotationSet((made,), (annotations.Group("a"),))


def mended(annotation_set, code, size=None):
    (problem,) = [p for p in annotations.check(annotation_set, size) if p.code == code]
    return annotations.repair(annotation_set, problem, size).annotations


SQUARE = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)


def test_what_becomes_of_what_is_too_short():
    (dot,) = mended(one("polygon", [(1, 2)]), "too-few-points")
    assert (dot.kind, dot.points.tolist()) == ("dot", [[1, 2]])
    (ruler,) = mended(one("spline", [(1, 2), (3, 4), (np.nan, 1)]), "too-few-points")
    assert (ruler.kind, len(ruler.points)) == ("ruler", 2)
    assert mended(one("polygon", [(np.nan, 1)]), "too-few-points") == ()
    short = annotations.Part([(0, 0), (1, 1)])
    (square,) = mended(
        one("polygon", SQUARE, holes=[SQUARE[:1]], more_parts=[short]), "too-few-points"
    )
    assert (len(square.parts), square.holes) == (1, ())


def test_what_lies_outside_is_cut_off():
    size = (5, 20)
    (box,) = mended(one("rectangle", SQUARE), "outside-slide", size)
    assert box.kind == "rectangle"
    assert annotations.region_of(box).bounds == (0, 0, 5, 10)
    (u_shape,) = mended(
        one("polygon", [(4, 0), (9, 0), (9, 9), (4, 9), (4, 6), (6, 6), (6, 3), (4, 3)]),
        "outside-slide",
        size,
    )
    assert len(u_shape.parts) == 2
    assert mended(one("polygon", SQUARE + 50), "outside-slide", size) == ()
    (points,) = mended(one("pointset", [(1, 1), (9, 9)]), "outside-slide", size)
    assert points.points.tolist() == [[1, 1]]
    (line,) = mended(one("polyline", [(0, 1), (9, 1), (9, 2), (0, 2)]), "outside-slide", size)
    assert [part.points.tolist() for part in line.parts] == [[[0, 1], [5, 1]], [[5, 2], [0, 2]]]
    (far,) = mended(one("polygon", [*SQUARE, (-1, 1e30)]), "outside-slide", size)
    assert annotations.region_of(far).bounds == (0, 0, 5, 10)
    dot = one("dot", [(9, 9)])
    (problem,) = annotations.check(dot, size)
    with pytest.raises(AnnotationError, match="Give the slide"):
        annotations.repair(dot, problem)


def test_the_same_outline_in_another_group_is_left_to_a_person():
    first = annotations.make_annotation("polygon", SQUARE, group="a", name="first")
    groups = (annotations.Group("a"), annotations.Group("b"))
    same = replace(first, id="x", group="b")
    (problem,) = annotations.check(annotations.AnnotationSet((first, same), groups))
    assert (problem.code, annotations.repairs_for(problem)) == ("same-outline", None)
    with pytest.raises(AnnotationError, match="cannot be repaired"):
        annotations.repair(annotations.AnnotationSet((first, same), groups), problem)
    twice = annotations.AnnotationSet((first, replace(same, group="a")), groups)
    assert [a.name for a in mended(twice, "duplicate")] == ["first"]
    other_hole = replace(same, group="a", holes=(SQUARE / 4 + 1,))
    assert annotations.check(annotations.AnnotationSet((first, other_hole), groups)) == ()


def test_groups_are_defined_and_their_second_definitions_removed():
    raw = (
        b'<ASAP_Annotations><Annotations><Annotation Name="x" Type="Dot" PartOfGroup="Tumor" '
        b'Color="#123456"><Coordinates><Coordinate Order="0" X="1" Y="2"/></Coordinates>'
        b'</Annotation></Annotations><AnnotationGroups>\n<Group Name="a" PartOfGroup="gone" '
        b'Color="#000000"/>\n<Group Name="a" Color="#ffffff"/></AnnotationGroups>'
        b"</ASAP_Annotations>"
    )
    before = read(raw)
    after, done = annotations.repair_all(before)
    assert sorted(problem.code for problem in done) == [
        "duplicate-group", "unknown-group", "unknown-group",
    ]  # fmt: skip
    saved = read(asap_bytes(after))
    assert saved.problems == ()
    assert [group.name for group in saved.groups] == ["a", "gone", "Tumor"]
    assert saved.groups[2].colour == "#123456"
    assert_array_equal(saved.annotations[0].points, [(1, 2)])


def test_a_repair_of_what_is_gone_is_refused():
    made = one("polygon", [(1, 2)])
    (problem,) = annotations.check(made)
    with pytest.raises(AnnotationError, match="no longer there"):
        annotations.repair(annotations.AnnotationSet(), problem)


def test_only_the_problems_asked_for_are_mended():
    made = one("polygon", [(0, 0), (10, 10), (10, 0), (0, 10), (np.nan, 3)])
    after, done = annotations.repair_all(made, ["not-a-number"])
    assert [problem.code for problem in done] == ["not-a-number"]
    assert [problem.code for problem in after.problems] == ["self-crossing"]
    assert all(sentence.endswith(".") for sentence in annotations.REPAIRS.values())
