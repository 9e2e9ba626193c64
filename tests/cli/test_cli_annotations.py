"""convert, check and repair: what they write, say, and refuse."""

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import tifffile

from napari_camelyon import annotations
from napari_camelyon.cli.window import _refuse_unreadable
from napari_camelyon.errors import CamelyonError

SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
HAMAMATSU_TAGS = [
    (65420, "I", 1, 1, True),  # marks an NDPI
    (65421, "f", 1, 40.0, True),
    (65422, "i", 1, -1_000_000, True),  # the image's centre on the glass, nm
    (65423, "i", 1, 2_000_000, True),
    (65424, "i", 1, 0, True),
]


@pytest.fixture
def outlines(tmp_path):
    """An ASAP XML with a hole in a tumour, as the micro slide's size allows."""
    made = annotations.AnnotationSet(
        (
            annotations.make_annotation("polygon", SQUARE * 400 + 100, group="mass", name="a"),
            annotations.make_annotation("polygon", SQUARE * 100 + 200, group="gap"),
        ),
        (annotations.Group("mass", colour="#ff0000"), annotations.Group("gap", colour="#00ff00")),
    )
    annotations.write(made, tmp_path / "in.xml")
    return tmp_path / "in.xml"


@pytest.fixture
def crossing(tmp_path):
    path = tmp_path / "crossing.xml"
    ring = [(0, 0), (20, 20), (20, 0), (0, 20)]
    made = annotations.AnnotationSet(
        (
            annotations.make_annotation("polygon", ring, group="Tumor", name="eight"),
            annotations.make_annotation("polygon", SQUARE * 9, group="Tumor", name="fine"),
            annotations.make_annotation("polygon", SQUARE[:1], group="Tumor", name="one"),
        )
    )
    annotations.write(made, path)
    return path


def test_every_format_can_be_written_and_read_back(command, outlines, tmp_path):
    chain = [outlines, *(tmp_path / name for name in ("a.geojson", "b.xml", "c.json", "d.xml"))]
    for source, target in pairwise(chain):
        more = ["--format", "imagescope"] if target.name == "b.xml" else []
        result = command("convert", source, target, *more)
        assert result.exit_code == 0, result.output
        assert f"{target} is written." in result.stdout
    formats = [annotations.read(path).source.format for path in chain]
    assert formats == ["asap", "geojson", "imagescope", "geojson", "asap"]
    first, *_, last = map(annotations.read, chain)
    assert {(g.name, g.colour) for g in last.groups} == {(g.name, g.colour) for g in first.groups}
    for now, was in zip(last, first, strict=True):
        assert (now.name, now.group, now.points.tolist()) == (
            was.name, was.group, was.points.tolist(),
        )  # fmt: skip


def test_the_same_format_is_copied_byte_for_byte(command, shared_data, tmp_path):
    source = shared_data / "annotations/asap_c16/tumor_014.xml"
    assert command("convert", source, tmp_path / "copy.xml").exit_code == 0
    assert (tmp_path / "copy.xml").read_bytes() == source.read_bytes()


def test_what_cannot_be_kept_is_said(command, tmp_path):
    made = annotations.make_annotation("polygon", SQUARE * 9, holes=[SQUARE + 2], group="a")
    annotations.write(annotations.AnnotationSet((made,)), tmp_path / "a.geojson")
    result = command("convert", tmp_path / "a.geojson", tmp_path / "a.xml")
    assert "Holes become outlines of a cut-out group" in result.stdout
    result = command("convert", tmp_path / "a.geojson", tmp_path / "b.geojson")
    assert "Holes" not in result.stdout


def test_a_table_needs_the_size_of_a_pixel_for_millimetres(command, outlines, tmp_path):
    target = tmp_path / "a.csv"
    assert "--mpp" in command("convert", outlines, target).stdout
    result = command("convert", outlines, target, "--mpp", "0.5,0.25", "--tumour", "mass")
    assert "empty" not in result.stdout
    with target.open(newline="", encoding="utf-8") as file:
        mass, gap = csv.DictReader(file)
    assert (float(mass["area_mm2"]), mass["meaning"]) == (0.02, "tumour")
    assert gap["meaning"] == ""


