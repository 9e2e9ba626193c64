"""One node in the pN panel: a picture, its class, its size against the limits, its state."""

import math

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QContextMenuEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
)
from qtpy.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import ITC_LIMIT_MM, MICRO_LIMIT_MM, NodeResult, Override
from napari_camelyon.widgets.patient_view import NodeView
from napari_camelyon.widgets.pictures import to_qimage
from napari_camelyon.widgets.style import (
    CLASS_COLOURS,
    CLASS_TITLES,
    breakable,
    chip,
    note,
    set_chip,
)

__all__ = ["NodeRow", "SizeBar", "limit_words"]

_THUMBNAIL_PX = 60
_LEFT_PX = 76
_CHIP_PT = 9
_SAMPLES = 2 * _THUMBNAIL_PX
_SMALLEST_MM, _LARGEST_MM = 0.02, 20.0


class SizeBar(QWidget):
    """A diameter drawn on a logarithmic scale, with its uncertainty and the two limits marked."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(60)
        self.diameter_mm: float | None = None
        self.margin_mm = 0.0
        self.colour = "#a5acb8"
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "The greatest diameter of the largest lesion on a logarithmic scale; the line is its "
            f"uncertainty. Marked are the limits {ITC_LIMIT_MM} mm and {MICRO_LIMIT_MM:g} mm."
        )

    def show_size(self, diameter_mm: float | None, margin_mm: float, colour: str) -> None:
        """Draw another size; None: an empty scale."""
        self.diameter_mm, self.margin_mm, self.colour = diameter_mm, margin_mm, colour
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the bar would like."""
        return QSize(60, 24)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the scale, the limits, the diameter and its uncertainty."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().windowText().color()
        ink.setAlpha(150)
        track = QRectF(0, 2, self.width(), 7)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(128, 136, 150, 70))
        painter.drawRoundedRect(track, 3, 3)
        if self.diameter_mm:
            filled = QRectF(0, 2, max(6.0, self._x(self.diameter_mm)), 7)
            painter.setBrush(QColor(self.colour))
            painter.drawRoundedRect(filled, 3, 3)
            if self.margin_mm > 0:
                painter.setPen(QPen(self.palette().windowText().color(), 1.5))
                low = self._x(self.diameter_mm - self.margin_mm)
                high = self._x(self.diameter_mm + self.margin_mm)
                painter.drawLine(QPointF(low, 5.5), QPointF(high, 5.5))
        painter.setPen(QPen(ink, 1))
        font = painter.font()
        font.setPointSizeF(7)
        painter.setFont(font)
        for limit, unit in ((ITC_LIMIT_MM, ""), (MICRO_LIMIT_MM, " mm")):
            x = self._x(limit)
            painter.drawLine(QPointF(x, 0), QPointF(x, 11))
            label = QRectF(x - 24, 11, 48, 13)
            painter.drawText(label, Qt.AlignmentFlag.AlignHCenter, f"{limit:g}{unit}")
        painter.end()

    def _x(self, diameter_mm: float) -> float:
        span = math.log(_LARGEST_MM / _SMALLEST_MM)
        share = math.log(min(max(diameter_mm, _SMALLEST_MM), _LARGEST_MM) / _SMALLEST_MM) / span
        return share * self.width()


