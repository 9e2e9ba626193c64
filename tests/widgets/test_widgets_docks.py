"""The docks in a shown window: open, run, cancel, close in the middle, second slide, restage."""

import json
import threading

import numpy as np
import pytest
from napari.layers import Image, Shapes
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QInputDialog

from napari_camelyon import annotations
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.tissue import plan_patches, reference_spec
from napari_camelyon.widgets.annotation_editor import editor_of
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view

pytestmark = pytest.mark.gui

RUN_MS = 60_000


@pytest.fixture
def outline(tmp_path):
    """Write a square outline as ASAP XML for the slide of this name."""

    def make(name: str, left: float, top: float, side: float):
        ring = [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]
        one = annotations.make_annotation("polygon", np.array(ring), group="metastases")
        path = tmp_path / f"{name}.xml"
        annotations.write(annotations.add_annotations(annotations.AnnotationSet(), [one]), path)
        return path

    return make


def kinds(viewer):
    return [layer.metadata["napari_camelyon"]["kind"] for layer in viewer.layers]


def finish(qtbot, dock):
    qtbot.waitUntil(lambda: not dock.is_running and not dock._waiting, timeout=RUN_MS)


def wait_for_values(qtbot, node):
    qtbot.waitUntil(
        lambda: node.heatmap is not None and node.heatmap.computed_cells > 0, timeout=RUN_MS
    )


@pytest.mark.parametrize("xml_first", [False, True], ids=["slide first", "XML first"])
def test_slide_and_outline_open_in_any_order_and_fit(docked, tissue_slide, outline, xml_first):
    viewer, _, _ = docked
    slide = tissue_slide("node_1", mark_px=256)
    xml = outline("node_1", 384, 384, 256)
    for path in (xml, slide) if xml_first else (slide, xml):
        assert open_paths(viewer, [path]) == 0
    assert kinds(viewer) == ["slide", "annotation"]
    picture, shapes = viewer.layers
    assert isinstance(shapes, Shapes)
    assert tuple(shapes.scale) == tuple(picture.scale) == (0.5, 0.5)
    assert tuple(map(str, shapes.units)) == tuple(map(str, picture.units))
    assert shapes.metadata["napari_camelyon"]["slide"] == "node_1"
    (one,) = editor_of(shapes).now
    assert sorted(map(tuple, one.points)) == [(384, 384), (384, 640), (640, 384), (640, 640)]
    assert editor_of(shapes).mpp == (0.5, 0.5)


def test_a_run_fills_heatmap_lesions_class_and_stage(docked, tissue_slide, qtbot):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    qtbot.mouseClick(inference.run_button, Qt.MouseButton.LeftButton)
    assert inference.is_running
    assert not inference.run_button.isEnabled()
    finish(qtbot, inference)
    node = patient_view(viewer).nodes["node_1"]
    assert node.status == "done"
    assert node.heatmap.computed_share == 1
    # 512 px at 0.5 µm/px: a diagonal of 0.36 mm; less what a patch of 32 µm may add to it.
    assert 0.28 < node.result.diameter_mm < 0.37
    assert node.result.node_class == "micro"
    assert kinds(viewer) == ["slide", "heatmap", "lesions", "diameters"]
    assert stage.stage_chip.text() == "pN1mi"
    assert stage.rows["node_1"].chip.text() == "micro"
    assert inference.status.text() == "Done."
    assert inference.run_button.isEnabled()


def test_heatmap_lies_over_the_patches_it_was_computed_from(docked, tissue_slide, qtbot):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=128)])
    inference.form["stride_um"].value = 8
    inference.run_shown()
    finish(qtbot, inference)
    slide_layer, heat = viewer.layers[:2]
    assert isinstance(heat, Image)
    # The mark's centre is the slide point (512, 512), the corner-based middle of the image.
    world = slide_layer.data_to_world((511.5, 511.5))
    dark = np.argwhere(heat.data > 0.5)
    middle = (dark.min(axis=0) + dark.max(axis=0)) / 2
    assert np.abs(np.subtract(heat.data_to_world(middle), world)).max() <= 0.5 * 8


def test_cancelling_keeps_what_was_computed_and_says_so(docked, tissue_slide, qtbot):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1", side_px=3072)])
    inference.form["stride_um"].value = 8
    inference.run_shown()
    view = patient_view(viewer)
    node = view.nodes["node_1"]
    wait_for_values(qtbot, node)
    qtbot.mouseClick(inference.cancel_button, Qt.MouseButton.LeftButton)
    finish(qtbot, inference)
    assert node.status.startswith("stopped at")
    assert 0 < node.heatmap.computed_share < 1
    assert "planned patches" in " ".join(node.result.reasons)
    assert stage.stage_chip.text() == "pN ?", (
        "an unfinished node without a finding rules nothing out"
    )


