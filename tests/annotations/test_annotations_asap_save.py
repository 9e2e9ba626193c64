"""Saving ASAP XML: what did not change keeps its bytes, what changed reads back exactly."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asap_documents import GROUPS, TEXT, documents
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.asap import read_asap
from napari_camelyon.annotations.asap_write import asap_bytes

COORDINATE = st.floats(-1e6, 1e6, allow_nan=False)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=8).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)


def read(raw: bytes):
    return read_asap(Path("made.xml"), raw)


def assert_same(first, second):
    # ASAP saves rulers without a type, so that their two points alone tell them from the rest.
    untyped = {"ruler", "other"}
    assert first.kind == second.kind or {first.kind, second.kind} <= untyped
    assert (first.name, first.group, first.colour) == (second.name, second.group, second.colour)
    assert of_the_file(first) == of_the_file(second)
    assert_array_equal(first.points, second.points)


def of_the_file(annotation):
    # What is odd is told with the line where it stands, which moves with what is saved before it.
    return {key: value for key, value in annotation.extra.items() if "/" not in key}


@given(documents())
def test_nothing_changed_gives_the_same_bytes(document):
    assert asap_bytes(read(document.raw)) == document.raw


@given(documents(min_annotations=1), st.data())
def test_a_change_touches_the_bytes_of_its_element_alone(document, data):
    before = read(document.raw)
    number = data.draw(st.integers(0, len(before) - 1), label="number")
    old = before.annotations[number]
    points = old.points
    if data.draw(st.booleans(), label="edit points"):
        start = data.draw(st.integers(0, len(points)), label="start")
        end = data.draw(st.integers(start, len(points)), label="end")
        points = np.concatenate([points[:start], data.draw(POINTS, label="new"), points[end:]])
    changed = replace(
        old,
        points=points,
        name=data.draw(st.one_of(st.just(old.name), TEXT), label="name"),
        group=data.draw(st.sampled_from([old.group, *GROUPS]), label="group"),
        colour=data.draw(st.sampled_from([old.colour, "#123456"]), label="colour"),
    )
    raw = asap_bytes(annotations.replace_annotation(before, changed))

    head, tail = document.around(number)
    assert raw.startswith(head)
    assert raw.endswith(tail)
    after = read(raw)
    assert len(after) == len(before)
    assert after.groups == before.groups
    for k, (now, was) in enumerate(zip(after, before, strict=True)):
        assert_same(now, changed if k == number else was)


@given(documents(min_annotations=1, broken=False), st.data())
def test_a_moved_vertex_changes_its_two_numbers_alone(document, data):
    before = read(document.raw)
    number = data.draw(st.integers(0, len(before) - 1))
    old = before.annotations[number]
    assume(len(old.points))
    vertex = data.draw(st.integers(0, len(old.points) - 1))
    points = old.points.copy()
    points[vertex] += 0.125
    raw = asap_bytes(annotations.replace_annotation(before, replace(old, points=points)))

    lines = [len(re.findall("<Coordinate ", element)) for element in document.elements]
    place = sum(lines[:number]) + vertex
    was, now = (
        re.split(rb"(?=<\0?Coordinate )", text) for text in (plain(document.raw), plain(raw))
    )
    different = [k for k, pair in enumerate(zip(was, now, strict=True)) if pair[0] != pair[1]]
    assert different == [place + 1]


def plain(raw: bytes) -> bytes:
    return raw.decode("utf-16").encode() if raw[:2] == b"\xff\xfe" else raw


@given(documents(min_annotations=1), st.data())
def test_removing_takes_out_the_element_and_the_white_space_before_it(document, data):
    before = read(document.raw)
    number = data.draw(st.integers(0, len(before) - 1))
    raw = asap_bytes(annotations.remove_annotations(before, {before.annotations[number].id}))
    head, tail = document.around(number)
    left = len(raw) - len(tail)
    assert raw.endswith(tail)
    assert head.startswith(raw[:left])
    assert not head[left:].replace(b"\0", b"").strip()
    kept = [was for k, was in enumerate(before) if k != number]
    for now, was in zip(read(raw), kept, strict=True):
        assert_same(now, was)


@given(
    documents(), st.lists(st.tuples(POINTS, TEXT, st.sampled_from(GROUPS)), min_size=1, max_size=3)
)
def test_adding_inserts_one_piece_and_reads_back_exactly(document, new):
    before = read(document.raw)
    added = [
        annotations.make_annotation("polygon", points, name=name, group=group, colour="#abcdef")
        for points, name, group in new
    ]
    raw = asap_bytes(annotations.add_annotations(before, added))
    same = 0
    for first, second in zip(raw, document.raw, strict=False):
        if first != second:
            break
        same += 1
    assert raw.endswith(document.raw[same:])
    after = read(raw)
    for now, was in zip(after, [*before, *added], strict=True):
        assert_same(now, was)


@given(st.lists(st.tuples(POINTS, TEXT, st.sampled_from([*GROUPS, None])), max_size=4))
def test_a_new_file_reads_back_exactly(new):
    made = annotations.AnnotationSet(
        tuple(
            annotations.make_annotation("spline", points, name=name, group=group, colour="#abcdef")
            for points, name, group in new
        )
    )
    after = read(asap_bytes(made))
    for now, was in zip(after, made, strict=True):
        assert_same(now, was)
    assert {group.name for group in after.groups} == {a.group for a in made if a.group is not None}
    assert not [problem for problem in after.problems if problem.code == "unknown-group"]


@pytest.mark.parametrize(
    "text",
    [
        "<ASAP_Annotations/>",
        "<ASAP_Annotations></ASAP_Annotations>",
        "<ASAP_Annotations>\n\t<Annotations />\n\t<AnnotationGroups />\n</ASAP_Annotations>\n",
        "<ASAP_Annotations><AnnotationGroups/><Annotations></Annotations></ASAP_Annotations>",
    ],
)
def test_files_without_annotations_take_them(text):
    made = annotations.make_annotation("polygon", [(1, 2), (3, 4), (5, 6.5)], group="Tumor")
    before = read(text.encode())
    after = read(asap_bytes(annotations.add_annotations(before, [made])))
    assert_array_equal(after.annotations[0].points, made.points)
    assert [group.name for group in after.groups] == ["Tumor"]
    assert asap_bytes(before) == text.encode()


def test_text_that_the_encoding_of_the_file_lacks_is_written_as_reference():
    raw = (
        '<?xml version="1.0" encoding="ISO-8859-1"?><ASAP_Annotations><Annotations>'
        '<Annotation Name="Lymphknoten Düsseldorf" Type="Dot" PartOfGroup="None" Color="#F4FA58"/>'
        "</Annotations></ASAP_Annotations>"
    )
    before = read(raw.encode("latin-1"))
    assert before.annotations[0].name == "Lymphknoten Düsseldorf"
    renamed = replace(before.annotations[0], name='Łódź "ü" <&>\n')
    saved = asap_bytes(annotations.replace_annotation(before, renamed))
    assert "ü".encode("latin-1") in saved
    assert read(saved).annotations[0].name == 'Łódź "ü" <&>\n'


def test_holes_and_further_parts_become_annotations_that_mean_the_same():
    square = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)
    made = annotations.make_annotation(
        "polygon",
        square,
        group="metastases",
        holes=[square / 4 + 10],
        more_parts=[annotations.Part(square + 200, (square / 4 + 210,))],
    )
    before = annotations.AnnotationSet(
        (made,), (annotations.Group("metastases"), annotations.Group("normal"))
    )
    after = read(asap_bytes(before))
    assert [a.group for a in after] == ["metastases", "normal", "metastases", "normal"]
    assert annotations.tumour_region(after).equals(annotations.tumour_region(before))


def test_groups_are_added_renamed_recoloured_and_removed_in_place():
    raw = (
        b'<ASAP_Annotations>\n<Annotations/>\n<AnnotationGroups>\n\t<Group Name="a" Mood="x" '
        b'Color="#000000"><Attributes/></Group>\n\t<Group Name="b" /> <!-- kept -->\n'
        b"</AnnotationGroups></ASAP_Annotations>"
    )
    before = read(raw)
    a, b = before.groups
    recoloured = annotations.with_groups(before, [replace(a, colour="#ffffff"), b])
    assert asap_bytes(recoloured) == raw.replace(b"#000000", b"#ffffff")
    renamed = annotations.with_groups(before, [replace(a, name="c"), b])
    assert asap_bytes(renamed) == raw.replace(b'Name="a"', b'Name="c"')
    removed = annotations.with_groups(before, [a])
    assert asap_bytes(removed) == raw.replace(b'\n\t<Group Name="b" />', b"")
    nested = annotations.with_groups(before, [a, b, annotations.Group("d", parent="a")])
    assert read(asap_bytes(nested)).groups[2] == annotations.Group(
        "d", parent="a", colour="#F4FA58"
    )
    told = annotations.with_groups(before, [replace(a, attributes={"reader": "2"}), b])
    assert read(asap_bytes(told)).groups[0].attributes == {"reader": "2"}


def test_every_official_file_is_saved_byte_for_byte(shared_data, tmp_path):
    files = sorted(shared_data.glob("annotations/**/*.xml"))
    assert len(files) >= 26
    for path in files:
        annotation_set = annotations.read(path)
        annotations.write(annotation_set, tmp_path / "saved.xml")
        assert (tmp_path / "saved.xml").read_bytes() == path.read_bytes(), path.name


def test_one_vertex_of_an_official_file_changes_one_line(shared_data, tmp_path):
    path = shared_data / "annotations/asap_c16/tumor_014.xml"
    before = annotations.read(path)
    old = before.annotations[3]
    points = old.points.copy()
    points[5000] = (31_234.567_890_123, 68_000.000_000_001)
    annotations.write(
        annotations.replace_annotation(before, replace(old, points=points)), tmp_path / "x.xml"
    )
    was, now = path.read_bytes().splitlines(), (tmp_path / "x.xml").read_bytes().splitlines()
    changed = [line for line, other in zip(now, was, strict=True) if line != other]
    assert changed == [
        b'\t\t\t\t<Coordinate Order="5000" X="31234.567890123" Y="68000.000000001" />'
    ]


def test_a_vertex_put_in_renumbers_what_follows_and_keeps_its_numbers():
    raw = (
        b'<ASAP_Annotations><Annotations><Annotation Type="Polygon"><Coordinates>'
        b'<Coordinate Order="0" X="1.50" Y="2" /><Coordinate Order="1" X="3.0" Y="4e0" />'
        b"</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    before = read(raw)
    old = before.annotations[0]
    points = np.insert(old.points, 1, (9, 0.1), axis=0)
    saved = asap_bytes(annotations.replace_annotation(before, replace(old, points=points)))
    assert saved == raw.replace(
        b'<Coordinate Order="1"', b'<Coordinate Order="1" X="9" Y="0.1" /><Coordinate Order="2"'
    )


def test_the_last_vertex_of_a_file_without_white_space_goes_alone():
    last = b'<Coordinate Order="3" X="7" Y="8"/>'
    raw = (
        b'<ASAP_Annotations><Annotations><Annotation Type="Polygon"><Coordinates>'
        b'<Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="3" Y="4"/>'
        b'<Coordinate Order="2" X="5" Y="1"/>' + last + b"</Coordinates></Annotation></Annotations>"
        b"</ASAP_Annotations>"
    )
    before = read(raw)
    shorter = replace(before.annotations[0], points=before.annotations[0].points[:-1])
    assert asap_bytes(annotations.replace_annotation(before, shorter)) == raw.replace(last, b"")
