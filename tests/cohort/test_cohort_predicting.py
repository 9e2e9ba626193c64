"""From a slide's file to its result folder and the stage, with a model of known answers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_camelyon.cohort import (
    Planned,
    PredictRequest,
    RunFacts,
    choose_run_path,
    predict_slide,
    predict_to_folder,
    read_run,
    read_states,
    stage_source,
    steps_to_folder,
)
from napari_camelyon.errors import CamelyonError, MissingMppError
from napari_camelyon.heatmaps import read_heatmap, read_patches
from napari_camelyon.inference import OutOfMemoryError, RunControl, prepare
from napari_camelyon.slides import open_slide
from napari_camelyon.staging import read_lesions, read_node
from napari_camelyon.tissue import find_tissue, keep_tissue


def test_a_slide_becomes_a_result_folder(slide_with, request_for, tmp_path):
    path = slide_with("patient_004_node_1", 1200)
    updates = []
    outcome = predict_to_folder(path, tmp_path, request_for(), on_update=updates.append)
    node = outcome.node
    folder = tmp_path / outcome.name
    assert outcome.name == "patient_004_node_1"
    assert (outcome.how, outcome.complete) == ("computed", True)
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
    node = predict_to_folder(path, tmp_path, request_for(), on_update=updates.append).node
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
    newer = ("request_key", "numeric_path", "stain", "tissue", "sampling", "findings", "progress")
    entries = {name: value for name, value in entries.items() if name not in newer}
    path.write_text(json.dumps(entries | {"schema_version": 1}), encoding="utf-8")
    assert read_run(path).damaged_patches == 0
    assert read_run(path).facts == RunFacts()


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

    outcome = predict_to_folder(
        slide_with("b", 300), tmp_path, request_for(), on_update=stop_after_two, control=control
    )
    assert not outcome.node.complete
    assert not outcome.complete
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
    # Which slides failed is kept, in a hidden folder; no result is.
    assert [path.name for path in out.iterdir()] == [".batch"]
    assert {name: state.state for name, state in read_states(out).items()} == {
        "c": "failed",
        "nowhere": "failed",
    }
    outcome = predict_to_folder(silent, out, request_for(mpp=0.5))
    assert read_heatmap(out / outcome.name).mpp == (0.5, 0.5)


def count_runs(monkeypatch):
    """Return a list that grows by one with every run of the engine."""
    from napari_camelyon import inference

    runs = []
    real = inference.run

    def run(*arguments, **entries):
        runs.append(arguments[0].name)
        return real(*arguments, **entries)

    monkeypatch.setattr(inference, "run", run)
    return runs


def test_a_finished_slide_is_not_computed_again(slide_with, request_for, tmp_path, monkeypatch):
    path = slide_with("kept", 300)
    first = predict_to_folder(path, tmp_path, request_for())
    before = (tmp_path / "kept" / "run.json").read_bytes()
    runs = count_runs(monkeypatch)
    second = predict_to_folder(path, tmp_path, request_for())
    assert (second.how, second.computed, second.known) == ("kept", 0, first.planned)
    assert second.node == replace(first.node, deciding_lesion=second.node.deciding_lesion)
    assert (tmp_path / "kept" / "run.json").read_bytes() == before
    assert runs == []
    # Whoever wants can have it computed.
    assert predict_to_folder(path, tmp_path, request_for(), again=True).how == "computed"
    assert runs == ["kept"]


def test_with_another_threshold_alone_nothing_is_computed(
    slide_with, request_for, tmp_path, monkeypatch
):
    path = slide_with("t", 300)
    predict_to_folder(path, tmp_path / "a", request_for(threshold=0.9))
    predict_to_folder(path, tmp_path / "b", request_for(threshold=0.2))
    runs = count_runs(monkeypatch)
    outcome = predict_to_folder(path, tmp_path / "a", request_for(threshold=0.2))
    assert (outcome.how, outcome.computed, runs) == ("restaged", 0, [])
    for name in ("lesions.geojson", "node.json"):
        assert (tmp_path / "a" / "t" / name).read_text("utf-8") == (
            tmp_path / "b" / "t" / name
        ).read_text("utf-8")
    ours, wanted = read_run(tmp_path / "a" / "t"), read_run(tmp_path / "b" / "t")
    assert ours.parameters == wanted.parameters
    assert ours.facts.request_key == wanted.facts.request_key


@pytest.mark.parametrize(
    "entries",
    [
        {"stride_um": 32.0},
        {"mpp": 0.51},
        {"tumour_class": "normal"},
        {"engine": "torch", "precision": "fp32"},
    ],
    ids="-".join,
)
def test_what_changes_the_values_is_computed(slide_with, request_for, tmp_path, entries):
    path = slide_with("changed", 300)
    predict_to_folder(path, tmp_path, request_for(engine="torch", precision="bf16"))
    again = predict_to_folder(path, tmp_path, request_for(**entries))
    predict_to_folder(path, tmp_path / "fresh", request_for(**entries))
    assert (again.how, again.known) == ("computed", 0)
    ours, wanted = read_heatmap(tmp_path / "changed"), read_heatmap(tmp_path / "fresh" / "changed")
    assert np.array_equal(ours.values, wanted.values, equal_nan=True)


def test_of_more_or_less_tissue_only_the_new_patches_are_computed(
    slide_with, request_for, tmp_path
):
    path = slide_with("edge", 300)
    less = predict_to_folder(path, tmp_path, request_for(min_tissue_fraction=0.9))
    more = predict_to_folder(path, tmp_path, request_for(min_tissue_fraction=0.1))
    assert less.planned < more.planned
    assert (more.known, more.computed) == (less.planned, more.planned - less.planned)
    again = predict_to_folder(path, tmp_path, request_for(min_tissue_fraction=0.9))
    assert (again.computed, again.planned) == (0, less.planned)


def test_results_of_which_a_part_is_lost_are_written_again(slide_with, request_for, tmp_path):
    path = slide_with("lossy", 300)
    whole = predict_to_folder(path, tmp_path, request_for())
    for lost in ("node.json", "patches.parquet", "run.json"):
        (tmp_path / "lossy" / lost).unlink()
        outcome = predict_to_folder(path, tmp_path, request_for())
        assert (outcome.how, outcome.computed, outcome.known) == ("continued", 0, whole.planned)
        assert (tmp_path / "lossy" / lost).exists()


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been(slide_with, request_for, tmp_path):
    path = slide_with("stopped", 300)
    control = RunControl()
    outcome = predict_to_folder(
        path, tmp_path, request_for(), on_update=lambda _update: control.cancel(), control=control
    )
    assert 0 < outcome.computed < outcome.planned
    rest = predict_to_folder(path, tmp_path, request_for())
    assert (rest.how, rest.known) == ("continued", outcome.computed)
    assert rest.computed == rest.planned - outcome.computed
    whole = predict_to_folder(path, tmp_path / "whole", request_for())
    assert whole.how == "computed"
    folders = tmp_path / "stopped", tmp_path / "whole" / "stopped"
    ours, wanted = map(read_heatmap, folders)
    assert np.array_equal(ours.values, wanted.values, equal_nan=True)
    # What was kept on the way lies elsewhere.
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders] == [
        ["heatmap.zarr", "lesions.geojson", "node.json", "patches.parquet", "run.json"]
    ] * 2
    assert read_run(tmp_path / "stopped").facts.progress["known"] == outcome.computed


def test_a_run_that_is_stopped_before_it_begins_leaves_earlier_results(
    slide_with, request_for, tmp_path
):
    path = slide_with("early", 300)
    predict_to_folder(path, tmp_path, request_for())
    before = (tmp_path / "early" / "run.json").read_bytes()
    control = RunControl()
    control.cancel()
    outcome = predict_to_folder(path, tmp_path, request_for(stride_um=32.0), control=control)
    assert outcome.node is None
    assert (tmp_path / "early" / "run.json").read_bytes() == before
    assert read_states(tmp_path)["early"].state == "stopped"


def test_a_run_says_how_its_numbers_came_about(slide_with, request_for, tmp_path):
    path = slide_with("told", 300)
    request = request_for(engine="torch", precision="fp32", batch_size=4)
    outcome = predict_to_folder(path, tmp_path, request)
    facts = read_run(tmp_path / "told").facts
    assert facts.numeric_path == {
        "path": "torch fp32 on cpu",
        "because": facts.numeric_path["because"],
        "device": "cpu",
        "engine": "torch",
        "precision": "fp32",
        "method": "patches",
        "batch_size": 4,
    }
    assert facts.stain == {"method": "none"}
    assert facts.progress["computed"] == facts.progress["planned"] == outcome.planned > 0
    assert facts.progress["seconds"] > 0
    assert facts.progress["patches_per_s"] > 0


class Narrow:
    """A predictor on a device that has room for four patches at once."""

    def __init__(self, predictor):
        self.predictor = predictor
        self.model, self.path = predictor.model, predictor.path
        self.depth, self.batch_size = 2, predictor.batch_size

    def submit(self, patches):
        if len(patches) > 4:
            raise OutOfMemoryError("The device has no room.")
        return self.predictor.submit(patches)

    def close(self):
        self.predictor.close()


def test_a_run_that_ended_with_smaller_batches_says_so(slide_with, request_for, tmp_path):
    made = []

    def narrow(*arguments, **entries):
        made.append(Narrow(prepare(*arguments, **entries)))
        return made[-1]

    path = slide_with("narrow", 300)
    request = request_for(engine="torch", precision="fp32", batch_size=16)
    *_, outcome = steps_to_folder(path, tmp_path, request, prepare=narrow)
    made[0].close()
    assert outcome.complete
    facts = read_run(tmp_path / "narrow").facts
    assert (facts.numeric_path["batch_size"], facts.progress["batch_size"]) == (16, 4)
    predict_to_folder(path, tmp_path / "wide", request)
    assert read_run(tmp_path / "wide" / "narrow").facts.progress["batch_size"] == 16


def test_the_heatmap_tells_to_which_stain_patches_were_brought(make_slide, request_for, tmp_path):
    rng = np.random.default_rng(4)
    strengths = rng.uniform(0.2, 2.0, (600, 600, 2))
    density = strengths @ np.array([[0.60, 0.75, 0.25], [0.25, 0.91, 0.32]])
    pixels = (240 * np.exp(-density)).astype(np.uint8)
    path = make_slide(pixels, name="stained", mpp=0.5)
    for method in ("none", "macenko", "reinhard"):
        out = tmp_path / method
        predict_to_folder(path, out, request_for(stain=method))
        told = read_heatmap(out / "stained").stain
        assert told == read_run(out / "stained").facts.stain
        assert told["method"] == method
        assert ("target" in told) == (method != "none")


def test_the_bundled_model_goes_over_whole_blocks_and_goes_on_so(make_slide, tmp_path):
    pixels = np.full((1500, 1500, 3), (220, 160, 205), np.uint8)
    path = make_slide(pixels, name="bundled", mpp=0.5, tile_px=256)
    control = RunControl()
    request = PredictRequest(device="cpu")
    stopped = predict_to_folder(
        path, tmp_path, request, on_update=lambda _update: control.cancel(), control=control
    )
    assert 0 < stopped.computed < stopped.planned
    rest = predict_to_folder(path, tmp_path, request)
    assert (rest.how, rest.known) == ("continued", stopped.computed)
    facts = read_run(tmp_path / "bundled").facts
    assert facts.numeric_path["method"] == read_heatmap(tmp_path / "bundled").method == "dense"
    assert facts.numeric_path["path"] == "torch fp32 on cpu"


def test_what_is_odd_is_written_down(slide_with, request_for, tmp_path):
    """With its classes swapped the model calls tumour what holds nothing."""
    path = slide_with("odd", 300)
    notes = []
    request = request_for(tumour_class="normal")
    for step in steps_to_folder(path, tmp_path, request):
        if isinstance(step, Planned):
            notes = step.findings
    assert notes[0].kind == "glass"
    kinds = [finding["kind"] for finding in read_run(tmp_path / "odd").facts.findings]
    assert "glass" in kinds
    assert len(kinds) == len(set(kinds))


def test_edited_tissue_counts_and_a_new_edit_is_computed(slide_with, request_for, tmp_path):
    source = slide_with("edited", 300)
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    out = tmp_path / "out"
    whole = predict_to_folder(path, out, request_for())
    with open_slide(path) as slide:
        found = find_tissue(slide, kinds=())
        keep_tissue(slide, replace(found, min_tissue_fraction=0.95))
    less = predict_to_folder(path, out, request_for())
    assert less.planned < whole.planned
    assert less.how != "kept"
    tissue = read_run(out / "edited").facts.tissue
    assert tissue["kept_file"].endswith("edited.tif.tissue.geojson")
    assert tissue["min_tissue_fraction"] == 0.95
    again = predict_to_folder(path, out, request_for(use_kept_tissue=False))
    assert again.planned == whole.planned


def test_a_run_tells_how_long_the_next_one_takes(slide_with, request_for, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    request = request_for(engine="torch", precision="fp32", stride_um=8.0)
    with open_slide(slide_with("timed", 300)) as slide:
        first, *updates = predict_slide(slide, request)
        second = next(iter(predict_slide(slide, request)))
        sampled = next(iter(predict_slide(slide, replace(request, uncertainty="tta"))))
        way = choose_run_path(first.model, first.patch_grid, request)
    assert first.expected_s is None
    rate = updates[-1].patches_per_s
    assert second.expected_s == pytest.approx(first.patch_grid.patch_count / rate)
    assert sampled.expected_s == pytest.approx(8 * second.expected_s)
    assert (way.path, way.dense) == (first.path, False)