def test_closing_the_window_in_the_middle_of_a_run_stops_it(docked, tissue_slide, qtbot):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", side_px=3072)])
    inference.form["stride_um"].value = 8
    inference.run_shown()
    node = patient_view(viewer).nodes["node_1"]
    wait_for_values(qtbot, node)
    viewer.close()
    assert not any(thread.name.startswith("read-patches") for thread in threading.enumerate())
    computed = node.heatmap.computed_cells
    qtbot.wait(50)
    assert node.heatmap.computed_cells == computed < node.heatmap.planned_cells


def test_a_second_slide_swaps_the_layers_and_results_stay(docked, tissue_slide, outline, qtbot):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512), outline("node_1", 256, 256, 512)])
    inference.run_shown()
    finish(qtbot, inference)
    first_layers = list(viewer.layers)
    open_paths(viewer, [tissue_slide("node_2")])
    assert kinds(viewer) == ["slide"]
    assert viewer.layers[0].name == "node_2"
    assert stage.stage_chip.text() == "≥ pN1mi"
    inference.run_shown()
    finish(qtbot, inference)
    assert stage.stage_chip.text() == "pN1mi"
    assert stage.rows["node_2"].chip.text() == "negative"
    qtbot.mouseClick(stage.rows["node_1"], Qt.MouseButton.LeftButton)
    assert list(viewer.layers) == first_layers
    assert patient_view(viewer).shown == "node_1"


@pytest.mark.fresh_window
def test_moving_the_threshold_restages_without_a_new_run(docked, tissue_slide, qtbot):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    inference.run_shown()
    finish(qtbot, inference)
    view = patient_view(viewer)
    values = view.nodes["node_1"].heatmap.values
    values[values > 0.5] = 0.7  # between the two thresholds
    with qtbot.waitSignal(stage.live.settled):
        stage.threshold_slider.setValue(0.9)
    assert stage.stage_chip.text() == "pN0"
    assert view.nodes["node_1"].heatmap.values is values
    assert kinds(viewer) == ["slide", "heatmap", "lesions", "diameters"]
    assert [layer.nshapes for layer in viewer.layers[2:]] == [0, 0]
    with qtbot.waitSignal(stage.live.settled):
        stage.threshold_slider.setValue(0.5)
    assert stage.stage_chip.text() == "pN1mi"
    assert [layer.nshapes for layer in viewer.layers[2:]] == [1, 1]


@pytest.mark.fresh_window
def test_the_threshold_is_the_models_until_a_person_chooses_one(docked, tissue_slide):
    viewer, _, stage = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    view = patient_view(viewer)
    node = view.nodes["node_1"]
    plan = plan_patches(node.slide, reference_spec(node.slide))

    def begin(threshold):
        values = np.full(plan.grid.shape, 0.5, np.float32)
        heatmap = Heatmap(plan.grid, values, node.slide.mpp, threshold, slide_name="node_1")
        view.begin_heatmap(node, plan, heatmap)
        view.restage(node)

    begin(0.35)
    assert stage.threshold_slider.value() == pytest.approx(0.35)
    assert node.result.node_class == "micro"
    view.set_threshold(0.6)
    assert stage.threshold_slider.value() == pytest.approx(0.6)
    assert node.result.node_class == "negative"
    begin(0.35)
    assert node.heatmap.threshold == 0.6
    assert node.result.node_class == "negative"


def test_run_all_goes_through_every_slide(docked, tissue_slide, qtbot):
    viewer, inference, stage = docked
    paths = [tissue_slide("node_1", side_px=512), tissue_slide("node_2", mark_px=512)]
    open_paths(viewer, paths)
    qtbot.mouseClick(inference.run_all_button, Qt.MouseButton.LeftButton)
    finish(qtbot, inference)
    assert [row.chip.text() for row in stage.rows.values()] == ["negative", "micro"]
    assert stage.stage_chip.text() == "pN1mi"


