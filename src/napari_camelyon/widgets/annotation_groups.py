"""The groups of the annotations: colour, name, count, and whether they are shown and locked."""

from dataclasses import replace

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.annotations import Group, group_renamed
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.style import note

__all__ = ["GroupTable", "swatch"]

NO_GROUP = "(no group)"
_SHOWN, _NAME, _COUNT, _LOCKED = range(4)


class GroupTable(QWidget):
    """A row a group; the chosen row is the group that is drawn in."""

    assign_wanted = Signal(object)
    """The selected regions are to belong to this group."""

    def __init__(self) -> None:
        super().__init__()
        self.editor: AnnotationEditor | None = None
        self._names: list[str | None] = []
        self._filling = False
        self.table = QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels(["Shown", "Group", "Regions", "Locked"])
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(110)
        self.table.itemChanged.connect(self._on_item_changed)
        self.table.itemSelectionChanged.connect(self._on_row_chosen)

        self.add_button = QPushButton("New group")
        self.add_button.clicked.connect(self._add_group)
        self.colour_button = QPushButton("Colour …")
        self.colour_button.clicked.connect(self._ask_colour)
        self.assign_button = QPushButton("Assign selected")
        self.assign_button.setToolTip("Put the selected regions into the chosen group.")
        self.assign_button.clicked.connect(self._assign)
        buttons = QHBoxLayout()
        for button in (self.add_button, self.colour_button, self.assign_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 4, 0)
        layout.addWidget(self.table, 1)
        layout.addLayout(buttons)
        layout.addWidget(
            note("New regions go to the chosen group. Double-click a name to change it.")
        )

    def show_groups(self, editor: AnnotationEditor | None) -> None:
        """Show the groups of an editor as they are now."""
        self.editor = editor
        self._filling = True
        names = [] if editor is None else editor.group_names()
        counts: dict[str | None, int] = {}
        for annotation in () if editor is None else editor.now:
            counts[annotation.group] = counts.get(annotation.group, 0) + 1
        self._names = names
        self.table.setRowCount(len(names))
        for row, name in enumerate(names):
            assert editor is not None
            self._fill_row(editor, row, name, counts.get(name, 0))
        if editor is not None and editor.draw_group in names:
            self.table.selectRow(names.index(editor.draw_group))
        self._filling = False
        for button in (self.add_button, self.colour_button, self.assign_button):
            button.setEnabled(editor is not None)
        self.colour_button.setEnabled(editor is not None and editor.draw_group is not None)
        self.assign_button.setEnabled(editor is not None and bool(editor.selected))

    def _fill_row(self, editor: AnnotationEditor, row: int, name: str | None, count: int) -> None:
        title = QTableWidgetItem(swatch(editor.colour(name)), NO_GROUP if name is None else name)
        number = QTableWidgetItem(f"{count:,}")
        number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        number.setFlags(number.flags() & ~Qt.ItemFlag.ItemIsEditable)
        if name is None:
            title.setFlags(title.flags() & ~Qt.ItemFlag.ItemIsEditable)
        self.table.setItem(row, _NAME, title)
        self.table.setItem(row, _COUNT, number)
        for column, on in (
            (_SHOWN, name not in editor.hidden),
            (_LOCKED, name in editor.locked),
        ):
            box = QTableWidgetItem()
            box.setFlags(
                Qt.ItemFlag.ItemIsUserCheckable
                | Qt.ItemFlag.ItemIsEnabled
                | Qt.ItemFlag.ItemIsSelectable
            )
            box.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
            self.table.setItem(row, column, box)

    # -- what a person does ---------------------------------------------------------------------

    def _on_row_chosen(self) -> None:
        rows = {item.row() for item in self.table.selectedItems()}
        if self._filling or self.editor is None or len(rows) != 1:
            return
        name = self._names[rows.pop()]
        if name != self.editor.draw_group:
            self.editor.draw_in(name)

    def _on_item_changed(self, item: QTableWidgetItem) -> None:
        if self._filling or self.editor is None:
            return
        name = self._names[item.row()]
        if item.column() == _NAME and name is not None:
            self._rename(name, item.text().strip())
            return
        on = item.checkState() == Qt.CheckState.Checked
        if item.column() == _SHOWN:
            self.editor.hide(name, not on)
        elif item.column() == _LOCKED:
            self.editor.lock(name, on)

    def _rename(self, old: str, new: str) -> None:
        assert self.editor is not None
        if not new or new == old or new in self._names:
            self.show_groups(self.editor)  # empty or taken: the old name comes back
            return
        follows = self.editor.draw_group == old
        self.editor.edit(f"rename group {old}", group_renamed(self.editor.now, old, new))
        if follows:
            self.editor.draw_in(new)

    def _add_group(self) -> None:
        assert self.editor is not None
        number = 1
        while f"Group {number}" in self._names:
            number += 1
        colour = _COLOURS[len(self._names) % len(_COLOURS)]
        new = Group(f"Group {number}", colour=colour)
        self.editor.set_groups("new group", [*self.editor.now.groups, new])
        self.editor.draw_in(new.name)
        item = self.table.item(self._names.index(new.name), _NAME)
        if item is not None:
            self.table.editItem(item)

    def _ask_colour(self) -> None:
        assert self.editor is not None
        name = self.editor.draw_group
        if name is None:
            return
        colour = QColorDialog.getColor(QColor(self.editor.colour(name)), self, f"Colour of {name}")
        if colour.isValid():
            self.recolour(name, colour.name())

    def recolour(self, name: str, colour: str) -> None:
        """Give a group a colour, ``#rrggbb``."""
        assert self.editor is not None
        groups = list(self.editor.now.groups)
        if all(group.name != name for group in groups):
            groups.append(Group(name))
        groups = [
            replace(group, colour=colour) if group.name == name else group for group in groups
        ]
        self.editor.set_groups(f"recolour {name}", groups)

    def _assign(self) -> None:
        assert self.editor is not None
        self.assign_wanted.emit(self.editor.draw_group)


# Okabe and Ito's colours (2008), which colour-blind people can tell apart; black left out.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


def swatch(colour: str) -> QIcon:
    """Return a small square of a colour."""
    picture = QPixmap(14, 14)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setPen(QColor("#16181d"))
    painter.setBrush(QColor(colour))
    painter.drawRoundedRect(0, 0, 13, 13, 3, 3)
    painter.end()
    return QIcon(picture)
