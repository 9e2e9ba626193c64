"""Stage tables, old and new, and the submission: named, never guessed."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.cohort import read_stage_table, stage_source, write_submission
from napari_camelyon.errors import FileWriteError, StagingError
from napari_camelyon.staging import NODE_CLASSES, stage_patient

OLD = """patient,stage
patient_000.zip,pN0(i+)
patient_000_node_0.tif,negative
patient_000_node_1.tif,itc
patient_020.zip,pN1
patient_020_node_0.tif,macro
"""


def with_centres(text: str) -> str:
    lines = text.split()
    return "\n".join(
        [lines[0] + ",center", *(f"{line},{int(line[8:11]) // 20}" for line in lines[1:])]
    )


def table(tmp_path, text, name="stages.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_old_and_new_tables_say_the_same(tmp_path):
    old = read_stage_table(table(tmp_path, OLD))
    assert old.stages == {"patient_000": "pN0(i+)", "patient_020": "pN1"}
    assert old.nodes == {
        "patient_000": {"patient_000_node_0": "negative", "patient_000_node_1": "itc"},
        "patient_020": {"patient_020_node_0": "macro"},
    }
    assert old.centres == {}
    new = read_stage_table(table(tmp_path, with_centres(OLD)))
    assert (new.stages, new.nodes) == (old.stages, old.nodes)
    assert new.centres == {"patient_000": 0, "patient_020": 1}


@pytest.mark.parametrize(
    "text",
    [
        OLD.replace("\n", "\r\n"),
        OLD.rstrip(),
        OLD.replace("\n", "\n\n"),
        OLD.replace(",", " , ").replace("patient ,", "Patient,"),
        OLD.replace("itc", "ITC"),
    ],
    ids=["crlf", "no last newline", "empty lines", "blanks and capitals", "capital class"],
)
def test_harmless_differences_do_no_harm(tmp_path, text):
    expected = read_stage_table(table(tmp_path, OLD))
    assert read_stage_table(table(tmp_path, text)) == expected
    assert read_stage_table(table(tmp_path, text, encoding="utf-8-sig")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no stage table"),
        ("patient;stage\na;macro\n", "no stage table.*patient;stage"),
        ("name,class\na,macro\n", "no stage table"),
        ("patient,stage\na\n", "Line 2 .* 1 cells"),
        ("patient,stage\na,macro,0\n", "Line 2 .* 3 cells"),
        ("patient,stage\na.tif,large\n", "Line 2 .*a.tif has the class 'large'"),
        ("patient,stage\na,\n", "Line 2 .*has the class ''"),
        ("patient,stage\na.zip,macro\n", "Line 2 .*a.zip has the stage 'macro'"),
        ("patient,stage\na.tif,pN1\n", "Line 2 .*a.tif has the class 'pN1'"),
        ("patient,stage\na.zip,pn1\n", "'pn1'"),
        ("patient,stage\na.tif,itc\nb.tif,itc\na.tif,itc\n", "Line 4 .*a is there a second time"),
        ("patient,stage\na.zip,pN1\na.zip,pN1\n", "Line 3 .*a.zip is there a second time"),
        ("patient,stage,center\na.zip,pN1,Utrecht\n", "Line 2 .*center 'Utrecht'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(StagingError, match=message) as caught:
        read_stage_table(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_explained(tmp_path):
    with pytest.raises(StagingError, match="no stage table"):
        read_stage_table(tmp_path / "nowhere.csv")
    with pytest.raises(StagingError, match="cannot be read"):
        read_stage_table(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(StagingError, match="cannot be read"):
        read_stage_table(tmp_path / "binary.csv")


# -- the submission --------------------------------------------------------------------------------


def patient(number: int, classes):
    name = f"patient_{number:03}"
    return stage_patient(
        {f"{name}_node_{index}": word for index, word in enumerate(classes)}, name=name
    )


def test_a_submission_lists_patients_with_their_five_nodes(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission([patient(100, ["micro", "macro", "macro", "macro", "itc"])], path)
    assert path.read_bytes() == (
        b"patient,stage\n"
        b"patient_100.zip,pN2\n"
        b"patient_100_node_0.tif,micro\n"
        b"patient_100_node_1.tif,macro\n"
        b"patient_100_node_2.tif,macro\n"
        b"patient_100_node_3.tif,macro\n"
        b"patient_100_node_4.tif,itc\n"
    )


@given(
    st.lists(
        st.lists(st.sampled_from(NODE_CLASSES), min_size=5, max_size=5), min_size=1, max_size=4
    )
)
def test_a_submission_reads_back_to_the_same_stages(tmp_path_factory, cohort):
    path = tmp_path_factory.mktemp("submission") / "s.csv"
    patients = [patient(number, classes) for number, classes in enumerate(cohort)]
    write_submission(patients, path)
    assert stage_source(path) == patients
    assert read_stage_table(path).stages == {item.name: item.stage for item in patients}
    with path.open() as file:
        assert len(list(csv.reader(file))) == 1 + 6 * len(patients)


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ([stage_patient(["macro"] * 5, name="case 12")], "not 'case 12'"),
        ([patient(1, ["itc"] * 5), patient(1, ["itc"] * 5)], "patient_001 is there twice"),
        ([patient(1, ["itc"] * 4)], "patient_001_node_4 has no class"),
        ([patient(1, ["itc", None, "itc", "itc", "itc"])], "patient_001_node_1 has no class"),
        ([patient(1, ["itc"] * 6)], "patient_001_node_5 is none of the five"),
    ],
)
def test_gaps_and_strangers_are_refused(tmp_path, patients, message):
    with pytest.raises(StagingError, match=message):
        write_submission(patients, tmp_path / "s.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    with pytest.raises(FileWriteError):
        write_submission([patient(1, ["itc"] * 5)], tmp_path)
