"""patches.parquet: one row a patch, in columns that other programs can read."""

import json
import subprocess
import sys

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, maps_of, read_patches, write_patches

GRID = Grid(2, 3, 100, 200, 64, 65, 32, 16)
NAN = np.float32("nan")


def make() -> Heatmap:
    values = np.array([[0.1, NAN, 0.3], [NAN, 0.5, 0.6]], dtype=np.float32)
    return Heatmap(GRID, values, (0.25, 0.5), slide_name="s", model_sha256="abc")


def test_rows_are_the_computed_patches_in_reading_order(tmp_path):
    write_patches(make(), tmp_path)
    table = read_patches(tmp_path)
    assert len(table) == 4
    # Column 0, 2 of row 0 and column 1, 2 of row 1; stride 32 × 16 from (100, 200).
    assert table.columns["x_px"].tolist() == [100, 164, 132, 164]
    assert table.columns["y_px"].tolist() == [200, 200, 216, 216]
    assert table.columns["width_px"].tolist() == [64] * 4
    assert table.columns["height_px"].tolist() == [65] * 4
    assert table.columns["probability"] == pytest.approx([0.1, 0.3, 0.5, 0.6])
    assert np.isnan(table.columns["tissue_fraction"]).all()


def test_planned_patches_without_a_value_are_rows_too(tmp_path):
    planned = np.array([[True, True, False], [False, False, True]])
    fraction = np.linspace(0, 1, 6).reshape(2, 3)
    entropy = np.arange(6.0).reshape(2, 3)
    write_patches(
        make(), tmp_path, planned=planned, tissue_fraction=fraction, extra={"entropy": entropy}
    )
    columns = read_patches(tmp_path).columns
    assert list(columns) == [
        "x_px", "y_px", "width_px", "height_px", "tissue_fraction", "probability", "entropy"
    ]  # fmt: skip
    np.testing.assert_array_equal(columns["probability"], np.float32([0.1, NAN, 0.6]))
    assert columns["tissue_fraction"] == pytest.approx([0, 0.2, 1])
    assert columns["entropy"].tolist() == [0, 1, 5]


def test_other_programs_find_types_and_metadata(tmp_path):
    path = write_patches(make(), tmp_path)
    assert path == tmp_path / "patches.parquet"
    schema = parquet.read_schema(path)
    assert {field.name: str(field.type) for field in schema} == {
        "x_px": "int64",
        "y_px": "int64",
        "width_px": "int32",
        "height_px": "int32",
        "tissue_fraction": "float",
        "probability": "float",
    }
    metadata = json.loads(schema.metadata[b"napari_camelyon"])
    assert metadata["schema_version"] == 1
    assert metadata["mpp"] == [0.25, 0.5]
    assert metadata["grid"]["stride_y_px"] == 16
    assert metadata["slide"]["name"] == "s"
    assert read_patches(path).metadata == metadata


def test_no_patch_gives_a_table_without_rows(tmp_path):
    write_patches(make(), tmp_path, planned=np.zeros((2, 3), bool))
    assert len(read_patches(tmp_path)) == 0


def test_arrays_of_another_grid_and_names_taken_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"planned .* shape \(2, 3\)"):
        write_patches(make(), tmp_path, planned=np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="tissue_fraction"):
        write_patches(make(), tmp_path, tissue_fraction=np.ones(6))
    with pytest.raises(ValueError, match="'probability' already"):
        write_patches(make(), tmp_path, extra={"probability": np.ones((2, 3))})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0, 20, -5])
def test_a_damaged_table_is_explained(tmp_path, keep):
    path = write_patches(make(), tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ResultError, match=r"patches\.parquet is damaged"):
        read_patches(tmp_path)


def test_tables_of_others_and_newer_ones_are_explained(tmp_path):
    path = tmp_path / "patches.parquet"
    plain = pyarrow.table({"x_px": [1]})
    parquet.write_table(plain, path)
    with pytest.raises(ResultError, match="which schema"):
        read_patches(path)
    for metadata, message in [
        ({"schema_version": 2}, "newer"),
        ({"schema_version": 1}, "lacks the columns y_px"),
        (["x"], "which schema"),
    ]:
        table = plain.replace_schema_metadata({"napari_camelyon": json.dumps(metadata)})
        parquet.write_table(table, path)
        with pytest.raises(ResultError, match=message):
            read_patches(path)
    with pytest.raises(ResultError, match="no table of patches"):
        read_patches(tmp_path / "nowhere")


def test_maps_become_columns_and_come_back_in_place(tmp_path):
    heatmap = make()
    spread = np.array([[0.01, NAN, 0.03], [NAN, 0.05, NAN]], dtype=np.float32)
    heatmap.maps["uncertainty_total"] = spread
    write_patches(heatmap, tmp_path, extra={"pieces": np.arange(6).reshape(2, 3)})
    table = read_patches(tmp_path)
    assert list(table.columns)[-3:] == ["probability", "uncertainty_total", "pieces"]
    cells = np.argwhere(~np.isnan(heatmap.values))
    found = maps_of(table, cells, GRID)
    assert list(found) == ["uncertainty_total"]
    np.testing.assert_array_equal(found["uncertainty_total"], spread)
    with pytest.raises(ValueError, match="a column 'uncertainty_total' already"):
        write_patches(heatmap, tmp_path, extra={"uncertainty_total": spread})


def test_columns_of_any_type_come_back(tmp_path):
    extra = {
        "flag": np.array([[True, False, True], [False, False, True]]),
        "count": np.arange(6, dtype=np.uint16).reshape(2, 3).T.copy().T,
        "word": np.array([["a", "b", "c"], ["d", "e", "f"]]),
    }
    everything = np.ones((2, 3), bool)
    write_patches(make(), tmp_path, planned=everything, extra=extra)
    columns = read_patches(tmp_path).columns
    for name, values in extra.items():
        assert columns[name].tolist() == values.ravel().tolist()
    assert columns["count"].dtype == np.uint16


def test_columns_with_gaps_come_back(tmp_path):
    path = write_patches(make(), tmp_path)
    gaps = pyarrow.array([1, None, 3, 4], pyarrow.float32())
    parquet.write_table(parquet.read_table(path).append_column("gaps", gaps), path)
    np.testing.assert_array_equal(read_patches(path).columns["gaps"], np.float32([1, NAN, 3, 4]))


def test_the_table_is_written_without_pandas_which_takes_long_to_import(tmp_path):
    program = """
import sys, numpy as np
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, write_patches
heatmap = Heatmap(Grid(2, 3, 0, 0, 9, 9, 9, 9), np.ones((2, 3), np.float32), (1.0, 1.0))
write_patches(heatmap, sys.argv[1])
print(*({"pandas"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
