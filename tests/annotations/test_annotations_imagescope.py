"""ImageScope XML and NDPA: what files of other programs say, and that saving loses nothing."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations.imagescope import read_imagescope
from napari_camelyon.annotations.imagescope_write import imagescope_bytes
from napari_camelyon.errors import AnnotationError
from napari_camelyon.geometry import GlassFrame

FILE = """<?xml version="1.0" encoding="UTF-8"?>
<Annotations MicronsPerPixel="0.252">
    <Annotation Id="1" Name="Tumour" LineColor="255" Visible="1">
        <Attributes><Attribute Name="Description" Id="0" Value="x"/></Attributes>
        <Regions><RegionAttributeHeaders/>
            <Region Id="1" Type="0" Zoom="0.5" Text="one" NegativeROA="0" InputRegionId="0">
                <Attributes><Attribute Id="7" Name="score" Value="3+"/></Attributes>
                <Vertices>
                    <Vertex X="0" Y="0" Z="0"/><Vertex X="100.250" Y="0" Z="0"/>
                    <Vertex X="100.25" Y="100" Z="0"/><Vertex X="0" Y="100" Z="0"/>
                    <Vertex X="0" Y="0" Z="0"/>
                </Vertices>
            </Region>
            <Region Id="2" Type="0" Text="" NegativeROA="1"><Vertices>
                <Vertex X="10" Y="10"/><Vertex X="40" Y="10"/><Vertex X="40" Y="40"/>
            </Vertices></Region>
            <Region Id="3" Type="0" Text="" NegativeROA="1"><Vertices>
                <Vertex X="210" Y="10"/><Vertex X="240" Y="10"/><Vertex X="240" Y="40"/>
            </Vertices></Region>
            <Region Id="4" Type="1" Text="box"><Vertices><Vertex X="300" Y="0"/>
                <Vertex X="310" Y="0"/><Vertex X="310" Y="20"/><Vertex X="300" Y="20"/>
            </Vertices></Region>
        </Regions>
        <Plots/>
    </Annotation>
    <Annotation Id="2" Name="" LineColor="65280"><Attributes/><Regions>
        <Region Id="1" Type="2" Text="round"><Vertices><Vertex X="400" Y="100"/>
            <Vertex X="600" Y="300"/></Vertices></Region>
        <Region Id="2" Type="3" Text="look"><Vertices><Vertex X="1" Y="2"/><Vertex X="3" Y="4"/>
            </Vertices></Region>
        <Region Id="3" Type="4" Text="long"><Vertices><Vertex X="1" Y="2"/><Vertex X="3" Y="4"/>
            </Vertices></Region>
        <Region Id="4" Type="5" Text="cells"><Vertices><Vertex X="1" Y="2"/><Vertex X="3" Y="4"/>
            </Vertices></Region>
        <Region Id="5" Type="17" Text="new"><Vertices><Vertex X="1" Y="nothing"/></Vertices>
            </Region>
    </Regions></Annotation>
    <Annotation Id="3" Name="Empty" LineColor="16711680"><Regions/></Annotation>
