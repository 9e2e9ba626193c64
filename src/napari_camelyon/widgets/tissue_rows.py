"""The rows of the "Tissue" dock: pieces, spoilt areas, and how much tissue a patch needs."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_camelyon.tissue import TissueChoice, TissueOutlines

__all__ = ["TissueRows"]

_TITLES = {"pen": "Pen", "blur": "Out of focus", "fold": "Folds"}
_KEY = Qt.ItemDataRole.UserRole
_BOXES = "QTreeWidget::indicator:unchecked { border: 1px solid #9aa3b2; border-radius: 2px; }"
"""napari's own style draws nothing where a box is not checked."""


class TissueRows(QWidget):
    """Shows a choice, and tells what a person changes in it."""

    piece_switched = Signal(int, bool)
    """A piece is to be switched on or off."""
    piece_wanted = Signal(int)
    """A piece is to be brought into view."""
    kind_switched = Signal(str, bool)
    """Spoilt areas of a kind are to be left out, or no more."""
    min_tissue_changed = Signal(float)
    """Per cent of tissue that a patch needs."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = _tree(("Piece", "Area"))
        self.pieces.itemChanged.connect(
            lambda item, _column: self.piece_switched.emit(item.data(0, _KEY), _is_checked(item))
        )
        self.pieces.itemClicked.connect(self._on_click)
        self.spoilt = _tree(("Leave out", "Areas", "In all"))
        self.spoilt.itemChanged.connect(
            lambda item, _column: self.kind_switched.emit(item.data(0, _KEY), _is_checked(item))
        )
        self.min_tissue = QDoubleSpinBox()
        self.min_tissue.setRange(0, 100)
        self.min_tissue.setDecimals(0)
        self.min_tissue.setSingleStep(5)
        self.min_tissue.setSuffix(" %")
        self.min_tissue.setToolTip("Patches with less tissue are not predicted.")
        self.min_tissue.valueChanged.connect(self.min_tissue_changed)
        form = QFormLayout()
        form.addRow("Tissue in a patch at least", self.min_tissue)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pieces, 3)
        layout.addWidget(self.spoilt, 2)
        layout.addLayout(form)

    def show_choice(self, outlines: TissueOutlines, choice: TissueChoice | None) -> None:
        """Show what was chosen; None while it is being computed."""
        with signals_blocked(self.min_tissue):
            self.min_tissue.setValue(outlines.min_tissue_fraction * 100)
        with signals_blocked(self.pieces):
            self.pieces.clear()
            if choice is not None and choice.found is not None:
                for piece in choice.found.pieces:
                    size = f"{piece.area_mm2:,.2f} mm²"
                    on = piece.number not in choice.off
                    item = _row(self.pieces, (str(piece.number), size), piece.number, checked=on)
                    item.setToolTip(1, "Click to go there")
        with signals_blocked(self.spoilt):
            self.spoilt.clear()
            if choice is not None and choice.quality is not None:
                for kind in choice.quality.masks:
                    areas = [area for area in choice.quality.areas if area.kind == kind]
                    size = f"{choice.quality.area_mm2(kind):,.2f} mm²" if areas else "none found"
                    texts = (_TITLES[kind], f"{len(areas):,}" if areas else "", size)
                    _row(self.spoilt, texts, kind, checked=kind in outlines.leave_out)

    def _on_click(self, item: QTreeWidgetItem, column: int) -> None:
        if column > 0:  # the first one is that of the box
            self.piece_wanted.emit(item.data(0, _KEY))


def _tree(titles: tuple[str, ...]) -> QTreeWidget:
    tree = QTreeWidget()
    tree.setHeaderLabels(titles)
    tree.setRootIsDecorated(False)
    tree.setUniformRowHeights(True)
    tree.setStyleSheet(_BOXES)
    tree.setMinimumHeight(5 * tree.fontMetrics().height())
    return tree


def _row(
    tree: QTreeWidget, texts: tuple[str, ...], key: object, *, checked: bool
) -> QTreeWidgetItem:
    item = QTreeWidgetItem(tree, texts)
    item.setData(0, _KEY, key)
    item.setCheckState(0, Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
    for column in range(1, len(texts)):
        item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
    return item


def _is_checked(item: QTreeWidgetItem) -> bool:
    return item.checkState(0) == Qt.CheckState.Checked
