"""The overview: a small picture of the slide in a corner of the canvas, with what is seen as a box.

It is a child of the canvas widget (see `napari_compat.canvas_widget`). It moves nothing itself but
the camera, and is drawn anew by the camera's events, with the finished picture and a few lines.
"""

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import QEvent, QObject, QPointF, QRectF, QSize, Qt, QThreadPool
from qtpy.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from qtpy.QtWidgets import QToolButton, QWidget

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.slides import Slide, overview
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.napari_compat import (
    camera,
    canvas_widget,
    main_window,
)
from napari_camelyon.widgets.patient_view import NodeView, patient_view
from napari_camelyon.widgets.pictures import to_qimage
from napari_camelyon.widgets.seen import layer_of_slide, seen_box
from napari_camelyon.widgets.zoom import zoom_text

__all__ = ["Minimap", "show_minimap"]

_SHARE_OF_CANVAS = 0.24
_LARGEST_PX, _SMALLEST_PX = 220, 90
_READ_PX = 2 * _LARGEST_PX
"""Longer side of the picture that is read: enough for two device pixels per logical one."""

_MARGIN_PX = 10
_STRIP_PX = 18
_SMALLEST_BOX_PX = 7
_ZOOM_A_STEP = 1.007**30
"""What a step of the wheel zooms by on the canvas (vispy's PanZoomCamera), and here."""

_PAPER, _INK = QColor(24, 26, 32), QColor(225, 229, 236)
# Neither a colour of H&E nor of the outlines and heatmaps that lie over it.
_BOX = QColor("#0a66ff")


def show_minimap(viewer: Viewer) -> "Minimap":
    """Return the overview of a window, made on first use."""
    there = canvas_widget(viewer).findChild(Minimap)
    return there if there is not None else Minimap(viewer)


