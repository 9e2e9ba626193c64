"""A shown viewer with our docks, and small slides to open in it."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from made_models import write_wsinfer_model
from shared_window import SharedWindow

PINK = (220, 160, 205)
DARK = (40, 5, 40)


@pytest.fixture(scope="session")
def _shared_window(qapp) -> Iterator[SharedWindow]:
    window = SharedWindow()
    yield window
    window.close()


@pytest.fixture(autouse=True)
def _no_window_beside_another(request) -> None:
    """Windows under one screen disturb each other: who makes one finds no other."""
    if "mock_app_model" in request.fixturenames:
        request.getfixturevalue("_shared_window").close()


@pytest.fixture
def docked(qtbot, _shared_window, tmp_path, monkeypatch, request) -> Iterator:
    """The window of the program, shown and empty, with a tiny model chosen; it may be closed.

    Tests share it, and each finds it as it was when it was new. A test that needs a new one, or
    leaves what stays until it is closed, is marked `fresh_window`.
    """
    own = request.node.get_closest_marker("fresh_window") is not None
    failed_before = request.session.testsfailed
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    if own:
        _shared_window.close()
    docked = _shared_window.get()
    docked[1].choose_model(write_wsinfer_model(tmp_path / "dark"))
    yield docked
    if own or request.session.testsfailed > failed_before:
        _shared_window.close()  # nobody knows what state it is in
    elif left := _shared_window.put_back():
        _shared_window.close()
        pytest.fail(f"The next test would find this; see the mark `fresh_window`: {left}")


@pytest.fixture
def open_again(_shared_window) -> Callable:
    """Open another window when a test has closed the first."""
    return _shared_window.get


@pytest.fixture
def slide_dock(docked):
    """The "Slide" dock of the window."""
    viewer, _, _ = docked
    return viewer.window.dock_widgets["Slide (napari-camelyon)"]


@pytest.fixture(scope="session")
def _tissue(make_slide) -> Callable:
    @cache
    def make(side_px: int, mark_px: int, mpp):
        pixels = np.full((side_px, side_px, 3), 245, np.uint8)
        pixels[64:-64, 64:-64] = PINK
        if mark_px:
            first = (side_px - mark_px) // 2
            pixels[first : first + mark_px, first : first + mark_px] = DARK
        return make_slide(pixels, mpp=mpp)

    return make


@pytest.fixture
def tissue_slide(_tissue, tmp_path_factory) -> Callable:
    """Make a slide of tissue at 0.5 µm/px with a dark square, which the tiny model calls tumour.

    It has a folder of its own.
    """

    def make(name: str = "node_1", *, side_px: int = 1024, mark_px: int = 0, mpp=0.5):
        path = tmp_path_factory.mktemp("slides") / f"{name}.tif"
        return Path(shutil.copy(_tissue(side_px, mark_px, mpp), path))

    return make
