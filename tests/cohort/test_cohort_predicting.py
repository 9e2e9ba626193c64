"""From a slide's file to its result folder and the stage, with a model of known answers."""

import json

import numpy as np
import pytest

from made_models import write_wsinfer_model
from napari_camelyon.cohort import PredictRequest, predict_to_folder, read_run, stage_source
from napari_camelyon.errors import CamelyonError, MissingMppError
from napari_camelyon.heatmaps import read_heatmap, read_patches
from napari_camelyon.inference import RunControl
from napari_camelyon.staging import read_lesions, read_node


@pytest.fixture(scope="module")
def request_for(tmp_path_factory):
    """Runs of a model that calls a patch of 32 µm tumour where its middle is dark."""
    model = write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark", patch_px=32, mpp=1.0)

    def make(**entries) -> PredictRequest:
        return PredictRequest(model=model, stride_um=16.0, device="cpu", **entries)

    return make


@pytest.fixture(scope="module")
def slide_with(make_slide):
    """Pink tissue at 0.5 µm/px with a dark bar, `length_px` long and 128 px high."""

    def make(name: str, length_px: int, **entries):
        pixels = np.full((600, 1600, 3), 255, np.uint8)
        pixels[40:560, 40:1560] = (220, 160, 205)
        pixels[236:364, 100 : 100 + length_px] = (60, 5, 60)
        return make_slide(pixels, name=name, mpp=entries.pop("mpp", 0.5), **entries)

    return make


def test_a_slide_becomes_a_result_folder(slide_with, request_for, tmp_path):
    path = slide_with("patient_004_node_1", 1200)
    updates = []
    name, node = predict_to_folder(path, tmp_path, request_for(), on_update=updates.append)
    folder = tmp_path / name
    assert name == "patient_004_node_1"
    assert read_node(folder) == node
    assert (node.node_class, node.complete) == ("micro", True)
    assert node.diameter_mm == pytest.approx(0.6, abs=0.05)
    assert updates[-1].done == updates[-1].total == len(read_patches(folder))
    (lesion,) = read_lesions(folder)
    # The model looks at the middle of a patch but speaks of all of it: up to a patch smaller.
    assert lesion.bounds_px == pytest.approx((100, 236, 1300, 364), abs=64)
    run = read_run(folder)
    assert run.slide_path == str(path.resolve())
    assert run.parameters["threshold"] == 0.5
    assert run.parameters["stride_um"] == 16.0
    assert len(run.model_sha256) == 64
    (patient,) = stage_source(tmp_path)
    assert patient.statement == "at least pN1mi"


def test_patches_on_damaged_parts_are_counted_where_results_are_kept(
    slide_with, request_for, damage_tile, tmp_path
):
    path = slide_with("damaged", 300)
    damage_tile(path, 8, 3, 1)  # level 1 is what the model sees
    updates = []
    _, node = predict_to_folder(path, tmp_path, request_for(), on_update=updates.append)
    folder = tmp_path / "damaged"
    # The tile covers 128 px at (1024, 384); patches of 64 px lie every 32 px.
    assert updates[-1].damaged == read_run(folder).damaged_patches == 25
    assert read_heatmap(folder).damaged_cells == 25
    assert np.isnan(read_patches(folder).columns["probability"]).sum() == 25
    assert not node.complete
    assert stage_source(tmp_path)[0].unfinished == ("damaged",)
    # The next one, of a sound file, says so as well.
    predict_to_folder(slide_with("sound", 300), tmp_path, request_for())
    assert read_run(tmp_path / "sound").damaged_patches == 0


def test_results_of_the_first_schema_are_read(slide_with, request_for, tmp_path):
    predict_to_folder(slide_with("old", 300), tmp_path, request_for())
    path = tmp_path / "old" / "run.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    assert entries.pop("damaged_patches") == 0
    path.write_text(json.dumps(entries | {"schema_version": 1}), encoding="utf-8")
    assert read_run(path).damaged_patches == 0


def test_the_threshold_asked_for_is_used_and_kept(slide_with, request_for, tmp_path):
    predict_to_folder(slide_with("a", 300), tmp_path, request_for(threshold=0.25))
    assert read_heatmap(tmp_path / "a").threshold == 0.25
    assert read_run(tmp_path / "a").parameters["threshold"] == 0.25


def test_a_cancelled_run_is_kept_and_said_to_be_incomplete(slide_with, request_for, tmp_path):
    updates = []
    control = RunControl()

    def stop_after_two(update):
        updates.append(update)
        if len(updates) == 2:
            control.cancel()

    _, node = predict_to_folder(
        slide_with("b", 300), tmp_path, request_for(), on_update=stop_after_two, control=control
    )
    assert not node.complete
    assert read_node(tmp_path / "b").computed_share == pytest.approx(
        updates[-1].done / updates[-1].total
    )
    assert stage_source(tmp_path)[0].unfinished == ("b",)


def test_nothing_is_written_when_a_slide_cannot_be_predicted(slide_with, request_for, tmp_path):
    out = tmp_path / "out"
    silent = slide_with("c", 300, mpp=None)
    with pytest.raises(MissingMppError):
        predict_to_folder(silent, out, request_for())
    with pytest.raises(CamelyonError):
        predict_to_folder(tmp_path / "nowhere.tif", out, request_for())
    with pytest.raises(CamelyonError):
        predict_to_folder(silent, out, PredictRequest(model=tmp_path / "no.pt", mpp=0.5))
    assert not out.exists()
    name, _ = predict_to_folder(silent, out, request_for(mpp=0.5))
    assert read_heatmap(out / name).mpp == (0.5, 0.5)
