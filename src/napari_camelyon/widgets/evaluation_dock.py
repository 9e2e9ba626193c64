"""The "Evaluation" dock: scores that were computed, and the cases behind every number."""

import math
from collections.abc import Sequence
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.errors import CamelyonError
from napari_camelyon.evaluation import Case, ScoreFile, cases_at, cases_of_cell, read_score_file
from napari_camelyon.widgets.froc_plot import FrocPlot
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.style import disclaimer, note, sentence

__all__ = ["EvaluationDock"]

_AROUND_PX = 600
"""How much is shown on either side of a case, in level-0 pixels."""


class EvaluationDock(QWidget):
    """Shows scores; a click on a point or a cell lists its cases, a click on one opens it."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self.scores: ScoreFile | None = None
        self.slides: Path | None = None
        self._build()
        self._show()

    def open_scores(self, path: Path | str) -> None:
        """Show the scores of a file; what is wrong with it is said."""
        try:
            self.scores = read_score_file(path)
        except CamelyonError as error:
            show_error(str(error))
            return
        self._show()

    def open_case(self, case: Case) -> None:
        """Bring a case into the window, opening its slide if it has to be."""
        if not self._show_slide(case.name):
            return
        if case.x_px is None or case.y_px is None:
            if case.name in self._view.nodes:
                self._view.go_to(case.name)
            return
        x_px, y_px = case.x_px, case.y_px
        self._view.look_at(
            (x_px - _AROUND_PX, y_px - _AROUND_PX, x_px + _AROUND_PX, y_px + _AROUND_PX)
        )

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        open_button = QPushButton("Open scores …")
        open_button.setToolTip("What napari-camelyon evaluate … --out wrote.")
        open_button.clicked.connect(self._ask_for_scores)
        self.slides_button = QPushButton("Slides …")
        self.slides_button.setToolTip("The folder in which the slides of the cases lie.")
        self.slides_button.clicked.connect(self._ask_for_slides)
        buttons = QHBoxLayout()
        buttons.addWidget(open_button)
        buttons.addWidget(self.slides_button)
        self.summary = sentence()
        self.plot = FrocPlot()
        self.plot.chosen.connect(self._show_point)
        self.tables: list[QTableWidget] = []
        self._table_box = QVBoxLayout()
        self.cases_title = note()
        self.cases = QListWidget()
        self.cases.itemActivated.connect(self._open_item)
        self.cases.itemClicked.connect(self._open_item)
        layout = QVBoxLayout(self)
        layout.addLayout(buttons)
        layout.addWidget(self.summary)
        layout.addWidget(self.plot)
        layout.addLayout(self._table_box)
        layout.addWidget(self.cases_title)
        layout.addWidget(self.cases, 100)
        layout.addStretch(1)  # takes the room while there is no list
        layout.addWidget(disclaimer())
        self.setMinimumWidth(320)

    def _show(self) -> None:
        scores = self.scores
        self.plot.setVisible(bool(scores and scores.points))
        self.cases_title.setVisible(scores is not None)
        self.cases.setVisible(scores is not None)
        self._list((), "")
        for table in self.tables:
            self._table_box.removeWidget(table)
            table.hide()
            table.deleteLater()
        self.tables = []
        if scores is None:
            self.summary.setText(
                "Compare predictions with labels on the command line, with "
                "“napari-camelyon evaluate … --out scores.json”, and open the file here to look at "
                "the cases behind each number."
            )
            return
        self.plot.show_points(scores.points)
        self.summary.setText("\n".join([one.summary for one in scores.tables] or [scores.summary]))
        for number, told in enumerate(scores.tables):
            shown = self._confusion(number, told.order, told.counts)
            self.tables.append(shown)
            self._table_box.addWidget(shown)
        hint = (
            "Sensitivity over false positives. Click a point."
            if scores.points
            else "Rows are the truth, columns what was predicted. Click a cell."
        )
        self._list((), hint)

    def _confusion(
        self, number: int, order: Sequence[str], counts: Sequence[Sequence[int]]
    ) -> QTableWidget:
        table = QTableWidget(len(order), len(order))
        table.setHorizontalHeaderLabels(list(order))
        table.setVerticalHeaderLabels(list(order))
        table.setToolTip("Rows are the truth, columns what was predicted.")
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for row, values in enumerate(counts):
            for column, value in enumerate(values):
                item = QTableWidgetItem(str(value) if value else "·")
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                font = item.font()
                font.setBold(bool(value) and row != column)
                item.setFont(font)
                table.setItem(row, column, item)
        for header in (table.horizontalHeader(), table.verticalHeader()):
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            font = header.font()
            font.setPointSizeF(8)  # or "pN0(i+)" does not fit
            header.setFont(font)
            header.setDefaultAlignment(Qt.AlignmentFlag.AlignCenter)
        table.setFixedHeight(26 * (len(order) + 1) + 6)
        table.cellClicked.connect(lambda row, column: self._show_cell(number, row, column))
        return table

    def _list(self, cases: Sequence[Case], title: str) -> None:
        self.cases_title.setText(title)
        self.cases.clear()
        for case in cases:
            item = QListWidgetItem(f"{case.name}: {case.what}")
            item.setData(Qt.ItemDataRole.UserRole, case)
            self.cases.addItem(item)

    def _show_point(self, number: int) -> None:
        if self.scores is None:
            return
        point = self.scores.points[number]
        cases = cases_at(self.scores, point.threshold)
        at = "Nothing detected" if math.isinf(point.threshold) else f"From {point.threshold:.3f} on"
        self._list(
            cases,
            f"{at}: sensitivity {point.sensitivity:.2f} at {point.false_positives_per_slide:.2f} "
            f"false positives a slide; {len(cases)} to look at.",
        )

    def _show_cell(self, number: int, row: int, column: int) -> None:
        if self.scores is None:
            return
        table = self.scores.tables[number]
        true, predicted = table.order[row], table.order[column]
        cases = cases_of_cell(table, true, predicted)
        said = "found so" if row == column else f"taken for {predicted}"
        count = len(cases)
        whom = f"{count} {table.what} are" if count != 1 else f"1 {table.what[:-1]} is"
        self._list(cases, f"{whom} {true} and {said}.")

    # -- what a person does ---------------------------------------------------------------------

    def _open_item(self, item: QListWidgetItem) -> None:
        self.open_case(item.data(Qt.ItemDataRole.UserRole))

    def _show_slide(self, name: str) -> bool:
        """Show the slide of a case, or the slides of a patient; tell whether one is shown."""
        known = [one for one in self._view.nodes if one == name or one.startswith(f"{name}_node_")]
        if known:
            self._view.show(known[0])
            return True
        found = sorted(self.slides.glob(f"{name}*")) if self.slides is not None else []
        found = [
            one
            for one in found
            if one.suffix.lower() not in (".xml", ".geojson", ".json", ".csv")
            and (one.stem == name or one.stem.startswith(f"{name}_node_"))
        ]
        if not found:
            where = (
                f"in {self.slides}" if self.slides else "open; choose their folder with Slides …"
            )
            show_info(f"The slide of {name} is not {where}.")
            return False
        for path in reversed(found):
            try:
                self._view.open_slide(path)
            except CamelyonError as error:
                show_error(str(error))
                return False
        return True

    def _ask_for_scores(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open scores", "", "Scores (*.json)")
        if path:
            self.open_scores(path)

    def _ask_for_slides(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Where the slides lie")
        if folder:
            self.slides = Path(folder)