</Annotations>
"""

NUMBER = st.one_of(st.floats(0, 2e5).map(lambda v: round(v, 3)), st.integers(0, 200_000).map(float))
COLOUR = st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}")
TEXT = st.text("aé😀\"'<&\n\t", max_size=5)
NAMES = ["Tumor", "Ä & <b>", "_2"]


def read(raw: bytes | str):
    return read_imagescope(Path("made.xml"), raw.encode() if isinstance(raw, str) else raw)


SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)


@st.composite
def nested(draw):
    """A square with holes side by side, in each of which there may be an island with a hole."""
    corner = np.array([draw(st.floats(0, 1e5)), draw(st.floats(0, 1e5))])
    places = [corner + np.array([50 + 300 * k, 50]) for k in range(draw(st.integers(0, 2)))]
    polygons = [(SQUARE * 800 + corner, [SQUARE * 100 + place for place in places])]
    islands = [place for place in places if draw(st.booleans())]
    polygons += [(SQUARE * 50 + (place + 10), [SQUARE * 5 + (place + 20)]) for place in islands]
    return polygons


@st.composite
def annotation_sets(draw):
    groups = [annotations.Group(name, colour=draw(COLOUR)) for name in NAMES]
    made = []
    for _ in range(draw(st.integers(0, 3))):
        group = draw(st.sampled_from([*NAMES, None]))
        made += [
            annotations.make_annotation(
                "polygon", outer, name=draw(TEXT), group=group, colour=draw(COLOUR), holes=holes
            )
            for outer, holes in draw(nested())
        ]
    for kind, count in (("dot", 1), ("pointset", 3), ("ruler", 2), ("polyline", 3)):
        if draw(st.booleans()):
            points = draw(st.lists(st.tuples(NUMBER, NUMBER), min_size=count, max_size=count))
            made.append(
                annotations.make_annotation(kind, points, group=draw(st.sampled_from(NAMES)))
            )
    return annotations.AnnotationSet(tuple(draw(st.permutations(made))), tuple(groups))


def drawn_colour(annotation, annotation_set):
    groups = {group.name: group.colour for group in annotation_set.groups}
    return annotation.colour or groups.get(annotation.group)


def rings(annotation):
    return [annotation.points, *annotation.holes]


@given(annotation_sets())
def test_a_round_trip_keeps_classes_colours_holes_names_and_every_digit(made):
    after = read(imagescope_bytes(made))
    assert {g.name: g.colour for g in after.groups} == {g.name: g.colour for g in made.groups}

    def described(annotation_set):
        return sorted(
            (
                annotation.kind,
                annotation.name,
                annotation.group or "",
                drawn_colour(annotation, annotation_set),
                [ring.tolist() for ring in rings(annotation)],
            )
            for annotation in annotation_set
        )

    assert described(after) == described(made)


@given(annotation_sets(), st.data())
def test_a_change_leaves_all_other_regions_as_they_stand(made, data):
    raw = imagescope_bytes(made)
    before = read(raw)
    assert imagescope_bytes(before) == raw
    if not len(before):
        return
    chosen = data.draw(st.sampled_from(before.annotations))
    action = data.draw(st.sampled_from(["rename", "regroup", "move", "remove", "add"]))
    new = annotations.make_annotation("polygon", [(1, 1), (5, 1), (1, 5)], group="new", name="n")
    changed = {
        "rename": lambda: annotations.replace_annotation(before, replace(chosen, name="other")),
        "regroup": lambda: annotations.replace_annotation(before, replace(chosen, group="new")),
        "move": lambda: annotations.replace_annotation(
            before, replace(chosen, points=chosen.points + 0.5)
        ),
        "remove": lambda: annotations.remove_annotations(before, {chosen.id}),
        "add": lambda: annotations.add_annotations(before, [new]),
    }[action]()
    saved = imagescope_bytes(changed)
    after = read(saved)
    assert len(after) == len(changed)
    expected = sorted((a.name, a.group or "", a.points.tolist()) for a in changed)
    assert sorted((a.name, a.group or "", a.points.tolist()) for a in after) == expected
    regions = re.findall(b"<Region .*?</Region>", raw, re.DOTALL)
    touched = [region for region in regions if region not in saved]
    assert len(touched) <= (0 if action == "add" else 1 + len(chosen.holes))


def test_what_a_file_says():
    found = read(FILE)
    by_name = {annotation.name: annotation for annotation in found}
    assert [(g.name, g.colour) for g in found.groups] == [
        ("Tumour", "#ff0000"),
        ("Exclusion", None),
        ("Layer 2", "#00ff00"),
        ("Empty", "#0000ff"),
    ]
    one = by_name["one"]
    assert_array_equal(one.points, [(0, 0), (100.25, 0), (100.25, 100), (0, 100)])
    assert_array_equal(one.holes[0], [(10, 10), (40, 10), (40, 40)])
    alone = by_name[""]
    assert (alone.group, alone.colour) == ("Exclusion", "#ff0000")
    kinds = {name: annotation.kind for name, annotation in by_name.items()}
    assert kinds == {
        "": "polygon", "one": "polygon", "box": "rectangle", "round": "polygon",
        "look": "polyline", "long": "ruler", "cells": "pointset", "new": "other",
    }  # fmt: skip
    circle = shapely.Polygon(by_name["round"].points)
    assert circle.hausdorff_distance(shapely.Point(500, 200).buffer(100, quad_segs=512)) <= 0.5
    assert {problem.code for problem in found.problems} == {"unknown-type", "not-a-number"}
    assert imagescope_bytes(found) == FILE.encode()


def test_an_edited_file_keeps_what_only_imagescope_says():
    found = read(FILE)
    round_ = next(a for a in found if a.name == "round")
    saved = imagescope_bytes(annotations.replace_annotation(found, replace(round_, name="oval")))
    head, _, tail = FILE.partition('<Region Id="1" Type="2"')
    assert saved.startswith(head.encode())
    assert saved.endswith(tail.partition("</Region>")[2].encode())
    assert b'Type="2"' in saved[len(head) :]
    assert b'<Vertex X="400" Y="100" Z="0"/>' in saved
    one = next(a for a in found if a.name == "one")
    moved = replace(one, points=one.points + 1)
    saved = imagescope_bytes(annotations.replace_annotation(found, moved)).decode()
    assert '<Attribute Id="7" Name="score" Value="3+"/>' in saved
    assert 'Zoom="0.5"' in saved
    assert 'AreaMicrons="636.6"' in saved  # 100.25 · 100 px² at 0.252 µm/px
    back = next(a for a in read(saved) if a.name == "one")
    assert_array_equal(back.holes[0], one.holes[0])
    gone = annotations.with_groups(
        annotations.remove_annotations(found, {a.id for a in found if a.group == "Layer 2"}),
        [group for group in found.groups if group.name != "Layer 2"],
    )
    assert imagescope_bytes(gone).decode() == (
        FILE[: FILE.index('\n    <Annotation Id="2"')]
        + FILE[FILE.index('\n    <Annotation Id="3"') :]
    )
    red = [replace(g, colour="#102030") if g.name == "Tumour" else g for g in found.groups]
    recoloured = imagescope_bytes(annotations.with_groups(found, red)).decode()
    assert recoloured == FILE.replace('"255"', f'"{0x302010}"')


def test_the_smallest_region_around_a_hole_has_it_unless_another_is_named():
    def region(number, x0, side, more=""):
        corners = [(x0, x0), (x0 + side, x0), (x0 + side, x0 + side), (x0, x0 + side)]
        points = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners)
        return f'<Region Id="{number}" Type="0" {more}><Vertices>{points}</Vertices></Region>'

    def holes(more):
        regions = region(1, 0, 100) + region(2, 10, 50) + region(3, 20, 10, more)
        found = read(
            f'<Annotations><Annotation Name="a"><Regions>{regions}</Regions></Annotation>'
            "</Annotations>"
        )
        return [len(annotation.holes) for annotation in found]

    assert holes('NegativeROA="1"') == [0, 1]
    assert holes('NegativeROA="1" InputRegionId="1"') == [1, 0]
    assert holes('NegativeROA="1" InputRegionId="9"') == [0, 1]
    assert holes('NegativeROA="0"') == [0, 0, 0]


def test_the_content_tells_the_formats_apart_and_saving_keeps_the_format(tmp_path):
    (tmp_path / "a.xml").write_text(FILE)
    found = annotations.read(tmp_path / "a.xml")
    assert found.source.format == "imagescope"
    annotations.write(found, tmp_path / "b.xml")
    assert (tmp_path / "b.xml").read_text() == FILE
    annotations.write(found, tmp_path / "c.xml", file_format="asap")
    assert annotations.read(tmp_path / "c.xml").source.format == "asap"
    assert annotations.losses(found, "imagescope") == []
    assert "Holes" in annotations.losses(found, "asap")[0]
    annotations.write(found, tmp_path / "d.xml", file_format="imagescope")
    with pytest.raises(AnnotationError, match=r"give a name in \.xml"):
        annotations.write(found, tmp_path / "d.geojson", file_format="imagescope")
    made = annotations.AnnotationSet((annotations.make_annotation("dot", [(1, 2)]),))
    annotations.write(made, tmp_path / "e.xml", file_format="imagescope", mpp=(0.25, 0.25))
    assert 'MicronsPerPixel="0.25"' in (tmp_path / "e.xml").read_text()


@pytest.mark.parametrize("root", ["Annotations", "annotations"])
@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://localhost/x.dtd"> %a;]>',
    ],
)
def test_entities_are_refused(tmp_path, root, declaration):
    (tmp_path / "a.xml").write_text(f"{declaration}<{root}/>")
    with pytest.raises(AnnotationError, match="entities"):
        annotations.read(tmp_path / "a.xml", frame=FRAME)


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path):
    for end in range(60, len(FILE.rstrip()) - 1, 37):
        (tmp_path / "a.xml").write_text(FILE[:end])
        with pytest.raises(AnnotationError, match="cut off in line"):
            annotations.read(tmp_path / "a.xml")


# --- NDPA ----------------------------------------------------------------------------------------

FRAME = GlassFrame((10_000, 8_000), (0.25, 0.2), (1_000_000.0, -2_000_000.0))


def view(number, title, kind, color, inside, unit="nanometers"):
    return f"""<ndpviewstate id="{number}"><title>{title}</title><details>seen &amp; noted</details>
    <coordformat>{unit}</coordformat><lens>1.25</lens><x>99</x><y>99</y><z>0</z>
    <annotation type="{kind}" displayname="Annotate{kind}" color="{color}">{inside}</annotation>
    </ndpviewstate>"""


def pointlist(*points):
    inner = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in points)
    return f"<pointlist>{inner}</pointlist>"


def nanometres(x_px, y_px):
    """The inverse, by hand: a pixel is 250 × 200 nm; the image's centre lies at (1, -2) mm."""
    return round((x_px - 5000) * 250 + 1_000_000), round((y_px - 4000) * 200 - 2_000_000)


