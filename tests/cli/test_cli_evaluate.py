"""``evaluate``: from files to scores, and what is said of files that do not fit."""

import json

import numpy as np
import pytest

from napari_camelyon.annotations import read
from napari_camelyon.annotations.masks import write_mask

RING = [(4000, 4000), (7000, 4000), (7000, 6000), (4000, 6000)]


def outlines(path, ring=RING):
    points = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(ring))
    path.write_text(
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" '
        f'PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>{points}</Coordinates></Annotation>'
        '</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#F4FA58">'
        "<Attributes/></Group></AnnotationGroups></ASAP_Annotations>"
    )


@pytest.fixture
def detected(tmp_path):
    """A tumour slide with a hit, a repetition and a false positive; a normal one with one."""
    truth, found = tmp_path / "truth", tmp_path / "found"
    truth.mkdir()
    found.mkdir()
    outlines(truth / "test_001.xml")
    (found / "test_001.csv").write_text(
        "probability,x,y\n0.9,5000,5000\n0.4,6000,5000\n0.3,100,100\n"
    )
    (found / "test_002.csv").write_text("0.5,10,10\n")
    return found, truth


def test_detections_are_scored(command, detected, tmp_path):
    found, truth = detected
    out = tmp_path / "scores.json"
    result = command("evaluate", "detections", found, truth, "--draws", "50", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "2 slides, 1 of them normal; 1 tumours count" in result.stdout
    assert "FROC score 1.0000" in result.stdout
    assert "AUC of slides 1.0000" in result.stdout
    assert "not a medical device" in result.stdout
    kept = json.loads(out.read_text())
    assert [one["fate"] for one in kept["detections"]] == [
        "hit",
        "repeat",
        "false positive",
        "false positive",
    ]
    # Of all probabilities the lowest is no threshold; the last point has nothing detected.
    assert [point["threshold"] for point in kept["points"]] == [0.5, pytest.approx(0.9), None]


def test_a_mask_says_what_its_outlines_say(command, detected, tmp_path):
    found, truth = detected
    masks = tmp_path / "masks"
    masks.mkdir()
    write_mask(
        read(truth / "test_001.xml"),
        masks / "test_001_mask.tif",
        (16384, 16384),
        mpp=(0.243, 0.243),
    )
    by_mask, by_outline = (
        json.loads(command("evaluate", "detections", found, place, "--draws", "0", "--json").stdout)
        for place in (masks, truth)
    )
    assert by_mask["points"] == by_outline["points"]
    assert by_mask["lesions"][0]["x_px"] == pytest.approx(by_outline["lesions"][0]["x_px"], abs=64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found, _: (found / "test_001.csv").unlink(), "no detections of test_001"),
        (lambda found, _: (found / "test_002.csv").write_text("x\n1\n"), "Line 1 of"),
        (
            lambda found, _: (found / "test_001.csv").write_text("nan,1,1\n"),
            "no number from 0 to 1",
        ),
        (lambda _, truth: outlines(truth / "test_001_mask.geojson"), "both tell the tumours"),
        (lambda _, truth: (truth / "test_001.xml").unlink(), "No tumour counts"),
    ],
)
def test_files_that_do_not_fit_are_named(command, detected, change, message):
    change(*detected)
    result = command("evaluate", "detections", *detected)
    assert result.exit_code == 1
    assert message in result.stderr


def test_the_reference_decides_which_slides_hold_tumour(command, detected, tmp_path):
    reference = tmp_path / "reference.csv"
    reference.write_text("test_001,Tumor,IDC,Macro\ntest_002,Normal,None,None\n")
    wanted = ("evaluate", "detections", *detected, "--reference", reference, "--draws", "0")
    assert command(*wanted).exit_code == 0
    reference.write_text("test_001,Tumor,IDC,Macro\ntest_002,Tumor,IDC,Micro\n")
    assert "says that test_002 holds tumour, but there is no file" in command(*wanted).stderr
    reference.write_text("test_001,Tumor,IDC,Macro\n")
    assert "test_002 is not in the reference" in command(*wanted).stderr


def table(path, stages, nodes=()):
    rows = [f"{name}.zip,{stage}" for name, stage in stages.items()]
    path.write_text("\n".join(["patient,stage", *rows, *nodes]))
    return path


def test_stages_are_scored_per_centre_and_cases_are_named(command, tmp_path):
    truth = {f"patient_0{n:02}": "pN1" if n % 2 else "pN0" for n in (1, 2, 3, 21, 22)}
    predicted = {**truth, "patient_003": "pN0"}
    result = command(
        "evaluate", "stages", table(tmp_path / "p.csv", predicted), table(tmp_path / "t.csv", truth)
    )
    assert result.exit_code == 0, result.stderr
    assert "5 patients: quadratic-weighted kappa 0.6154" in result.stdout
    assert "pN1 taken for pN0: patient_003" in result.stdout
    centres = [line.split() for line in result.stdout.splitlines() if line.strip()[:1] in "01"]
    assert ["0", "3", "0.4000", "0.67"] in centres
    assert ["1", "2", "1.0000", "1.00"] in centres


def test_patients_on_one_side_only_are_named_or_left_out(command, tmp_path):
    one = table(tmp_path / "p.csv", {"patient_001": "pN0", "patient_002": "pN1"})
    other = table(tmp_path / "t.csv", {"patient_001": "pN0", "patient_002": "pN1", "q": "pN2"})
    result = command("evaluate", "stages", one, other)
    assert result.exit_code == 1
    assert "q has a true label but no prediction" in result.stderr
    result = command("evaluate", "stages", one, other, "--common")
    assert result.exit_code == 0
    assert "left out: q." in result.stdout


def test_official_outlines_as_truth(command, shared_data, tmp_path):
    """Detections in the middle of official outlines are hits, whatever the outlines' shape."""
    truth, found = tmp_path / "truth", tmp_path / "found"
    truth.mkdir()
    found.mkdir()
    for name in ("tumor_001", "tumor_081"):
        source = shared_data / "annotations" / "asap_c16" / f"{name}.xml"
        (truth / source.name).write_bytes(source.read_bytes())
        middles = [np.mean(one.rings[0], axis=0) for one in read(source) if one.rings]
        (found / f"{name}.csv").write_text("\n".join(f"0.8,{x},{y}" for x, y in middles))
    kept = json.loads(
        command("evaluate", "detections", found, truth, "--draws", "0", "--json").stdout
    )
    assert kept["tumours"] >= 2
    assert {one["fate"] for one in kept["detections"]} <= {"hit", "repeat", "itc"}
