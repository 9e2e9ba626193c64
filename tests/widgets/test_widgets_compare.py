"""The "Compare" dock in a shown window: real files, clicks and keys, and what is on the disk."""

import json

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from numpy.testing import assert_allclose
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_camelyon import annotations
from napari_camelyon.annotations import OUTLINE_SCREEN_PX
from napari_camelyon.geometry import layer_to_slide
from napari_camelyon.widgets.compare_layers import COLOURS
from napari_camelyon.widgets.napari_compat import camera, canvas_widget, main_window
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view

pytestmark = pytest.mark.gui


@pytest.fixture
def compare_dock(docked, qtbot):
    """The dock, in front of the others, in a window that gets the keys."""
    viewer, _, _ = docked
    holder, dock = viewer.window.add_plugin_dock_widget("napari-camelyon", "Compare", tabify=True)
    QApplication.processEvents()  # docks are laid out with the event loop
    holder.raise_()
    window = main_window(viewer)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield dock
    if hasattr(viewer.window, "_qt_window"):
        viewer.window.remove_dock_widget(holder)
        dock.deleteLater()  # its keys would stay in use


def square(x, y, side, group="metastases"):
    ring = np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], float)
    return annotations.make_annotation("polygon", ring, group=group)


@pytest.fixture
def write_pair():
    """Write A beside a slide and B into a folder there; worst first: outline, only B, only A."""

    def write(slide_path):
        a = [square(100, 100, 50), square(300, 300, 200), square(700, 100, 60)]
        b = [square(100, 100, 50), square(420, 300, 200), square(100, 700, 100)]
        b_path = slide_path.parent / "second" / f"{slide_path.stem}.xml"
        b_path.parent.mkdir()
        paths = slide_path.with_suffix(".xml"), b_path
        for path, members in zip(paths, (a, b), strict=True):
            annotations.write(annotations.AnnotationSet(tuple(members)), path)
        return paths

    return write


@pytest.fixture
def compared(docked, compare_dock, tissue_slide, write_pair, qtbot):
    """A slide whose two files were compared with a click."""
    viewer, _, _ = docked
    slide = tissue_slide("node_1")
    write_pair(slide)
    open_paths(viewer, [slide])
    qtbot.waitUntil(compare_dock.compare_button.isEnabled)
    qtbot.mouseClick(compare_dock.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: compare_dock.adjudication is not None)
    return slide


def layers_by_side(viewer):
    found = {}
    for layer in viewer.layers:
        meta = layer.metadata.get("napari_camelyon", {})
        if meta.get("kind") == "comparison":
            found[meta["side"]] = layer
    return found


def rings(layer):
    return [layer_to_slide(path) for path in layer.data]


def kinds(dock):
    return [dock.list.topLevelItem(k).text(1) for k in range(dock.list.topLevelItemCount())]


def decided(dock):
    return [dock.list.topLevelItem(k).text(0) for k in range(dock.list.topLevelItemCount())]


def trace(slide):
    path = slide.with_name(f"{slide.stem}.adjudicated.decisions.json")
    return json.loads(path.read_text("utf-8"))


def type_into(qtbot, field, text):
    field.setFocus()
    field.selectAll()
    qtbot.keyClicks(field, text)


def test_without_a_slide_it_says_what_to_do(compare_dock):
    assert "No slide is open" in compare_dock.hint.text()
    assert not compare_dock.files.isVisible()
    assert not compare_dock.work.isVisible()


def test_a_slide_with_one_file_asks_for_the_other(docked, compare_dock, tissue_slide, qtbot):
    slide = tissue_slide("alone")
    annotations.write(annotations.AnnotationSet((square(1, 1, 9),)), slide.with_suffix(".xml"))
    open_paths(docked[0], [slide])
    qtbot.waitUntil(lambda: compare_dock.file_boxes["A"].currentIndex() == 0)
    assert "two annotators" in compare_dock.hint.text()
    assert compare_dock.hint.isVisible()
    assert not compare_dock.compare_button.isEnabled()
    compare_dock.choose_file("B", slide.with_suffix(".xml"))
    assert "same file" in compare_dock.hint.text()
    assert not compare_dock.compare_button.isEnabled()


def test_without_a_pixel_size_nothing_is_compared(docked, compare_dock, tissue_slide, write_pair):
    slide = tissue_slide("unsized", mpp=None)
    write_pair(slide)
    open_paths(docked[0], [slide])
    assert "pixel size" in compare_dock.hint.text()
    assert not compare_dock.compare_button.isEnabled()