NDPA = f"""<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<annotations>
{
    view(
        1,
        "Tumour",
        "freehand",
        "#ff0000",
        "<measuretype>0</measuretype><closed>1</closed>"
        + pointlist(nanometres(0, 0), nanometres(100, 0), nanometres(100, 100)),
    )
}
{
    view(
        2,
        "Tumour",
        "freehand",
        "#00ff00",
        "<closed>0</closed>"
        + pointlist(nanometres(0, 0), nanometres(100, 0), nanometres(100, 100)),
    )
}
{
    view(
        3,
        "",
        "linearmeasure",
        "#000000",
        "<x1>{}</x1><y1>{}</y1><x2>{}</x2><y2>{}</y2>".format(
            *nanometres(10, 20), *nanometres(30, 40)
        ),
    )
}
{
    view(
        4,
        "",
        "circle",
        "#000000",
        "<x>{}</x><y>{}</y><radius>25000</radius>".format(*nanometres(500, 600)),
    )
}
{view(5, "", "pin", "#ffffff", "<x>{}</x><y>{}</y><icon>pinred</icon>".format(*nanometres(7, 8)))}
{
    view(
        6,
        "box",
        "freehand",
        "#000000",
        pointlist(nanometres(0, 0), nanometres(9, 0), nanometres(9, 9), nanometres(0, 9))
        + "<specialtype>rectangle</specialtype>",
    )
}
</annotations>"""