class NodeRow(QFrame):
    """One node of the patient; a click, Enter or Space asks to be taken there."""

    clicked = Signal(str)
    override_wanted = Signal(str)
    undo_wanted = Signal(str)

    def __init__(self, name: str, node: NodeView | None) -> None:
        super().__init__()
        self.name = name
        self.has_slide = node is not None
        self._slide_picture = None if node is None else node.slide.thumbnail(_THUMBNAIL_PX * 2)
        self._painted: tuple[Heatmap | None, str, float] | None = None
        self.setObjectName("node")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._build()
        self.show_node(node, shown=False)

    def _build(self) -> None:
        self.picture = QLabel()
        self.picture.setFixedSize(_THUMBNAIL_PX, _THUMBNAIL_PX)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # What differs between the names of a patient's slides is mostly at their ends.
        self.title = QElidingLabel(self.name)
        self.title.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.title.setToolTip(self.name)
        self.chip = chip("not run", size_pt=_CHIP_PT)
        self.undo_button = _tool("↶", "Take back this change of class")
        self.undo_button.setAccessibleName(f"Take back the change of {self.name}")
        self.undo_button.clicked.connect(lambda: self.undo_wanted.emit(self.name))
        self.edit_button = _tool("✎", "Change the class of this node, with a reason …")
        self.edit_button.setAccessibleName(f"Change the class of {self.name}")
        self.edit_button.clicked.connect(lambda: self.override_wanted.emit(self.name))
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self.title, 1)
        head.addWidget(self.undo_button)
        head.addWidget(self.edit_button)
        self.bar = SizeBar()
        self.size_text = QLabel()
        self.size_text.setWordWrap(True)
        self.certainty = note()
        self.certainty.hide()
        self.certainty.setToolTip(
            "How probable each class is by the model's own account: its lesions taken as "
            "independent, each tumour with its greatest probability, its size within the margin."
        )
        self.status = note()
        self.progress = _Progress()
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 6, 6, 6)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        left = QVBoxLayout()
        left.setSpacing(4)
        left.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignHCenter)
        left.addWidget(self.chip)
        left.addStretch(1)
        grid.addLayout(left, 0, 0, 5, 1)
        grid.addLayout(head, 0, 1)
        grid.addWidget(self.bar, 1, 1)
        grid.addWidget(self.size_text, 2, 1)
        grid.addWidget(self.certainty, 3, 1)
        grid.addWidget(self.status, 4, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.progress, 5, 0, 1, 2)
        grid.setColumnMinimumWidth(0, _LEFT_PX)
        grid.setRowStretch(4, 1)
        grid.setColumnStretch(1, 1)

    def show_node(
        self,
        node: NodeView | None,
        *,
        shown: bool,
        result: NodeResult | None = None,
        override: Override | None = None,
    ) -> None:
        """Show what is known of the node now.

        Parameters
        ----------
        node : NodeView or None
            None: there is no slide of it.
        shown : bool
            Whether its slide is in the window.
        result : NodeResult or None
            What is known of it: by now, if a run goes on, or from when its slide was there.
        override : Override or None
            What a person says of it.
        """
        self._show_frame(shown=shown)
        self.setCursor(
            Qt.CursorShape.ArrowCursor if node is None else Qt.CursorShape.PointingHandCursor
        )
        self._show_class(node, result, override)
        self._show_size(result)
        self._show_status(node, result)
        self.setToolTip(_tool_tip(node, result, override))
        self.undo_button.setVisible(override is not None)
        self.setAccessibleName(f"{self.name}: {self.chip.text()}")
        self._show_picture(node)

    def show_certainty(self, words: str) -> None:
        """Say how probable the classes are; empty when unknown."""
        self.certainty.setText(words)
        self.certainty.setVisible(bool(words))

    def _show_picture(self, node: NodeView | None) -> None:
        if node is None or self._slide_picture is None:
            self.picture.setText("no slide")
            self.picture.setStyleSheet(
                "border: 1px dashed #9aa3b2; border-radius: 4px; color: #9aa3b2; font-size: 8pt;"
            )
            return
        ratio = self.picture.devicePixelRatioF()
        # While a slider moves the heatmap stays; to look through it would take longer than staging.
        painted = (node.heatmap, node.status, ratio)
        if painted != self._painted:
            self._painted = painted
            self.picture.setPixmap(_picture(self._slide_picture, node, ratio))

    def _show_frame(self, *, shown: bool) -> None:
        font = self.title.font()
        font.setBold(shown)
        self.title.setFont(font)
        border = "#5b8def" if shown else "transparent"
        style = (
            f"QFrame#node {{ border: 1px solid {border}; border-radius: 6px;"
            "background: rgba(128,136,150,26); }"
            "QFrame#node:hover { background: rgba(128,136,150,52); }"
            "QFrame#node:focus { border: 2px solid #8fb4ff; }"
        )
        if style != self.styleSheet():  # several times a second, and each makes the row anew
            self.setStyleSheet(style)

    def _show_class(
        self, node: NodeView | None, result: NodeResult | None, override: Override | None
    ) -> None:
        if override is not None and override.node_class is not None:
            colour = CLASS_COLOURS[override.node_class]
            self._set_chip(f"✎ {CLASS_TITLES[override.node_class]}", colour)
            self.chip.setToolTip(override.describe())
            return
        self.chip.setToolTip("")
        if result is None:
            begun = node is not None and node.is_running
            self._set_chip("missing" if node is None else "…" if begun else "not run")
        else:
            least = "" if result.complete or result.node_class == "macro" else "≥ "
            if least and result.node_class == "negative":  # says nothing
                self._set_chip("…" if node is not None and node.is_running else "unknown")
                return
            self._set_chip(
                f"{least}{CLASS_TITLES[result.node_class]}", CLASS_COLOURS[result.node_class]
            )

    def _set_chip(self, text: str, colour: str | None = None) -> None:
        set_chip(self.chip, text, colour, size_pt=_CHIP_PT)

    def _show_size(self, result: NodeResult | None) -> None:
        diameter = None if result is None else result.diameter_mm
        if result is None or diameter is None:
            self.bar.show_size(None, 0.0, "#a5acb8")
        else:
            self.bar.show_size(diameter, result.margin_mm or 0.0, CLASS_COLOURS[result.node_class])
        self.size_text.setText("" if result is None else _size_words(result))
        self.size_text.setVisible(bool(self.size_text.text()))

    def _show_status(self, node: NodeView | None, result: NodeResult | None) -> None:
        if node is None:
            self.status.setText(
                "There is neither a slide nor a result of this node: it could be anything."
                if result is None
                else "As it was kept; its slide is not here, so it does not follow the threshold."
            )
            self.progress.hide()
            return
        words = []
        if result is not None and result.lesions:
            words.append(f"{result.lesions} lesion{'s' if result.lesions != 1 else ''}")
        if node.status != "not run":
            words.append(node.status)
        self.status.setText(breakable(node.problem) or " · ".join(words))
        self.status.setVisible(bool(self.status.text()))
        self.progress.setVisible(node.is_running)
        if node.is_running:
            share = None if node.heatmap is None else node.heatmap.computed_share
            self.progress.show_share(share or 0.0)

    # -- what a person does ---------------------------------------------------------------------

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Tell that the row was clicked."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.clicked.emit(self.name)
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take Enter and Space for a click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit(self.name)
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:  # noqa: N802
        """Offer what can be done with the node."""
        menu = QMenu(self)
        menu.addAction("Change class …", lambda: self.override_wanted.emit(self.name))
        undo = menu.addAction("Take back the change", lambda: self.undo_wanted.emit(self.name))
        undo.setEnabled(self.undo_button.isVisible())
        menu.popup(event.globalPos())