def test_files_beside_the_slide_are_compared_and_the_worst_place_is_shown(
    docked, compare_dock, compared
):
    viewer, dock = docked[0], compare_dock
    assert kinds(dock) == ["outline", "only in B", "only in A"]
    assert "1 region agrees; 1 only in A, 1 only in B" in dock.summary.text()
    assert dock.progress.text() == "0 of 3 decided"
    assert not dock.compare_button.isVisible()
    # Boundaries are 120 px of half a micrometre apart.
    assert "60 µm apart" in dock.sentence.text()
    layers = layers_by_side(viewer)
    for side, left in (("A", 300), ("B", 420)):
        (ring,) = rings(layers[side])
        assert_allclose(ring[[0, 2]], [(left, 300), (left + 200, 500)])
        assert_allclose(ring[0], ring[-1])
        assert layers[side].shape_type == ["path"]
        colour = "#" + "".join(
            f"{round(255 * part):02x}" for part in layers[side].edge_color[0][:3]
        )
        assert colour == COLOURS[side]
        assert tuple(layers[side].scale) == (0.5, 0.5)
    assert viewer.layers.selection.active.metadata["napari_camelyon"]["kind"] == "slide"
    # The middle of both, in µm, and both in view.
    assert_allclose(camera(viewer).center[-2:], np.array([400, 460]) * 0.5 - 0.25)
    height, width = viewer.canvas.size
    assert camera(viewer).zoom * 160 <= 0.51 * width
    assert camera(viewer).zoom * 100 <= 0.51 * height


