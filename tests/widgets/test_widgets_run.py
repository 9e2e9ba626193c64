"""A run in the window: what is drawn and how often, where it looks, pause, continue, warnings."""

import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog

from made_models import write_wsinfer_model
from napari_camelyon.cohort import KeptModel, PredictRequest
from napari_camelyon.errors import ModelError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.inference import Finding
from napari_camelyon.widgets import inference_dock
from napari_camelyon.widgets.finding_box import FindingBox
from napari_camelyon.widgets.inference_dock import _LOOK_MS
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.node_row import _greatest_of_blocks
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.pace import Pace
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.polite import politely
from napari_camelyon.widgets.run_panel import about, duration

pytestmark = pytest.mark.gui

RUN_MS = 60_000
FINE_UM = 8  # some thousand patches, more than are predicted before a test has said its word


@pytest.fixture
def long_run(docked, tissue_slide, qtbot):
    """A run that has drawn its first values."""
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", side_px=3072, mark_px=512)])
    inference.form["stride_um"].value = FINE_UM
    inference.run_shown()
    node = patient_view(viewer).nodes["node_1"]
    qtbot.waitUntil(
        lambda: node.heatmap is not None and node.heatmap.computed_cells > 0, timeout=RUN_MS
    )
    qtbot.waitUntil(lambda: inference._drawn is not None, timeout=RUN_MS)
    return viewer, inference, node


def finish(qtbot, dock):
    qtbot.waitUntil(lambda: dock.is_idle, timeout=RUN_MS)


def heat_layer(viewer):
    (layer,) = (
        one for one in viewer.layers if one.metadata["napari_camelyon"]["kind"] == "heatmap"
    )
    return layer


def test_the_layer_is_drawn_as_often_as_the_timer_says_however_many_updates_come(long_run, qtbot):
    viewer, inference, node = long_run
    drawn, updates = [], set()
    heat_layer(viewer).events.set_data.connect(
        lambda _event: drawn.append(node.heatmap.computed_cells)
    )
    begun = time.monotonic()
    while inference.is_running and len(updates) < 60:
        qtbot.wait(1)
        updates.add(inference._run.update.done)
    lasted_ms = 1000 * (time.monotonic() - begun)
    assert len(updates) > 10
    # Once more for the look that was due, and once for the last values.
    assert 1 <= len(drawn) <= lasted_ms / (0.95 * _LOOK_MS) + 2
    assert drawn == sorted(set(drawn)), "each drawing shows more than the one before"


def test_a_run_is_told_what_is_in_view_and_moving_on_is_told_at_once(long_run, qtbot):
    viewer, inference, _ = long_run
    control = inference._run.control
    left, top, width, height = control.view_px
    assert left <= 0 <= left + width  # the whole slide, and more on one side of it
    assert top <= 0 <= top + height
    # The slide point (2000, 1000) at 0.5 µm/px.
    camera(viewer).zoom = 8
    camera(viewer).center = (500, 1000)
    qtbot.waitUntil(lambda: control.view_px != (left, top, width, height), timeout=RUN_MS)
    left, top, width, height = control.view_px
    assert (left + width / 2, top + height / 2) == pytest.approx((2000, 1000), abs=1)
    assert width < 3072 / 2


def test_the_view_of_another_slide_is_not_told(long_run, tissue_slide, qtbot):
    viewer, inference, _ = long_run
    before = inference._run.control.view_px
    open_paths(viewer, [tissue_slide("node_2")])
    camera(viewer).center = (100, 100)
    qtbot.wait(2 * _LOOK_MS)
    assert inference._run.control.view_px == before


def test_pause_stops_the_values_and_continue_goes_on(long_run, qtbot):
    _, inference, node = long_run
    qtbot.mouseClick(inference.pause_button, Qt.MouseButton.LeftButton)
    assert inference.pause_button.text() == "Continue"
    qtbot.waitUntil(lambda: inference.status.text().startswith("Paused at"), timeout=RUN_MS)
    last = -1
    while node.heatmap.computed_cells != last:  # the batches that were under way
        last = node.heatmap.computed_cells
        qtbot.wait(2 * _LOOK_MS)
    assert inference.is_running
    assert node.status.startswith("paused")
    assert last < node.heatmap.planned_cells
    qtbot.mouseClick(inference.pause_button, Qt.MouseButton.LeftButton)
    assert inference.pause_button.text() == "Pause"
    qtbot.waitUntil(lambda: node.heatmap.computed_cells > last, timeout=RUN_MS)