class Minimap(QWidget):
    """Shows where on the slide one is; a click or a drag goes elsewhere, the wheel zooms."""

    def __init__(self, viewer: Viewer) -> None:
        self._canvas = canvas_widget(viewer)
        super().__init__(self._canvas)
        self._view = patient_view(viewer)
        self.folded = False
        self._slide: Slide | None = None
        self._picture: QImage | None = None
        self._drawn: QPixmap | None = None
        self._grabbed: NDArray[np.float64] | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)  # nothing below is drawn for it
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setCursor(Qt.CursorShape.ArrowCursor)  # the canvas may show a brush, or none
        self.setToolTip("Click or drag to move, wheel to zoom")
        self.fold_button = QToolButton(self)
        self.fold_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.fold_button.setStyleSheet(
            "QToolButton { border: none; background: transparent; color: #e1e5ec; padding: 0; }"
            "QToolButton:hover { background: rgba(255, 255, 255, 50); border-radius: 3px; }"
        )
        self.fold_button.clicked.connect(self._fold)
        self._canvas.installEventFilter(self)
        main_window(viewer).installEventFilter(self)
        view = camera(viewer)
        view.events.center.connect(self._follow)
        view.events.zoom.connect(self._follow)
        viewer.dims.events.ndisplay.connect(self._show_slide)
        viewer.dims.events.order.connect(self._show_slide)
        viewer.canvas.grid.events.enabled.connect(self._show_slide)
        viewer.layers.events.inserted.connect(self._show_slide)
        viewer.layers.events.removed.connect(self._show_slide)
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        self._show_slide()

    # -- what is seen ---------------------------------------------------------------------------

    def seen_box(self) -> NDArray[np.float64] | None:
        """Return the slide points ``(left, top), (right, bottom)`` of the canvas's corners.

        None when no slide is shown.
        """
        layer = self._layer()
        return None if layer is None else seen_box(self._view.viewer, layer)

    def picture_place(self) -> QRectF:
        """Return where in this widget the picture of the slide lies, logical pixels."""
        available_px = self.width() - 2, self.height() - _STRIP_PX - 2
        _, size = self._scanned()
        width, height = size * min(available_px / size)
        return QRectF(1 + (available_px[0] - width) / 2, 1, width, height)

    def to_widget(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """Convert slide points to places ``(x, y)`` in this widget, logical pixels."""
        first, size = self._scanned()
        place = self.picture_place()
        corner, extent = (place.x(), place.y()), (place.width(), place.height())
        return corner + (np.asarray(points_xy, dtype=np.float64) - first) / size * extent

    def to_slide(self, x: float, y: float) -> NDArray[np.float64]:
        """Convert a place in this widget to a slide point; the inverse of `to_widget`."""
        first, size = self._scanned()
        place = self.picture_place()
        return (
            first
            + np.array([(x - place.x()) / place.width(), (y - place.y()) / place.height()]) * size
        )

    def look_at(self, point_xy: ArrayLike) -> None:
        """Bring a slide point to the middle of the canvas."""
        layer = self._layer()
        if layer is not None:
            centre = layer.data_to_world(slide_to_layer(point_xy))
            camera(self._view.viewer).center = tuple(centre)[-2:]

    # -- what a person does ---------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take hold of the box, or bring what lies under the cursor to the middle of the view."""
        event.accept()  # the canvas below must not pan, draw or select
        box = self.seen_box()
        if self.folded or box is None or event.button() != Qt.MouseButton.LeftButton:
            return
        point = self.to_slide(event.position().x(), event.position().y())
        middle = box.mean(axis=0)
        inside = self._box_place(box).contains(event.position())
        self._grabbed = middle - point if inside else np.zeros(2)
        if not inside:
            self.look_at(point)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Drag the view along."""
        event.accept()
        if self._grabbed is not None:
            self.look_at(self.to_slide(event.position().x(), event.position().y()) + self._grabbed)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Let go of the box."""
        event.accept()
        self._grabbed = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Do as for a second click; the canvas would zoom."""
        self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Zoom about the middle of the view."""
        event.accept()
        if not self.folded:
            camera(self._view.viewer).zoom *= _ZOOM_A_STEP ** (event.angleDelta().y() / 120)

    def _fold(self) -> None:
        self.folded = not self.folded
        self._arrange()

    # -- following the window -------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stay in the corner when the canvas is resized; let no thread outlive the window."""
        if watched is self._canvas and event.type() == QEvent.Type.Resize:
            self._arrange()
        elif watched is not self._canvas and event.type() == QEvent.Type.Close:
            self._slide = None  # a picture that still comes is of no use
            QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)

    def _follow(self, _event: object = None) -> None:
        if self.isVisible():
            self.update()

    def _show_slide(self, _event: object = None) -> None:
        node = self._view.shown_node
        if node is None or self._layer() is None:
            self.hide()
            if node is None:
                self._slide = self._picture = self._drawn = None
            return
        if self._slide is not node.slide:
            if self._slide is None or self._slide.path != node.slide.path:
                self._picture = None  # it stays where only the pixel size was set
            self._slide = node.slide
            in_thread(_read_overview, node.slide, _READ_PX, receive=self._on_read)
        self._arrange()
        self.show()
        self.raise_()

    def _on_read(self, read: tuple[Slide, QImage | None]) -> None:
        slide, picture = read
        if slide is self._slide:  # else another one is shown by now
            self._picture, self._drawn = picture, None
            self.update()

    def _arrange(self) -> None:
        node = self._view.shown_node
        if node is None:
            return
        _, _, width_px, height_px = node.slide.bounds_px
        canvas = self._canvas.size()
        side = _SHARE_OF_CANVAS * min(canvas.width(), canvas.height())
        side = min(max(side, _SMALLEST_PX), _LARGEST_PX)
        # The picture of a narrow slide keeps room for the text below it.
        width = round(max(side * min(1.0, width_px / height_px), _SMALLEST_PX)) + 2
        height = round(side * min(1.0, height_px / width_px)) + 2 + _STRIP_PX
        if self.folded:
            width = height = _STRIP_PX + 2
        self.setGeometry(_MARGIN_PX, canvas.height() - _MARGIN_PX - height, width, height)
        self.fold_button.setGeometry(
            width - _STRIP_PX, height - _STRIP_PX, _STRIP_PX - 2, _STRIP_PX - 2
        )
        self.fold_button.setText("◱" if self.folded else "–")
        self.fold_button.setToolTip("Show the overview" if self.folded else "Hide the overview")
        self._drawn = None
        self.update()

    # -- how it looks ---------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the picture, the box and the magnification."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _PAPER)
        node, box = self._view.shown_node, self.seen_box()
        if not self.folded and node is not None and box is not None:
            self._draw_slide(painter)
            self._draw_box(painter, self._box_place(box))
            self._draw_text(painter, node)
        painter.end()

    def _draw_slide(self, painter: QPainter) -> None:
        place = self.picture_place()
        if self._picture is None:
            painter.fillRect(place, QColor(60, 64, 74))
            return
        ratio = self.devicePixelRatioF()
        if self._drawn is None or self._drawn.devicePixelRatio() != ratio:
            self._drawn = QPixmap.fromImage(
                self._picture.scaled(
                    QSize(round(place.width() * ratio), round(place.height() * ratio)),
                    Qt.AspectRatioMode.IgnoreAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )
            self._drawn.setDevicePixelRatio(ratio)
        painter.drawPixmap(place.topLeft(), self._drawn)

    def _draw_box(self, painter: QPainter, box: QRectF) -> None:
        place = self.picture_place()
        painter.setClipRect(place)
        painter.setPen(QPen(_BOX, 1))
        if max(box.width(), box.height()) <= 3 * _SMALLEST_BOX_PX:
            middle = box.center()
            painter.drawLine(QPointF(place.left(), middle.y()), QPointF(box.left(), middle.y()))
            painter.drawLine(QPointF(box.right(), middle.y()), QPointF(place.right(), middle.y()))
            painter.drawLine(QPointF(middle.x(), place.top()), QPointF(middle.x(), box.top()))
            painter.drawLine(QPointF(middle.x(), box.bottom()), QPointF(middle.x(), place.bottom()))
        painter.setPen(QPen(_BOX, 2))
        painter.drawRect(box)
        painter.setClipping(False)

    def _draw_text(self, painter: QPainter, node: NodeView) -> None:
        zoom = camera(self._view.viewer).zoom
        font = painter.font()
        font.setPointSizeF(8)
        painter.setFont(font)
        painter.setPen(_INK)
        strip = QRectF(5, self.height() - _STRIP_PX, self.width() - _STRIP_PX - 6, _STRIP_PX)
        text = zoom_text(zoom, has_mpp=node.slide.mpp is not None)
        if painter.fontMetrics().horizontalAdvance(text) > strip.width():
            text = text.split("  ")[0]
        painter.drawText(strip, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)

    def _box_place(self, box: NDArray[np.float64]) -> QRectF:
        """Return where the box is drawn: never so small that it is lost, nor out of the picture."""
        place = self.picture_place()
        (left, top), (right, bottom) = self.to_widget(box)
        middle_x = min(max((left + right) / 2, place.left()), place.right())
        middle_y = min(max((top + bottom) / 2, place.top()), place.bottom())
        shown = QRectF(left, top, right - left, bottom - top)
        if not shown.intersects(place):
            shown.moveCenter(QPointF(middle_x, middle_y))
        if min(shown.width(), shown.height()) < _SMALLEST_BOX_PX:
            middle = shown.center()
            shown.setWidth(max(shown.width(), _SMALLEST_BOX_PX))
            shown.setHeight(max(shown.height(), _SMALLEST_BOX_PX))
            shown.moveCenter(middle)
        return shown

    def _layer(self) -> Image | None:
        """Return the layer of the shown slide, if the window shows it as the overview can."""
        return layer_of_slide(self._view.viewer, self._view.shown)

    def _scanned(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the first slide point and the size of what the picture shows."""
        node = self._view.shown_node
        bounds = (0, 0, 1, 1) if node is None else node.slide.bounds_px
        return np.array(bounds[:2], dtype=np.float64), np.array(bounds[2:], dtype=np.float64)


def _read_overview(slide: Slide, max_px: int) -> tuple[Slide, QImage | None]:
    """Read in the worker's thread; a slide that was closed or is damaged has no picture."""
    try:
        return slide, to_qimage(overview(slide, max_px))
    except SlideError:
        return slide, None
