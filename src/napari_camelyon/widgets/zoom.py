"""Zooming as with a microscope: by objectives, with keys and buttons.

A magnification here says how much tissue a screen pixel covers: 10 µm over the magnification, so
40× is 0.25 µm, 20× is 0.5 µm and 10× is 1 µm per pixel. This is how slide scanners name their
objectives (T. L. Sellaro et al., J Pathol Inform 4:21, 2013, doi:10.4103/2153-3539.116866). What a
file states as its objective is not asked, so that the same number means the same size of a cell on
every slide.

Screen pixels are logical ones, as in QuPath and ASAP, whose drawing areas are measured in them: a
cell is equally large on a HiDPI screen and on another one beside it, which only draws it with
fewer device pixels.

Slides of unknown pixel size are zoomed by slide pixels per screen pixel instead, and say so.
"""

from collections.abc import Callable
from functools import partial

from napari.utils.notifications import show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QCursor, QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_camelyon.widgets.napari_compat import (
    camera,
    canvas_widget,
    main_window,
    shows_plain_image,
)
from napari_camelyon.widgets.patient_view import PatientView, patient_view

__all__ = ["MAGNIFICATIONS", "ZoomBar", "add_zoom_keys", "zoom_text", "zoom_to", "zoom_with_key"]

MAGNIFICATIONS = (1.25, 5.0, 10.0, 20.0, 40.0)
KEYS = ("Ctrl+1", "Ctrl+2", "Ctrl+3", "Ctrl+4", "Ctrl+5")
"""One a magnification. napari uses plain digits in its layers; Alt and digits write characters on
macOS and on Windows' numeric pad."""

UM_A_PX_AT_1X = 10.0
"""µm that a screen pixel covers at 1×; see the module's text for the source."""

_STATED_FULL = 40.0
"""The magnification that becomes 1:1 where the pixel size is unknown; the others follow."""


def zoom_for(magnification: float, *, has_mpp: bool) -> float:
    """Return the camera's zoom, logical screen pixels per µm (or per slide pixel without mpp)."""
    return magnification / (UM_A_PX_AT_1X if has_mpp else _STATED_FULL)


def zoom_text(zoom: float, *, has_mpp: bool) -> str:
    """Return a zoom as people read it: "20×  0.50 µm/px", or "1:4" without mpp."""
    if not has_mpp:
        return _ratio_text(zoom)
    um_a_px = 1 / zoom
    decimals = 3 if um_a_px < 0.1 else 2 if um_a_px < 10 else 1 if um_a_px < 100 else 0
    return f"{_times(UM_A_PX_AT_1X * zoom)}  {um_a_px:.{decimals}f} µm/px"


def zoom_to(viewer: Viewer, magnification: float) -> None:
    """Show the slide at a magnification; the point under the cursor stays where it is.

    Without the cursor over the canvas the middle of the view stays. Without a slide nothing
    happens. On a slide of unknown pixel size 40× means 1:1, and the others the same steps below.

    Parameters
    ----------
    viewer : napari.Viewer
    magnification : float
        Such as one of `MAGNIFICATIONS`.
    """
    node = patient_view(viewer).shown_node
    if node is None:
        return
    view = camera(viewer)
    zoom = zoom_for(magnification, has_mpp=node.slide.mpp is not None)
    offset = _cursor_from_middle(viewer)
    if offset is not None:
        x_px, y_px = offset
        grown = 1 / view.zoom - 1 / zoom
        y, x = view.center[-2:]
        view.center = (y + y_px * grown, x + x_px * grown)
    view.zoom = zoom