def test_ndpa_is_read_with_the_place_of_the_image_on_its_glass(tmp_path):
    (tmp_path / "a.ndpi.ndpa").write_text(NDPA)
    found = annotations.read(tmp_path / "a.ndpi.ndpa", frame=FRAME)
    assert [a.kind for a in found] == [
        "polygon", "polyline", "ruler", "polygon", "dot", "rectangle",
    ]  # fmt: skip
    assert_allclose(found.annotations[0].points, [(0, 0), (100, 0), (100, 100)], atol=1e-9)
    assert_allclose(found.annotations[2].points, [(10, 20), (30, 40)], atol=1e-9)
    assert_allclose(found.annotations[4].points, [(7, 8)], atol=1e-9)
    circle = found.annotations[3].points
    # 25 µm are 100 px along x and 125 px along y.
    assert_allclose((circle.min(axis=0), circle.max(axis=0)), [(400, 475), (600, 725)], atol=0.5)
    assert [(g.name, g.colour) for g in found.groups] == [("Tumour", "#ff0000"), ("box", "#000000")]
    assert found.annotations[0].extra["details"] == "seen & noted"
    annotations.write(found, tmp_path / "b.xml")
    assert len(annotations.read(tmp_path / "b.xml")) == 6


def test_ndpa_without_the_slide_or_in_other_units_says_what_to_do(tmp_path):
    (tmp_path / "a.xml").write_text(NDPA)
    with pytest.raises(AnnotationError, match="--slide"):
        annotations.read(tmp_path / "a.xml")
    inches = f"<annotations>{view(1, '', 'pin', '#000000', '', 'inches')}</annotations>"
    (tmp_path / "a.xml").write_text(inches)
    with pytest.raises(AnnotationError, match="inches"):
        annotations.read(tmp_path / "a.xml", frame=FRAME)


def test_a_hole_comes_back_to_its_own_region_where_others_lie_over_it():
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    large = annotations.make_annotation("polygon", square * 90, holes=[square * 5 + 20], name="l")
    small = annotations.make_annotation("polygon", square * 50, name="s")
    after = read(imagescope_bytes(annotations.AnnotationSet((small, large))))
    assert {a.name: len(a.holes) for a in after} == {"l": 1, "s": 0}
