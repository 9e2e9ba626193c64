"""Predict here: one patch as the model sees it, with what it says of it and around it.

Asked for with a right click on the slide, with a key over it, or with a button and a click; needs
no run, and disturbs none.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from napari.utils.notifications import show_info
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent, QCursor, QKeyEvent
from qtpy.QtWidgets import QMenu, QPushButton, QVBoxLayout, QWidget

from napari_camelyon.cohort import PredictRequest
from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import layer_to_slide, slide_to_layer, world_placement
from napari_camelyon.specs import ModelSpec
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.looking_worker import Answer, KeptLook, Loader, Question, answer
from napari_camelyon.widgets.napari_compat import camera, canvas_widget, main_window
from napari_camelyon.widgets.patch_panel import FRAME_COLOUR, PatchPanel
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.result_layers import layer_metadata
from napari_camelyon.widgets.seen import layer_of_slide
from napari_camelyon.widgets.style import note

if TYPE_CHECKING:
    from napari_camelyon.inference import PatchView

__all__ = ["KEY", "LookingCloser"]

KEY = "Q"
"""Over the canvas. Free in napari's own layers (0.9) and in our tools."""

_CLICK_PX = 4
"""A right button that moved farther than this was a drag, which zooms in napari."""
_FRAME_SCREEN_PX = 3