def add_zoom_keys(viewer: Viewer) -> None:
    """Let `KEYS` zoom to `MAGNIFICATIONS` wherever the focus is in the window.

    Calling it again for the same window does nothing.
    """
    window = main_window(viewer)
    name = "napari-camelyon zoom"
    if window.findChild(QShortcut, name) is not None:
        return
    told: set[str] = set()
    for key, magnification in zip(KEYS, MAGNIFICATIONS, strict=True):
        shortcut = QShortcut(QKeySequence(key), window)
        shortcut.setObjectName(name)
        shortcut.activated.connect(
            partial(zoom_with_key, patient_view(viewer), magnification, told)
        )


def zoom_with_key(view: PatientView, magnification: float, told: set[str]) -> None:
    """Zoom as `zoom_to`; where the pixel size is missing, say so once a slide."""
    node = view.shown_node
    if node is None:
        return
    zoom_to(view.viewer, magnification)
    if node.slide.mpp is None and node.slide.name not in told:
        told.add(node.slide.name)
        ratio = _ratio_text(zoom_for(magnification, has_mpp=False))
        show_info(
            f"The pixel size of {node.slide.name} is unknown, so there is no magnification: this "
            f"is {ratio}, screen to slide pixels. Set the pixel size in the Slide dock."
        )


class ZoomBar(QWidget):
    """Buttons for the magnifications, and the present one."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(viewer)
        self.label = QLabel()
        self.label.setToolTip("µm of tissue that one screen pixel covers, and its magnification")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self.buttons: list[QPushButton] = []
        for column, magnification in enumerate(MAGNIFICATIONS):
            button = QPushButton()
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.clicked.connect(self._zoom(magnification))
            grid.addWidget(button, 0, column)
            self.buttons.append(button)
        grid.addWidget(self.label, 1, 0, 1, len(MAGNIFICATIONS))
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        camera(viewer).events.zoom.connect(self._show_zoom)
        self._show_slide()

    def _zoom(self, magnification: float) -> Callable[[], None]:
        def zoom() -> None:
            zoom_to(self._view.viewer, magnification)
            self._show_zoom()  # a click has toggled the button

        return zoom

    def _show_slide(self) -> None:
        node = self._view.shown_node
        self.setEnabled(node is not None)
        has_mpp = node is None or node.slide.mpp is not None
        for button, magnification, key in zip(self.buttons, MAGNIFICATIONS, KEYS, strict=True):
            zoom = zoom_for(magnification, has_mpp=has_mpp)
            text = _times(magnification) if has_mpp else _ratio_text(zoom)
            shown_key = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
            button.setText(text)
            button.setToolTip(
                f"{zoom_text(zoom, has_mpp=has_mpp)} ({shown_key})"
                if has_mpp
                else f"{text}, screen to slide pixels ({shown_key})"
            )
        self._show_zoom()

    def _show_zoom(self, _event: object = None) -> None:
        node = self._view.shown_node
        if node is None:
            self.label.setText("")
            return
        has_mpp = node.slide.mpp is not None
        present = camera(self._view.viewer).zoom
        text = zoom_text(present, has_mpp=has_mpp)
        self.label.setText(text if has_mpp else f"{text} (pixel size unknown)")
        for button, magnification in zip(self.buttons, MAGNIFICATIONS, strict=True):
            wanted = zoom_for(magnification, has_mpp=has_mpp)
            button.setChecked(abs(present / wanted - 1) < 0.001)


def _cursor_from_middle(viewer: Viewer) -> tuple[float, float] | None:
    """Return where the cursor is, right and down from the canvas's middle in logical pixels."""
    canvas = canvas_widget(viewer)
    # Not the canvas's rectangle alone: another window or the overview may lie over it.
    if QApplication.widgetAt(QCursor.pos()) is not canvas or not shows_plain_image(viewer):
        return None
    point = canvas.mapFromGlobal(QCursor.pos())
    return point.x() - canvas.width() / 2, point.y() - canvas.height() / 2


def _times(magnification: float) -> str:
    return f"{magnification:.3g}×"


def _ratio_text(zoom: float) -> str:
    return f"{zoom:.3g}:1" if zoom > 1 else f"1:{1 / zoom:.3g}"
