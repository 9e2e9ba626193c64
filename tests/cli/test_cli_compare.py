"""The command that compares two annotators: what it prints and writes, and what it refuses."""

import csv
import json

import numpy as np
import pytest

from napari_camelyon import annotations


def square(x, y, side, group="Tumor", name=""):
    ring = np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], float)
    return annotations.make_annotation("polygon", ring, group=group, name=name)


def write(path, *members):
    path.parent.mkdir(exist_ok=True)
    annotations.write(annotations.AnnotationSet(members), path)
    return path


@pytest.fixture
def two_files(tmp_path):
    """Squares of 1 mm²: one alike, one shifted by a tenth, one in A alone."""
    a = [square(0, 0, 1000), square(2000, 0, 1000), square(0, 4000, 1000, name="mine")]
    b = [square(0, 0, 1000), square(2200, 0, 1000)]
    return write(tmp_path / "a" / "s.xml", *a), write(tmp_path / "b" / "s.xml", *b)


def test_it_says_how_well_two_files_agree(command, two_files, tmp_path):
    result = command("compare", *two_files, "--mpp", "1")
    assert result.exit_code == 0
    # 1.8 mm² in common of 3 and 2.
    assert "Tumour: Dice 0.720, IoU 0.562, 1.80 mm² in common." in result.stdout
    assert "1 agree (Dice 0.9 or more), 1 differ in outline or group" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["1", "only", "in", "A", "Tumor", "–", "1.00", "–", "–", "–", "500", "4500"] in rows
    assert ["2", "outline", *["Tumor"] * 2, *["1.00"] * 2, "0.800", "200", "2600", "500"] in rows
    # Files of one name are told apart by their folders.
    assert str(two_files[0]) in result.stdout


def test_it_writes_tables_for_programs(command, two_files, tmp_path):
    out = tmp_path / "out.json", tmp_path / "out.csv"
    result = command("compare", *two_files, "--mpp", "1,2", "--json", out[0], "--csv", out[1])
    assert result.exit_code == 0
    written = json.loads(out[0].read_text("utf-8"))
    assert written["mpp"] == [1, 2]
    assert written["a_tumour_mm2"] == pytest.approx(6)
    with out[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["only in A", "outline", "agree"]
    assert [place["kind"] for place in written["places"]] == [row["kind"] for row in rows]
    assert rows[0]["a"] == "mine"
    assert rows[0]["dice"] == ""
    assert float(rows[1]["dice"]) == pytest.approx(0.8)
    assert float(rows[2]["hausdorff_um"]) == 0


def test_the_slide_says_the_pixel_size(command, two_files, micro_slide, unsized_slide):
    assert "1.80 mm² in common" in command("compare", *two_files, "--slide", micro_slide).stdout
    unsized = command("compare", *two_files, "--slide", unsized_slide)
    assert unsized.exit_code == 1
    assert "--mpp" in unsized.stderr


def test_groups_of_other_data_sets_can_be_named(command, tmp_path):
    a = write(tmp_path / "a.xml", square(0, 0, 100, "carcinoma"), square(0, 0, 50, "fat"))
    b = write(tmp_path / "b.xml", square(0, 0, 100, "carcinoma"), square(0, 0, 50, "fat"))
    unknown = command("compare", a, b, "--mpp", "1").stdout
    assert "none in either file" in unknown
    assert "carcinoma, fat" in unknown
    named = command("compare", a, b, "--mpp", "1", "--tumour", "carcinoma", "--cut-out", "fat")
    assert "Dice 1.000, IoU 1.000, 0.0075 mm² in common" in named.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "give --slide or --mpp"),
        (["--mpp", "1", "--slide", "x.tif"], "give --slide or --mpp"),
        (["--mpp", "much"], "no pixel size"),
        (["--mpp", "1,2,3"], "no pixel size"),
        (["--mpp", "352.8"], "no pixel size"),
        (["--mpp", "1", "--cut-out", "fat"], "goes with --tumour"),
        (["--mpp", "1", "--tumour", "tumuor"], "Neither file has a group"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(command, two_files, options, told):
    result = command("compare", *two_files, *options)
    assert result.exit_code != 0
    assert told in result.stderr


def test_a_missing_file_is_said(command, two_files, tmp_path):
    result = command("compare", two_files[0], tmp_path / "no.xml", "--mpp", "1")
    assert result.exit_code == 1
    assert "no.xml cannot be read" in result.stderr
