"""Predict here, asked for as people do: by key, right click and button; with and without a run."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu

from canvas_hand import Hand
from napari_camelyon.cohort import PredictRequest, predict_slide
from napari_camelyon.cohort.kept_model import KeptModel
from napari_camelyon.geometry import layer_to_slide, slide_to_layer
from napari_camelyon.inference import read_patch
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.widgets.looking_closer import KEY, LookingCloser
from napari_camelyon.widgets.looking_worker import KeptLook, Question, answer
from napari_camelyon.widgets.napari_compat import camera, canvas_widget
from napari_camelyon.widgets.patient_view import patient_view
from shown_canvas import screenshot

pytestmark = pytest.mark.gui

MIDDLE = (512, 512)  # of the dark square, which the tiny model calls tumour
LIGHT = (200, 300)
MPP = 0.5
PATCH_PX = 64  # level-0 pixels


class Looking:
    """The window under test, and a hand over the canvas."""

    def __init__(self, docked, qtbot, path):
        self.viewer, self.inference, _ = docked
        self.qtbot = qtbot
        self.request = PredictRequest(model=self.inference.request().model)
        self.path = path
        patient_view(self.viewer).open_slide(path)
        self.hand = Hand(self.viewer, self.viewer.layers[0], qtbot)
        self.inference.looking_closer.let_go()
        self.closer = LookingCloser(self.viewer, lambda: self.request)
        qtbot.addWidget(self.closer)

    def answer(self):
        self.qtbot.waitUntil(lambda: not self.closer.is_busy, timeout=60_000)
        return self.closer.seen

    def frame(self):
        return [one for one in self.viewer.layers if one.name == "patch looked at"]

    def zoom_to(self, at, zoom=2.0):
        camera(self.viewer).zoom = zoom
        camera(self.viewer).center = (0, *(slide_to_layer(at) * MPP))

    def key(self, at):
        QCursor.setPos(self.hand.canvas.mapToGlobal(self.hand.place(at)))
        QApplication.processEvents()
        self.hand.press(getattr(Qt.Key, f"Key_{KEY}"))


@pytest.fixture
def looking(docked, qtbot, tissue_slide):
    looking = Looking(docked, qtbot, tissue_slide(mark_px=256))
    yield looking
    looking.closer.let_go()
    looking.inference.looking_closer.take_hold()


def test_a_key_over_the_slide_shows_the_patch_there(looking):
    looking.zoom_to(MIDDLE)
    active = looking.viewer.layers.selection.active
    looking.key(MIDDLE)
    seen = looking.answer()
    closer, panel = looking.closer, looking.closer.panel
    assert closer.isVisible()
    x_px, y_px, width_px, height_px = seen.box_px
    assert np.abs(np.array([x_px + 32, y_px + 32]) - MIDDLE).max() <= 1
    with open_slide(looking.path) as slide:
        expected = read_resampled(slide, x_px, y_px, PATCH_PX, PATCH_PX, 32, 32)
    np.testing.assert_array_equal(seen.raw, expected)
    assert panel.probability.text() == ">0.99"
    assert panel.classes.text().splitlines() == ["0.000  normal", "1.000  tumour"]
    assert [cell.text() for cell in panel.cells] == [">0.99"] * 9
    assert not panel.normalised.isVisible()
    assert "32 × 32 px at 1 µm/px = 32 µm" in panel.details.text()
    assert closer.status.text() == ""
    # The frame lies on the slide around the patch, and what was active stays so.
    (frame,) = looking.frame()
    corners = layer_to_slide(frame.data[0])
    np.testing.assert_allclose(corners.min(axis=0), (x_px, y_px))
    np.testing.assert_allclose(corners.max(axis=0), (x_px + width_px, y_px + height_px))
    np.testing.assert_allclose(frame.scale, looking.viewer.layers[0].scale)
    assert looking.viewer.layers.selection.active is active


def test_the_frame_is_drawn_around_the_patch(looking):
    looking.zoom_to(MIDDLE, 4.0)
    looking.closer.look_at(MIDDLE)
    looking.answer()
    seen = screenshot(looking.viewer)
    blue = (seen[..., 2] > 200) & (seen[..., 0] < 60)
    rows, columns = np.nonzero(blue)
    ratio = seen.shape[1] / canvas_widget(looking.viewer).width()
    side = PATCH_PX * MPP * 4.0 * ratio
    for places, length in ((rows, seen.shape[0]), (columns, seen.shape[1])):
        assert abs(places.max() - places.min() - side) < 10 * ratio
        assert abs((places.max() + places.min()) / 2 - length / 2) < 3 * ratio


def test_the_button_asks_with_the_next_click(looking):
    looking.zoom_to((500, 500), 1.0)
    looking.closer.button.click()
    assert looking.closer.button.isChecked()
    before = camera(looking.viewer).center
    looking.hand.click(LIGHT)
    seen = looking.answer()
    assert not looking.closer.button.isChecked()
    assert seen.tumour < 0.01
    assert looking.closer.panel.probability.text() == "<0.01"
    assert camera(looking.viewer).center == before
    looking.hand.click(MIDDLE)  # the button is up: a click is a click again
    assert looking.answer() is seen


def test_escape_puts_the_button_up(looking):
    looking.closer.button.click()
    looking.hand.press(Qt.Key.Key_Escape)
    assert not looking.closer.button.isChecked()
    looking.hand.click(MIDDLE)
    assert not looking.closer.isVisible()


def open_menu():
    menus = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMenu)]
    return next((menu for menu in menus if menu.isVisible()), None)


def test_a_right_click_offers_it_and_a_right_drag_does_not(looking, qtbot):
    looking.zoom_to((500, 500), 1.0)
    canvas, place = looking.hand.canvas, looking.hand.place(MIDDLE)
    right = Qt.MouseButton.RightButton
    QTest.mousePress(canvas, right, pos=place)
    QTest.mouseMove(canvas, place + place * 0.1)
    qtbot.wait(30)
    QTest.mouseRelease(canvas, right, pos=place + place * 0.1)
    QApplication.processEvents()
    assert open_menu() is None

    looking.zoom_to((500, 500), 1.0)
    QTest.mouseClick(canvas, right, pos=looking.hand.place(MIDDLE))
    qtbot.waitUntil(lambda: open_menu() is not None)
    (action,) = open_menu().actions()
    assert action.text() == f"Predict here\t{KEY}"
    action.trigger()
    open_menu().close()
    assert looking.answer().tumour > 0.99


def test_with_a_heatmap_it_is_the_cell_under_the_cursor(looking, qtbot):
    inference = looking.inference
    inference.run_shown()
    qtbot.waitUntil(lambda: inference.is_idle, timeout=60_000)
    heatmap = patient_view(looking.viewer).shown_node.heatmap
    looking.zoom_to(MIDDLE)
    row, column = 8, 7
    x_px, y_px = heatmap.grid.centres((row, column)) + 20
    looking.key((x_px, y_px))
    seen = looking.answer()
    assert seen.cell == (row, column)
    with open_slide(looking.path) as slide:
        np.testing.assert_array_equal(seen.raw, read_patch(slide, heatmap.grid, row, column, 32))
    assert seen.from_heatmap.all()
    shown = [cell.text() for cell in looking.closer.panel.cells]
    around = heatmap.values[row - 1 : row + 2, column - 1 : column + 2].ravel()
    assert [text == ">0.99" for text in shown] == (around > 0.99).tolist()
    assert f"The heatmap holds {heatmap.values[row, column]:.3f} here" in (
        looking.closer.panel.details.text()
    )


def test_it_works_while_a_run_goes_on(looking, qtbot):
    inference = looking.inference
    inference.form["stride_um"].value = 2  # 240,000 patches: it does not end meanwhile
    inference.run_shown()
    try:
        qtbot.waitUntil(
            lambda: patient_view(looking.viewer).shown_node.heatmap is not None, timeout=60_000
        )
        looking.closer.look_at(MIDDLE)
        seen = looking.answer()
        assert inference.is_running
        assert seen.grid == patient_view(looking.viewer).shown_node.heatmap.grid
        assert seen.tumour > 0.99
    finally:
        inference.cancel()
        qtbot.waitUntil(lambda: inference.is_idle, timeout=60_000)


def test_only_the_last_question_is_answered(looking):
    answers = []
    looking.closer.answered.connect(lambda: answers.append(looking.closer.seen.box_px))
    for x in range(100, 600, 50):
        looking.closer.look_at((x, 500))
    looking.answer()
    assert len(answers) == 1
    assert answers[0][0] == 550 - 32


def test_the_model_is_loaded_once_and_another_when_it_is_chosen(looking, tmp_path):
    from made_models import write_wsinfer_model

    looking.closer.look_at(MIDDLE)
    looking.answer()
    predictor = looking.closer._kept._predictor[1]
    looking.closer.look_at(LIGHT)
    assert looking.answer().tumour < 0.01
    assert looking.closer._kept._predictor[1] is predictor
    looking.request = PredictRequest(model=write_wsinfer_model(tmp_path / "wide", patch_px=64))
    looking.closer.look_at(MIDDLE)
    assert looking.answer().raw.shape == (64, 64, 3)


def test_what_cannot_be_done_is_said_in_the_panel(looking, tmp_path):
    looking.closer.look_at(MIDDLE)
    looking.answer()
    looking.closer.look_at((-50, 10))
    assert looking.answer() is None
    assert "point at the slide" in looking.closer.status.text()
    assert not looking.closer.panel.isVisible()
    assert looking.frame() == []
    looking.request = PredictRequest(model=tmp_path / "nothing.pt")
    looking.closer.look_at(MIDDLE)
    looking.answer()
    assert "There is no model at" in looking.closer.status.text()
    looking.request = PredictRequest(model=looking.inference.request().model)
    looking.closer.look_at(MIDDLE)
    assert looking.answer().tumour > 0.99
    assert looking.closer.panel.isVisible()


def test_closing_takes_the_frame_away_and_so_does_another_slide(looking, tissue_slide):
    looking.closer.look_at(MIDDLE)
    looking.answer()
    assert len(looking.frame()) == 1
    QTest.keyClick(looking.closer, Qt.Key.Key_Escape)
    assert not looking.closer.isVisible()
    assert looking.frame() == []
    looking.closer.look_at(MIDDLE)
    looking.answer()
    patient_view(looking.viewer).open_slide(tissue_slide("node_2"))
    assert not looking.closer.isVisible()
    patient_view(looking.viewer).show("node_1")
    assert looking.frame() == []


def test_a_model_that_others_keep_is_taken_from_them(docked, qtbot, tissue_slide):
    viewer, inference, _ = docked
    patient_view(viewer).open_slide(tissue_slide(mark_px=256))
    kept = KeptModel()
    closer = LookingCloser(viewer, inference.request, kept.load)
    qtbot.addWidget(closer)
    closer.look_at(MIDDLE)
    qtbot.waitUntil(lambda: not closer.is_busy, timeout=60_000)
    assert closer.seen.tumour > 0.99
    assert closer._kept._predictor[0] is kept.load(inference.request().model)
    closer.let_go()


def test_without_a_slide_it_asks_for_one(docked, qtbot, looking):
    view = patient_view(looking.viewer)
    view.remove("node_1")
    looking.closer.look_at(MIDDLE)
    assert not looking.closer.isVisible()


def test_values_of_a_run_are_taken_if_its_stain_is_the_one_that_is_chosen(looking):
    looking.request = replace(looking.request, stain="reinhard", device="cpu", stride_um=32.0)
    slide = patient_view(looking.viewer).shown_node.slide
    planned, *_ = predict_slide(slide, looking.request)
    kept = KeptLook(None)
    same = answer(Question(1, looking.request, slide, MIDDLE, planned.heatmap, None), kept, print)
    assert same.error is None
    assert same.seen.from_heatmap.any(), "the window fits the stain as the run does"
    none = replace(looking.request, stain="none")
    other = answer(Question(2, none, slide, MIDDLE, planned.heatmap, None), kept, print)
    assert not other.seen.from_heatmap.any()
    kept.close()
    looking.request = none
    patient_view(looking.viewer).shown_node.heatmap = planned.heatmap
    looking.zoom_to(MIDDLE)
    looking.key(MIDDLE)
    looking.answer()
    told = "was made with another stain normalisation (Reinhard)"
    assert told in looking.closer.panel.details.text()