def test_a_paused_run_can_be_cancelled(long_run, qtbot):
    _, inference, node = long_run
    inference.pause()
    inference.cancel()
    finish(qtbot, inference)
    assert node.status.startswith("stopped at")


def test_closing_the_window_while_a_run_rests_ends_it(long_run):
    viewer, inference, _ = long_run
    inference.pause()
    viewer.close()
    assert inference._run.control.cancelled


def test_a_stopped_run_goes_on_where_it_stopped(long_run, qtbot):
    _, inference, node = long_run
    inference.cancel()
    finish(qtbot, inference)
    assert inference.run_button.text() == "Continue"
    before = node.heatmap.values.copy()
    computed = node.heatmap.computed_cells
    inference.form["stride_um"].value = 2 * FINE_UM
    assert inference.run_button.text() == "Run", "with other choices there is nothing to continue"
    inference.form["stride_um"].value = FINE_UM
    assert inference.run_button.text() == "Continue"
    qtbot.mouseClick(inference.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: inference._drawn is not None, timeout=RUN_MS)
    assert inference._run.update.known >= computed
    assert f"{inference._run.update.known:,} patches known" in inference.panel.facts.text()
    known = ~np.isnan(before)
    assert np.array_equal(node.heatmap.values[known], before[known])
    finish(qtbot, inference)
    assert node.status == "done"
    assert inference.run_button.text() == "Run"


def test_the_next_window_goes_on_where_a_closed_one_was(long_run, open_again, qtbot):
    viewer, inference, node = long_run
    model, slide_path = inference.request().model, node.slide.path
    computed = node.heatmap.computed_cells
    viewer.close()
    viewer, inference, _ = open_again()
    inference.choose_model(model)
    open_paths(viewer, [slide_path])
    inference.form["stride_um"].value = FINE_UM
    inference.run_shown()
    qtbot.waitUntil(lambda: inference._drawn is not None, timeout=RUN_MS)
    assert computed <= inference._run.update.known < node.heatmap.planned_cells


def test_a_second_run_uses_the_layers_that_are_there(docked, tissue_slide, qtbot):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    inference.run_shown()
    finish(qtbot, inference)
    layers = list(viewer.layers)
    heat_layer(viewer).opacity = 0.4
    first = patient_view(viewer).nodes["node_1"].lesions
    inference.form["stride_um"].value = 16
    inference.run_shown()
    finish(qtbot, inference)
    assert list(viewer.layers) == layers
    assert heat_layer(viewer).opacity == 0.4, "what a person has set stays"
    node = patient_view(viewer).nodes["node_1"]
    assert heat_layer(viewer).data is node.heatmap.values
    assert tuple(heat_layer(viewer).scale) == (16, 16)
    assert node.lesions != first
    outlines, diameters = viewer.layers[2:]
    assert len(diameters.data) == len(node.lesions) == 1
    assert list(diameters.features["diameter"]) == [f"{node.lesions[0].diameter_mm:.2f} mm"]
    ends = np.asarray(node.lesions[0].diameter_ends_px)[:, ::-1] - 0.5
    assert np.allclose(diameters.data[0], ends)
    assert len(outlines.data) >= 1


def test_layers_are_there_before_a_run_has_values_and_go_where_nothing_came_of_it(
    docked, tissue_slide, qtbot, monkeypatch
):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1")])
    view = patient_view(viewer)
    node = view.nodes["node_1"]
    seen = []

    def fail(*_arguments, **_more):
        while len(seen) < 3:
            seen.extend(kind for kind in there() if kind not in seen)
        raise ModelError("There is no such model.")
        yield

    def there():
        return [one.metadata["napari_camelyon"]["kind"] for one in list(viewer.layers)[1:]]

    monkeypatch.setattr(inference_dock, "predict_slide", fail)
    monkeypatch.setattr(inference_dock, "show_error", lambda _text: None)
    inference.run_shown()
    assert node.heatmap is None
    finish(qtbot, inference)
    assert sorted(seen) == ["diameters", "heatmap", "lesions"]
    assert there() == []
    assert inference.status.text() == "There is no such model."


