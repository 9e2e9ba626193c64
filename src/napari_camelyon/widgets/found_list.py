"""What was found beside the shown slide: a row and a button for each."""

from datetime import datetime
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_camelyon.annotations import FORMATS
from napari_camelyon.cohort import ANNOTATION_EXTENSIONS, Beside, FoundResults
from napari_camelyon.widgets.style import CLASS_COLOURS, CLASS_TITLES, chip, note

__all__ = ["FoundList"]


class FoundList(QWidget):
    """Annotation files and results; it asks to open, and marks what is open already."""

    annotations_wanted = Signal(object)
    """Path of an annotation file."""
    results_wanted = Signal(object)
    """A `FoundResults`."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[Path, QPushButton] = {}
        self._shown: list[QWidget] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 4, 0)
        layout.addLayout(self._grid)
        layout.addStretch(1)

    def show_found(self, beside: Beside | None) -> None:
        """Show what was found; None while it is being looked for."""
        self.buttons = {}
        for widget in self._shown:
            self._grid.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self._shown = []
        if beside is None:
            self._add_note("Looking beside the slide …")
        elif beside == Beside():
            self._add_note(
                "No annotations or results of this slide's name lie beside it. Open them from "
                "elsewhere with “Open slide …”."
            )
        else:
            for path in beside.annotations:
                self._add_annotations(path)
            for found in beside.results:
                self._add_results(found)

    def mark_open(self, opened: set[Path]) -> None:
        """Disable the buttons of annotation files that are in the window already."""
        for path, button in self.buttons.items():
            if path.suffix.lower() in ANNOTATION_EXTENSIONS:
                button.setEnabled(path not in opened)
                button.setText("is open" if path in opened else "Open")

    def _add_note(self, text: str) -> None:
        self._place(note(text), 0, 0, columns=3)

    def _add_annotations(self, path: Path) -> None:
        button = QPushButton("Open")
        button.clicked.connect(lambda: self.annotations_wanted.emit(path))
        file_format = FORMATS.get(path.suffix.lower(), "Hamamatsu NDPA")
        tooltip = f"{file_format} annotations\n{path}"
        self._add_row(path, path.name, tooltip, button, 2)

    def _add_results(self, found: FoundResults) -> None:
        button = QPushButton("Show" if found.has_heatmap else "Folder")
        button.clicked.connect(lambda: self.results_wanted.emit(found))
        when = "" if found.finished is None else f"finished {_local(found.finished)}\n"
        tooltip = f"{when}{found.model_name or 'unknown model'}\n{found.folder}"
        word = found.node_class
        columns = 2 if word is None else 1
        row = self._add_row(found.folder, _title(found), tooltip, button, columns)
        if word is not None:
            self._place(chip(CLASS_TITLES[word], CLASS_COLOURS[word], size_pt=9), row, 1)

    def _add_row(
        self, path: Path, text: str, tooltip: str, button: QPushButton, columns: int
    ) -> int:
        row = len(self.buttons)
        label = QElidingLabel(text)
        label.setElideMode(Qt.TextElideMode.ElideMiddle)
        label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        label.setToolTip(tooltip)
        self._place(label, row, 0, columns=columns)
        self._place(button, row, 2)
        self.buttons[path] = button
        return row

    def _place(self, widget: QWidget, row: int, column: int, *, columns: int = 1) -> None:
        self._grid.addWidget(widget, row, column, 1, columns)
        self._shown.append(widget)


def _title(found: FoundResults) -> str:
    if found.finished is None:
        return f"results in {found.folder.parent.name}"
    return f"results {_local(found.finished)[:10]}"


def _local(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"
