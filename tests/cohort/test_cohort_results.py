"""The result folder of a slide: complete, replaced in place, never another slide's."""

import json
import platform
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_camelyon import __version__
from napari_camelyon.cohort import (
    find_result_folders,
    read_run,
    stage_source,
    write_slide_results,
)
from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, read_heatmap, read_patches
from napari_camelyon.staging import classify_node, find_lesions, read_lesions, read_node


def heatmap_of(name="patient_017_node_2", *, fingerprint="abc", size=20) -> Heatmap:
    values = np.full((40, 50), np.nan, dtype=np.float32)
    values[5:35, 5:45] = 0.1
    values[10 : 10 + size, 10:30] = 0.9
    return Heatmap(
        Grid(40, 50, 0, 0, 200, 200, 100, 100),
        values,
        (0.25, 0.25),
        planned_cells=1200,
        slide_name=name,
        slide_fingerprint=fingerprint,
        model_name="m",
        model_sha256="f" * 64,
    )


def write(out, heatmap, **entries):
    lesions = find_lesions(heatmap)
    node = classify_node(lesions, heatmap=heatmap)
    return write_slide_results(out, heatmap, lesions, node, **entries)


def test_a_folder_holds_everything_that_is_known(tmp_path):
    heatmap = heatmap_of()
    planned = ~np.isnan(heatmap.values)
    before = datetime.now(UTC).replace(microsecond=0)
    folder = write(
        tmp_path / "out",
        heatmap,
        slide_path=tmp_path / "patient_017_node_2.tif",
        planned=planned,
        tissue_fraction=planned * 0.5,
        parameters={"stride_um": 25.0},
    )
    assert folder == tmp_path / "out" / "patient_017_node_2"
    assert sorted(path.name for path in folder.iterdir()) == [
        "heatmap.zarr", "lesions.geojson", "node.json", "patches.parquet", "run.json"
    ]  # fmt: skip
    assert np.array_equal(read_heatmap(folder).values, heatmap.values, equal_nan=True)
    assert len(read_patches(folder)) == 1200
    lesions = find_lesions(heatmap)
    assert read_lesions(folder) == lesions
    assert read_node(folder) == classify_node(lesions, heatmap=heatmap)

    run = read_run(folder)
    assert run.slide_name == "patient_017_node_2"
    assert run.slide_path == str((tmp_path / "patient_017_node_2.tif").resolve())
    assert (run.slide_fingerprint, run.model_sha256) == ("abc", "f" * 64)
    assert run.parameters["stride_um"] == 25.0
    assert run.versions["napari-camelyon"] == __version__
    assert run.versions["python"] == platform.python_version()
    assert run.versions["numpy"] == np.__version__
    finished = datetime.fromisoformat(run.finished)
    assert finished.utcoffset().total_seconds() == 0
    assert before <= finished <= datetime.now(UTC)
    assert json.loads((folder / "run.json").read_text())["schema_version"] == 3


def test_a_second_run_replaces_the_results_and_keeps_other_files(tmp_path):
    folder = write(tmp_path, heatmap_of())
    (folder / "note.txt").write_text("mine")
    write(tmp_path, heatmap_of(size=2))
    assert read_lesions(folder) == find_lesions(heatmap_of(size=2))
    assert (folder / "note.txt").read_text() == "mine"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_results_of_another_slide_of_the_same_name_are_kept(tmp_path):
    folder = write(tmp_path, heatmap_of(), slide_path=tmp_path / "one" / "a.tif")
    with pytest.raises(FileWriteError, match="another slide of the same name"):
        write(
            tmp_path, heatmap_of(fingerprint="xyz", size=2), slide_path=tmp_path / "two" / "a.tif"
        )
    assert read_lesions(folder) == find_lesions(heatmap_of())
    # The same content elsewhere, and new content in the same place, are the same slide.
    write(tmp_path, heatmap_of(), slide_path=tmp_path / "two" / "a.tif")
    write(tmp_path, heatmap_of(fingerprint="xyz"), slide_path=tmp_path / "two" / "a.tif")
    # What cannot be understood does not stand in the way.
    (folder / "run.json").write_text("{")
    write(tmp_path, heatmap_of(fingerprint="new"), slide_path=tmp_path / "three" / "a.tif")


def test_results_without_a_slide_have_no_place(tmp_path):
    with pytest.raises(ValueError, match="name of their slide"):
        write(tmp_path, heatmap_of(""))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"schema_version": 9}', "newer"),
        ('{"schema_version": 1}', "damaged"),
        ('{"schema_version": 1, "colour": 2}', "damaged"),
    ],
)
def test_a_damaged_run_is_explained(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ResultError, match=message):
        read_run(tmp_path)


def test_result_folders_are_found_below_and_at_the_folder_itself(tmp_path):
    names = ["patient_001_node_0", "patient_001_node_1", "patient_002_node_4"]
    folders = [
        write(tmp_path / name[:11] if "002" in name else tmp_path, heatmap_of(name))
        for name in names
    ]
    # Neither what another program half wrote nor what lies inside a store is a result.
    for odd in (".half-1a2b", "heatmap.zarr"):
        (tmp_path / odd).mkdir()
        (tmp_path / odd / "node.json").write_text("{")
    assert find_result_folders(tmp_path) == sorted(folders)
    assert find_result_folders(str(folders[0])) == [folders[0]]


def test_folders_without_results_are_explained(tmp_path):
    with pytest.raises(ResultError, match="holds no results"):
        find_result_folders(tmp_path)
    with pytest.raises(ResultError, match="no folder"):
        find_result_folders(tmp_path / "nowhere")


def test_a_folder_of_results_is_staged_patient_by_patient(tmp_path):
    sizes = {"patient_001_node_0": 20, "patient_001_node_3": 2, "patient_002_node_4": 0}
    for name, size in sizes.items():
        write(tmp_path, heatmap_of(name, size=size))
    first, second = stage_source(tmp_path)
    assert (first.name, second.name) == ("patient_001", "patient_002")
    assert first.nodes == {
        "patient_001_node_0": "micro",
        "patient_001_node_1": None,
        "patient_001_node_2": None,
        "patient_001_node_3": "micro",
        "patient_001_node_4": None,
    }
    assert first.statement == "at least pN1mi"
    assert second.stage == "pN0"
    assert "patient_002_node_0" in second.reasons[-2]
    assert stage_source(tmp_path, expected_nodes=1)[1].is_certain


def test_a_patient_whose_nodes_are_of_different_models_says_so(tmp_path):
    write(tmp_path, heatmap_of("patient_017_node_1"))
    write(tmp_path, heatmap_of("patient_017_node_2"))
    (alike,) = stage_source(tmp_path)
    assert "cannot be compared" not in alike.describe()
    write(tmp_path, replace(heatmap_of("patient_017_node_3"), model_sha256="0" * 64))
    (mixed,) = stage_source(tmp_path)
    assert "patient_017_node_3 has another model" in mixed.describe()


def test_a_damaged_heatmap_is_told_and_the_node_keeps_its_class(tmp_path):
    write(tmp_path, heatmap_of("patient_017_node_1"))
    broken = write(tmp_path, heatmap_of("patient_017_node_2"))
    (whole,) = stage_source(tmp_path)
    (broken / "heatmap.zarr" / "zarr.json").write_text("{")
    (patient,) = stage_source(tmp_path)
    assert patient.nodes == whole.nodes
    assert f"The heatmap {broken / 'heatmap.zarr'} is damaged" in patient.describe()