@pytest.mark.parametrize("then", ["wait", "fewer", "close"])
def test_many_lesions_are_drawn_in_portions(docked, tissue_slide, qtbot, then):
    viewer, _, _ = docked
    open_paths(viewer, [tissue_slide("node_1")])
    view = patient_view(viewer)
    node = view.nodes["node_1"]
    values = np.zeros((160, 160), np.float32)
    for row in range(5, 155, 10):
        for column in range(5, 155, 10):
            values[row : row + 3, column : column + 3] = 0.9
    grid = Grid(160, 160, 0, 0, 100, 100, 100, 100)
    heatmap = Heatmap(grid, values, (0.5, 0.5), slide_name="node_1")
    view.begin_heatmap(node, None, heatmap)
    view.restage(node)
    assert len(node.lesions) == 225
    outlines, diameters = viewer.layers[2:]
    assert 0 < outlines.nshapes < 225, "the first are there at once, the others come later"
    if then == "fewer":
        values[:, 20:] = 0
        view.restage(node)
    if then == "close":
        view.remove("node_1")
        drawn = outlines.nshapes
        qtbot.waitUntil(lambda: view.all_is_drawn)
        assert outlines.nshapes <= drawn + 50
        return
    qtbot.waitUntil(lambda: view.all_is_drawn)
    assert outlines.nshapes == len(node.lesions) == (225 if then == "wait" else 30)
    assert diameters.nshapes == min(100, len(node.lesions))
    widths = {*outlines.edge_width, *diameters.edge_width}
    assert len(widths) == 1, "as the zoom has it"
    for drawn, lesion in zip(outlines.data, node.lesions, strict=True):
        expected = np.asarray(lesion.outline.exterior.coords)[:, ::-1] - 0.5
        np.testing.assert_allclose(drawn, expected, atol=0.01)


def test_the_class_that_is_tumour_is_asked_for_and_remembered(
    docked, tissue_slide, qtbot, tmp_path, monkeypatch
):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1", mark_px=512)])
    inference.choose_model(write_wsinfer_model(tmp_path / "dark", class_names=("a", "b")))
    asked = []

    def answer(_parent, _title, text, names, **_more):
        asked.append(tuple(names))
        return ("b", len(asked) > 1)

    monkeypatch.setattr(QInputDialog, "getItem", answer)
    inference.run_shown()
    finish(qtbot, inference)
    node = patient_view(viewer).nodes["node_1"]
    assert asked == [("a", "b")]
    assert node.status == "not run", "who does not answer gets nothing computed"
    inference.run_shown()
    finish(qtbot, inference)
    assert node.status == "done"
    assert node.result.node_class == "micro"
    inference.run_shown()
    finish(qtbot, inference)
    assert len(asked) == 2, "asked once"


def test_findings_are_shown_until_they_are_put_away_and_new_kinds_come_up(qtbot):
    box = FindingBox()
    qtbot.addWidget(box)
    glass = Finding("glass", "Glass is called tumour: 9 of 10.", {})
    stain = Finding("stain", "The stain is 23° away.", {})
    box.show_findings((glass,))
    assert not box.isHidden()
    assert box.text.text() == glass.sentence
    box.dismiss_button.click()
    box.show_findings((replace(glass, sentence="Glass is called tumour: 19 of 20."),))
    assert box.isHidden(), "more of the same"
    box.show_findings((glass, stain))
    assert not box.isHidden()
    assert stain.sentence in box.text.text()
    box.show_findings(())
    assert box.isHidden()


def test_the_model_is_loaded_once_until_its_files_change(tmp_path):
    kept = KeptModel()
    folder = write_wsinfer_model(tmp_path / "dark")
    first = kept.load(folder, tumour_class=None)
    assert kept.load(folder, tumour_class=None) is first
    assert kept.load(folder, tumour_class="normal") is not first
    second = kept.load(folder, tumour_class=None)
    write_wsinfer_model(folder, mpp=0.5)
    assert kept.load(folder, tumour_class=None).spec.patch_mpp == 0.5 != second.spec.patch_mpp


def test_the_form_says_what_was_chosen_below_more(docked):
    _, inference, _ = docked
    form = inference.form
    form["precision"].value = "bf16"
    assert form.more_button.text() == "More: bf16"
    assert form.request().precision == "bf16"
    form["precision"].value = "auto"
    assert form.more_button.text() == "More"
    form["uncertainty"].value = "8 symmetries"
    assert form.cost.text().startswith("8 × the time")
    assert form.request().uncertainty == "tta"
    form["uncertainty"].value = "none"
    assert form.cost.text() == ""


