"""The menu entry that checks the levels: a result, a cancel, a close in the middle."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from qtpy.QtWidgets import QMessageBox

from napari_camelyon.widgets.alignment_check import AlignmentCheck
from napari_camelyon.widgets.menus import check_alignment
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def shifted(tmp_path_factory) -> Path:
    """Three levels, of which the last lies 8 level-0 pixels too far right."""
    noise = np.random.default_rng(1).normal(size=(1024, 1024))
    texture = sum(scipy.ndimage.gaussian_filter(noise, wave) * wave for wave in (1, 4, 16))
    full = np.clip(140 + 60 * texture / texture.std(), 0, 255)
    path = tmp_path_factory.mktemp("slides") / "shifted.tif"
    with tifffile.TiffWriter(path) as writer:
        for factor, across in ((1, 0), (2, 0), (4, 8)):
            side = 1024 // factor
            moved = np.roll(full, across, axis=1).reshape(side, factor, side, factor)
            level = np.repeat(moved.mean(axis=(1, 3))[..., None], 3, axis=2).astype(np.uint8)
            writer.write(level, photometric="rgb", tile=(128, 128), subfiletype=int(factor > 1))
    return path


def the_check(viewer) -> AlignmentCheck:
    (check,) = viewer.window._qt_window.findChildren(AlignmentCheck)
    return check


def test_the_result_names_the_level_that_is_off(docked, shifted, qtbot):
    viewer, _, _ = docked
    open_paths(viewer, [shifted])
    check_alignment(viewer)
    check_alignment(viewer)  # a second one while it runs is declined
    check = the_check(viewer)
    qtbot.waitUntil(lambda: not check.is_running, timeout=60_000)
    assert isinstance(check.result, QMessageBox)
    assert "Level 2 of the file does not lie on level 0" in check.result.text()
    assert "+8.0" in check.result.informativeText()
    check.result.close()


def test_cancelled_in_napari_shows_nothing(docked, shifted, qtbot):
    viewer, _, _ = docked
    open_paths(viewer, [shifted])
    check_alignment(viewer)
    check = the_check(viewer)
    check._activity.cancel()  # what the button in napari's activity dock does
    qtbot.waitUntil(lambda: not check.is_running, timeout=60_000)
    assert check.result is None


def test_closing_the_window_stops_the_check(docked, shifted):
    viewer, _, _ = docked
    open_paths(viewer, [shifted])
    check_alignment(viewer)
    check = the_check(viewer)
    viewer.close()
    assert not check.is_running
    assert check.result is None


def test_a_slide_that_cannot_be_read_is_explained(docked, shifted, qtbot):
    from napari.utils.notifications import notification_manager

    viewer, _, _ = docked
    open_paths(viewer, [shifted])
    told = len(notification_manager.records)
    patient_view(viewer).shown_node.slide.close()
    check_alignment(viewer)
    check = the_check(viewer)
    qtbot.waitUntil(lambda: not check.is_running, timeout=60_000)
    assert check.result is None
    notes = [str(note.message) for note in notification_manager.records[told:]]
    assert any("closed" in note for note in notes)
    viewer.layers.clear()


def test_without_a_slide_nothing_starts(docked):
    viewer, _, _ = docked
    check_alignment(viewer)
    assert viewer.window._qt_window.findChildren(AlignmentCheck) == []
