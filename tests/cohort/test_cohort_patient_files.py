"""Which patients a folder holds: slides, results, what is missing, and what is there twice."""

import json
import shutil

import numpy as np
import pytest

from napari_camelyon.cohort import find_patients, write_patient, write_slide_results
from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import classify_node, find_lesions, stage_patient


def keep_results(out, name, finished="2026-01-01T10:00:00+00:00"):
    values = np.zeros((20, 20), np.float32)
    values[5:9, 5:9] = 0.9
    heatmap = Heatmap(Grid(20, 20, 0, 0, 32, 32, 32, 32), values, (0.5, 0.5), slide_name=name)
    lesions = find_lesions(heatmap)
    write_slide_results(out, heatmap, lesions, classify_node(lesions, heatmap=heatmap))
    run = out / name / "run.json"
    entries = json.loads(run.read_text(encoding="utf-8"))
    run.write_text(json.dumps({**entries, "finished": finished}), encoding="utf-8")
    return out / name


@pytest.fixture
def put_slide(make_slide):
    made = make_slide(np.full((64, 64, 3), 200, np.uint8), mpp=0.5)

    def put(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, path)
        return path

    return put


def test_camelyon17_patients_know_their_missing_nodes(tmp_path, put_slide):
    for name in ("patient_017_node_1", "patient_017_node_3", "patient_004_node_0"):
        put_slide(tmp_path / "center_0" / f"{name}.tif")
    keep_results(tmp_path / "out", "patient_017_node_4")
    first, second = find_patients(tmp_path).patients
    assert (first.name, second.name) == ("patient_004", "patient_017")
    assert list(second.slides) == ["patient_017_node_1", "patient_017_node_3"]
    assert list(second.results) == ["patient_017_node_4"]
    assert second.missing == ("patient_017_node_0", "patient_017_node_2")
    assert second.nodes == tuple(f"patient_017_node_{number}" for number in range(5))


def test_other_slides_of_a_folder_are_one_patient_with_the_results_nearest_to_them(
    tmp_path, put_slide
):
    for case in ("case 2", "case 10"):
        for name in ("n2", "n10"):
            put_slide(tmp_path / case / f"{name}.tif")
        keep_results(tmp_path / case / "results", "n2")
    patients = find_patients(tmp_path).patients
    assert [patient.name for patient in patients] == ["case 2", "case 10"]
    for patient in patients:
        assert patient.nodes == ("n2", "n10")
        assert patient.results == {"n2": tmp_path / patient.name / "results" / "n2"}
        assert not patient.missing


def test_results_in_the_folder_beside_that_of_the_slides_are_found(tmp_path, put_slide):
    put_slide(tmp_path / "images" / "n1.tif")
    kept = keep_results(tmp_path / "results", "n1")
    (patient,) = find_patients(tmp_path / "images").patients
    assert patient.results == {"n1": kept}


def test_of_two_results_the_newer_is_taken_and_that_is_said(tmp_path):
    old = keep_results(tmp_path / "b", "n1", "2025-01-01T10:00:00+00:00")
    new = keep_results(tmp_path / "a", "n1", "2026-01-01T10:00:00+00:00")
    found = find_patients(tmp_path)
    assert found.patients[0].results == {"n1": new}
    (note,) = found.notes
    assert "two results" in note
    assert str(old) in note


def test_a_slide_that_is_there_twice_is_said(tmp_path, put_slide):
    put_slide(tmp_path / "a" / "patient_001_node_0.tif")
    put_slide(tmp_path / "b" / "patient_001_node_0.tif")
    found = find_patients(tmp_path)
    assert found.patients[0].slides["patient_001_node_0"].parent.name == "a"
    assert "two slides patient_001_node_0" in found.notes[0]


def test_damaged_results_are_said_and_the_rest_is_found(tmp_path, put_slide):
    put_slide(tmp_path / "n1.tif")
    kept = keep_results(tmp_path / "results", "n1")
    (kept / "node.json").write_text("{", encoding="utf-8")
    found = find_patients(tmp_path)
    assert list(found.patients[0].slides) == ["n1"]
    assert any("node.json" in note for note in found.notes)


def test_the_record_of_the_patient_is_found_and_that_of_another_is_not(tmp_path, put_slide):
    put_slide(tmp_path / "a" / "n1.tif")
    put_slide(tmp_path / "b" / "n1.tif")
    record = write_patient(stage_patient({"n1": "micro"}, name="b", expected_nodes=None), tmp_path)
    of_a, of_b = find_patients(tmp_path).patients
    assert of_a.patient_file is None
    assert of_b.patient_file == record


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_with_nothing_in_it_is_explained(tmp_path, made):
    folder = tmp_path / "empty"
    if made:
        folder.mkdir()
    with pytest.raises(ResultError, match="empty"):
        find_patients(folder)
