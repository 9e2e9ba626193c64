"""The groups of the annotations as a tree: what they mean, whether they are shown and locked."""

from collections.abc import Callable

from qtpy.QtCore import QPoint, QPointF, QRectF, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QGridLayout,
    QHeaderView,
    QMenu,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.annotations import GroupRow, group_meaning, group_tree
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.group_actions import (
    MEANINGS,
    add_group,
    copy_selected,
    fill_group_menu,
    fill_means_menu,
    recolour,
    rename_group,
)
from napari_camelyon.widgets.style import note
from napari_camelyon.widgets.tumour_area import TumourArea

__all__ = ["NO_GROUP", "GroupPage", "swatch"]

NO_GROUP = "(no group)"
_NAME, _MEANS, _COUNT, _SHOWN, _LOCKED = range(5)
_INDENT_PX = 12
_COLOUR = Qt.ItemDataRole.UserRole
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_GREY = "#9aa3b2"  # readable in napari's dark and light theme


class GroupPage(QWidget):
    """A row a group; the chosen row is the group that is drawn in."""

    assign_wanted = Signal(object)
    """The selected regions are to belong to this group."""

    def __init__(self) -> None:
        super().__init__()
        self.editor: AnnotationEditor | None = None
        self._rows: list[GroupRow] = []
        self._items: dict[str | None, QTreeWidgetItem] = {}
        self._build()

    def show_groups(self, editor: AnnotationEditor | None) -> None:
        """Show the groups of an editor as they are now."""
        other = editor is not self.editor
        self.editor = editor
        rows = [] if editor is None else group_tree(editor.now)
        with QSignalBlocker(self.tree):
            if other or _nesting(rows) != _nesting(self._rows):
                self._make_items(rows)
            # While a name is being edited its row stays: the same items, filled anew.
            self._items = dict(zip([row.name for row in rows], self._items.values(), strict=True))
            self._rows = rows
            if editor is not None:
                for row in rows:
                    self._fill_item(editor, row)
                self._choose(editor.draw_group)
        self._show_buttons()
        self.area.show_area_of(editor)

    def _choose(self, name: str | None) -> None:
        if name in self._items:
            self.tree.setCurrentItem(self._items[name])
        else:
            self.tree.clearSelection()

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.area = TumourArea()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 4, 0)
        layout.addWidget(self._tree(), 1)
        layout.addWidget(self.area)
        layout.addLayout(self._buttons())
        layout.addWidget(
            note("New regions go to the chosen group. Double-click a name to change it.")
        )

    def _tree(self) -> QTreeWidget:
        self.tree = _Tree()
        self.tree.setHeaderLabels(["Group", "Means", "Regions", "", ""])
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.tree.setExpandsOnDoubleClick(False)  # it renames
        self.tree.setUniformRowHeights(True)
        self.tree.setIndentation(_INDENT_PX)
        self.tree.setMinimumHeight(110)
        self.tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        titles = self.tree.headerItem()
        titles.setToolTip(_MEANS, "Whether outlines are tumour or cut out of it; click to change")
        titles.setTextAlignment(_COUNT, _RIGHT)
        for column, picture, tip in (
            (_SHOWN, _eye(), "Shown: a group and all groups in it"),
            (_LOCKED, _padlock(), "Locked, neither picked nor changed: a group and all in it"),
        ):
            titles.setIcon(column, picture)
            titles.setToolTip(column, tip)
        self.tree.itemChanged.connect(self._on_item_changed)
        self.tree.itemSelectionChanged.connect(self._on_row_chosen)
        self.tree.itemClicked.connect(self._on_clicked)
        self.tree.itemDoubleClicked.connect(self._on_double_clicked)
        self.tree.customContextMenuRequested.connect(self._on_context_menu)
        return self.tree

    def _buttons(self) -> QGridLayout:
        self.add_button = QPushButton("New group")
        self.add_button.clicked.connect(self._add_group)
        self.colour_button = QPushButton("Colour …")
        self.colour_button.clicked.connect(self._ask_colour)
        self.more_button = QPushButton("More")
        self.more_button.setToolTip("Put the chosen group under another, delete it; maps of groups")
        self.menu = QMenu(self)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.more_button.setMenu(self.menu)
        self.means_menu = QMenu(self)
        self.assign_button = QPushButton("Assign selected")
        self.assign_button.setToolTip("Put the selected regions into the chosen group.")
        self.assign_button.clicked.connect(self._assign)
        self.copy_button = QPushButton("Copy to group")
        self.copy_button.setToolTip("Put copies of the selected regions into the chosen group.")
        self.copy_button.clicked.connect(self._copy)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        for column, button in enumerate((self.add_button, self.colour_button, self.more_button)):
            buttons.addWidget(button, 0, 2 * column, 1, 2)
        buttons.addWidget(self.assign_button, 1, 0, 1, 3)
        buttons.addWidget(self.copy_button, 1, 3, 1, 3)
        return buttons

    def _make_items(self, rows: list[GroupRow]) -> None:
        closed = {name for name, item in self._items.items() if not item.isExpanded()}
        had_rows = {row.name for row in self._rows if row.has_subgroups}
        self.tree.clear()
        self._items = {}
        for row in rows:
            parent = self._items.get(row.under) if row.under is not None else None
            item = QTreeWidgetItem(self.tree if parent is None else parent)
            self._items[row.name] = item
        for name, item in self._items.items():
            item.setExpanded(name not in closed & had_rows)
        self.tree.setRootIsDecorated(any(row.under is not None for row in rows))

    def _fill_item(self, editor: AnnotationEditor, row: GroupRow) -> None:
        item, name = self._items[row.name], row.name
        item.setFlags(
            Qt.ItemFlag.ItemIsEnabled
            | Qt.ItemFlag.ItemIsSelectable
            | Qt.ItemFlag.ItemIsUserCheckable
            | (Qt.ItemFlag.ItemIsEditable if name is not None else Qt.ItemFlag.NoItemFlags)
        )
        item.setText(_NAME, NO_GROUP if name is None else name)
        item.setToolTip(_NAME, "" if name is None else name)
        colour = editor.colour(name)
        if item.data(_NAME, _COLOUR) != colour:
            item.setData(_NAME, _COLOUR, colour)
            item.setIcon(_NAME, swatch(colour))
        meaning = group_meaning(name, editor.now.groups, editor.profile.profile)
        item.setText(_MEANS, MEANINGS[meaning] if meaning else "–")
        item.setText(_COUNT, f"{row.regions:,}")
        item.setTextAlignment(_COUNT, _RIGHT)
        for column, on in (
            (_SHOWN, name not in editor.hidden),
            (_LOCKED, name in editor.locked),
        ):
            item.setCheckState(column, Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def _show_buttons(self) -> None:
        editor = self.editor
        for button in (self.add_button, self.more_button):
            button.setEnabled(editor is not None)
        group = None if editor is None else editor.draw_group
        under = next((row.under for row in self._rows if row.name == group), None)
        self.colour_button.setEnabled(group is not None and under is None)
        self.colour_button.setToolTip(
            "" if under is None else "Drawn in the colour of the outermost group it lies in."
        )
        for button in (self.assign_button, self.copy_button):
            button.setEnabled(editor is not None and bool(editor.selected))

    # -- what a person does ---------------------------------------------------------------------

    def _name_of(self, item: QTreeWidgetItem | None) -> str | None:
        return next((name for name, known in self._items.items() if known is item), None)

    def _on_row_chosen(self) -> None:
        chosen = self.tree.selectedItems()
        if self.editor is not None and len(chosen) == 1:
            name = self._name_of(chosen[0])
            if name != self.editor.draw_group:
                self.editor.draw_in(name)

    def _on_item_changed(self, item: QTreeWidgetItem, column: int) -> None:
        if self.editor is None:
            return
        name = self._name_of(item)
        on = item.checkState(column) == Qt.CheckState.Checked
        if column == _SHOWN:
            self.editor.hide(name, not on)
        elif column == _LOCKED:
            self.editor.lock(name, on)
        elif name is not None and not rename_group(self.editor, name, item.text(_NAME).strip()):
            self.show_groups(self.editor)  # empty or taken: the old name comes back

    def _on_double_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        if column == _NAME:
            self.tree.editItem(item, _NAME)

    def _on_clicked(self, item: QTreeWidgetItem, column: int) -> None:
        name = self._name_of(item)
        if self.editor is None or column != _MEANS or name is None:
            return
        self.means_menu.clear()
        fill_means_menu(self.means_menu, self.editor, name)
        cell = self.tree.visualItemRect(item)
        left = self.tree.columnViewportPosition(_MEANS)
        self.means_menu.popup(self.tree.viewport().mapToGlobal(QPoint(left, cell.bottom())))

    def _on_context_menu(self, at: QPoint) -> None:
        if self.editor is None:
            return
        item = self.tree.itemAt(at)
        if item is not None:
            self.tree.setCurrentItem(item)
        self.menu.popup(self.tree.viewport().mapToGlobal(at))

    def _fill_menu(self) -> None:
        if self.editor is not None:
            group = self.editor.draw_group
            fill_group_menu(
                self.menu,
                self.editor,
                group if group in self._items else None,
                ask_name=self._ask_name,
                ask_colour=self._ask_colour,
            )

    def _add_group(self) -> None:
        if self.editor is not None:
            add_group(self.editor)
            self._ask_name()

    def _ask_name(self) -> None:
        item = self.tree.currentItem()
        if item is not None:
            self.tree.scrollToItem(item)
            self.tree.editItem(item, _NAME)

    def _ask_colour(self) -> None:
        editor = self.editor
        if editor is None or editor.draw_group is None:
            return
        name = editor.draw_group
        colour = QColorDialog.getColor(QColor(editor.colour(name)), self, f"Colour of {name}")
        if colour.isValid():
            recolour(editor, name, colour.name())

    def _assign(self) -> None:
        if self.editor is not None:
            self.assign_wanted.emit(self.editor.draw_group)

    def _copy(self) -> None:
        if self.editor is not None:
            copy_selected(self.editor, self.editor.draw_group)


class _Tree(QTreeWidget):
    """A tree that takes what room there is and makes do with a few rows."""

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the tree would like: the buttons below it are to be seen too."""
        return QSize(200, 130)


def _nesting(rows: list[GroupRow]) -> list[int]:
    """Return for each row the place of the row it is shown under, -1 for none."""
    places = {row.name: place for place, row in enumerate(rows)}
    return [-1 if row.under is None else places[row.under] for row in rows]


def swatch(colour: str) -> QIcon:
    """Return a small square of a colour."""

    def draw(painter: QPainter) -> None:
        painter.setPen(QColor("#16181d"))
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(0, 0, 13, 13, 3, 3)

    return _icon(draw)


def _eye() -> QIcon:
    def draw(painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(_GREY), 1.5))
        outline = QPainterPath(QPointF(0.5, 7))
        outline.quadTo(7, -1, 13.5, 7)
        outline.quadTo(7, 15, 0.5, 7)
        painter.drawPath(outline)
        painter.setBrush(QColor(_GREY))
        painter.drawEllipse(QPointF(7, 7), 1.6, 1.6)

    return _icon(draw)


def _padlock() -> QIcon:
    def draw(painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(_GREY), 1.5))
        painter.drawArc(QRectF(4, 1, 6, 10), 0, 180 * 16)
        painter.setBrush(QColor(_GREY))
        painter.drawRoundedRect(QRectF(2.5, 6.5, 9, 6.5), 1, 1)

    return _icon(draw)


def _icon(draw: Callable[[QPainter], None]) -> QIcon:
    picture = QPixmap(14, 14)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    draw(painter)
    painter.end()
    return QIcon(picture)
