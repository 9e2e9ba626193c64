"""Heatmaps on disk: true to the array, valid OME-Zarr, replaced whole, explained when damaged."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, empty_heatmap, read_heatmap, write_heatmap
from napari_camelyon.specs import ModelSpec


def make(rows=30, columns=40, **entries) -> Heatmap:
    values = np.random.default_rng(1).random((rows, columns), dtype=np.float32)
    values[: rows // 3] = np.nan
    known = {
        "grid": Grid(rows, columns, 100, 200, 256, 260, 128, 64),
        "values": values,
        "mpp": (0.243, 0.2431),
        "threshold": 0.7,
        "planned_cells": rows * columns,
        "slide_name": "patient_017_node_4",
        "slide_fingerprint": "0" * 32,
        "model_name": "Knötchen",
        "model_sha256": "f" * 64,
    }
    return Heatmap(**known | entries)


def same(one: Heatmap, other: Heatmap) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "values")
        for name in Heatmap.__slots__
    )


# -- the heatmap itself ----------------------------------------------------------------------------


def test_an_empty_heatmap_takes_its_meaning_from_the_model():
    spec = ModelSpec("pcam", 96, 0.972, value_meaning="centre", centre_px=32, threshold=0.6)
    heatmap = empty_heatmap(Grid(2, 3, 0, 0, 9, 9, 3, 3), (0.25, 0.25), spec, planned_cells=4)
    assert np.isnan(heatmap.values).all()
    assert heatmap.values.dtype == np.float32
    assert (heatmap.threshold, heatmap.value_meaning) == (0.6, "centre")
    assert heatmap.centre_um == pytest.approx(32 * 0.972)
    assert heatmap.model_name == "pcam"
    assert heatmap.computed_share == 0
    heatmap.values[0, :2] = 0.5, 0.0
    assert heatmap.computed_cells == 2
    assert heatmap.computed_share == 0.5


def test_the_computed_share_is_unknown_without_a_plan_and_whole_without_tissue():
    assert make(planned_cells=None).computed_share is None
    assert make(planned_cells=0).computed_share == 1
    assert make(planned_cells=1).computed_share == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"values": np.zeros((40, 30), np.float32)},
        {"values": np.zeros((30, 40), np.float64)},
        {"mpp": (0.0, 0.25)},
        {"mpp": (0.25, float("nan"))},
        {"value_meaning": "area"},
        {"value_meaning": "centre"},
    ],
)
def test_a_heatmap_that_contradicts_itself_is_refused(entries):
    with pytest.raises(ValueError, match=r"heatmap|positive numbers"):
        make(**entries)


# -- there and back --------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    values=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        elements=st.floats(0, 1, width=32) | st.just(np.float32("nan")),
    ),
    mpp=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20)),
    threshold=st.floats(0.01, 0.99),
)
def test_a_heatmap_comes_back_as_it_was_written(tmp_path_factory, values, mpp, threshold):
    folder = tmp_path_factory.mktemp("there-and-back")
    heatmap = make(
        *values.shape,
        values=values,
        mpp=mpp,
        threshold=threshold,
        value_meaning="centre",
        centre_um=31.1,
    )
    write_heatmap(heatmap, folder)
    assert same(read_heatmap(folder), heatmap)


def test_several_chunks_come_back_and_both_paths_are_accepted(tmp_path):
    heatmap = make(1100, 700)
    store = write_heatmap(heatmap, tmp_path / "slide")
    assert store == tmp_path / "slide" / "heatmap.zarr"
    assert same(read_heatmap(tmp_path / "slide"), heatmap)
    assert same(read_heatmap(str(store)), heatmap)


def test_a_second_heatmap_replaces_the_first_as_a_whole(tmp_path):
    write_heatmap(make(1100, 700), tmp_path)
    write_heatmap(make(5, 6), tmp_path)
    assert read_heatmap(tmp_path).grid.shape == (5, 6)
    assert [path.name for path in tmp_path.iterdir()] == ["heatmap.zarr"]
    assert len(list((tmp_path / "heatmap.zarr" / "0" / "c").rglob("*"))) == 2


# -- the format ------------------------------------------------------------------------------------


def check_ome_zarr(group_attributes: dict, arrays: dict[str, dict]) -> None:
    """Hold metadata against each MUST and SHOULD for images in the OME-Zarr 0.5 specification.

    https://ngff.openmicroscopy.org/0.5/, sections "axes", "coordinateTransformations" and
    "multiscales"; `arrays` holds the ``zarr.json`` of each array by path.
    """
    ome = group_attributes["ome"]
    assert ome["version"] == "0.5"
    assert ome["multiscales"]
    for image in ome["multiscales"]:
        axes = image["axes"]
        assert 2 <= len(axes) <= 5
        names = [axis["name"] for axis in axes]
        assert len(set(names)) == len(names)
        kinds = [axis["type"] for axis in axes]
        assert kinds.count("space") in (2, 3)
        assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
        assert all(axis["unit"] == "micrometer" for axis in axes if axis["type"] == "space")
        assert image["datasets"]
        for dataset in image["datasets"]:
            array = arrays[dataset["path"]]
            assert len(array["shape"]) == len(axes)
            assert array["dimension_names"] == names
            steps = dataset["coordinateTransformations"]
            step_kinds = [step["type"] for step in steps]
            assert step_kinds in (["scale"], ["scale", "translation"])
            for step in steps:
                vector = step[step["type"]]
                assert len(vector) == len(axes)
                assert all(isinstance(number, float) for number in vector)
        extents = [np.prod(arrays[dataset["path"]]["shape"]) for dataset in image["datasets"]]
        assert extents == sorted(extents, reverse=True)
        assert isinstance(image["name"], str)
        assert isinstance(image["type"], str)
        assert isinstance(image["metadata"], dict)


def test_the_store_is_a_valid_ome_zarr_image(tmp_path):
    store = write_heatmap(make(), tmp_path)
    group = json.loads((store / "zarr.json").read_text())
    assert group["zarr_format"] == 3
    assert group["node_type"] == "group"
    array = json.loads((store / "0" / "zarr.json").read_text())
    assert array["data_type"] == "float32"
    assert array["fill_value"] == "NaN"
    check_ome_zarr(group["attributes"], {"0": array})


def test_the_check_would_notice(tmp_path):
    store = write_heatmap(make(), tmp_path)
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    arrays = {"0": json.loads((store / "0" / "zarr.json").read_text())}
    steps = attributes["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    steps.reverse()
    with pytest.raises(AssertionError):
        check_ome_zarr(attributes, arrays)


def test_scale_and_translation_put_a_cell_on_its_patch_centre(tmp_path):
    heatmap = make()
    store = write_heatmap(heatmap, tmp_path)
    attributes = zarr.open_group(store, mode="r").attrs.asdict()
    (dataset,) = attributes["ome"]["multiscales"][0]["datasets"]
    scale, translation = (step[step["type"]] for step in dataset["coordinateTransformations"])
    # Origin (100, 200), patch 256 × 260, stride 128 × 64, all level-0 pixels.
    assert scale == pytest.approx([64 * 0.2431, 128 * 0.243])
    assert translation == pytest.approx([(200 + 130) * 0.2431, (100 + 128) * 0.243])
    for row, column in [(0, 0), (7, 3)]:
        y_um, x_um = np.array(translation) + np.array([row, column]) * scale
        x_px, y_px = heatmap.grid.centres((row, column))
        assert (x_um / 0.243, y_um / 0.2431) == pytest.approx((x_px, y_px))
    assert "centre of the first patch" in attributes["napari_camelyon"]["rule"]


# -- damage ----------------------------------------------------------------------------------------


def damage_group(store, change):
    entries = json.loads((store / "zarr.json").read_text())
    change(entries["attributes"])
    (store / "zarr.json").write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("napari_camelyon"), "no heatmap of napari-camelyon"),
        (lambda a: a.update(napari_camelyon=[]), "no heatmap of napari-camelyon"),
        (lambda a: a["napari_camelyon"].update(schema_version=2), "newer napari-camelyon"),
        (lambda a: a["napari_camelyon"].pop("schema_version"), "which schema"),
        (lambda a: a["napari_camelyon"].pop("mpp"), "damaged"),
        (lambda a: a["napari_camelyon"].update(mpp=[0.25]), "damaged"),
        (lambda a: a["napari_camelyon"].update(mpp=None), "damaged"),
        (lambda a: a["napari_camelyon"]["grid"].update(rows=31), "damaged"),
        (lambda a: a["napari_camelyon"]["grid"].update(rows="30"), "damaged"),
        (lambda a: a["napari_camelyon"].update(value_meaning="area"), "damaged"),
        (lambda a: a["napari_camelyon"].update(threshold="high"), "damaged"),
        (lambda a: a["napari_camelyon"].update(slide=None), "damaged"),
        (lambda a: a["napari_camelyon"].update(computed_cells=1), "fewer values"),
    ],
)
def test_damaged_attributes_are_explained(tmp_path, change, message):
    store = write_heatmap(make(), tmp_path)
    damage_group(store, change)
    with pytest.raises(ResultError, match=message) as caught:
        read_heatmap(tmp_path)
    assert str(store) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zarr.json", b"{"),
        ("zarr.json", b"[]"),
        ("zarr.json", b"\xff\xfe"),
        ("0/zarr.json", b"{"),
        ("0/zarr.json", b"{}"),
        ("0/zarr.json", None),
        ("0/c/0/0", b"not a compressed chunk"),
        ("0/c/0/0", b""),
        ("0/c/0/0", None),
    ],
)
def test_damaged_files_are_explained(tmp_path, name, content):
    store = write_heatmap(make(), tmp_path)
    if content is None:
        (store / name).unlink()
    else:
        (store / name).write_bytes(content)
    with pytest.raises(ResultError, match="damaged"):
        read_heatmap(tmp_path)


def test_a_truncated_chunk_is_explained(tmp_path):
    store = write_heatmap(make(), tmp_path)
    chunk = store / "0" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(ResultError, match="damaged"):
        read_heatmap(tmp_path)


def test_a_missing_heatmap_is_explained(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ResultError, match="no heatmap at"):
            read_heatmap(path)


def test_another_ome_zarr_image_is_not_taken_for_ours(tmp_path):
    group = zarr.create_group(tmp_path / "image.zarr", zarr_format=3)
    group.create_array("0", data=np.zeros((3, 3)))
    with pytest.raises(ResultError, match="no heatmap of napari-camelyon"):
        read_heatmap(tmp_path / "image.zarr")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits file sizes as Linux does")
def test_a_full_disk_keeps_the_old_heatmap(tmp_path):
    before = make(5, 6)
    write_heatmap(before, tmp_path)
    program = """
import resource, sys, numpy as np
from napari_camelyon.errors import FileWriteError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, write_heatmap, write_patches
values = np.random.default_rng(0).random((500, 500), dtype=np.float32)
heatmap = Heatmap(Grid(500, 500, 0, 0, 9, 9, 9, 9), values, (1.0, 1.0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for write in (write_heatmap, write_patches):
    try:
        write(heatmap, sys.argv[1])
    except FileWriteError as error:
        print(error)
    else:
        sys.exit(f"{write.__name__} wrote")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("disk is full") == 2
    assert same(read_heatmap(tmp_path), before)
    assert [path.name for path in tmp_path.iterdir()] == ["heatmap.zarr"]


def test_a_store_can_be_moved(tmp_path):
    heatmap = make()
    write_heatmap(heatmap, tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert same(read_heatmap(tmp_path / "there"), heatmap)
