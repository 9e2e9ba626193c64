"""A shown viewer with our docks, and small slides to open in it."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from made_models import write_wsinfer_model
from napari_camelyon.cli.window import docked_viewer

PINK = (220, 160, 205)
DARK = (40, 5, 40)


@pytest.fixture
def docked(qtbot, mock_app_model, tmp_path, monkeypatch) -> Iterator:
    """The window of the program, shown, with a tiny model chosen; closed at the end.

    It has an application of its own, as napari's `make_napari_viewer` has: commands cannot be
    registered twice in one.
    """
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    viewer, inference, stage = docked_viewer()
    inference.choose_model(write_wsinfer_model(tmp_path / "dark"))
    yield viewer, inference, stage
    if hasattr(viewer.window, "_qt_window"):
        viewer.close()


@pytest.fixture
def slide_dock(docked):
    """The "Slide" dock of the window."""
    viewer, _, _ = docked
    return viewer.window.dock_widgets["Slide (napari-camelyon)"]


@pytest.fixture
def tissue_slide(make_slide) -> Callable:
    """Make a slide of tissue at 0.5 µm/px with a dark square, which the tiny model calls tumour."""

    def make(name: str = "node_1", *, side_px: int = 1024, mark_px: int = 0, mpp=0.5):
        pixels = np.full((side_px, side_px, 3), 245, np.uint8)
        pixels[64:-64, 64:-64] = PINK
        if mark_px:
            first = (side_px - mark_px) // 2
            pixels[first : first + mark_px, first : first + mark_px] = DARK
        return make_slide(pixels, name=name, mpp=mpp)

    return make
