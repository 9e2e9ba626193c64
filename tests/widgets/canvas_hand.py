"""A hand over the canvas: real mouse and key events at slide points."""

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.widgets.napari_compat import camera, canvas_widget

PLAIN = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


class Hand:
    """Points at slide points of a layer, whatever the view."""

    def __init__(self, viewer, layer, qtbot):
        self.viewer, self.layer, self.qtbot = viewer, layer, qtbot
        self.canvas = canvas_widget(viewer)

    def place(self, at):
        view = camera(self.viewer)
        world = np.array(self.layer.data_to_world(slide_to_layer(at)))[-2:]
        row, column = (world - np.array(view.center[-2:])) * view.zoom
        size = self.canvas.size()
        return QPoint(round(size.width() / 2 + column), round(size.height() / 2 + row))

    def click(self, at, modifiers=PLAIN):
        self.drag([at], modifiers)

    def double_click(self, at):
        self.click(at)
        self._mouse(QEvent.Type.MouseButtonDblClick, at, PLAIN, held=True)
        self._mouse(QEvent.Type.MouseButtonRelease, at, PLAIN, held=False)

    def drag(self, path, modifiers=PLAIN):
        self.hover(path[0])
        self._mouse(QEvent.Type.MouseButtonPress, path[0], modifiers, held=True)
        for at in path[1:]:
            self._mouse(QEvent.Type.MouseMove, at, modifiers, held=True)
        self._mouse(QEvent.Type.MouseButtonRelease, path[-1], modifiers, held=False)

    def hover(self, at):
        self._mouse(QEvent.Type.MouseMove, at, PLAIN, held=False)

    def wheel(self, at, steps, modifiers=PLAIN):
        place = self.place(at)
        event = QWheelEvent(
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            QPoint(),
            QPoint(0, 120 * steps),
            Qt.MouseButton.NoButton,
            modifiers,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(self.canvas, event)
        self.qtbot.wait(1)

    def press(self, key, modifiers=PLAIN):
        QTest.keyClick(self.canvas, key, modifiers)
        self.qtbot.wait(20)  # keys are acted upon once napari is done with them

    def _mouse(self, kind, at, modifiers, *, held):
        place = self.place(at)
        move = kind == QEvent.Type.MouseMove
        event = QMouseEvent(
            kind,
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            Qt.MouseButton.NoButton if move else Qt.MouseButton.LeftButton,
            Qt.MouseButton.LeftButton if held else Qt.MouseButton.NoButton,
            modifiers,
        )
        QApplication.sendEvent(self.canvas, event)
        # napari hands moves on after up to 16 ms, so that fast ones become one.
        self.qtbot.wait(25 if move else 1)
