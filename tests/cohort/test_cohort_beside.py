"""What lies beside a slide is found, and kept results come back as they were written."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_camelyon.cohort import (
    Beside,
    annotated_slide,
    found_beside,
    read_prediction,
    write_slide_results,
)
from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, read_patches
from napari_camelyon.staging import classify_node, find_lesions


def write(out, name="node_2", *, size=20, planned=None, tissue_fraction=None):
    values = np.full((40, 50), np.nan, dtype=np.float32)
    values[5:35, 5:45] = 0.1
    values[10 : 10 + size, 10:30] = 0.9
    heatmap = Heatmap(
        Grid(40, 50, 30, 70, 200, 260, 100, 130),
        values,
        (0.25, 0.25),
        planned_cells=1200,
        slide_name=name,
        slide_fingerprint="abc",
        model_name="a model",
    )
    lesions = find_lesions(heatmap)
    node = classify_node(lesions, heatmap=heatmap)
    folder = write_slide_results(
        out, heatmap, lesions, node, planned=planned, tissue_fraction=tissue_fraction
    )
    return folder, heatmap, node


def finished_at(folder, time):
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**run, "finished": time}), encoding="utf-8")


def test_nothing_is_found_beside_a_lonely_slide(tmp_path):
    assert found_beside(tmp_path / "node_2.tif") == Beside()
    assert found_beside(tmp_path / "no folder" / "node_2.tif") == Beside()


def test_annotations_of_the_name_are_found_where_camelyon_keeps_them(tmp_path):
    places = [
        tmp_path / "images" / "node_2.xml",
        tmp_path / "images" / "node_2.geojson",
        tmp_path / "images" / "outlines" / "node_2.json",
        tmp_path / "annotations" / "node_2.xml",
        tmp_path / "lesion_annotations" / "node_2.xml",
        tmp_path / "images" / "node_2.ndpa",
        tmp_path / "images" / "node_2.tif.ndpa",
    ]
    others = [
        tmp_path / "images" / "node_20.xml",
        tmp_path / "images" / "node_2.txt",
        tmp_path / "images" / "node_2.svs.ndpa",
        tmp_path / "images" / ".hidden" / "node_2.xml",
        tmp_path / "elsewhere" / "node_2.xml",
    ]
    for path in (*places, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert sorted(found_beside(tmp_path / "images" / "node_2.tif").annotations) == sorted(places)


def test_results_are_found_newest_first_with_their_class(tmp_path):
    old, _, node = write(tmp_path / "images" / "first try")
    new, _, _ = write(tmp_path / "results", size=0)
    write(tmp_path / "images" / "first try", name="node_3")
    finished_at(old, "2024-05-01T10:00:00+00:00")
    finished_at(new, "2025-05-01T10:00:00+00:00")
    found = found_beside(tmp_path / "images" / "node_2.tif").results
    assert [result.folder for result in found] == [new, old]
    assert [result.node_class for result in found] == ["negative", node.node_class]
    assert found[1].finished.isoformat() == "2024-05-01T10:00:00+00:00"
    assert found[1].model_name == "a model"
    assert all(result.has_heatmap for result in found)


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 99}', "[1]"])
def test_damaged_results_are_found_all_the_same(tmp_path, content):
    folder, _, _ = write(tmp_path)
    for name in ("run.json", "node.json"):
        (folder / name).write_text(content)
    (result,) = found_beside(tmp_path / "node_2.tif").results
    assert (result.finished, result.model_name, result.node_class) == (None, "", None)


def test_a_prediction_comes_back_and_is_written_again_without_loss(tmp_path):
    rng = np.random.default_rng(3)
    planned = rng.random((40, 50)) < 0.6
    tissue = rng.random((40, 50)).astype(np.float32)
    folder, heatmap, _ = write(tmp_path / "a", planned=planned, tissue_fraction=tissue)
    read, grid = read_prediction(folder)
    np.testing.assert_array_equal(read.values, heatmap.values)
    assert grid.grid == heatmap.grid
    np.testing.assert_array_equal(grid.selected, planned)
    np.testing.assert_array_equal(grid.tissue_fraction, np.where(planned, tissue, np.nan))
    lesions = find_lesions(read)
    again = write_slide_results(
        tmp_path / "b",
        read,
        lesions,
        classify_node(lesions, heatmap=read),
        planned=grid.selected,
        tissue_fraction=grid.tissue_fraction,
    )
    first, second = read_patches(folder), read_patches(again)
    assert first.metadata == second.metadata
    for name, column in first.columns.items():
        np.testing.assert_array_equal(column, second.columns[name])


def test_a_table_of_another_heatmap_is_refused(tmp_path):
    import shutil

    folder, _, _ = write(tmp_path / "a")
    small = Heatmap(
        Grid(2, 2, 0, 0, 200, 200, 100, 100),
        np.zeros((2, 2), np.float32),
        (0.25, 0.25),
        slide_name="node_2",
    )
    node = classify_node([], heatmap=small)
    other = write_slide_results(tmp_path / "b", small, [], node)
    shutil.copy(folder / "patches.parquet", other / "patches.parquet")
    with pytest.raises(ResultError, match="not of the heatmap"):
        read_prediction(other)


def test_a_file_belongs_to_the_slide_of_its_name():
    names = {"a", "b.ndpi", "case.12"}
    assert annotated_slide(Path("x/a.xml"), names) == "a"
    assert annotated_slide(Path("x/a.ndpa"), names) == "a"
    assert annotated_slide(Path("x/a.ndpi.ndpa"), names) == "a"
    assert annotated_slide(Path("x/b.ndpi.ndpa"), names) == "b.ndpi"
    assert annotated_slide(Path("x/case.12.NDPA"), names) == "case.12"
    assert annotated_slide(Path("x/case.12.ndpi.ndpa"), names) == "case.12"
    assert annotated_slide(Path("x/a.1.xml"), names) is None
