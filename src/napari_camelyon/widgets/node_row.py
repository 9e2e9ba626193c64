"""One node in the pN panel: a picture, its class, its size against the limits, its state."""

import math

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QSizePolicy, QWidget
from superqt import QElidingLabel

from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import ITC_LIMIT_MM, MICRO_LIMIT_MM
from napari_camelyon.widgets.patient_view import NodeView
from napari_camelyon.widgets.pictures import to_qimage
from napari_camelyon.widgets.style import CLASS_COLOURS, CLASS_TITLES, chip, note, set_chip

__all__ = ["NodeRow", "SizeBar"]

_THUMBNAIL_PX = 60
_SAMPLES = 2 * _THUMBNAIL_PX
_SMALLEST_MM, _LARGEST_MM = 0.02, 20.0


class SizeBar(QWidget):
    """A diameter drawn on a logarithmic scale with the two limits marked."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(60)
        self.diameter_mm: float | None = None
        self.colour = "#a5acb8"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the bar would like."""
        return QSize(60, 22)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the scale, the limits and the diameter."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width = self.width()
        track = QRectF(0, 2, width, 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(128, 136, 150, 70))
        painter.drawRoundedRect(track, 3, 3)
        if self.diameter_mm:
            filled = QRectF(0, 2, max(6.0, self._x(self.diameter_mm)), 6)
            painter.setBrush(QColor(self.colour))
            painter.drawRoundedRect(filled, 3, 3)
        ink = QColor(150, 158, 172)
        painter.setPen(ink)
        font = painter.font()
        font.setPointSizeF(7)
        painter.setFont(font)
        for limit, unit in ((ITC_LIMIT_MM, ""), (MICRO_LIMIT_MM, " mm")):
            x = self._x(limit)
            painter.drawLine(QPointF(x, 0), QPointF(x, 10))
            label = QRectF(x - 20, 10, 40, 12)
            painter.drawText(label, Qt.AlignmentFlag.AlignHCenter, f"{limit:g}{unit}")
        painter.end()

    def _x(self, diameter_mm: float) -> float:
        span = math.log(_LARGEST_MM / _SMALLEST_MM)
        share = math.log(min(max(diameter_mm, _SMALLEST_MM), _LARGEST_MM) / _SMALLEST_MM) / span
        return share * self.width()


class NodeRow(QFrame):
    """One node of the patient; a click asks to be taken there."""

    clicked = Signal(str)

    def __init__(self, name: str, node: NodeView) -> None:
        super().__init__()
        self.name = name
        self.setObjectName("node")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._slide_picture = node.slide.thumbnail(_THUMBNAIL_PX * 2)
        self.picture = QLabel()
        self.picture.setFixedSize(_THUMBNAIL_PX, _THUMBNAIL_PX)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # What differs between the names of a patient's slides is mostly at their ends.
        self.title = QElidingLabel(name)
        self.title.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.title.setToolTip(name)
        self.chip = chip("not run")
        self.size_text = QLabel()
        self.size_text.setMinimumWidth(self.fontMetrics().horizontalAdvance("00.00 mm"))
        self.size_text.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.bar = SizeBar()
        self.status = note()
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 6, 8, 6)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.picture, 0, 0, 3, 1)
        grid.addWidget(self.title, 0, 1, 1, 2)
        grid.addWidget(self.bar, 1, 1)
        grid.addWidget(self.size_text, 1, 2, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.status, 2, 1)
        grid.addWidget(self.chip, 2, 2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid.setColumnStretch(1, 1)
        self.update_from(node, shown=False)

    def update_from(self, node: NodeView, *, shown: bool) -> None:
        """Show what is known of the node now."""
        result = node.result
        font = self.title.font()
        font.setBold(shown)
        self.title.setFont(font)
        border = "#5b8def" if shown else "transparent"
        style = (
            f"QFrame#node {{ border: 1px solid {border}; border-radius: 6px;"
            "background: rgba(128,136,150,26); }"
        )
        if style != self.styleSheet():  # several times a second, and each makes the row anew
            self.setStyleSheet(style)
        if result is None:
            begun = node.status.startswith(("starting", "running", "paused"))
            set_chip(self.chip, "…" if begun else "not run")
            self.size_text.setText("")
            self.bar.diameter_mm = None
        else:
            colour = CLASS_COLOURS[result.node_class]
            set_chip(self.chip, CLASS_TITLES[result.node_class], colour)
            diameter = result.diameter_mm
            self.size_text.setText(f"{diameter:.2f} mm" if diameter else "")
            self.bar.diameter_mm, self.bar.colour = diameter, colour
        self.bar.update()
        lesions = len(node.lesions)
        found = f" · {lesions} lesion{'s' if lesions != 1 else ''}" if result is not None else ""
        self.status.setText(
            node.problem or (node.status + found if node.status != "not run" else "")
        )
        self.picture.setPixmap(_picture(self._slide_picture, node))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Tell that the row was clicked."""
        self.clicked.emit(self.name)
        super().mouseReleaseEvent(event)


def _picture(slide_picture: np.ndarray, node: NodeView) -> QPixmap:
    picture = QPixmap.fromImage(to_qimage(slide_picture))
    if node.heatmap is not None:
        _paint_heatmap(picture, node.heatmap, node)
    return picture.scaled(
        _THUMBNAIL_PX,
        _THUMBNAIL_PX,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def _paint_heatmap(picture: QPixmap, heatmap: Heatmap, node: NodeView) -> None:
    values = np.nan_to_num(_greatest_of_blocks(heatmap.values), nan=0.0)
    overlay = np.zeros((*values.shape, 4), dtype=np.uint8)
    overlay[..., 0] = 226
    overlay[..., 1] = 30
    overlay[..., 2] = 60
    overlay[..., 3] = np.clip((values - 0.25) * 320, 0, 235)
    zoom_x = picture.width() / node.slide.width_px
    zoom_y = picture.height() / node.slide.height_px
    left, top = heatmap.grid.centres((-0.5, -0.5))
    rows, columns = heatmap.grid.shape
    right, bottom = heatmap.grid.centres((rows - 0.5, columns - 0.5))
    place = QRectF(left * zoom_x, top * zoom_y, (right - left) * zoom_x, (bottom - top) * zoom_y)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(place, to_qimage(overlay))
    painter.end()


def _greatest_of_blocks(values: np.ndarray) -> np.ndarray:
    """Return few values for many: the greatest of every block, as small foci must not be lost.

    Of a very large heatmap only every few cells are looked at; what falls between them would be a
    thousandth of a pixel of the picture.
    """
    every = _step(max(values.shape), 4 * _SAMPLES)
    values = values[::every, ::every]
    step = _step(max(values.shape), _SAMPLES)
    if step == 1:
        return values
    bands = np.fmax.reduceat(values, np.arange(0, values.shape[0], step), axis=0)
    return np.fmax.reduceat(bands, np.arange(0, values.shape[1], step), axis=1)


def _step(count: int, most: int) -> int:
    return max(1, count // most)
