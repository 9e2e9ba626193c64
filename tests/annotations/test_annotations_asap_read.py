"""Reading ASAP XML: nothing lost, everything odd told, everything dangerous refused."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from asap_documents import documents
from hypothesis import given
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.asap import read_asap
from napari_camelyon.annotations.asap_write import asap_bytes
from napari_camelyon.errors import AnnotationError

WELL_FORMED = """<?xml version="1.0"?>
<ASAP_Annotations>
\t<Annotations>
\t\t<Annotation Name="A" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58">
\t\t\t<Coordinates>
{coordinates}
\t\t\t</Coordinates>
\t\t</Annotation>
\t</Annotations>
\t<AnnotationGroups>
\t\t<Group Name="Tumor" PartOfGroup="None" Color="#00aa00">
\t\t\t<Attributes />
\t\t</Group>
\t</AnnotationGroups>
</ASAP_Annotations>
"""


def read(text: str | bytes):
    return read_asap(Path("made.xml"), text.encode() if isinstance(text, str) else text)


def with_points(*points: tuple[object, object, object]) -> str:
    lines = [f'\t\t\t\t<Coordinate Order="{o}" X="{x}" Y="{y}" />' for o, x, y in points]
    return WELL_FORMED.format(coordinates="\n".join(lines))


def codes(annotation_set) -> list[str]:
    return [problem.code for problem in annotation_set.problems]


@given(documents(broken=False))
def test_every_number_and_text_is_read_as_another_parser_reads_it(document):
    annotation_set = read(document.raw)
    elements = ElementTree.fromstring(document.raw).findall("Annotations/Annotation")
    assert len(annotation_set) == len(elements)
    for annotation, element in zip(annotation_set, elements, strict=True):
        assert annotation.name == element.get("Name")
        assert (annotation.group or "None") == element.get("PartOfGroup")
        assert annotation.extra.get("Mood") == element.get("Mood")
        expected = [(float(c.get("X")), float(c.get("Y"))) for c in element.iter("Coordinate")]
        assert annotation.points.dtype == np.float64
        assert_array_equal(annotation.points, np.array(expected).reshape(-1, 2))


@given(documents())
def test_whatever_is_well_formed_opens_and_keeps_all_annotations(document):
    annotation_set = read(document.raw)
    assert len(annotation_set) == len(document.elements)
    ids = {annotation.id for annotation in annotation_set}
    assert len(ids) == len(annotation_set)
    assert {p.annotation_id for p in annotation_set.problems} - {None} <= ids
    for annotation in annotation_set:
        assert annotations.region_of(annotation).is_valid


def test_what_a_plain_file_says():
    annotation_set = read(with_points((0, 1.5, 2), (1, 3, 4), (2, "5e1", 6)))
    (annotation,) = annotation_set
    assert (annotation.name, annotation.kind, annotation.group) == ("A", "polygon", "Tumor")
    assert_array_equal(annotation.points, [(1.5, 2), (3, 4), (50, 6)])
    assert annotation_set.groups == (annotations.Group("Tumor", None, "#00aa00"),)
    assert annotation_set.problems == ()
    with pytest.raises(ValueError, match="read-only"):
        annotation.points[0] = 0


@pytest.mark.parametrize(
    ("orders", "expected", "told"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], []),
        ([3, 0, 2, 1], [1, 3, 2, 0], []),
        ([1, 2, 3, 4], [0, 1, 2, 3], ["bad-order"]),
        ([9, 1, 2, 4], [1, 2, 3, 0], ["bad-order"]),
        ([0, 1, 1, 2], [0, 1, 2, 3], ["bad-order"]),
        ([0, "x", 1, 2], [0, 1, 2, 3], ["bad-order"]),
        ([0, "", 1, 2], [0, 1, 2, 3], ["bad-order"]),
    ],
)
def test_order_is_followed_where_it_makes_sense(orders, expected, told):
    square = [(0, 0), (10, 0), (10, 10), (0, 10)]
    text = with_points(*((order, *point) for order, point in zip(orders, square, strict=True)))
    annotation_set = read(text)
    points = annotation_set.annotations[0].points
    assert_array_equal(points, np.array(square)[expected])
    assert [code for code in codes(annotation_set) if code == "bad-order"] == told


def test_odd_content_is_kept_and_told():
    text = (
        "<ASAP_Annotations><Annotations>"
        '<Annotation Name="two" Type="Polygon" PartOfGroup="Tumour?"><Coordinates>'
        '<Coordinate Order="0" X="1" Y="1"/><Coordinate Order="1" X="2" Y="2"/>'
        "</Coordinates></Annotation>"
        '<Annotation Name="eight" Type="Polygon" PartOfGroup="a"><Coordinates>'
        '<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="10" Y="10"/>'
        '<Coordinate Order="2" X="10" Y="0"/><Coordinate Order="3" X="0" Y="10"/>'
        "</Coordinates></Annotation>"
        '<Annotation Name="nan" Type="Polygon" PartOfGroup="a"><Coordinates>'
        '<Coordinate Order="0" X="zero" Y="0"/><Coordinate Order="1" X="10" Y="1e30"/>'
        '<Coordinate Order="2" X="10" Y="0"/><Coordinate Order="3" X="0" Y="10"/>'
        "</Coordinates></Annotation>"
        '<Annotation Name="none" Type="Polygon" PartOfGroup="a"/>'
        '<Annotation Name="blob" Type="Blob"/>'
        "</Annotations><AnnotationGroups>"
        '<Group Name="a" PartOfGroup="gone"/><Group Name="a"/>'
        "</AnnotationGroups></ASAP_Annotations>"
    )
    annotation_set = read(text)
    told = {
        (p.code, p.annotation_id and annotation_set[p.annotation_id].name, p.severity)
        for p in annotation_set.problems
    }
    assert told == {
        ("too-few-points", "two", "error"),
        ("unknown-group", "two", "warning"),
        ("self-crossing", "eight", "warning"),
        ("not-a-number", "nan", "warning"),
        ("far-away", "nan", "error"),
        ("empty", "none", "warning"),
        ("empty", "blob", "warning"),
        ("unknown-type", "blob", "warning"),
        ("unknown-group", None, "warning"),
        ("duplicate-group", None, "warning"),
    }
    crossing = next(p for p in annotation_set.problems if p.code == "self-crossing")
    assert crossing.at_xy == (5, 5)
    assert "eight" in crossing.message
    assert "(5, 5)" in crossing.message
    for problem in annotation_set.problems:
        assert problem.message.endswith(".")


def test_the_same_outline_twice_is_told_whatever_its_start_and_direction():
    ring = np.array([(0, 0), (9, 1), (8, 8)], float)
    made = annotations.AnnotationSet(
        tuple(
            annotations.make_annotation("polygon", points)
            for points in (ring, np.roll(ring, 1, axis=0), ring[::-1], ring + 1)
        )
    )
    assert [p.annotation_id for p in annotations.check(made)] == [a.id for a in made][1:3]


def test_what_lies_outside_the_slide_is_told_only_when_the_slide_is_known():
    annotation_set = read(with_points((0, -1, 5), (1, 90, 5), (2, 90, 90)))
    assert codes(annotation_set) == []
    (problem,) = annotations.check(annotation_set, (200, 100))
    assert (problem.code, problem.at_xy) == ("outside-slide", (-1, 5))
    assert not annotations.check(annotation_set, (200, 100))[1:]


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://localhost/x.dtd"> %a;]>',
    ],
)
def test_entities_are_refused(declaration):
    text = with_points((0, 1, 1)).replace("<ASAP", declaration + "<ASAP", 1)
    with pytest.raises(AnnotationError, match="entities"):
        read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("Slide;X;Y\n1;2;3", "no XML"),
        ("<html><body/></html>", "<html>"),
        ('<Annotations MicronsPerPixel="0.25"/>', "ImageScope"),
        (
            "<ASAP_Annotations><Annotations><a></Annotations></ASAP_Annotations>",
            "damaged in line 1",
        ),
        ('<?xml version="1.0" encoding="klingon"?><ASAP_Annotations/>', "encoding"),
        ('<?xml version="1.0" encoding="shift_jis"?><ASAP_Annotations/>', "encoding"),
    ],
)
def test_other_files_are_refused_in_a_sentence(text, words):
    with pytest.raises(AnnotationError, match=words) as caught:
        read(text)
    assert "made.xml" in str(caught.value)


def test_a_file_that_was_cut_off_anywhere_names_the_line():
    whole = with_points((0, 1, 1), (1, 2, 2), (2, 3, 1)).encode()
    for end in range(60, len(whole.rstrip()) - 1):
        with pytest.raises(AnnotationError, match=r"cut off in line \d+"):
            read(whole[:end])
    wide = whole.decode().encode("utf-16")
    for end in (len(wide) // 2, len(wide) // 2 + 1):
        with pytest.raises(AnnotationError, match="cut off"):
            read(wide[:end])


def test_a_damaged_line_is_named():
    lines = with_points((0, 1, 1), (1, 2, 2), (2, 3, 1)).splitlines()
    lines[6] = lines[6].replace('"2"', '"2')
    with pytest.raises(AnnotationError, match="line 7"):
        read("\n".join(lines))


def test_missing_folders_and_unreadable_names_are_explained(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        annotations.read(tmp_path / "absent.xml")
    with pytest.raises(AnnotationError, match="cannot be read"):
        annotations.read(tmp_path)


def test_every_official_file_opens(shared_data):
    files = sorted(shared_data.glob("annotations/asap_c1?/*.xml"))
    assert len(files) == 26
    found = [annotations.read(path) for path in files]
    # Counted over these files with another parser.
    assert sum(map(len, found)) == 1_270
    assert sum(len(a.points) for s in found for a in s) == 273_666
    crossing = sum(p.code == "self-crossing" for s in found for p in s.problems)
    assert crossing == 74
    assert {p.code for s in found for p in s.problems} == {"self-crossing", "too-few-points"}


POINTS = "".join(f'<Coordinate Order="{k}" X="{k}.5" Y="{k * k}" />\n' for k in range(4))
BLOCK = f"<Coordinates>\n{POINTS}</Coordinates>"


@pytest.mark.parametrize(
    ("inside", "counts"),
    [
        (BLOCK, [4]),
        (f"<!-- {BLOCK} -->{BLOCK}", [4]),
        (f"<!-- {BLOCK} -->", [0]),
        (f"<![CDATA[{BLOCK}]]>", [0]),
        (f"{BLOCK}<Other>{BLOCK}</Other>", [8]),
        (f"{BLOCK}{BLOCK}", [8]),
        (f"{BLOCK}</Annotation><Annotation>{BLOCK}", [4, 4]),
        (BLOCK.replace('Order="2"', 'Order="7"'), [4]),
        (BLOCK.replace("2.5", "&#50;.5"), [4]),
        (BLOCK.replace("2.5", "2,5"), [4]),
        (BLOCK.replace("2.5", "+2.5e-7"), [4]),
        (BLOCK.replace("2.5", ".5.5"), [4]),
        (BLOCK.replace("2.5", "+2."), [4]),
        (BLOCK.replace("2.5", ""), [4]),
        (BLOCK.replace('Order="2"', 'Order="02"'), [4]),
        (BLOCK.replace('Order="2"', 'Order="+2"'), [4]),
        (BLOCK.replace('<Coordinate Order="2"', '7<Coordinate Order="2"'), [4]),
        (f"{BLOCK[:-14]} 7 </Coordinates>", [4]),
        (BLOCK.replace("Order=", "Order2="), [4]),
        (BLOCK.replace("Coordinate Order", "Coordinate2 Order"), [0]),
        (BLOCK.replace("Y=", "Z='\"' Y="), [4]),
        (BLOCK.replace("\n", ' <!-- " -->\n'), [4]),
    ],
)
def test_points_are_the_same_whether_or_not_they_look_as_asap_writes_them(inside, counts):
    def found(declaration):
        text = f"<ASAP_Annotations><Annotations><Annotation>{inside}</Annotation></Annotations>"
        return read(f"{declaration}\n{text}\n</ASAP_Annotations>")

    # Blocks of points are only looked for in encodings in which every ASCII byte is itself.
    quick, slow = found(""), found('<?xml version="1.0" encoding="windows-1252"?>')
    assert [len(annotation.points) for annotation in quick] == counts
    for one, other in zip(quick, slow, strict=True):
        assert annotations.same_annotation(one, other)
    assert quick.problems == slow.problems
    moved = [
        annotations.replace_annotation(
            both, dataclasses.replace(both.annotations[0], points=[(9, 9), (8, 8), (7, 0)])
        )
        for both in (quick, slow)
    ]
    saved = [asap_bytes(both).partition(b"\n")[2] for both in moved]
    assert saved[0] == saved[1]


def test_what_is_wrong_around_points_is_told_with_its_line():
    text = with_points(*((k, k, k * k) for k in range(5))) + "<"
    with pytest.raises(AnnotationError, match=r"line 20"):
        read(text)
    unknown = with_points((0, 1, 1), (1, 2, 2)).replace("Polygon", "Blob")
    second = unknown.replace("</Annotations>", '<Annotation Type="Drop"/></Annotations>')
    told = [p.message for p in read(second).problems if p.code == "unknown-type"]
    assert ["(line 4)" in told[0], "(line 10)" in told[1]] == [True, True]
