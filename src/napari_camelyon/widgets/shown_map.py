"""Which of a slide's maps is shown: the probability, or how uncertain it is."""

from napari.layers import Layer
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from napari_camelyon.widgets.patient_view import PatientView

__all__ = ["ShownMap"]

_KINDS = ("heatmap", "uncertainty")


class ShownMap(QWidget):
    """A list of the maps over the shown slide; hidden while there is one only."""

    def __init__(self, view: PatientView) -> None:
        super().__init__()
        self._view = view
        self.names = QComboBox()
        self.names.currentTextChanged.connect(self._show)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Show"))
        row.addWidget(self.names, 1)
        layers = view.viewer.layers
        layers.events.inserted.connect(self._list)
        layers.events.removed.connect(self._list)
        self._list()

    def _maps(self) -> list[Layer]:
        return [
            layer
            for layer in self._view.viewer.layers
            if layer.metadata.get("napari_camelyon", {}).get("kind") in _KINDS
        ]

    def _list(self, _event: object = None) -> None:
        maps = self._maps()
        names = [layer.name for layer in maps]
        if names != [self.names.itemText(index) for index in range(self.names.count())]:
            with QSignalBlocker(self.names):
                self.names.clear()
                self.names.addItems(names)
                shown = [layer.name for layer in maps if layer.visible]
                self.names.setCurrentText(shown[0] if shown else "")
        self.setVisible(len(maps) > 1)

    def _show(self, name: str) -> None:
        for layer in self._maps():
            layer.visible = layer.name == name
