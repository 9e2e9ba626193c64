"""What takes long in the "Annotate" dock: the window goes on, and it can be cancelled."""

from pathlib import Path
from threading import Event
from time import perf_counter

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, make_annotation
from napari_camelyon.widgets import annotation_details
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui


def wavy_ring(count, radius=400.0):
    """As large as the largest official outline, and as fine."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    waves = 1 + 0.1 * np.sin(5 * angle) + 0.0005 * np.sin(4000 * angle)
    return 512 + radius * waves[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.fixture
def desk(docked, tissue_slide, qtbot):
    """The dock with the largest outline and two small ones."""
    viewer, _, _ = docked
    slide = tissue_slide("node_1")
    xml = Path(slide).with_suffix(".xml")
    made = [
        make_annotation("polygon", wavy_ring(45_065), name="largest", group="Tumor"),
        make_annotation("polygon", [(10, 10), (90, 10), (90, 90)], name="one", group="Tumor"),
        make_annotation("polygon", [(50, 10), (99, 10), (99, 90)], name="two", group="Tumor"),
    ]
    annotations.write(AnnotationSet(tuple(made), (Group("Tumor", colour="#ff0000"),)), xml)
    assert open_paths(viewer, [slide, xml]) == 0
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    dock.parent().raise_()
    dock.pages.setCurrentIndex(1)
    viewer.layers.selection.active = dock.editor.layer
    qtbot.wait(50)
    return dock


def named(dock, name):
    (one,) = [a for a in dock.editor.now if a.name == name]
    return one


def labels(dock):
    return [change.label for change in dock.editor.history.done]


@pytest.fixture
def reported(desk, monkeypatch):
    """The sentences that a person was told."""
    told = []
    monkeypatch.setattr(desk.editor, "report", lambda error: told.append(str(error)))
    return told


@pytest.fixture
def slow(monkeypatch):
    """Let uniting and smoothing last until this is set, as if the outlines were larger."""
    go_on = Event()

    def held_back(function):
        def held(*arguments):
            assert go_on.wait(30)
            return function(*arguments)

        return held

    for name in ("unite", "smooth", "simplify"):
        monkeypatch.setattr(annotation_details, name, held_back(getattr(annotation_details, name)))
    yield go_on
    go_on.set()


def test_smoothing_the_largest_outline_never_stops_the_window(desk, qtbot):
    details, editor = desk.details, desk.editor
    editor.select([named(desk, "largest").id])
    ticks, ticking = [], QTimer()
    ticking.timeout.connect(lambda: ticks.append(perf_counter()))
    ticking.start(5)
    details.smooth_button.click()
    assert details.waiting.isVisible()
    assert "Smoothing 45,065 vertices" in details.waiting.title.text()
    assert details.operations.isHidden()
    qtbot.wait(50)
    assert not details.waiting.cancel_button.visibleRegion().isEmpty()
    details.apply.click()  # as soon as it is computed
    assert not labels(desk)
    qtbot.waitUntil(lambda: labels(desk) == ["smooth"], timeout=60_000)
    ticking.stop()
    still = np.diff(ticks).max()
    assert still < 0.7, "seconds that the window stood still, on a busy machine with two cores"
    assert not details.waiting.isVisible()
    assert details.operations.isVisible()
    assert details.preview.isHidden()
    after = named(desk, "largest")
    assert len(after.points) != 45_065
    editor.undo()
    assert editor.is_saved


def test_small_regions_are_done_at_once(desk):
    details = desk.details
    desk.editor.select([named(desk, "one").id, named(desk, "two").id])
    details.union.click()
    assert labels(desk) == ["unite"]
    assert not details.waiting.isVisible()


def test_cancel_and_changes_meanwhile_leave_the_regions_alone(desk, slow, reported, qtbot):
    details, editor = desk.details, desk.editor
    pair = [named(desk, "one").id, named(desk, "two").id]
    editor.select(pair)
    details.union.click()
    assert details.waiting.isVisible()
    assert "Uniting 2 regions" in details.waiting.title.text()
    details.waiting.cancel_button.click()
    assert not details.waiting.isVisible()
    slow.set()
    qtbot.wait(200)
    assert not labels(desk)
    assert details.operations.isVisible()

    slow.clear()
    details.union.click()
    editor.select([])  # another selection does no harm
    editor.select([named(desk, "largest").id])
    slow.set()
    qtbot.waitUntil(lambda: labels(desk) == ["unite"])
    editor.undo()
    assert not reported

    slow.clear()
    editor.select(pair)
    details.union.click()
    editor.select([pair[0]])
    editor.remove_selected()
    slow.set()
    qtbot.waitUntil(lambda: bool(reported))
    assert "changed before this was done" in reported[0]
    assert labels(desk) == ["delete region"]
    assert not details.waiting.isVisible()

    slow.clear()
    editor.select([pair[1]])
    details.simplify_button.click()
    details.apply.click()
    details.waiting.cancel_button.click()
    slow.set()
    qtbot.wait(200)
    assert len(reported) == 1
    assert labels(desk) == ["delete region"]
    assert details.preview.isHidden()


def test_the_window_closes_while_something_is_computed(desk, slow, qtbot):
    desk.editor.select([named(desk, "one").id, named(desk, "two").id])
    desk.details.union.click()
    assert desk.details.waiting.is_busy
    QTimer.singleShot(100, slow.set)
    viewer = desk._view.viewer
    QTimer.singleShot(0, viewer.close)
    qtbot.waitUntil(lambda: not hasattr(viewer.window, "_qt_window"), timeout=15_000)
