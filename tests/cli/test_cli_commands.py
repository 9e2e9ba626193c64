"""The other commands: what they print, and what they refuse."""

import json
import shutil
import subprocess

import pytest

from made_ome_zarr import halving, write
from napari_camelyon import __version__
from napari_camelyon.cli import main

ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
<Coordinate Order="0" X="10" Y="10"/><Coordinate Order="1" X="90" Y="10"/>
<Coordinate Order="2" X="50" Y="90"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#F4FA58">
<Attributes/></Group></AnnotationGroups></ASAP_Annotations>
"""


def test_every_command_helps(command):
    assert "Commands:" in command("--help").stdout
    for name in main.commands:
        result = command(name, "-h")
        assert result.exit_code == 0
        assert "Usage:" in result.stdout
        # A help text that was cut off for the list of commands reads as unfinished.
        assert not main.commands[name].get_short_help_str(limit=60).endswith("...")


def test_the_module_runs_as_a_program(own_process):
    done = own_process("-m", "napari_camelyon", "--version")
    assert done.returncode == 0
    assert done.stdout.split() == ["napari-camelyon,", "version", __version__]


def test_info_for_people_and_programs(command, micro_slide, unsized_slide):
    text = command("info", micro_slide).stdout
    assert "1024 × 1024 px, 1.02 × 1.02 mm" in text
    assert "1 µm/px, stated by the file" in text
    assert text.splitlines()[-3:] == [
        "    0      1024       1024           1",
        "    1       512        512           2",
        "    2       256        256           4",
    ]
    facts = json.loads(command("info", micro_slide, "--json").stdout)
    assert facts["name"] == "micro"
    assert facts["levels"][1]["downsample_x"] == 2
    unsized = command("info", unsized_slide)
    assert unsized.exit_code == 0
    assert "--mpp" in unsized.stdout
    assert json.loads(command("info", unsized_slide, "--json").stdout)["mpp"] is None


def test_info_of_real_slides(command, shared_data):
    result = command("info", shared_data / "slides" / "CMU-1-Small-Region.svs")
    assert "2220 × 2967 px, 1.11 × 1.48 mm" in result.stdout
    assert "label, macro, thumbnail" in result.stdout


def test_info_of_colours_and_what_reads(command, shared_data):
    folder = shared_data / "slides"
    plain = command("info", folder / "CMU-1-Small-Region.svs").stdout
    assert "as stored; the file holds no colour profile" in plain
    assert "read by       tiff" in plain
    coloured = command("info", folder / "tcga-cr-7395-01a-01-ts1.svs").stdout
    assert "colour profile is sRGB IEC61966-2.1, which is not applied" in coloured
    facts = json.loads(command("info", folder / "boxes.tiff", "--json").stdout)
    assert facts["icc_profile"] == "sRGB built-in"
    assert facts["backend"] == "tiff"
    assert "alignment" not in facts


def test_info_measures_alignment_when_asked(command, shared_data):
    slide = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    assert "alignment" not in command("info", slide).stdout
    *_, verdict, blank, header, row = command(
        "info", slide, "--check-alignment"
    ).stdout.splitlines()
    assert verdict == "alignment: All levels lie on level 0."
    assert blank == ""
    assert header.split() == ["level", "right", "px", "down", "px", "spread", "px", "places"]
    level, right, down, spread, places = row.split()
    assert (level, places) == ("1", "9")
    assert max(abs(float(right)), abs(float(down)), float(spread)) < 0.1
    facts = json.loads(command("info", slide, "--check-alignment", "--json").stdout)
    assert facts["alignment"][0]["level"] == 1
    one = command("info", shared_data / "slides" / "CMU-1-Small-Region.svs", "--check-alignment")
    assert one.stdout.splitlines()[-1].startswith("alignment: The slide has one level")


class TestMpp:
    @pytest.fixture
    def bare(self, unsized_slide, tmp_path, monkeypatch):
        monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
        return shutil.copy(unsized_slide, tmp_path / "bare.tif")

    def test_said_set_and_forgotten(self, command, bare, tmp_path):
        asked = command("mpp", bare).stdout
        assert asked.startswith("unknown: the file does not state its pixel size")
        assert "--set" in asked
        assert "A hint, not a value" in asked
        given = command("mpp", bare, "--set", "0.25,0.3", "--by", "Ann")
        assert given.exit_code == 0
        assert given.stdout.startswith("0.25 × 0.3 µm/px, given by Ann on ")
        assert command("mpp", bare).stdout == given.stdout
        assert "0.25 × 0.3 µm/px, given by Ann" in command("info", bare).stdout
        assert command("mpp", bare, "--forget").stdout == asked
        assert command("mpp", bare, "--forget").stdout == "Nothing was kept.\n" + asked
        assert [path.name for path in tmp_path.glob("bare*")] == ["bare.tif"]

    @pytest.mark.parametrize(
        "options",
        [
            ["--set", "352.8"],
            ["--set", "0.25,21"],
            ["--set", "nan"],
            ["--set", "0.25,0.25,0.25"],
            ["--set", "0.25,"],
            ["--set", "a quarter"],
            ["--set", ""],
            ["--set", "0.25", "--forget"],
            ["--by", "Ann"],
        ],
    )
    def test_refused(self, command, bare, tmp_path, options):
        assert command("mpp", bare, *options).exit_code == 2
        assert [path.name for path in tmp_path.glob("bare*")] == ["bare.tif"]

    def test_no_slide(self, command, tmp_path):
        result = command("mpp", tmp_path / "missing.tif", "--set", "0.25")
        assert result.exit_code == 1
        assert "missing.tif" in result.stderr
        assert list(tmp_path.iterdir()) == []


def test_measure_prints_sizes_and_the_class(command, tmp_path):
    outlines = tmp_path / "a.xml"
    outlines.write_text(ASAP)
    result = command("measure", outlines, "--mpp", "0.25", "--tumour", "Tumor")
    assert result.exit_code == 0
    (entry,) = json.loads(
        command("measure", outlines, "--mpp", "0.25", "--tumour", "Tumor", "--json").stdout
    )
    assert f"{outlines}: {entry['node_class']}" in result.stdout
    largest = max(region["diameter_mm"] for region in entry["regions"])
    assert f"{largest:.3f}" in result.stdout
    half = json.loads(
        command("measure", outlines, "--mpp", "0.5", "--tumour", "Tumor", "--json").stdout
    )
    assert half[0]["regions"][0]["diameter_mm"] == pytest.approx(2 * largest)


def test_measure_asks_for_the_size_of_a_pixel_and_names_unknown_groups(command, tmp_path):
    outlines = tmp_path / "a.xml"
    outlines.write_text(ASAP)
    result = command("measure", outlines)
    assert result.exit_code == 1
    assert "--mpp" in result.stderr
    outlines.write_text(ASAP.replace("Tumor", "lump"))
    result = command("measure", outlines, "--mpp", "0.25")
    assert result.exit_code == 1
    assert "--tumour GROUP" in result.stderr
    assert str(outlines) in result.stderr
    assert command("measure", tmp_path / "gone.xml", "--mpp", "0.25").exit_code == 1


def test_stage_of_a_table(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    nodes = ["negative", "micro", "macro", "itc"]
    rows = [f"patient_000_node_{index}.tif,{name}" for index, name in enumerate(nodes)]
    table.write_text("\n".join(["patient,stage", *rows]))
    result = command("stage", table)
    assert result.exit_code == 0
    assert "patient_000: pN1." in result.stdout or "patient_000: at least pN1" in result.stdout
    assert "patient_000_node_4  no result" in result.stdout
    written = (tmp_path / "table_stages.csv").read_text().splitlines()
    assert written[:2] == ["patient,stage,statement", "patient_000.zip,pN1,pN1"]
    assert written[2] == "patient_000_node_0.tif,negative,"


def test_stage_by_ajcc_with_sentinel_nodes_only(command, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("patient,stage\na.tif,macro\nb.tif,itc\n")
    out = tmp_path / "out.csv"
    result = command("stage", table, "--scheme", "ajcc8", "--sentinel", "--out", out)
    assert "table: pN1a(sn)." in result.stdout
    assert "table.zip,pN1a,pN1a(sn)" in out.read_text()


def test_stage_compares_with_what_the_table_itself_says(command, tmp_path):
    table = tmp_path / "table.csv"
    nodes = [f"patient_00{p}_node_{n}.tif,macro" for p in (1, 2) for n in range(5)]
    rows = ["patient_001.zip,pN2", "patient_002.zip,pN1", "patient_003.zip,pN0"]
    table.write_text("\n".join(["patient,stage", *rows, *nodes]))
    result = command("stage", table, "--out", tmp_path / "out.csv")
    assert "The table itself says pN1 for patient_002." in result.stdout
    assert "1 of 2 patients have the stage that the table itself says." in result.stdout
    assert "Without nodes in the table, so not staged: patient_003." in result.stdout


def test_stage_writes_a_submission_or_says_what_is_missing(command, tmp_path):
    table = tmp_path / "table.csv"
    nodes = [f"patient_001_node_{n}.tif,micro" for n in range(5)]
    table.write_text("\n".join(["patient,stage", *nodes]))
    wanted = ["--out", tmp_path / "o.csv", "--submission", tmp_path / "s.csv"]
    assert command("stage", table, *wanted).exit_code == 0
    assert (tmp_path / "s.csv").read_text().splitlines()[1] == "patient_001.zip,pN1mi"
    table.write_text("\n".join(["patient,stage", *nodes[:4]]))
    result = command("stage", table, *wanted)
    assert result.exit_code == 1
    assert "patient_001_node_4 has no class" in result.stderr


def test_stage_agrees_with_the_official_labels(command, shared_data, tmp_path):
    table = shared_data / "tables" / "camelyon17_stages_patients_000-019.csv"
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    official = dict(line.split(",")[:2] for line in lines if line.split(",")[0].endswith(".zip"))
    patients = json.loads(command("stage", table, "--json", "--out", tmp_path / "o").stdout)
    assert {f"{patient['name']}.zip": patient["stage"] for patient in patients} == official


def test_stage_explains_what_it_cannot_use(command, tmp_path):
    (tmp_path / "empty").mkdir()
    strange = tmp_path / "strange.csv"
    strange.write_text("a,b\n1,2\n")
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("patient,stage\npatient_000_node_0.tif,huge\n")
    for source in (tmp_path / "missing", tmp_path / "empty", strange, unknown):
        result = command("stage", source)
        assert result.exit_code == 1
        assert str(source) in result.stderr


def test_open_checks_every_file_before_a_window_starts(command, clean_slide, tmp_path, monkeypatch):
    # So that nothing waits for a window to be closed, should one start after all.
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    good = tmp_path / "good.xml"
    good.write_text(ASAP)
    cut = tmp_path / "cut.xml"
    cut.write_text(ASAP[: len(ASAP) // 2])
    other = tmp_path / "other.xml"
    other.write_text("<svg/>")
    missing = tmp_path / "missing.tif"
    result = command("open", cut, good, clean_slide, other, missing)
    assert result.exit_code == 1
    for bad in (cut, other, missing):
        assert str(bad) in result.stderr
    for fine in (good, clean_slide):
        assert str(fine) not in result.stderr
    assert result.stderr.count("Error: ") == 3


@pytest.mark.skipif("sys.platform in ('win32', 'darwin')", reason="there is always a display")
def test_open_says_that_there_is_no_display(command, clean_slide, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    result = command("open", clean_slide)
    assert result.exit_code == 1
    assert "no display" in result.stderr


def test_open_and_default_reader_refuse_what_makes_no_sense(command, clean_slide, tmp_path):
    assert command("open", clean_slide, "--mpp", "300").exit_code == 2
    result = command("default-reader", "docx")
    assert result.exit_code == 1
    assert "svs" in result.stderr


def test_default_reader_is_kept_in_the_settings_of_napari(own_process, tmp_path):
    settings = tmp_path / "settings.yaml"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return own_process(
            "-m", "napari_camelyon", "default-reader", *arguments, NAPARI_CONFIG=str(settings)
        )

    assert run("SVS", ".tif").stdout.rstrip().endswith(": svs, tif")
    assert "napari-camelyon" in settings.read_text(encoding="utf-8")
    assert run("--off", "svs").stdout.rstrip().endswith(": tif")


def test_info_of_ome_zarr(command, tmp_path, paint):
    path = write(tmp_path / "node.zarr", halving([paint(512, 0), paint(512, 0)[::2, ::2]], mpp=1.0))
    text = command("info", path).stdout
    assert "512 × 512 px, 0.51 × 0.51 mm" in text
    assert "1 µm/px, stated by the file" in text
    refused = command("info", path / "0")
    assert refused.exit_code != 0
    assert "single array" in refused.stderr
    assert "Traceback" not in refused.output
