"""Where one is and how near: the overview in the canvas's corner, and zooming by objectives."""

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Image, Labels, Points, Shapes, Surface, Tracks, Vectors
from napari.utils.notifications import notification_manager
from napari.utils.shortcuts import default_shortcuts
from numpy.testing import assert_allclose
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QCursor, QKeySequence, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_camelyon.widgets.napari_compat import camera, canvas_widget, main_window, scale_bar
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.zoom import KEYS, MAGNIFICATIONS, zoom_text, zoom_to
from shown_canvas import screenshot

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
MPP = (0.5, 0.4)  # pixels that are not square tell x from y
MARK_XY, MARK_PX = (1500, 420), 120


@pytest.fixture
def marked(make_slide):
    """A slide of grey with one red mark around `MARK_XY`."""
    pixels = np.full((1300, 2000, 3), 180, np.uint8)
    x, y, half = *MARK_XY, MARK_PX // 2
    pixels[y - half : y + half, x - half : x + half] = (255, 0, 0)
    return make_slide(pixels, name="marked", mpp=MPP, factors=(1, 2))


def seen(viewer):
    """Slide points of the canvas's corners, from the camera alone (centres at whole numbers)."""
    view, canvas = camera(viewer), canvas_widget(viewer)
    y_um, x_um = view.center[-2:]
    half_um = np.array([canvas.width(), canvas.height()]) / 2 / view.zoom
    middle_um = np.array([x_um, y_um])
    return np.array([middle_um - half_um, middle_um + half_um]) / MPP + 0.5


def middle(viewer):
    return seen(viewer).mean(axis=0)


def is_red(pixel):
    return pixel[0] > 200 and pixel[1] < 60


def place(minimap, point_xy):
    return QPointF(*minimap.to_widget(point_xy)).toPoint()