def test_closing_between_two_slides_starts_no_other(docked, tissue_slide, qtbot):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", side_px=512), tissue_slide("node_2", side_px=512)])
    view = patient_view(viewer)
    closed = []

    def close(name):
        if not inference.is_running and not closed:
            closed.append(name)
            viewer.close()

    view.node_updated.connect(close)
    inference.run_all()
    qtbot.waitUntil(lambda: bool(closed), timeout=60_000)
    qtbot.waitUntil(lambda: inference.is_idle)
    QApplication.processEvents()  # what was left to do; an error in it fails the test
    assert len(closed) == 1
    assert not inference.is_running


def test_results_are_saved_as_the_command_line_saves_them(docked, tissue_slide, qtbot, tmp_path):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    inference.run_shown()
    finish(qtbot, inference)
    stage.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "node_1").iterdir()} == {
        "heatmap.zarr", "patches.parquet", "lesions.geojson", "node.json", "run.json",
    }  # fmt: skip
    patient = json.loads((tmp_path / "out" / "patient.json").read_text(encoding="utf-8"))
    assert patient["stage"] == "pN1mi"


def test_unknown_pixel_size_is_asked_for_and_layers_take_it_on(
    docked, tissue_slide, qtbot, monkeypatch
):
    viewer, inference, _ = docked
    path = tissue_slide("nompp", mark_px=512, mpp=None)
    open_paths(viewer, [path])
    view = patient_view(viewer)
    monkeypatch.setattr(QInputDialog, "getDouble", lambda *_a, **_k: (0.0, False))
    inference.run_shown()
    assert not inference.is_running, "refused: nothing is guessed"
    monkeypatch.setattr(QInputDialog, "getDouble", lambda *_a, **_k: (0.5, True))
    inference.run_shown()
    finish(qtbot, inference)
    assert view.nodes["nompp"].slide.mpp == (0.5, 0.5)
    drawn = [layer for layer in viewer.layers if layer.name != "tumour probability"]
    assert {tuple(layer.scale) for layer in drawn} == {(0.5, 0.5)}
    assert view.nodes["nompp"].result.node_class == "micro"
    view.remove("nompp")
    assert view.open_slide(path).slide.mpp == (0.5, 0.5), "asked for once"


def test_a_pixel_size_that_cannot_be_kept_is_used_and_said(docked, tissue_slide, tmp_path):
    viewer, _, _ = docked
    path = tissue_slide("nompp", mpp=None)
    # What a newer version wrote is left alone.
    path.with_name("nompp.tif.camelyon.json").write_text('{"schema_version": 99}')
    open_paths(viewer, [path])
    told = len(notification_manager.records)
    patient_view(viewer).set_mpp("nompp", 0.5)
    assert patient_view(viewer).nodes["nompp"].slide.mpp == (0.5, 0.5)
    assert tuple(viewer.layers[0].scale) == (0.5, 0.5)
    notes = [str(note.message) for note in notification_manager.records[told:]]
    assert any("cannot be kept" in note and "newer" in note for note in notes)


@pytest.mark.fresh_window
def test_a_model_that_does_not_load_is_explained_in_the_dock(docked, tissue_slide, qtbot, tmp_path):
    viewer, inference, stage = docked
    open_paths(viewer, [tissue_slide("node_1")])
    (tmp_path / "broken.pt").write_bytes(b"no model")
    inference.choose_model(tmp_path / "broken.pt")
    inference.run_shown()
    finish(qtbot, inference)
    assert "broken.pt" in inference.status.text()
    node = patient_view(viewer).nodes["node_1"]
    assert node.status == "failed"
    assert "broken.pt" in stage.rows["node_1"].status.text()
    assert inference.run_button.isEnabled()


def test_files_that_are_no_slides_are_said_and_the_rest_opens(docked, tissue_slide, tmp_path):
    viewer, _, stage = docked
    (tmp_path / "no.tif").write_bytes(b"no slide")
    (tmp_path / "no.xml").write_text("<html></html>")
    wrong = [tmp_path / "no.tif", tmp_path / "no.xml"]
    assert open_paths(viewer, [*wrong, tissue_slide("node_1")]) == 2
    assert list(stage.rows) == ["node_1"]


def test_removing_a_slide_brings_back_the_other(docked, tissue_slide, qtbot):
    viewer, _, stage = docked
    open_paths(viewer, [tissue_slide("node_1"), tissue_slide("node_2")])
    qtbot.mouseClick(stage.remove_button, Qt.MouseButton.LeftButton)
    assert list(stage.rows) == ["node_1"]
    assert viewer.layers[0].name == "node_1"
    qtbot.mouseClick(stage.remove_button, Qt.MouseButton.LeftButton)
    assert not stage.rows
    assert not viewer.layers
    assert stage.stage_chip.text() == "pN ?"
