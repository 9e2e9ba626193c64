"""The "pN stage" dock: the patient's stage at the top, its reasons, and a row for every node."""

from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.node_row import NodeRow
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.style import STAGE_COLOURS, chip, disclaimer, note, set_chip

__all__ = ["StageDock"]

_SLIDE_FILES = (
    "Slides (*.tif *.tiff *.svs *.ndpi *.mrxs *.scn *.vms *.vmu *.bif *.dcm);;All files (*)"
)
_RESTAGE_AFTER_MS = 40


class StageDock(QWidget):
    """Shows the patient: stage, reasons, nodes; and lets a person move the threshold."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self.rows: dict[str, NodeRow] = {}
        self._restage_soon = QTimer(self)
        self._restage_soon.setSingleShot(True)
        self._restage_soon.setInterval(_RESTAGE_AFTER_MS)
        self._restage_soon.timeout.connect(self._restage)
        self._build()
        self._view.nodes_changed.connect(self._show_nodes)
        self._view.shown_changed.connect(self._show_all)
        self._view.node_updated.connect(self._show_node)
        self._view.staged.connect(self._show_stage)
        self._show_nodes()

    def open_slides(self, paths: list[str]) -> None:
        """Open slides as nodes of this patient; what cannot be opened is said, the rest opens."""
        for path in paths:
            try:
                self._view.open_slide(path)
            except CamelyonError as error:
                show_error(str(error))

    def save(self, folder: Path | str) -> None:
        """Write the results of every node and the patient into a folder."""
        try:
            written = self._view.save(folder)
        except CamelyonError as error:
            show_error(str(error))
        else:
            show_info(f"Saved to {written}")

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.stage_chip = chip("–", size_pt=20)
        self.stage_title = QLabel()
        self.stage_title.setStyleSheet("font-size: 11pt; font-weight: 600;")
        self.reasons = QLabel()
        self.reasons.setWordWrap(True)
        self.reasons.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        head = QHBoxLayout()
        head.addWidget(self.stage_chip)
        head.addSpacing(8)
        head.addWidget(self.stage_title, 1)

        self.threshold_slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.threshold_slider.setRange(0.05, 0.95)
        self.threshold_slider.setDecimals(2)
        self.threshold_slider.setValue(self._view.threshold)
        self.threshold_slider.setToolTip("Probability from which a patch counts as tumour.")
        self.threshold_slider.valueChanged.connect(lambda _value: self._restage_soon.start())

        self.node_list = QVBoxLayout()
        self.node_list.setContentsMargins(0, 0, 4, 0)
        self.node_list.setSpacing(6)
        self.node_list.addStretch(1)
        inner = QWidget()
        inner.setLayout(self.node_list)
        self.node_scroll = QScrollArea()
        self.node_scroll.setWidgetResizable(True)
        self.node_scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.node_scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.node_scroll.setWidget(inner)

        add = QPushButton("Add slides …")
        add.clicked.connect(self._ask_for_slides)
        self.remove_button = QPushButton("Remove")
        self.remove_button.setToolTip("Take the shown slide out of this patient.")
        self.remove_button.clicked.connect(self._remove_shown)
        self.save_button = QPushButton("Save results …")
        self.save_button.clicked.connect(self._ask_for_folder)
        buttons = QHBoxLayout()
        for button in (add, self.remove_button, self.save_button):
            buttons.addWidget(button)

        self.explanation = note(
            "CAMELYON17 rule: macro > 2.0 mm, micro > 0.2 mm, ITC ≤ 0.2 mm. "
            "Isolated tumour cells never count as positive."
        )
        layout = QVBoxLayout(self)
        layout.addLayout(head)
        layout.addWidget(self.reasons)
        layout.addSpacing(4)
        layout.addWidget(note("Threshold"))
        layout.addWidget(self.threshold_slider)
        layout.addWidget(self.node_scroll, 1)
        layout.addLayout(buttons)
        layout.addWidget(self.explanation)
        layout.addWidget(disclaimer())
        self.setMinimumWidth(300)

    def _show_nodes(self) -> None:
        for name in list(self.rows):
            if name not in self._view.nodes:
                row = self.rows.pop(name)
                self.node_list.removeWidget(row)
                row.deleteLater()
        for name, node in self._view.nodes.items():
            if name not in self.rows:
                row = NodeRow(name, node)
                row.clicked.connect(self._view.go_to)
                self.node_list.insertWidget(self.node_list.count() - 1, row)
                self.rows[name] = row
        self._show_all()

    def _show_all(self) -> None:
        for name in self.rows:
            self._show_node(name)
        self.remove_button.setEnabled(self._view.shown is not None)
        self._show_stage()

    def _show_node(self, name: str) -> None:
        node = self._view.nodes.get(name)
        if node is not None and name in self.rows:
            self.rows[name].update_from(node, shown=name == self._view.shown)

    def _show_stage(self) -> None:
        nodes = self._view.nodes
        if not self._restage_soon.isActive():  # else a person is moving it
            with signals_blocked(self.threshold_slider):
                self.threshold_slider.setValue(self._view.threshold)
        result = self._view.stage()
        self.save_button.setEnabled(result is not None)
        if result is None:
            set_chip(self.stage_chip, "pN ?", size_pt=20)
            count = len(nodes)
            self.stage_title.setText(f"{count} node{'s' if count != 1 else ''}")
            self.reasons.setText(
                "Run the model over the nodes in the Inference dock; the stage follows."
                if nodes
                else "Add the slides of one patient, one or more for each node."
            )
            return
        if result.is_certain:
            set_chip(self.stage_chip, result.stage, STAGE_COLOURS[result.stage], size_pt=20)
        elif result.lowest == "pN0":  # "at least pN0" says nothing
            set_chip(self.stage_chip, "pN ?", size_pt=20)
        else:
            text = f"≥ {result.lowest}"
            set_chip(self.stage_chip, text, STAGE_COLOURS[result.lowest], size_pt=20)
        self.stage_title.setText(f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}")
        self.reasons.setText(" ".join(result.reasons))

    # -- what a person does ---------------------------------------------------------------------

    def _restage(self) -> None:
        self._view.set_threshold(self.threshold_slider.value())

    def _ask_for_slides(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add slides", "", _SLIDE_FILES)
        self.open_slides(paths)

    def _remove_shown(self) -> None:
        node = self._view.shown_node
        if node is None:
            return
        if node.status.startswith(("starting", "running", "paused")):
            show_info("This slide is being predicted; cancel the run first.")
            return
        self._view.remove(node.slide.name)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Save results to")
        if folder:
            self.save(folder)
