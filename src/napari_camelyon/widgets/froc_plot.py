"""The FROC curve, drawn; a click on a point tells which."""

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_camelyon.evaluation import FALSE_POSITIVE_RATES, FrocPoint

__all__ = ["FrocPlot"]

_LEFT, _TOP, _RIGHT, _BOTTOM = 40, 10, 12, 34
_NEAR_PX = 14


class FrocPlot(QWidget):
    """Sensitivity over false positives a slide, with the rates of the score marked."""

    chosen = Signal(int)
    """Number of the point that was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.points: Sequence[FrocPoint] = ()
        self.marked: int | None = None
        self.setMinimumSize(220, 180)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click a point to list what is missed and what is false there.")

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the plot would like."""
        return QSize(320, 220)

    def show_points(self, points: Sequence[FrocPoint]) -> None:
        """Draw another curve."""
        self.points, self.marked = points, None
        self.update()

    def place_of(self, number: int) -> QPointF:
        """Return where a point is drawn."""
        point = self.points[number]
        inner = self._inner()
        share = min(1.0, point.false_positives_per_slide / FALSE_POSITIVE_RATES[-1])
        return QPointF(
            inner.left() + share * inner.width(),
            inner.bottom() - point.sensitivity * inner.height(),
        )

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the nearest point."""
        click = event.position()
        near = [
            (abs(place.x() - click.x()) + abs(place.y() - click.y()), number)
            for number, place in enumerate(map(self.place_of, range(len(self.points))))
        ]
        if near and min(near)[0] <= 2 * _NEAR_PX:
            self.marked = min(near)[1]
            self.update()
            self.chosen.emit(self.marked)
        super().mouseReleaseEvent(event)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw axes, curve and points."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        inner, ink = self._inner(), QColor(150, 158, 172)
        font = painter.font()
        font.setPointSizeF(7.5)
        painter.setFont(font)
        painter.setPen(QPen(QColor(128, 136, 150, 70)))
        for rate in FALSE_POSITIVE_RATES:
            x = inner.left() + rate / FALSE_POSITIVE_RATES[-1] * inner.width()
            painter.drawLine(QPointF(x, inner.top()), QPointF(x, inner.bottom()))
        for share in (0, 0.5, 1):
            y = inner.bottom() - share * inner.height()
            painter.drawLine(QPointF(inner.left(), y), QPointF(inner.right(), y))
        painter.setPen(ink)
        for rate in FALSE_POSITIVE_RATES[2:]:
            x = inner.left() + rate / FALSE_POSITIVE_RATES[-1] * inner.width()
            box = QRectF(x - 15, inner.bottom() + 2, 30, 12)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, f"{rate:g}")
        for share in (0, 0.5, 1):
            y = inner.bottom() - share * inner.height()
            box = QRectF(0, y - 7, _LEFT - 5, 14)
            painter.drawText(
                box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{share:g}"
            )
        below = QRectF(inner.left(), inner.bottom() + 16, inner.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, "false positives a slide")
        self._draw_curve(painter)
        painter.end()

    def _draw_curve(self, painter: QPainter) -> None:
        if not self.points:
            return
        places = [self.place_of(number) for number in range(len(self.points))]
        path = QPainterPath(places[0])
        for place in places[1:]:
            path.lineTo(place)
        painter.setPen(QPen(QColor("#5b8def"), 1.5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(path)
        painter.setPen(Qt.PenStyle.NoPen)
        for number, place in enumerate(places):
            is_marked = number == self.marked
            painter.setBrush(QColor("#e8a33d" if is_marked else "#5b8def"))
            radius = 5.5 if is_marked else 3.0
            painter.drawEllipse(place, radius, radius)

    def _inner(self) -> QRectF:
        return QRectF(
            _LEFT,
            _TOP,
            max(1, self.width() - _LEFT - _RIGHT),
            max(1, self.height() - _TOP - _BOTTOM),
        )
