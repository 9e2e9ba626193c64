"""Drawings of how sure a stage is: over which thresholds it holds, and how probable it is."""

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_camelyon.staging import Stage, StageRange
from napari_camelyon.widgets.style import stage_colour

__all__ = ["ProbabilityBar", "StabilityBand"]

_INK = QColor("#16181d")
_HANDLE_PX = 14
"""The middle of a slider's handle comes no nearer to its ends than half of this."""
_LEAST_SHARE = 0.005
"""Stages that are less probable would be narrower than a pixel."""


class _Bar(QWidget):
    """A flat bar of segments, each in a stage's colour, with its name where there is room."""

    height_px = 18

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(60)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the bar would like."""
        return QSize(200, self.height_px)

    def segments(self) -> list[tuple[str, float, float]]:
        """Return name, left and right end of each segment in pixels."""
        raise NotImplementedError

    def draw(self, painter: QPainter, top: float, height: float) -> None:
        """Draw the segments between two heights."""
        font = painter.font()
        font.setPointSizeF(8)
        painter.setFont(font)
        for name, left, right in self.segments():
            place = QRectF(left, top, max(1.0, right - left - 1), height)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(stage_colour(name)))
            painter.drawRoundedRect(place, 2, 2)
            if painter.fontMetrics().horizontalAdvance(name) + 6 <= place.width():
                painter.setPen(_INK)
                painter.drawText(place, Qt.AlignmentFlag.AlignCenter, name)


class StabilityBand(_Bar):
    """The stages over the thresholds from `low` to `high`, with the present threshold marked.

    Drawn to the same scale as a slider of this range that has the same width.
    """

    height_px = 24

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.ranges: tuple[StageRange, ...] = ()
        self.threshold: float | None = None

    def show_ranges(self, ranges: Sequence[StageRange], threshold: float) -> None:
        """Draw other stages, or another threshold."""
        self.ranges, self.threshold = tuple(ranges), threshold
        self.setToolTip(
            "\n".join(f"{one.stage} from {one.low:.2f} to {one.high:.2f}" for one in self.ranges)
        )
        self.update()

    def segments(self) -> list[tuple[str, float, float]]:
        """Return name, left and right end of each segment in pixels."""
        # The stage changes somewhere between two thresholds that were tried: halfway.
        ends = [self.low]
        ends += [(a.high + b.low) / 2 for a, b in zip(self.ranges, self.ranges[1:], strict=False)]
        ends.append(self.high)
        return [
            (one.stage, self._x(left), self._x(right))
            for one, left, right in zip(self.ranges, ends, ends[1:], strict=False)
        ]

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the stages and the mark."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.draw(painter, 0, self.height() - 7)
        if self.threshold is not None:
            x, foot = self._x(self.threshold), float(self.height())
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self.palette().windowText().color())
            corners = [QPointF(x, foot - 8), QPointF(x - 5, foot), QPointF(x + 5, foot)]
            painter.drawPolygon(QPolygonF(corners))
        painter.end()

    def _x(self, threshold: float) -> float:
        share = (threshold - self.low) / (self.high - self.low)
        return _HANDLE_PX / 2 + min(1.0, max(0.0, share)) * (self.width() - _HANDLE_PX)


class ProbabilityBar(_Bar):
    """How probable each stage is, as one stacked bar."""

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: dict[Stage, float] = {}

    def show_probabilities(self, probabilities: Mapping[Stage, float]) -> None:
        """Draw other probabilities, by stage; together 1."""
        self.probabilities = dict(probabilities)
        self.setToolTip("\n".join(f"{name}: {p:.1%}" for name, p in probabilities.items() if p > 0))
        self.update()

    def segments(self) -> list[tuple[str, float, float]]:
        """Return name, left and right end of each segment in pixels."""
        found: list[tuple[str, float, float]] = []
        left = 0.0
        for name, probability in self.probabilities.items():
            right = left + probability * self.width()
            if probability >= _LEAST_SHARE:
                found.append((name, left, right))
            left = right
        return found

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the bar."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.draw(painter, 0, self.height() - 1)
        painter.end()