class LookingCloser(QWidget):
    """A small window that shows a patch and what the model says; it follows what is asked for.

    Attributes
    ----------
    button : QPushButton
        "Predict here", for a dock: while it is down, a click on the slide asks.
    seen : PatchView or None
        What is shown.
    """

    answered = Signal()
    """An answer is shown, or why there is none."""
    _told = Signal(int, str)

    def __init__(
        self,
        napari_viewer: Viewer,
        request: Callable[[], PredictRequest],
        load: Loader | None = None,
    ) -> None:
        """Come up hidden.

        Parameters
        ----------
        napari_viewer : napari.Viewer
        request : callable
            Says which model and stain normalisation are chosen, when it is asked.
        load : callable, optional
            As `models.load_model`; called in a thread. Default: that, and the model is kept.
        """
        super().__init__(main_window(napari_viewer), Qt.WindowType.Tool)
        self._view = patient_view(napari_viewer)
        self._request = request
        self._kept = KeptLook(load)
        self._number = 0
        self._next: Question | None = None
        self._working = False
        self._frame: Shapes | None = None
        self.seen: PatchView | None = None
        self._build()
        self._told.connect(self._on_told)
        self.button.toggled.connect(self._on_button)
        self._canvas = canvas_widget(napari_viewer)
        self.take_hold()

    def take_hold(self) -> None:
        """Answer to the viewer's key and clicks."""
        viewer = self._view.viewer
        viewer.bind_key(KEY, self._on_key, overwrite=True)
        viewer.mouse_drag_callbacks.append(self._on_mouse)
        self._canvas.installEventFilter(self)
        self._view.shown_changed.connect(self._on_slide_changed)

    def let_go(self) -> None:
        """Close: the viewer's keys and clicks are its own again, until `take_hold`."""
        self.close()
        viewer = self._view.viewer
        viewer.mouse_drag_callbacks.remove(self._on_mouse)
        viewer.bind_key(KEY, None)
        self._canvas.removeEventFilter(self)
        self._view.shown_changed.disconnect(self._on_slide_changed)
        self._kept.close()

    # -- asking ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._working

    def look_at(self, point_px: tuple[float, float]) -> None:
        """Ask for the patch at a slide point of the slide that is shown."""
        node = self._view.shown_node
        if node is None:
            show_info("Open a slide first: File ▸ Open File(s), or drop it on the window.")
            return
        self._number += 1
        self._next = Question(
            self._number,
            self._request(),
            node.slide,
            point_px,
            node.heatmap,
            None if node.tissue is None else node.tissue.mask,
        )
        self._say("Loading the model …" if self.seen is None else "Looking …")
        if not self.isVisible():
            self._place_beside_cursor()
        self.show()
        self._work()

    def _work(self) -> None:
        """Begin with what was asked for last; one thread at a time, for it owns what is kept."""
        if self._working or self._next is None:
            return
        question, self._next, self._working = self._next, None, True
        in_thread(answer, question, self._kept, self._told.emit, receive=self._on_answer)

    def _on_told(self, number: int, text: str) -> None:
        if number == self._number:
            self._say(text)

    def _say(self, text: str) -> None:
        self.status.setText(text)  # its line stays when it is empty, so that nothing jumps

    def _on_answer(self, found: Answer) -> None:
        self._working = False
        if self._next is not None:
            self._work()  # a newer question: nobody waits for this answer
            return
        if not self.isVisible() or found.question.slide.name != self._view.shown:
            return
        if found.error is not None:
            self._show_error(found.error)
        elif found.seen is not None and found.model is not None:
            self._show(found.question, found.seen, found.model.spec)
        self.answered.emit()

    def _show_error(self, error: Exception) -> None:
        if not isinstance(error, CamelyonError):
            raise error
        self.seen = None
        self.panel.hide()
        self._say(str(error))
        self._remove_frame()

    # -- where it is asked from -----------------------------------------------------------------

    def _on_key(self, _viewer: Viewer) -> None:
        self._look_at_cursor()

    def _look_at_cursor(self) -> None:
        place = self._canvas.mapFromGlobal(QCursor.pos())
        if not self._canvas.rect().contains(place):
            show_info(f"Point at the slide and press {KEY}.")
            return
        point = self._slide_point((place.x(), place.y()))
        if point is not None:
            self.look_at(point)

    def _slide_point(self, place_px: tuple[float, float]) -> tuple[float, float] | None:
        """Return the slide point at a place on the canvas, or say why there is none."""
        viewer = self._view.viewer
        layer = layer_of_slide(viewer, self._view.shown)
        if layer is None:
            show_info("Open a slide first: File ▸ Open File(s), or drop it on the window.")
            return None
        view = camera(viewer)
        middle = np.array([self._canvas.height(), self._canvas.width()]) / 2
        world = np.array(view.center[-2:]) + (np.array(place_px[::-1]) - middle) / view.zoom
        x_px, y_px = layer_to_slide(np.asarray(layer.world_to_data(world))[-2:]).tolist()
        return x_px, y_px

    def _on_mouse(self, _viewer: Viewer, event: Any) -> Iterator[None]:
        first = np.array(event.pos, dtype=float)
        if event.button == 1 and self.button.isChecked():
            event.handled = True
            self.button.setChecked(False)
            self._ask_at(first)
            return
        if event.button != 2:
            return
        farthest = 0.0
        yield
        while event.type == "mouse_move":
            farthest = max(farthest, float(np.abs(np.array(event.pos) - first).max()))
            yield
        if farthest <= _CLICK_PX and self._view.shown is not None:
            # Not within napari's handling of the event: a menu has an event loop of its own.
            QTimer.singleShot(0, lambda: self._open_menu(first))

    def _ask_at(self, place_px: NDArray[np.float64]) -> None:
        point = self._slide_point((float(place_px[0]), float(place_px[1])))
        if point is not None:
            self.look_at(point)

    def _open_menu(self, place_px: NDArray[np.float64]) -> None:
        menu = QMenu(self._canvas)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(f"Predict here\t{KEY}", lambda: self._ask_at(place_px))
        menu.popup(QCursor.pos())

    def _on_button(self, down: bool) -> None:
        if down:
            self._canvas.setCursor(Qt.CursorShape.CrossCursor)
            self._view.viewer.status = "Click the slide where the model should look; Esc ends it."
        else:
            self._canvas.unsetCursor()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let Escape over the canvas put the button up again."""
        if (
            event.type() == QEvent.Type.KeyPress
            and self.button.isChecked()
            and event.key() == Qt.Key.Key_Escape
        ):
            self.button.setChecked(False)
            return True
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Close with Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self.close()
            return
        super().keyPressEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Take the frame off the slide."""
        self._remove_frame()
        super().closeEvent(event)

    # -- how it looks ---------------------------------------------------------------------------

    def _show(self, question: Question, seen: "PatchView", spec: ModelSpec) -> None:
        self.seen = seen
        self.panel.show_patch(seen, spec, question.request.stain.capitalize())
        self.panel.show()
        self._say("")
        self._show_frame(question, seen)

    def _show_frame(self, question: Question, seen: "PatchView") -> None:
        """Mark the patch on the slide."""
        x_px, y_px, width_px, height_px = seen.box_px
        corners = slide_to_layer(
            np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * (width_px, height_px)
            + (x_px, y_px)
        )
        viewer, mpp = self._view.viewer, question.slide.mpp
        pixel_um = 1.0 if mpp is None else mpp[1]
        width = max(width_px / 50, _FRAME_SCREEN_PX / camera(viewer).zoom / pixel_um)
        if self._frame is not None and self._frame in viewer.layers:
            # Not a new layer: napari collects all garbage after one that leaves.
            self._frame.data = [corners]
            self._frame.edge_width = [width]
            return
        active = viewer.layers.selection.active
        # A closed path: nothing has to be triangulated.
        self._frame = Shapes(
            [corners],
            shape_type="path",
            name="patch looked at",
            edge_color=FRAME_COLOUR,
            edge_width=width,
            face_color="transparent",
            opacity=1,
            metadata=layer_metadata(question.slide.name, "patch looked at"),
            **world_placement(mpp),
        )
        self._frame.mode = "pan_zoom"
        viewer.layers.append(self._frame)
        if active is not None:
            viewer.layers.selection.active = active  # a person goes on with what they were at

    def _remove_frame(self) -> None:
        frame, self._frame = self._frame, None
        if frame is not None:
            self._view.take_away(frame)

    def _on_slide_changed(self) -> None:
        self._remove_frame()
        self.close()

    def _place_beside_cursor(self) -> None:
        window = main_window(self._view.viewer)
        corner = self._canvas.mapToGlobal(self._canvas.rect().topLeft())
        self.adjustSize()
        self.move(corner.x() + 16, min(corner.y() + 16, window.geometry().bottom() - self.height()))

    def _build(self) -> None:
        self.setWindowTitle("Predict here")
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)  # keys stay with the canvas
        self.button = QPushButton("Predict here")
        self.button.setCheckable(True)
        self.button.setToolTip(
            "Then click the slide: shows the patch there as the model sees it, and what it says. "
            f"Or point at the slide and press {KEY}, or right-click it."
        )
        self.panel = PatchPanel()
        self.panel.hide()
        self.status = note()
        self.status.setMinimumWidth(260)
        layout = QVBoxLayout(self)
        layout.setSizeConstraint(QVBoxLayout.SizeConstraint.SetFixedSize)
        layout.addWidget(self.panel)
        layout.addWidget(self.status)