def turn_wheel(widget, steps):
    where = QPointF(widget.rect().center())
    event = QWheelEvent(
        where, QPointF(widget.mapToGlobal(where.toPoint())), QPoint(), QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
        False,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def put_cursor(qtbot, widget, at):
    """Put the screen's own cursor there; `qtbot.mouseMove` may send an event alone."""
    QCursor.setPos(widget.mapToGlobal(at))
    qtbot.waitUntil(lambda: widget.mapFromGlobal(QCursor.pos()) == at)


def test_the_box_is_what_is_seen_and_the_mouse_moves_it(docked, slide_dock, marked, qtbot):
    viewer, _, _ = docked
    minimap = slide_dock.minimap
    assert not minimap.isVisible(), "without a slide there is no overview"
    open_paths(viewer, [marked])
    assert minimap.isVisible()
    qtbot.waitUntil(lambda: minimap._picture is not None)
    focus = QApplication.focusWidget()
    for zoom, centre in ((0.7, (200, 300)), (3.0, (100.5, 700.25))):
        camera(viewer).zoom, camera(viewer).center = zoom, centre
        assert_allclose(minimap.seen_box(), seen(viewer), atol=1e-6)

    # The picture lies where the points say: its red is at the mark (and the box outside).
    camera(viewer).zoom, camera(viewer).center = 0.01, (300, 500)
    shown = minimap.grab().toImage()
    ratio = shown.width() / minimap.width()
    at = minimap.to_widget(MARK_XY) * ratio
    colour = shown.pixelColor(*(int(value) for value in at))
    assert is_red((colour.red(), colour.green(), colour.blue()))
    assert_allclose(minimap.to_slide(*minimap.to_widget((17, 1234))), (17, 1234))

    # Drag the box to the mark.
    a_pixel = 1.5 * np.diff([minimap.to_slide(0, 0), minimap.to_slide(1, 1)], axis=0).max()
    camera(viewer).zoom = 2.0
    start, end = place(minimap, middle(viewer)), place(minimap, MARK_XY)
    qtbot.mousePress(minimap, LEFT, pos=start)
    for step in (0.5, 1.0):
        between = start + (end - start) * step
        qtbot.mouseMove(minimap, between)
    qtbot.mouseRelease(minimap, LEFT, pos=end)
    assert np.abs(middle(viewer) - MARK_XY).max() <= a_pixel
    qtbot.mouseMove(minimap, start)
    assert np.abs(middle(viewer) - MARK_XY).max() <= a_pixel, "it was let go"
    assert scale_bar(viewer).visible
    scale_bar(viewer).visible = False
    shown = screenshot(viewer)
    assert is_red(shown[shown.shape[0] // 2, shown.shape[1] // 2])

    # A click elsewhere goes there, the wheel zooms about the middle.
    qtbot.mouseClick(minimap, LEFT, pos=place(minimap, (400, 1000)))
    assert np.abs(middle(viewer) - (400, 1000)).max() <= a_pixel
    before, zoom = middle(viewer), camera(viewer).zoom
    turn_wheel(minimap, 2)
    assert camera(viewer).zoom == pytest.approx(zoom * 1.007**60)
    assert_allclose(middle(viewer), before)
    assert QApplication.focusWidget() is focus

    # However near one is, the box can be seen and taken.
    camera(viewer).zoom = 400
    box = minimap._box_place(minimap.seen_box())
    assert min(box.width(), box.height()) >= 7
    camera(viewer).center = (-1e5, 1e6)
    outside = minimap._box_place(minimap.seen_box())
    assert minimap.picture_place().adjusted(-9, -9, 9, 9).contains(outside)


def test_it_follows_slide_and_window_and_stays_folded(
    docked, slide_dock, marked, tissue_slide, qtbot
):
    viewer, _, _ = docked
    minimap, canvas = slide_dock.minimap, canvas_widget(viewer)
    open_paths(viewer, [marked])
    for size in ((1300, 900), (1200, 780)):
        before = canvas.height()
        main_window(viewer).resize(*size)
        qtbot.waitUntil(lambda before=before: canvas.height() != before)
        assert canvas.height() - minimap.geometry().bottom() == 11, "it stays in the corner"

    qtbot.mouseClick(minimap.fold_button, LEFT)
    assert minimap.isVisible()
    assert minimap.width() < 30
    was = middle(viewer)
    qtbot.mouseClick(minimap, LEFT, pos=QPoint(2, 2))
    assert_allclose(middle(viewer), was)
    open_paths(viewer, [tissue_slide("other")])
    assert minimap.folded, "it stays as it was left"
    qtbot.mouseClick(minimap.fold_button, LEFT)
    assert minimap.width() > 60
    assert minimap._slide.name == "other"

    viewer.dims.ndisplay = 3
    assert not minimap.isVisible()
    viewer.dims.ndisplay = 2
    assert minimap.isVisible()
    view = patient_view(viewer)
    view.remove("other")
    assert minimap._slide.name == "marked"
    viewer.layers.clear()  # by the person, in the list of layers
    assert not minimap.isVisible()
    view.remove("marked")
    assert not minimap.isVisible()


def test_keys_zoom_to_objectives_about_the_cursor(docked, slide_dock, marked, qtbot):
    viewer, _, _ = docked
    window, canvas, view = main_window(viewer), canvas_widget(viewer), camera(viewer)
    open_paths(viewer, [marked])
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    scale_bar(viewer).visible = False
    spot = QPoint(canvas.width() // 2 + 90, canvas.height() // 2 - 60)
    put_cursor(qtbot, canvas, spot)
    from_middle = np.array([90.0 + (canvas.width() % 2) / -2, -60.0 + (canvas.height() % 2) / -2])

    def under_cursor():
        return middle(viewer) + from_middle / view.zoom / MPP

    before = under_cursor()
    for key, magnification in zip(range(Qt.Key.Key_1, Qt.Key.Key_6), MAGNIFICATIONS, strict=True):
        qtbot.keyClick(window, Qt.Key(key), Qt.KeyboardModifier.ControlModifier)
        assert 1 / view.zoom == pytest.approx(10 / magnification), "µm per screen pixel"
        assert_allclose(under_cursor(), before, atol=1e-6)
        checked = [button.text() for button in slide_dock.zoom.buttons if button.isChecked()]
        assert checked == [f"{magnification:g}×"]
    assert slide_dock.zoom.label.text() == "40×  0.25 µm/px"

    # From a button the cursor is not over the canvas: the middle stays.
    minimap = slide_dock.minimap
    minimap.look_at(MARK_XY)
    was = middle(viewer)
    put_cursor(qtbot, slide_dock.zoom.buttons[3], QPoint(5, 5))
    qtbot.mouseClick(slide_dock.zoom.buttons[3], LEFT)
    assert_allclose(middle(viewer), was)
    assert slide_dock.zoom.label.text() == "20×  0.50 µm/px"
    qtbot.mouseClick(slide_dock.zoom.buttons[3], LEFT)
    assert slide_dock.zoom.buttons[3].isChecked(), "a second click does not release it"

    # The mark is as large on the screen as the magnification says.
    shown = screenshot(viewer)
    red = (shown[..., 0] > 200) & (shown[..., 1] < 60)
    per_logical = shown.shape[1] / canvas.width()
    across = np.array([np.ptp(np.flatnonzero(red.any(axis=axis))) + 1 for axis in (0, 1)])
    assert_allclose(across / per_logical, MARK_PX * np.array(MPP) / 0.5, atol=2)


@pytest.mark.fresh_window
def test_without_pixel_size_zoom_is_a_ratio_and_says_so_once(
    docked, slide_dock, tissue_slide, qtbot
):
    viewer, _, _ = docked
    zoom_to(viewer, 20)  # without a slide: nothing, and no error
    open_paths(viewer, [tissue_slide("nompp", mpp=None)])
    window = main_window(viewer)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    assert [button.text() for button in slide_dock.zoom.buttons] == [
        "1:32", "1:8", "1:4", "1:2", "1:1"
    ]  # fmt: skip
    told = len(notification_manager.records)
    for _ in range(2):
        qtbot.keyClick(window, Qt.Key.Key_4, Qt.KeyboardModifier.ControlModifier)
        assert camera(viewer).zoom == pytest.approx(0.5)
    notes = [str(record.message) for record in notification_manager.records[told:]]
    assert len(notes) == 1
    assert "pixel size of nompp is unknown" in notes[0]
    assert "1:2" in slide_dock.zoom.label.text()
    patient_view(viewer).set_mpp("nompp", 0.25)
    assert slide_dock.zoom.buttons[4].text() == "40×"
    qtbot.keyClick(window, Qt.Key.Key_5, Qt.KeyboardModifier.ControlModifier)
    assert 1 / camera(viewer).zoom == pytest.approx(0.25)


def test_keys_are_nobody_elses(docked):
    viewer, _, _ = docked
    ours = {QKeySequence(key).toString() for key in KEYS}
    napari = {
        QKeySequence(str(key)).toString() for keys in default_shortcuts.values() for key in keys
    }
    for owner in (type(viewer), Image, Labels, Points, Shapes, Surface, Tracks, Vectors):
        napari |= {QKeySequence(str(key)).toString() for key in owner.class_keymap}
    napari |= {QKeySequence(str(key)).toString() for key in viewer.keymap}
    assert "Ctrl+R" in napari, "the names can be compared"
    in_menus = {
        QKeySequence(str(registered.keybinding)).toString()
        for registered in get_app_model().keybindings
    }
    assert "Ctrl+O" in in_menus
    assert not ours & (napari | in_menus)


@pytest.mark.parametrize(
    ("zoom", "has_mpp", "text"),
    [
        (2.0, True, "20×  0.50 µm/px"),
        (0.125, True, "1.25×  8.00 µm/px"),
        (0.0123, True, "0.123×  81.3 µm/px"),
        (0.001, True, "0.01×  1000 µm/px"),
        (20.0, True, "200×  0.050 µm/px"),
        (1.0, False, "1:1"),
        (0.25, False, "1:4"),
        (3.0, False, "3:1"),
    ],
)
def test_zoom_is_said_as_people_say_it(zoom, has_mpp, text):
    assert zoom_text(zoom, has_mpp=has_mpp) == text