def test_the_time_of_a_run_follows_from_one_alike():
    pace, plain = Pace(), PredictRequest()
    assert pace.seconds(plain, 100) is None
    pace.keep(plain, 50)
    assert pace.seconds(plain, 100) == pytest.approx(2)
    eight = replace(plain, uncertainty="tta", stride_um=32)
    assert pace.seconds(eight, 100) == pytest.approx(16)
    assert pace.seconds(replace(plain, precision="int8"), 100) is None
    pace.keep(eight, 5)
    assert pace.seconds(plain, 100) == pytest.approx(100 / 40)


def test_durations_in_words():
    assert [about(s) for s in (1, 62, 740, 9000)] == [
        "about 5 s", "about 60 s", "about 12 min", "about 2.5 h",
    ]  # fmt: skip
    assert duration(3725) == "1:02:05"


def test_a_small_picture_of_a_large_heatmap_loses_no_focus():
    values = np.full((500, 300), np.nan, np.float32)
    values[123, 45], values[499, 299] = 0.9, 0.8
    small = _greatest_of_blocks(values)
    assert small.shape[0] < 150
    assert np.nanmax(small) == np.float32(0.9)
    assert small[-1, -1] == np.float32(0.8)
    assert np.count_nonzero(~np.isnan(small)) == 2


def test_uncertainties_come_hidden_and_are_shown_one_at_a_time(docked, tissue_slide):
    viewer, inference, _ = docked
    open_paths(viewer, [tissue_slide("node_1")])
    view = patient_view(viewer)
    node = view.nodes["node_1"]
    grid = Grid(16, 16, 0, 0, 64, 64, 64, 64)
    maps = {
        f"uncertainty_{part}": np.full(grid.shape, 0.1, np.float32)
        for part in ("total", "aleatoric", "epistemic")
    }
    values = np.full(grid.shape, 0.1, np.float32)
    heatmap = Heatmap(grid, values, node.slide.mpp, slide_name="node_1", maps=maps)
    view.begin_heatmap(node, None, heatmap)
    assert inference.shown_map.isHidden()
    added = 0
    while view.show_uncertainty(node):
        added += 1
    assert added == 3
    assert [layer.visible for layer in viewer.layers] == [True, True, False, False, False]
    assert not inference.shown_map.isHidden()
    inference.shown_map.names.setCurrentText("uncertainty: total")
    shown = [layer.name for layer in viewer.layers if layer.visible]
    assert shown == ["node_1", "uncertainty: total"]
    view.begin_heatmap(node, None, replace(heatmap, maps={}))
    assert [layer.name for layer in viewer.layers] == ["node_1", "tumour probability"]


def test_seconds_left_that_are_not_known_are_not_said(long_run):
    _, inference, _ = long_run
    from napari_camelyon.widgets.run_panel import progress_text

    update = inference._run.update
    assert "left" not in progress_text(replace(update, seconds_left=math.nan))
    assert "left" in progress_text(replace(update, seconds_left=3.0))


@pytest.mark.skipif(sys.platform != "linux", reason="only there do threads inherit it")
def test_a_run_and_the_threads_it_begins_step_back_for_the_window():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work(more):
        with ThreadPoolExecutor(1) as pool:
            return niceness(), pool.submit(niceness).result(), sys.getswitchinterval(), more

    before = niceness(), sys.getswitchinterval()
    own, begun, switch_s, more = politely(work, "more")
    assert own == begun >= 10
    assert switch_s < before[1]
    assert more == "more"
    assert (niceness(), sys.getswitchinterval()) == before, "the window's thread stays as it was"

    with pytest.raises(ModelError, match="no model"):
        politely(_raise, ModelError("no model"))
    assert sys.getswitchinterval() == before[1]


def _raise(error):
    raise error


def test_of_two_runs_at_once_the_last_to_end_gives_the_usual_switching_back():
    usual_s = sys.getswitchinterval()
    first_ended, second_began = threading.Event(), threading.Event()

    def second():
        second_began.set()
        first_ended.wait()

    with ThreadPoolExecutor(1) as pool:

        def first():
            later = pool.submit(politely, second)
            second_began.wait()
            return later

        later = politely(first)
        assert sys.getswitchinterval() < usual_s, "the second goes on"
        first_ended.set()
        later.result()
    assert sys.getswitchinterval() == usual_s
