"""The groups of the "Annotate" dock as a tree, copies into a group, and what groups mean."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QPoint, Qt, QThreadPool
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit

from canvas_hand import CONTROL, Hand
from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, make_annotation
from napari_camelyon.cli.window import bring_to_front
from napari_camelyon.widgets import annotation_editor, tumour_area
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui

NAME, MEANS, COUNT, SHOWN, LOCKED = range(5)
LARGE = np.array([(300, 300), (700, 300), (700, 700), (300, 700)], float)
HOLE = np.array([(400, 400), (500, 400), (500, 500), (400, 500)], float)
SMALL = np.array([(760, 760), (860, 760), (860, 860), (760, 860)], float)
GROUPS = (
    Group("Tumor", colour="#ff0000"),
    Group("micro", "Tumor"),
    Group("Stroma", colour="#00ff00"),
    Group("x", "y"),
    Group("y", "x"),
    Group("lost", "nowhere"),
)


@pytest.fixture
def desk(docked, tissue_slide, qtbot):
    """The dock over a slide of 0.5 µm/px with groups in groups, a circle and an unknown parent."""
    viewer, _, _ = docked
    slide = tissue_slide("node_1")
    xml = Path(slide).with_suffix(".xml")
    made = [
        make_annotation("polygon", LARGE, name="large", group="Tumor"),
        make_annotation("polygon", HOLE, name="hole", group="Stroma"),
        make_annotation("polygon", SMALL, name="small", group="micro"),
    ]
    annotations.write(AnnotationSet(tuple(made), GROUPS), xml)
    assert open_paths(viewer, [slide, xml]) == 0
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    bring_to_front(dock)
    viewer.layers.selection.active = dock.editor.layer
    dock.hand = Hand(viewer, dock.editor.layer, qtbot)
    dock.xml = xml
    return dock


def item(dock, name):
    found = dock.groups.tree.findItems(name, Qt.MatchFlag.MatchRecursive, NAME)
    assert len(found) == 1, name
    return found[0]


def tree(dock):
    """Every row with the one it is under, from top to bottom."""
    rows = dock.groups.tree.findItems("*", Qt.MatchFlag.MatchRecursive | Qt.MatchFlag.MatchWildcard)
    return {row.text(NAME): row.parent() and row.parent().text(NAME) for row in rows}


def click(dock, name, column, button=Qt.MouseButton.LeftButton, *, double=False):
    view = dock.groups.tree
    view.scrollToItem(item(dock, name))
    cell = view.visualItemRect(item(dock, name))
    left = view.columnViewportPosition(column)
    at = QPoint(left + (45 if column == NAME else 10), cell.center().y())
    QTest.mouseClick(view.viewport(), button, pos=at)
    if double:
        QTest.mouseDClick(view.viewport(), button, pos=at)
    if button == Qt.MouseButton.RightButton:  # Qt makes this of a press by a real mouse
        view.customContextMenuRequested.emit(at)


def rename(dock, name, new):
    click(dock, name, NAME, double=True)
    (field,) = dock.groups.tree.findChildren(QLineEdit)
    field.setText(new)
    QTest.keyClick(field, Qt.Key.Key_Return)
    dock.hand.qtbot.waitUntil(lambda: not dock.groups.tree.findChildren(QLineEdit))


def choose(menu, *titles):
    """Trigger what a menu offers under titles, as a click does; then it is gone."""
    for title in titles:
        (action,) = [action for action in menu.actions() if action.text() == title]
        assert action.isEnabled(), title
        found, menu = action, action.menu()
    found.trigger()
    while QApplication.activePopupWidget() is not None:
        QApplication.activePopupWidget().close()


def in_menu(dock, name, *titles):
    click(dock, name, NAME, Qt.MouseButton.RightButton)
    assert dock.groups.menu.isVisible()
    choose(dock.groups.menu, *titles)


def labels(dock):
    return [change.label for change in dock.editor.history.done]


def test_groups_in_groups_are_a_tree_that_is_hidden_and_locked_together(desk):
    assert tree(desk) == {
        "Tumor": None,
        "micro": "Tumor",
        "Stroma": None,
        "x": None,
        "y": "x",
        "nowhere": None,
        "lost": "nowhere",
    }
    assert item(desk, "micro").text(COUNT) == "1"
    for column in (SHOWN, LOCKED):
        before = item(desk, "micro").checkState(column)
        desk.editor.select(["2"])
        click(desk, "Tumor", column)
        assert item(desk, "micro").checkState(column) != before
        assert not desk.editor.selected  # it lies in the sub-group
        assert item(desk, "Stroma").checkState(column) == before
        click(desk, "micro", column)  # a sub-group on its own, once more
        assert item(desk, "micro").checkState(column) == before
        assert item(desk, "Tumor").checkState(column) != before
        click(desk, "Tumor", column)
        assert item(desk, "Tumor").checkState(column) == before
    assert not desk.editor.hidden
    assert not desk.editor.locked
    click(desk, "x", SHOWN)  # a circle
    assert desk.editor.hidden == {"x", "y"}

    # What was said of a group stays with it under another name, and when that is undone.
    desk.editor.draw_in("x")
    rename(desk, "x", "z")
    assert desk.editor.hidden == {"z", "y"}
    assert desk.editor.draw_group == "z"
    desk.hand.press(Qt.Key.Key_Z, CONTROL)
    assert desk.editor.hidden == {"x", "y"}
    assert desk.editor.draw_group == "x"


def test_groups_are_put_under_others_and_deleted_in_steps_that_undo(desk):
    shown = tree(desk)
    item(desk, "nowhere").setExpanded(False)
    in_menu(desk, "Stroma", "Put under", "micro")
    assert tree(desk)["Stroma"] == "micro"
    assert not item(desk, "nowhere").isExpanded()
    assert item(desk, "micro").isExpanded()
    assert desk.editor.colour("Stroma") == "#ff0000"  # as ASAP draws it
    assert not desk.groups.colour_button.isEnabled()
    click(desk, "Tumor", NAME, Qt.MouseButton.RightButton)
    below = next(a.menu() for a in desk.groups.menu.actions() if a.text() == "Put under")
    assert [a.text() for a in below.actions()] == ["no group", "x", "y", "lost", "nowhere"]
    desk.groups.menu.close()
    in_menu(desk, "y", "Put under", "no group")
    assert tree(desk) | {"x": "y", "y": None} == tree(desk)
    in_menu(desk, "x", "Delete group")
    assert "x" not in tree(desk)
    assert desk.editor.draw_group == "Tumor"  # nothing is drawn in a group that is gone
    for name in ("Tumor", "micro", "nowhere"):  # not empty
        click(desk, name, NAME, Qt.MouseButton.RightButton)
        (delete,) = [a for a in desk.groups.menu.actions() if a.text() == "Delete group"]
        assert not delete.isEnabled()
        desk.groups.menu.close()
    assert labels(desk) == ["put Stroma under micro", "put y out of its group", "delete group x"]
    desk.save()
    assert annotations.read(desk.xml).groups == desk.editor.now.groups
    while desk.editor.history.done:
        desk.hand.press(Qt.Key.Key_Z, CONTROL)
    assert tree(desk) == shown


def test_copies_of_the_selected_regions_join_the_chosen_group_and_are_selected(desk, monkeypatch):
    groups = desk.groups
    assert not groups.copy_button.isEnabled()
    desk.editor.select(["0", "2"])
    click(desk, "Stroma", NAME)
    groups.copy_button.click()
    copies = desk.editor.selected_annotations
    assert [(a.name, a.group, a.colour) for a in copies] == [
        ("large 2", "Stroma", "#00ff00"),
        ("small 2", "Stroma", "#00ff00"),
    ]
    assert (copies[0].points == LARGE).all()
    assert item(desk, "Stroma").text(COUNT) == "3"
    assert labels(desk) == ["copy to Stroma"]
    groups.copy_button.click()
    assert [a.name for a in desk.editor.selected_annotations] == ["large 3", "small 3"]
    desk.editor.lock("Tumor", True)
    click(desk, "Tumor", NAME)
    said = []
    monkeypatch.setattr(annotation_editor, "show_error", said.append)
    groups.copy_button.click()
    assert said == ['"Tumor" is hidden or locked. Show and unlock it to copy into it.']
    for _ in range(2):
        desk.hand.press(Qt.Key.Key_Z, CONTROL)
    assert desk.editor.is_saved
    assert not desk.editor.selected


def test_a_person_says_what_groups_mean_and_the_area_follows(desk, qtbot, monkeypatch, tmp_path):
    area, groups, editor = desk.groups.area, desk.groups, desk.editor
    measured, gate = [], threading.Event()
    gate.set()
    compute = tumour_area.tumour_region

    def region(annotation_set, profile):
        measured.append(profile)
        assert threading.current_thread() is not threading.main_thread()
        gate.wait(2)
        return compute(annotation_set, profile)

    monkeypatch.setattr(tumour_area, "tumour_region", region)

    def says(words):
        qtbot.waitUntil(lambda: not area.is_measuring, timeout=5000)
        assert words in area.text(), area.text()

    # At 0.5 µm/px 400 × 400 px are 0.04 mm², and both others 0.0025 mm².
    says("0.0425 mm²</b> (CAMELYON16)")
    assert item(desk, "micro").text(MEANS) == "tumour"
    assert item(desk, "Stroma").text(MEANS) == "–"
    click(desk, "Stroma", MEANS)
    choose(groups.means_menu, "cut out")
    assert item(desk, "Stroma").text(MEANS) == "cut out"
    says("0.04 mm²</b> (own map)")
    assert editor.is_saved  # the file does not say so

    # It follows edits and undo, measures the last of many, and forgets what is out of date.
    measured.clear()
    editor.select(["1"])
    desk.hand.press(Qt.Key.Key_Delete)
    assert "…" in area.text()
    for _ in range(5):
        desk.hand.press(Qt.Key.Key_Z, CONTROL)
        desk.hand.press(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    says("0.0425 mm²")
    assert len(measured) < 4
    desk.hand.press(Qt.Key.Key_Z, CONTROL)
    says("0.04 mm²")

    # What is edited while it is being measured is measured afterwards.
    gate.clear()
    measured.clear()
    desk.hand.press(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: bool(measured))
    desk.hand.press(Qt.Key.Key_Z, CONTROL)
    qtbot.wait(2 * tumour_area._MEASURE_MS)
    assert "…" in area.text()
    gate.set()
    says("0.04 mm²")

    # A sub-group means what its group does, unless it says otherwise.
    click(desk, "micro", MEANS)
    offered = [action.text() for action in groups.means_menu.actions()]
    assert offered == ["tumour", "cut out", "as Tumor: tumour"]
    choose(groups.means_menu, "cut out")
    says("0.0375 mm²")
    rename(desk, "Tumor", "metastasis")
    says("0.0375 mm²")
    desk.hand.press(Qt.Key.Key_Z, CONTROL)

    # The map is kept in a file, and what is compared means the same.
    path = tmp_path / "map.json"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    in_menu(desk, "Tumor", "Save map …")
    assert json.loads(path.read_text()) == {"tumour": ["Tumor"], "cut_out": ["Stroma", "micro"]}
    in_menu(desk, "Tumor", "Meanings by name")
    says("0.0425 mm²</b> (CAMELYON16)")
    in_menu(desk, "Tumor", "Open map …")
    says("0.0375 mm²</b> (map.json)")
    holder, compare = desk.hand.viewer.window.add_plugin_dock_widget("napari-camelyon", "Compare")
    for side in "AB":
        compare.choose_file(side, desk.xml.with_name(f"{side}.xml"))
        annotations.write(editor.now, desk.xml.with_name(f"{side}.xml"))
    compare.compare()
    qtbot.waitUntil(lambda: compare.adjudication is not None)
    assert compare.adjudication.comparison.profile == editor.own_profile
    holder.close()
    bring_to_front(desk)
    in_menu(desk, "Tumor", "Means", "nothing")
    says("You said of no group that it means tumour.")

    # A map of other groups says so, and a window that is closed while measuring says nothing.
    path.write_text('{"tumour": ["Melanoma"]}')
    in_menu(desk, "Tumor", "Open map …")
    assert "speaks of Melanoma" in notification_manager.records[-1].message
    in_menu(desk, "Tumor", "Meanings by name")
    says("0.0425 mm²")
    gate.clear()
    measured.clear()
    editor.select(["1"])
    desk.hand.press(Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: bool(measured))
    desk.hand.viewer.close()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gate.set()
    QThreadPool.globalInstance().waitForDone(5000)
    QApplication.processEvents()