def test_a_mask_has_the_size_of_its_slide_and_the_groups_asked_for(
    command, outlines, micro_slide, tmp_path
):
    target = tmp_path / "mask.ome.tif"
    without = command("convert", outlines, target)
    assert without.exit_code == 1
    assert "--slide" in without.stderr
    unknown = command("convert", outlines, target, "--slide", micro_slide)
    assert "gap, mass" in unknown.stderr
    assert not target.exists()

    profile = tmp_path / "groups.json"
    profile.write_text('{"tumour": ["mass"], "cut_out": ["gap"]}')
    asked = (
        ("--profile", profile),
        ("--tumour", "mass", "--cut-out", "gap"),
    )
    for more in asked:
        result = command("convert", outlines, target, "--slide", micro_slide, *more)
        assert result.exit_code == 0, result.output
        assert tifffile.imread(target).sum() == 400**2 - 100**2
    result = command(
        "convert", outlines, target, "--slide", micro_slide, "--value", "mass=5", "--value",
        "gap=9", "--downsample", "2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    pixels = tifffile.imread(target)
    assert pixels.shape == (512, 512)
    assert {value: int((pixels == value).sum()) for value in (5, 9)} == {
        5: 200**2 - 50**2,
        9: 50**2,
    }
    with tifffile.TiffFile(target) as file:
        assert 'PhysicalSizeX="2.0"' in file.ome_metadata


def test_ndpa_is_converted_with_its_slide_alone(command, micro_slide, tmp_path):
    slide = tmp_path / "a.ndpi"
    tifffile.imwrite(
        slide,
        np.full((512, 768, 3), 200, np.uint8),
        photometric="rgb",
        compression="jpeg",
        rowsperstrip=512,
        extratags=HAMAMATSU_TAGS,
        resolution=(40_000, 50_000),  # 0.25 and 0.2 µm/px
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    ndpa = tmp_path / "a.ndpi.ndpa"
    ndpa.write_text(
        '<annotations><ndpviewstate id="1"><title>here</title><coordformat>nanometers</coordformat>'
        '<annotation type="pin" color="#ff0000"><x>-1000250</x><y>2000400</y></annotation>'
        "</ndpviewstate></annotations>"
    )
    alone = command("convert", ndpa, tmp_path / "a.geojson")
    assert "--slide" in alone.stderr
    wrong = command("convert", ndpa, tmp_path / "a.geojson", "--slide", micro_slide)
    assert "Hamamatsu" in wrong.stderr
    result = command("convert", ndpa, tmp_path / "a.geojson", "--slide", slide)
    assert result.exit_code == 0, result.output
    (dot,) = annotations.read(tmp_path / "a.geojson")
    np.testing.assert_allclose(dot.points, [(768 / 2 - 1, 512 / 2 + 2)])
    assert dot.group == "here"
    # The window asks the same before it starts: the slides, in any order, tell of their glass.
    _refuse_unreadable([ndpa, slide], None)
    for others, said in (([], "open its slide first"), ([micro_slide], "Hamamatsu")):
        with pytest.raises(CamelyonError, match=said):
            _refuse_unreadable([ndpa, *others], None)


def test_check_says_what_where_and_what_repair_would_do(command, crossing, outlines):
    result = command("check", crossing)
    assert result.exit_code == 1
    assert "warning: self-crossing at (10, 10): eight" in result.stdout
    assert "  repair: Draw the same region" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 error, 1 warning."
    said = json.loads(command("check", crossing, "--json").stdout)
    eight, one = said["problems"]
    assert (eight["code"], eight["annotation_name"]) == ("self-crossing", "eight")
    assert (eight["x_px"], eight["y_px"], one["severity"]) == (10, 10, "error")
    assert "dot" in one["repair"]
    fine = command("check", outlines)
    assert (fine.exit_code, fine.stdout) == (0, "Nothing is wrong.\n")


def test_a_note_alone_is_no_failure_and_a_slide_shows_what_is_outside(
    command, micro_slide, tmp_path
):
    first = annotations.make_annotation("polygon", SQUARE * 2000, group="a")
    made = annotations.AnnotationSet(
        (first, annotations.make_annotation("polygon", SQUARE * 2000, group="a"))
    )
    annotations.write(made, tmp_path / "a.xml")
    result = command("check", tmp_path / "a.xml")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "1 note.")
    result = command("check", tmp_path / "a.xml", "--slide", micro_slide)
    assert result.exit_code == 1
    assert result.stdout.count("outside-slide") == 2


def test_repair_mends_says_what_it_did_and_leaves_the_rest(command, crossing, tmp_path):
    before = crossing.read_bytes()
    result = command("repair", crossing, tmp_path / "out.xml")
    assert result.exit_code == 0
    assert "2 repaired" in result.stdout
    assert "done: Draw the same region" in result.stdout
    assert command("check", tmp_path / "out.xml").exit_code == 0
    assert crossing.read_bytes() == before
    fine = before[
        before.index(b'<Annotation Name="fine"') : before.index(b'<Annotation Name="one"')
    ]
    assert fine in (tmp_path / "out.xml").read_bytes()
    result = command("repair", crossing, tmp_path / "out.xml", "--only", "self-crossing")
    assert "What is left: 1 error." in result.stdout
    assert "Choose from" in command("repair", crossing, tmp_path / "o.xml", "--only", "x").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.xml", "a.geojson"], "cannot be read"),
        (["in.xml", "a.png"], "choose one of .xml"),
        (["in.xml", "a.geojson", "--format", "asap"], "--format"),
        (["in.xml", "a.xml", "--downsample", "2"], "for masks"),
        (["in.xml", "a.tif", "--value", "mass"], "Tumor=1"),
        (["in.xml", "a.tif", "--value", "mass=256"], "1 to 255"),
        (["in.xml", "a.csv", "--cut-out", "gap"], "goes with --tumour"),
        (["in.xml", "a.csv", "--tumour", "gap", "--profile", "p.json"], "not both"),
        (["in.xml", "a.csv", "--profile", "p.json"], "cannot be read"),
        (["in.xml", "a.csv", "--mpp", "-1"], "cannot be right"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    command, outlines, monkeypatch, arguments, words
):
    monkeypatch.chdir(outlines.parent)
    result = command("convert", *arguments)
    assert result.exit_code != 0
    assert words in result.stderr
    assert [path.name for path in outlines.parent.iterdir()] == ["in.xml"]


def test_a_folder_that_cannot_be_written_is_said(command, outlines, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("a.xml", "a.geojson", "a.csv"):
        result = command("convert", outlines, tmp_path / "file" / name)
        assert result.exit_code == 1
        assert "Could not write" in result.stderr