class _Progress(QWidget):
    """A thin line that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self.setFixedHeight(3)

    def show_share(self, share: float) -> None:
        self.share = share
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(128, 136, 150, 70))
        painter.fillRect(QRectF(0, 0, self.share * self.width(), self.height()), QColor("#5b8def"))
        painter.end()


def _tool(sign: str, tool_tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(sign)
    button.setAutoRaise(True)
    button.setToolTip(tool_tip)
    return button


def _size_words(result: NodeResult) -> str:
    words = limit_words(result)
    if result.diameter_mm is None:
        return words
    size = _whole(f"{result.diameter_mm:.2f} ± {result.margin_mm or 0:.2f} mm")
    return f"<b>{size}</b>, {words}"


def limit_words(result: NodeResult) -> str:
    """Say how far the size of a node's largest lesion is from the limits of its class."""
    itc, micro = result.beyond_itc_limit_mm, result.beyond_micro_limit_mm
    if itc is None or micro is None:
        return "" if not result.complete else "no lesion found"
    if micro > 0:
        words = [f"{_mm(micro)} over {MICRO_LIMIT_MM:g} mm"]
    elif itc > 0:
        words = [
            f"{_mm(itc)} over {ITC_LIMIT_MM:g} mm",
            f"{_mm(-micro)} under {MICRO_LIMIT_MM:g} mm",
        ]
        if -micro < itc:
            words.reverse()  # the nearer one first
    else:
        words = [f"{_mm(-itc)} under {ITC_LIMIT_MM:g} mm"]
    others = [one for one in result.possible_classes if one != result.node_class]
    unsure = f"; it could be {' or '.join(CLASS_TITLES[one] for one in others)}" if others else ""
    return ", ".join(map(_whole, words)) + unsure


def _whole(text: str) -> str:
    """Keep a number and its unit on one line."""
    return text.replace(" ", "\u00a0")


def _mm(length_mm: float) -> str:
    return f"{length_mm:.2f} mm" if length_mm >= 0.005 else f"{length_mm * 1000:.1f} µm"


def _tool_tip(node: NodeView | None, result: NodeResult | None, override: Override | None) -> str:
    if node is None:
        return "Add the slide of this node, or say its class with the pencil."
    lines = [] if override is None else [override.describe()]
    if result is not None:
        lines += result.reasons
    lines.append(
        "Click: go to the lesion that decides. Again: the whole slide."
        if result is not None and result.deciding_lesion is not None
        else "Click: show this slide."
    )
    return "\n".join(lines)


def _picture(slide_picture: np.ndarray, node: NodeView, ratio: float) -> QPixmap:
    picture = QPixmap.fromImage(to_qimage(slide_picture))
    if node.heatmap is not None:
        _paint_heatmap(picture, node.heatmap, node)
    side = round(_THUMBNAIL_PX * ratio)
    shrunk = picture.scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
    shrunk.setDevicePixelRatio(ratio)
    return shrunk


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
