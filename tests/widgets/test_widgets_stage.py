"""The pN panel in a shown window: rows, sliders, what persons say, patients from folders."""

import json
import shutil

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QSettings, Qt
from qtpy.QtWidgets import QApplication, QInputDialog, QLabel

from napari_camelyon.cohort import read_patient
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import LesionRules, NodeCalibration, write_calibration
from napari_camelyon.tissue import PatchGrid
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.override_dialog import OverrideDialog, kept_initials
from napari_camelyon.widgets.patient_view import patient_view

LEFT = Qt.MouseButton.LeftButton
STRIDE_PX = 16  # 8 µm


@pytest.fixture(autouse=True)
def _nobody_has_typed(tmp_path):
    """What the person who runs the tests has typed in before is neither seen nor changed."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path))
    assert kept_initials() == ""


def give_result(view, name, *, side_um=0.0, probability=0.9, share=1.0, corner_px=320):
    """Let a node have a heatmap of covered fractions with a square of tumour."""
    node = view.nodes[name]
    cells = 1024 // STRIDE_PX
    values = np.zeros((cells, cells), np.float32)
    side = round(side_um / (STRIDE_PX * 0.5))
    first = corner_px // STRIDE_PX
    values[first : first + side, first : first + side] = probability
    if share < 1:
        values[round(cells * share) :] = np.nan
    grid = Grid(cells, cells, 0, 0, STRIDE_PX, STRIDE_PX, STRIDE_PX, STRIDE_PX)
    heatmap = Heatmap(
        grid, values, node.slide.mpp, slide_name=name, planned_cells=cells * cells,
        slide_fingerprint=node.slide.fingerprint, value_meaning="covered_fraction",
    )  # fmt: skip
    planned = np.ones((cells, cells), np.bool_)
    view.begin_heatmap(node, PatchGrid(grid, planned.astype(np.float32), planned), heatmap)
    if share == 1:
        node.status = "done"
        view.restage(node)
    return node


@pytest.fixture
def patient(docked, tissue_slide, qtbot):
    """Three nodes: micro, ITC, negative; the last one is shown."""
    viewer, _, stage = docked
    open_paths(viewer, [tissue_slide(f"node_{number}") for number in (1, 2, 3)])
    view = patient_view(viewer)
    give_result(view, "node_1", side_um=200, corner_px=480)
    give_result(view, "node_2", side_um=80)
    give_result(view, "node_3")
    QApplication.processEvents()
    qtbot.waitUntil(lambda: all(row.edit_button.height() for row in stage.rows.values()))
    yield view, stage
    rested(qtbot, stage)
    view.set_rules(LesionRules())  # whoever opens a slide next finds those of the model


def rested(qtbot, stage):
    qtbot.waitUntil(lambda: not stage.live.is_busy and not stage._settle_soon.isActive())


def move(qtbot, stage, slider, value):
    with qtbot.waitSignal(stage.live.settled):
        slider.setValue(value)


def clipped(widget):
    """Return the labels whose text has less room than it needs."""
    found = []
    for label in widget.findChildren(QLabel):
        if not label.isVisible() or not label.text():
            continue
        needs = label.heightForWidth(label.width()) if label.wordWrap() else -1
        needs = needs if needs > 0 else label.minimumSizeHint().height()
        if label.height() < needs:
            found.append((label.text(), label.size(), needs))
    return found


def test_a_click_on_a_row_flies_to_the_lesion_and_a_second_shows_the_slide(patient, qtbot):
    view, stage = patient
    assert view.shown == "node_3"
    qtbot.mouseClick(stage.rows["node_1"], LEFT)
    assert view.shown == "node_1"
    lesion = view.nodes["node_1"].result.deciding_lesion
    left, top, right, bottom = lesion.bounds_px
    middle = ((top + bottom) / 4, (left + right) / 4)  # µm, y first
    assert np.subtract(camera(view.viewer).center[-2:], middle) == pytest.approx(0, abs=1)
    zoom = camera(view.viewer).zoom
    kinds = {layer.metadata["napari_camelyon"]["kind"]: layer for layer in view.viewer.layers}
    assert kinds["diameters"].nshapes == 1
    assert kinds["diameters"].visible
    qtbot.mouseClick(stage.rows["node_1"], LEFT)
    assert camera(view.viewer).zoom < 0.8 * zoom
    qtbot.mouseClick(stage.rows["node_1"], LEFT)
    assert camera(view.viewer).zoom == pytest.approx(zoom)


def test_rows_and_changes_are_reached_with_the_keyboard(patient, qtbot):
    view, stage = patient
    row = stage.rows["node_1"]
    row.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(row, Qt.Key.Key_Return)
    assert view.shown == "node_1"
    lines = stage.changes.lines
    line = next(line for line in lines if line.change.node not in (None, "node_1"))
    assert line.focusPolicy() & Qt.FocusPolicy.TabFocus
    qtbot.keyClick(line, Qt.Key.Key_Space)
    assert view.shown == line.change.node
    row = stage.rows["node_2"]
    assert row.edit_button.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert "ITC" in row.accessibleName()


def test_a_row_says_how_far_its_size_is_from_the_limits(patient):
    view, stage = patient
    result = view.nodes["node_1"].result
    text = stage.rows["node_1"].size_text.text().replace("\u00a0", " ")
    assert f"{result.diameter_mm:.2f} ± {result.margin_mm:.2f} mm" in text
    assert f"{result.diameter_mm - 0.2:.2f} mm over 0.2 mm" in text
    assert f"{2 - result.diameter_mm:.2f} mm under 2 mm" in text
    assert stage.rows["node_3"].size_text.text() == "no lesion found"


def test_the_threshold_restages_while_it_moves_and_the_lesions_follow(patient, qtbot):
    view, stage = patient
    give_result(view, "node_1", side_um=200, probability=0.7)
    assert stage.stage_chip.text() == "pN1mi"
    before = view.nodes["node_1"].lesions
    stage.threshold_slider.setValue(0.8)
    qtbot.waitUntil(lambda: stage.stage_chip.text() == "pN0(i+)")
    rested(qtbot, stage)
    assert view.nodes["node_1"].lesions == []
    assert view.nodes["node_1"].heatmap.threshold == pytest.approx(0.8)
    move(qtbot, stage, stage.threshold_slider, 0.5)
    assert stage.stage_chip.text() == "pN1mi"
    assert view.nodes["node_1"].result.deciding_lesion == before[0]


def test_the_seed_threshold_is_never_below_the_threshold(patient, qtbot):
    view, stage = patient
    give_result(view, "node_1", side_um=200, probability=0.7)
    sliders = stage.sliders
    assert sliders.seed_text.text() == "off"
    move(qtbot, stage, sliders.seed_slider, 0.8)
    assert view.lesion_rules.seed_threshold == pytest.approx(0.8)
    assert stage.stage_chip.text() == "pN0(i+)", "no patch of the micrometastasis reaches it"
    move(qtbot, stage, sliders.threshold_slider, 0.85)
    assert sliders.seed_slider.value() == pytest.approx(0.85)
    assert view.lesion_rules.seed_threshold is None
    move(qtbot, stage, sliders.threshold_slider, 0.5)
    assert sliders.seed_slider.value() == pytest.approx(0.5), "it lay on the threshold"
    move(qtbot, stage, sliders.seed_slider, 0.2)
    assert sliders.seed_slider.value() == pytest.approx(0.5)
    assert stage.stage_chip.text() == "pN1mi"


def test_lesions_below_the_smallest_are_left_out(patient, qtbot):
    view, stage = patient
    move(qtbot, stage, stage.sliders.size_slider, 0.15)
    assert view.nodes["node_2"].result.node_class == "negative"
    assert stage.rows["node_2"].chip.text() == "negative"
    assert view.nodes["node_1"].result.node_class == "micro"


def test_the_band_shows_the_stages_over_the_thresholds_and_a_change_moves_the_slider(
    patient, qtbot
):
    view, stage = patient
    give_result(view, "node_1", side_um=200, probability=0.7)
    qtbot.waitUntil(lambda: [one.stage for one in stage.live.ranges] == ["pN1mi", "pN0(i+)", "pN0"])
    first = stage.live.ranges[0]
    assert first.high == pytest.approx(0.7, abs=0.02)
    assert stage.sliders.stability.text() == f"pN1mi from {first.low:.2f} to {first.high:.2f}"
    line = next(line for line in stage.changes.lines if line.change.kind == "threshold")
    with qtbot.waitSignal(stage.live.settled):
        qtbot.mouseClick(line, LEFT)
    assert stage.threshold_slider.value() == pytest.approx(0.7, abs=0.02)
    assert stage.stage_chip.text() == "pN0(i+)"


def test_what_would_change_the_stage_has_the_smallest_first(patient):
    _, stage = patient
    sizes = [abs(line.change.amount) for line in stage.changes.lines if line.change.kind == "size"]
    assert sizes
    assert sizes == sorted(sizes)


def fill_in(qtbot, stage, name, node_class, reason, initials):
    qtbot.waitUntil(lambda: stage.rows[name].edit_button.height() > 0)  # it is laid out
    qtbot.mouseClick(stage.rows[name].edit_button, LEFT)
    (dialog,) = (one for one in stage.findChildren(OverrideDialog) if one.isVisible())
    assert not dialog.ok_button.isEnabled()
    dialog.class_box.setCurrentIndex(dialog.class_box.findData(node_class))
    qtbot.keyClicks(dialog.reason, reason)
    assert not dialog.ok_button.isEnabled() or dialog.initials.text()
    if not dialog.initials.text():
        qtbot.keyClicks(dialog.initials, initials)
    qtbot.mouseClick(dialog.ok_button, LEFT)


def test_a_persons_word_holds_is_marked_and_can_be_taken_back(patient, qtbot):
    view, stage = patient
    row = stage.rows["node_2"]
    assert row.undo_button.isHidden()
    fill_in(qtbot, stage, "node_2", "macro", "large on the glass slide", "AB")
    assert stage.stage_chip.text() == "pN1"
    assert row.chip.text() == "✎ macro"
    for word in ("AB", "large on the glass slide", "itc", "UTC"):
        assert word in row.toolTip()
    assert "AB" in stage.reasons.text()
    assert view.nodes["node_2"].result.node_class == "itc", "what was found stays"
    # The initials are remembered.
    fill_in(qtbot, stage, "node_3", "micro", "seen", "")
    assert view.choices.overrides[-1].initials == "AB"
    qtbot.mouseClick(row.undo_button, LEFT)
    assert row.chip.text() == "ITC"
    assert row.undo_button.isHidden()
    assert [one.action for one in view.choices.overrides] == ["set", "set", "undo"]
    assert stage.stage_chip.text() == "pN1mi"


def test_a_reason_of_blanks_is_none(patient, qtbot):
    _, stage = patient
    qtbot.mouseClick(stage.rows["node_1"].edit_button, LEFT)
    (dialog,) = (one for one in stage.findChildren(OverrideDialog) if one.isVisible())
    qtbot.keyClicks(dialog.initials, "AB")
    qtbot.keyClicks(dialog.reason, "   ")
    assert not dialog.ok_button.isEnabled()
    assert "reason" in dialog.ok_button.toolTip()
    dialog.reject()


def test_the_scheme_and_sentinel_nodes_change_the_words_of_the_stage(patient, qtbot):
    view, stage = patient
    fill_in(qtbot, stage, "node_1", "macro", "seen", "AB")
    box, sentinel = stage.scheme.scheme_box, stage.scheme.sentinel_box
    assert not sentinel.isEnabled()
    box.setCurrentIndex(box.findData("ajcc8"))
    assert stage.stage_chip.text() == "pN1a"
    sentinel.click()
    assert stage.stage_chip.text() == "pN1a(sn)"
    box.setCurrentIndex(box.findData("camelyon17"))
    assert stage.stage_chip.text() == "pN1"
    sentinel.setChecked(False)
    view.choose(sentinel_only=False)


def test_another_method_calls_the_classes_anew_and_says_that_nobody_validated_it(patient, qtbot):
    view, stage = patient
    box = stage.scheme.method_box
    by_size = {name: row.chip.text() for name, row in stage.rows.items()}
    with qtbot.waitSignal(stage.live.settled):
        box.setCurrentIndex(box.findData("proportion"))
    assert {node.result.method for node in view.nodes.values()} == {"proportion"}
    assert stage.rows["node_1"].chip.text() == "macro", "it covers a large share of a small slide"
    assert "never validated" in stage.rows["node_1"].toolTip()
    with qtbot.waitSignal(stage.live.settled):
        box.setCurrentIndex(box.findData("size"))
    assert {name: row.chip.text() for name, row in stage.rows.items()} == by_size


def test_how_sure_the_classes_and_the_stage_are_is_told(patient, qtbot, tmp_path):
    view, stage = patient
    assert stage.certainty.isVisible()
    assert sum(stage.certainty.bar.probabilities.values()) == pytest.approx(1)
    assert "not calibrated" in stage.certainty.words.text()
    assert "micro 9" in stage.rows["node_1"].certainty.text()
    calibration = NodeCalibration(0.9, 1.0, 0.95, 0.99, 40, 8)
    write_calibration(calibration, tmp_path / "c.json")
    stage.open_calibration(tmp_path / "c.json")
    assert "90%" in stage.certainty.words.text()
    assert "set: " in stage.rows["node_1"].certainty.text()
    told = len(notification_manager.records)
    (tmp_path / "damaged.json").write_text("{")
    stage.open_calibration(tmp_path / "damaged.json")
    assert len(notification_manager.records) == told + 1
    assert view.choices.calibration == calibration
    view.choose(calibration=None)


def test_a_heatmap_of_another_grid_than_its_neighbours_is_said(patient):
    view, stage = patient
    node = view.nodes["node_2"]
    coarse = Grid(16, 16, 0, 0, 64, 64, 64, 64)
    values = np.zeros(coarse.shape, np.float32)
    heatmap = Heatmap(
        coarse, values, node.slide.mpp, slide_name="node_2", value_meaning="covered_fraction"
    )
    planned = np.ones(coarse.shape, np.bool_)
    view.begin_heatmap(node, PatchGrid(coarse, planned.astype(np.float32), planned), heatmap)
    view.restage(node)
    assert "node_2 has another grid" in stage.reasons.text()


def test_a_run_that_goes_on_shows_the_class_so_far_as_a_lower_bound(patient, qtbot):
    view, stage = patient
    node = give_result(view, "node_3", side_um=200, share=0.9)
    node.status = "running 90%"
    view.node_updated.emit("node_3")
    row = stage.rows["node_3"]
    qtbot.waitUntil(lambda: row.chip.text() == "≥ micro")
    assert stage.stage_chip.text() == "≥ pN1mi"
    assert row.progress.isVisible()
    assert row.progress.share == pytest.approx(0.9, abs=0.02)
    assert "running" in row.status.text()
    node.status = "stopped at 90%"
    view.restage(node)
    assert row.progress.isHidden()
    assert row.chip.text() == "≥ micro"


@pytest.mark.parametrize("width", [300, 420])
def test_no_text_is_clipped_whatever_the_width(patient, qtbot, width):
    view, stage = patient
    long = "TCGA-A1-A0SB-01Z-00-DX1.B34C7A14-1234-ABCD-and-more-of-it"
    fill_in(qtbot, stage, "node_1", "macro", "one two three four five six seven eight nine", "AB")
    view.choose(
        missing=(long,),
        problems=("The heatmap of node_2 is from another model than those of its neighbours.",),
    )
    place = stage.parent()
    stage.setParent(None)  # out of the window, whose docks have a width of their own
    try:
        stage.resize(width, 700)
        stage.show()
        QApplication.processEvents()
        rested(qtbot, stage)
        qtbot.waitUntil(lambda: not clipped(stage))
        inner = stage.node_scroll.widget()
        assert inner.width() <= stage.node_scroll.viewport().width()
        assert long in stage.reasons.text()
        assert stage.rows[long].chip.text() == "missing"
    finally:
        place.setWidget(stage)
        stage.show()


@pytest.fixture
def folder(tmp_path, tissue_slide):
    """Two slides of a CAMELYON17 patient and one of another."""
    place = tmp_path / "camelyon17"
    place.mkdir()
    for name in ("patient_017_node_0", "patient_017_node_2", "patient_020_node_1"):
        shutil.move(tissue_slide(name), place / f"{name}.tif")
    return place


def choose_patient(monkeypatch, word):
    def choose(_parent, _title, _label, items, *_rest):
        return next(item for item in items if word in item), True

    monkeypatch.setattr(QInputDialog, "getItem", choose)


def open_patient(qtbot, stage, folder):
    with qtbot.waitSignal(stage.opener.finished):
        stage.open_patient(folder)


def test_a_patient_of_several_opens_with_what_was_kept_and_what_was_said(
    docked, qtbot, folder, monkeypatch
):
    viewer, _, stage = docked
    view = patient_view(viewer)
    choose_patient(monkeypatch, "patient_017")
    open_patient(qtbot, stage, folder)
    names = [f"patient_017_node_{number}" for number in range(5)]
    assert list(stage.rows) == names
    assert [row.chip.text() for row in stage.rows.values()] == [
        "not run", "missing", "not run", "missing", "missing",
    ]  # fmt: skip
    assert view.shown == names[0]
    give_result(view, names[0], side_um=200)
    give_result(view, names[2])
    fill_in(qtbot, stage, names[1], "macro", "only the glass slide is left", "AB")
    move(qtbot, stage, stage.threshold_slider, 0.6)
    assert stage.stage_chip.text() == "≥ pN1"
    stage.save(folder / "results")
    kept = read_patient(folder / "results")
    assert kept.name == "patient_017"
    assert kept.overrides == view.choices.overrides

    choose_patient(monkeypatch, "patient_020")
    open_patient(qtbot, stage, folder)
    assert "patient_020_node_1" in stage.rows
    assert not view.choices.overrides
    choose_patient(monkeypatch, "patient_017")
    open_patient(qtbot, stage, folder)
    assert list(stage.rows) == names
    assert stage.stage_chip.text() == "≥ pN1"
    assert stage.rows[names[0]].chip.text() == "micro"
    assert stage.rows[names[1]].chip.text() == "✎ macro"
    assert view.threshold == pytest.approx(0.6)
    assert view.nodes[names[0]].status == "done"
    rested(qtbot, stage)
    view.clear()
    give_result(view, view.open_slide(folder / "patient_020_node_1.tif").slide.name)
    assert view.threshold == pytest.approx(0.5), "another patient begins with the model's own"


def test_results_without_their_slide_are_staged_as_they_were_kept(
    docked, qtbot, folder, monkeypatch, tmp_path
):
    viewer, _, stage = docked
    view = patient_view(viewer)
    choose_patient(monkeypatch, "patient_020")
    open_patient(qtbot, stage, folder)
    give_result(view, "patient_020_node_1", side_um=200)
    stage.save(tmp_path / "moved")
    shutil.rmtree(folder)
    open_patient(qtbot, stage, tmp_path / "moved")
    row = stage.rows["patient_020_node_1"]
    assert not view.nodes
    assert row.chip.text() == "micro"
    assert "slide is not here" in row.status.text()
    assert stage.stage_chip.text() == "≥ pN1mi"
    view.choose(name="", missing=(), kept=(), overrides=())


def test_damaged_results_are_said_in_their_row_and_the_rest_opens(
    docked, qtbot, folder, monkeypatch
):
    viewer, _, stage = docked
    view = patient_view(viewer)
    choose_patient(monkeypatch, "patient_017")
    open_patient(qtbot, stage, folder)
    give_result(view, "patient_017_node_0", side_um=200)
    give_result(view, "patient_017_node_2")
    stage.save(folder / "results")
    (folder / "results" / "patient_017_node_2" / "heatmap.zarr" / "zarr.json").write_text("{")
    open_patient(qtbot, stage, folder)
    assert stage.rows["patient_017_node_0"].chip.text() == "micro"
    assert "heatmap.zarr" in stage.rows["patient_017_node_2"].status.text().replace("\u200b", "")
    rested(qtbot, stage)


def test_a_folder_with_nothing_in_it_is_said_and_the_patient_stays(patient, qtbot, tmp_path):
    _, stage = patient
    stage.open_patient(tmp_path)
    qtbot.waitUntil(lambda: not stage._looking.is_busy)
    assert list(stage.rows) == ["node_1", "node_2", "node_3"]
    assert stage.stage_chip.text() == "pN1mi"


def test_rules_that_were_moved_are_written_with_the_results(patient, qtbot, tmp_path):
    _, stage = patient
    move(qtbot, stage, stage.sliders.seed_slider, 0.7)
    stage.save(tmp_path / "out")
    run = json.loads((tmp_path / "out" / "node_1" / "run.json").read_text(encoding="utf-8"))
    assert run["parameters"]["seed_threshold"] == pytest.approx(0.7)


def test_a_report_is_written_with_the_results(patient, qtbot, tmp_path, monkeypatch):
    _, stage = patient
    monkeypatch.setattr(
        "napari_camelyon.widgets.pn_dock.QFileDialog.getExistingDirectory",
        lambda *_: str(tmp_path / "out"),
    )
    qtbot.mouseClick(stage.report_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not stage._report.is_busy and stage.report_button.isEnabled())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "pN1mi" in page
    assert page.count("data:image/png") == 3
    assert (tmp_path / "out" / "report.pdf").read_bytes().startswith(b"%PDF")
    assert stage.report_button.text() == "Report …"
