"""Which slides files, folders and patterns come to."""

import shutil

import pytest

from napari_camelyon.cohort import choose_slides
from napari_camelyon.errors import SlideError


@pytest.fixture
def folder(slide_with, tmp_path):
    """Three slides, one of them deeper down, among other files."""
    slide = slide_with("any", 100)
    (tmp_path / "deep").mkdir()
    for name in ("node_10.tif", "node_9.tif", "deep/far.tif"):
        shutil.copy(slide, tmp_path / name)
    for name in ("node_9.xml", "node_9.csv", "node_9.geojson", "notes.json", ".hidden"):
        (tmp_path / name).write_text("beside")
    (tmp_path / "letter.pdf").write_text("no slide")
    (tmp_path / "broken.tif").write_text("no slide")
    return tmp_path


def names(chosen):
    return [path.name for path in chosen.slides]


def test_a_folder_means_its_slides_and_only_odd_files_are_spoken_of(folder):
    chosen = choose_slides([folder])
    assert names(chosen) == ["node_9.tif", "node_10.tif"]
    (note,) = chosen.notes
    assert note == f"In {folder} 2 files are no slides and were left out: broken.tif, letter.pdf."


def test_a_pattern_means_the_slides_among_what_it_matches(folder, monkeypatch):
    assert names(choose_slides([f"{folder}/node_*"])) == ["node_9.tif", "node_10.tif"]
    assert names(choose_slides([f"{folder}/node_?.*"])) == ["node_9.tif"]
    deep = choose_slides([f"{folder}/**/*.tif"])
    assert names(deep) == ["far.tif", "node_9.tif", "node_10.tif"]
    assert "broken.tif" in deep.notes[0]
    monkeypatch.chdir(folder)
    relative = choose_slides(["*_9.tif"])
    assert relative.slides == (folder / "node_9.tif",)


def test_a_file_is_taken_as_it_is_and_each_slide_once(folder):
    broken = folder / "broken.tif"
    chosen = choose_slides([broken, folder, folder / "node_9.tif", folder / "missing.tif"])
    assert names(chosen) == ["broken.tif", "node_9.tif", "node_10.tif", "missing.tif"]
    assert chosen.notes == (f"In {folder} 1 file is no slide and was left out: letter.pdf.",)


def test_a_name_with_brackets_is_a_file_where_there_is_one(folder):
    odd = shutil.copy(folder / "node_9.tif", folder / "a[1].tif")
    assert choose_slides([odd]).slides == (folder / "a[1].tif",)


def test_nothing_found_is_explained(folder):
    with pytest.raises(SlideError, match=r"no_such_\*.tif matches nothing at all"):
        choose_slides([f"{folder}/no_such_*.tif"])
    with pytest.raises(SlideError, match="matches nothing that is a slide"):
        choose_slides([f"{folder}/*.pdf"])
    (folder / "empty").mkdir()
    with pytest.raises(SlideError, match=r"empty is a folder without slides.*\*\*"):
        choose_slides([folder / "empty"])


def test_two_slides_of_one_name_are_refused(folder):
    shutil.copy(folder / "node_9.tif", folder / "deep" / "node_9.tif")
    with pytest.raises(SlideError, match="both named node_9"):
        choose_slides([f"{folder}/**/node_9.tif"])


def test_results_are_no_slides(folder, request_for):
    from napari_camelyon.cohort import predict_to_folder

    predict_to_folder(folder / "node_9.tif", folder / "results", request_for())
    assert names(choose_slides([f"{folder}/**/*"])) == ["far.tif", "node_9.tif", "node_10.tif"]


def test_a_folder_that_is_a_slide_is_one(shared_data):
    dicom = shared_data / "slides" / "CMU-1-Small-Region-dicom"
    assert choose_slides([dicom]).slides == (dicom.absolute(),)
    assert choose_slides([f"{dicom}/*.dcm"]).slides == (dicom.absolute(),)
