"""Patients from folders and tables; patient.json."""

import json
from dataclasses import replace

import pytest

from napari_camelyon.cohort import (
    kept_overrides,
    patient_of_node,
    read_patient,
    stage_nodes,
    stage_source,
    write_patient,
    write_patients,
)
from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.staging import classify_node, override_node, stage_patient, write_node


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("patient_017_node_4", "patient_017"),
        ("patient_000_node_0", "patient_000"),
        ("patient_17_node_4", None),
        ("patient_017_node_4_copy", None),
        ("tumor_001", None),
        ("", None),
    ],
)
def test_only_camelyon17_names_tell_their_patient(name, patient):
    assert patient_of_node(name) == patient


def test_slides_with_other_names_are_one_patient_named_after_the_folder(tmp_path):
    folder = tmp_path / "case 12"
    for name in ("left", "right"):
        write_node(classify_node([], name=name), folder / name)
    (patient,) = stage_source(folder)
    assert (patient.name, patient.stage) == ("case 12", "pN0")
    assert patient.is_certain
    assert set(patient.nodes) == {"left", "right"}
    (expecting_five,) = stage_source(folder, expected_nodes=5)
    assert expecting_five.absent == 3


def test_a_node_with_two_results_is_named(tmp_path):
    for place in ("first", "second"):
        write_node(classify_node([], name="left"), tmp_path / place)
    with pytest.raises(StagingError, match="two results of the node left"):
        stage_source(tmp_path)


def test_named_and_unnamed_slides_are_kept_apart():
    nodes = [classify_node([], name=name) for name in ("patient_003_node_1", "other")]
    by_name = stage_nodes(nodes, other_patient="the rest")
    assert [patient.name for patient in by_name] == ["patient_003", "the rest"]
    assert not by_name[0].nodes["patient_003_node_0"]


def test_a_table_is_staged_like_a_folder(tmp_path):
    table = tmp_path / "nodes.csv"
    table.write_text("patient,stage\na.svs,macro\nb.svs,ITC\n")
    (patient,) = stage_source(table)
    assert (patient.name, patient.stage) == ("nodes", "pN1")
    assert patient.nodes == {"a.svs": "macro", "b.svs": "itc"}


def test_official_labels_are_reproduced(shared_data):
    path = shared_data / "tables" / "camelyon17_stages_patients_000-019.csv"
    official = dict(
        line.split(",")
        for line in path.read_text().split()
        if line.partition(",")[0].endswith("zip")
    )
    staged = stage_source(path)
    assert {f"{patient.name}.zip": patient.stage for patient in staged} == official
    assert all(patient.is_certain for patient in staged)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("patient,stage\n", "no node with a class"),
        ("patient,stage\npatient_000.zip,pN0\n", "no node with a class"),
    ],
)
def test_tables_without_nodes_are_explained(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(StagingError, match=message):
        stage_source(tmp_path / "t.csv")


def test_a_source_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(ResultError, match="no folder of results and no table"):
        stage_source(tmp_path / "nowhere")


# -- patient.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "patient",
    [
        stage_patient(["macro", "itc", "negative", "negative", "micro"], name="p"),
        stage_patient({"ä": "micro", "b": None}, name="patient_001"),
    ],
    ids=["certain", "bounded"],
)
def test_a_patient_comes_back_as_it_was_written(tmp_path, patient):
    path = write_patient(patient, tmp_path / "new")
    assert path == tmp_path / "new" / "patient.json"
    assert read_patient(path) == read_patient(path.parent) == patient
    assert "not a medical device" in json.loads(path.read_text())["note"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(schema_version=3), "newer"),
        (lambda e: e.pop("stage"), "damaged"),
        (lambda e: e.update(stage="pN7"), "damaged"),
        (lambda e: e.update(possible_stages=["pN1", "x"]), "damaged"),
        (lambda e: e.update(nodes=["macro"]), "damaged"),
        (lambda e: e.update(nodes={"a": "large"}), "damaged"),
        (lambda e: e.update(absent=None), "damaged"),
        (lambda e: e.update(scheme="ajcc6"), "damaged"),
        (lambda e: e.update(overrides=[{"node": "a"}]), "damaged"),
    ],
)
def test_a_damaged_patient_is_explained(tmp_path, change, message):
    path = write_patient(stage_patient(["macro"], name="p"), tmp_path)
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(ResultError, match=message):
        read_patient(tmp_path)


def test_what_a_person_said_is_kept_and_holds_the_next_time(tmp_path):
    history = override_node(
        (), "node 1", "macro", computed="micro", reason="larger next door", initials="AB"
    )
    patient = stage_patient(["micro"], name="p", expected_nodes=1, overrides=history)
    write_patient(patient, tmp_path / "p")
    assert kept_overrides(tmp_path) == {"p": history}
    assert kept_overrides(tmp_path / "p") == {"p": history}
    assert read_patient(tmp_path / "p") == patient


def test_overrides_in_a_folder_of_results_are_heeded(tmp_path):
    for name in ("patient_001_node_0", "patient_001_node_1"):
        write_node(classify_node([], name=name), tmp_path / name)
    (computed,) = stage_source(tmp_path)
    assert computed.lowest == "pN0"
    history = override_node(
        (), "patient_001_node_0", "micro", computed="negative", reason="missed", initials="AB"
    )
    write_patient(replace(computed, overrides=history), tmp_path)
    (again,) = stage_source(tmp_path)
    assert again.lowest == "pN1mi"
    assert "was set to micro by AB" in again.describe()


def test_an_older_patient_file_is_read(tmp_path):
    path = write_patient(stage_patient(["macro"], name="p"), tmp_path)
    entries = json.loads(path.read_text())
    for newer in ("scheme", "sentinel", "overrides"):
        del entries[newer]
    path.write_text(json.dumps({**entries, "schema_version": 1}))
    assert read_patient(path) == stage_patient(["macro"], name="p")


def test_several_patients_get_a_file_each(tmp_path):
    patients = [stage_patient(["macro"], name=name) for name in ("p", "q")]
    assert write_patients(patients, tmp_path) == [
        tmp_path / name / "patient.json" for name in ("p", "q")
    ]