def test_next_and_previous_go_by_button_key_and_row(docked, compare_dock, compared, qtbot):
    viewer, dock = docked[0], compare_dock
    assert not dock.previous_button.isEnabled()
    qtbot.mouseClick(dock.next_button, Qt.MouseButton.LeftButton)
    layers = layers_by_side(viewer)
    assert len(layers["A"].data) == 0
    assert_allclose(rings(layers["B"])[0][0], (100, 700))
    assert_allclose(camera(viewer).center[-2:], np.array([750, 150]) * 0.5 - 0.25)
    # The keys work wherever the focus is: here on the canvas.
    canvas = canvas_widget(viewer)
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert dock.difference.kind == "only in A"
    assert len(layers["B"].data) == 0
    assert_allclose(rings(layers["A"])[0][0], (700, 100))
    assert not dock.next_button.isEnabled()
    qtbot.keyClick(canvas, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    assert dock.difference.kind == "only in B"
    first = dock.list.visualItemRect(dock.list.topLevelItem(0)).center()
    qtbot.mouseClick(dock.list.viewport(), Qt.MouseButton.LeftButton, pos=first)
    assert dock.difference.kind == "outline"
    assert layers_by_side(viewer) == layers, "the two layers are used again"


def test_outlines_keep_their_width_on_the_screen(docked, compare_dock, compared, qtbot):
    viewer = docked[0]

    def widths():
        zoom = camera(viewer).zoom
        return [
            width * layer.scale[-1] * zoom
            for layer in layers_by_side(viewer).values()
            for width in layer.edge_width
        ]

    camera(viewer).zoom *= 9
    qtbot.waitUntil(lambda: np.allclose(widths(), OUTLINE_SCREEN_PX, rtol=0.25))
    compare_dock.go_to(1)
    assert_allclose(widths(), OUTLINE_SCREEN_PX, rtol=0.25)


def test_a_decision_needs_initials_and_is_on_the_disk_at_once(compare_dock, compared, qtbot):
    dock, slide = compare_dock, compared
    qtbot.mouseClick(dock.buttons["B"], Qt.MouseButton.LeftButton)
    assert decided(dock) == ["", "", ""]
    assert not dock.buttons["B"].isChecked()
    assert dock.initials.hasFocus()
    assert not slide.with_name("node_1.adjudicated.decisions.json").exists()

    type_into(qtbot, dock.initials, "AB")
    type_into(qtbot, dock.note, "BUI 20")
    assert decided(dock) == ["", "", ""], "what is typed is no key"
    qtbot.mouseClick(dock.buttons["A ∪ B"], Qt.MouseButton.LeftButton)
    assert decided(dock) == ["A ∪ B", "", ""]
    assert dock.difference.kind == "only in B", "the next undecided one is shown"
    assert dock.note.text() == ""
    assert dock.progress.text() == "1 of 3 decided"
    (made,) = trace(slide)["decisions"]
    assert (made["chosen"], made["by"], made["note"]) == ("A ∪ B", "AB", "BUI 20")


def test_keys_decide_while_the_dock_is_in_use(compare_dock, compared, qtbot):
    dock = compare_dock
    type_into(qtbot, dock.initials, "MK")
    dock.list.setFocus()
    assert dock.difference.kind == "outline"
    qtbot.keyClick(dock.list, Qt.Key.Key_2)
    assert decided(dock) == ["both", "", ""]
    assert not dock.buttons["A ∪ B"].isEnabled(), "B alone has something here"
    qtbot.keyClick(dock.list, Qt.Key.Key_U)
    assert decided(dock) == ["both", "", ""]
    qtbot.keyClick(dock.list, Qt.Key.Key_B)
    qtbot.keyClick(dock.list, Qt.Key.Key_A)
    assert decided(dock) == ["both", "B", "A"]
    # All are decided: it goes nowhere, and the same again takes it back.
    assert dock.difference.kind == "only in A"
    assert dock.buttons["A"].isChecked()
    qtbot.mouseClick(dock.buttons["A"], Qt.MouseButton.LeftButton)
    assert decided(dock) == ["both", "B", ""]
    assert not dock.buttons["A"].isChecked()
    assert trace(compared)["undecided"] == 1
    assert len(trace(compared)["decisions"]) == 4


def test_a_note_can_be_added_to_a_decision(compare_dock, compared, qtbot):
    dock = compare_dock
    type_into(qtbot, dock.initials, "MK")
    dock.choose("B")
    dock.go_to(0)
    type_into(qtbot, dock.note, "see the border")
    qtbot.keyClick(dock.note, Qt.Key.Key_Return)
    assert trace(compared)["differences"][0]["note"] == "see the border"
    dock.go_to(1)
    assert dock.note.text() == ""
    dock.go_to(0)
    assert dock.note.text() == "see the border"


def test_the_third_file_is_saved_and_work_is_taken_up_again(
    docked, compare_dock, compared, qtbot, monkeypatch, tmp_path
):
    dock, slide = compare_dock, compared
    type_into(qtbot, dock.initials, "MK")
    dock.choose("B")
    dock.choose("B")
    offered = []

    def answer(_parent, _title, path, _filters):
        offered.append(path)
        return path, ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    qtbot.mouseClick(dock.save_button, Qt.MouseButton.LeftButton)
    assert offered == [str(slide.with_name("node_1.adjudicated.xml"))]
    written = annotations.read(offered[0])
    corners = {tuple(one.points[0]) for one in written}
    assert corners == {(100, 100), (420, 300), (100, 700), (700, 100)}
    assert trace(slide)["undecided"] == 1
    assert "One undecided difference is as in A" in notification_manager.records[-1].message

    # The same two files again, as after a restart of the program.
    qtbot.mouseClick(dock.again_button, Qt.MouseButton.LeftButton)
    before = dock.adjudication
    qtbot.waitUntil(lambda: dock.adjudication is not before)
    assert decided(dock) == ["B", "B", ""]
    assert dock.difference.kind == "only in A", "what is left comes first"


def test_each_slide_has_its_own_comparison(
    docked, compare_dock, compared, tissue_slide, write_pair, qtbot
):
    viewer, dock = docked[0], compare_dock
    dock.go_to(2)
    other = tissue_slide("node_2")
    write_pair(other)
    open_paths(viewer, [other])
    assert dock.adjudication is None
    assert not dock.work.isVisible()
    assert layers_by_side(viewer) == {}
    qtbot.waitUntil(lambda: "node_2" in (dock.file_boxes["B"].currentData() or ""))
    patient_view(viewer).show("node_1")
    assert dock.difference.kind == "only in A"
    assert_allclose(rings(layers_by_side(viewer)["A"])[0][0], (700, 100))
    qtbot.waitUntil(lambda: "node_1" in (dock.file_boxes["B"].currentData() or ""))
    assert not dock.compare_button.isVisible()


def test_two_files_that_agree_leave_nothing_to_do(docked, compare_dock, tissue_slide, qtbot):
    slide = tissue_slide("same")
    for path in (slide.with_suffix(".xml"), slide.with_suffix(".geojson")):
        annotations.write(annotations.AnnotationSet((square(100, 100, 200),)), path)
    open_paths(docked[0], [slide])
    qtbot.waitUntil(compare_dock.compare_button.isEnabled)
    compare_dock.compare()
    qtbot.waitUntil(lambda: compare_dock.adjudication is not None)
    assert "Dice 1.000" in compare_dock.summary.text()
    assert not compare_dock.work.isVisible()


def test_a_damaged_file_is_said_and_nothing_breaks(docked, compare_dock, compared, qtbot):
    dock, broken = compare_dock, compared.with_name("broken.xml")
    broken.write_text("<ASAP_Annotations>")
    dock.choose_file("B", broken)
    assert dock.compare_button.isVisible()
    qtbot.mouseClick(dock.compare_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dock.compare_button.isEnabled)
    assert "broken.xml" in notification_manager.records[-1].message
    assert dock.list.topLevelItemCount() == 3, "the comparison before is still there"


def test_another_pixel_size_asks_for_a_new_comparison(docked, compare_dock, compared):
    viewer = docked[0]
    patient_view(viewer).set_mpp("node_1", 0.25)
    assert compare_dock.adjudication is None
    assert compare_dock.compare_button.isVisible()
    assert all(len(layer.data) == 0 for layer in layers_by_side(viewer).values())


def test_the_window_can_be_closed_while_files_are_compared(docked, compare_dock, compared, qtbot):
    compare_dock.compare()
    docked[0].close()
    qtbot.wait(50)  # what the thread sends back arrives, and is nobody's any more
