"""What is known of a slide, as a small table from which a person can copy."""

from dataclasses import dataclass

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QRect, QSize, Qt
from qtpy.QtGui import QGuiApplication, QKeySequence, QResizeEvent, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMenu,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import ColourTransform, Slide, colour_transform

__all__ = ["FactsTable", "Looked", "fact_rows", "look_up"]

_READERS = {
    "tiff": "direct decoding of its tiles",
    "openslide": "OpenSlide",
    "zarr": "zarr",
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What of a slide has to be looked up, which may read from the file.

    Attributes
    ----------
    slide : Slide
    reader : str
        What reads it, for people, or why nothing does.
    colour : ColourTransform or None
        By way of its colour profile, if it has a usable one.
    colour_note : str
        Of `slides.colour_transform`.
    """

    slide: Slide
    reader: str
    colour: ColourTransform | None = None
    colour_note: str = "unknown"


def look_up(slide: Slide) -> Looked:
    """Look up what reads a slide and whether it has a colour profile; in a thread. Never raises."""
    try:
        return Looked(slide, _READERS[slide.backend], *colour_transform(slide))
    except SlideError as error:
        return Looked(slide, str(error))


def fact_rows(
    slide: Slide, looked: Looked | None = None, damaged: int = 0
) -> list[tuple[str, str]]:
    """Return names and values for people.

    Parameters
    ----------
    slide : Slide
    looked : Looked or None
        None while it is being looked up.
    damaged : int
        Tiles that could not be read so far.
    """
    size = f"{slide.width_px:,} × {slide.height_px:,} px"
    if slide.mpp is None:
        mpp = f"unknown: {slide.mpp_note}"
    else:
        x, y = slide.mpp
        size += f"\n{slide.width_px * x / 1000:.2f} × {slide.height_px * y / 1000:.2f} mm"
        value = f"{x:.4g}" if x == y else f"{x:.4g} × {y:.4g}"
        mpp = f"{value} µm/px, {slide.mpp_note}"
    power = slide.objective_power
    factors = ", ".join(f"{level.downsample_x:.4g}" for level in slide.levels)
    levels = f"{len(slide.levels)} (1:{factors.replace(', ', ', 1:')})"
    return [
        ("Size", size),
        ("Pixel size", mpp),
        ("Objective", "not stated" if power is None else f"{power:g}×, stated by the file"),
        ("Format", slide.vendor),
        ("Levels", levels),
        ("Tiles", f"{slide.tile_px} px"),
        ("Read by", "…" if looked is None else looked.reader),
        ("Colours", "…" if looked is None else looked.colour_note),
        *([("Damaged", f"{damaged} tile{'s' * (damaged != 1)} so far")] if damaged else []),
        ("File", str(slide.path)),
    ]


class FactsTable(QTreeWidget):
    """Two columns; below the facts, folded, all that the file states in its own words."""

    def __init__(self) -> None:
        super().__init__()
        self._facts: list[QTreeWidgetItem] = []
        self._stated: QTreeWidgetItem | None = None
        self.setColumnCount(2)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(True)
        self.setIndentation(12)
        self.setUniformRowHeights(False)
        self.setWordWrap(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.header().setStretchLastSection(True)
        self.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        self.itemExpanded.connect(self._fit_names)
        self.itemCollapsed.connect(self._fit_names)
        self.setItemDelegate(_Wrapping(self))
        # Otherwise rows keep the height that their text had in a column of another width.
        self.header().sectionResized.connect(lambda *_: self.scheduleDelayedItemsLayout())
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._ask)
        copy = QShortcut(QKeySequence.StandardKey.Copy, self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_selected)

    def show_slide(
        self, slide: Slide | None, looked: Looked | None = None, damaged: int = 0
    ) -> None:
        """Show a slide's facts, or nothing."""
        unfolded = self._stated is not None and self._stated.isExpanded()
        self.clear()
        self._facts, self._stated = [], None
        if slide is None:
            return
        self._facts = [_item(name, value) for name, value in fact_rows(slide, looked, damaged)]
        self._stated = QTreeWidgetItem([f"All {len(slide.properties)} entries of the file"])
        self._stated.addChildren(
            [_item(name, value) for name, value in sorted(slide.properties.items())]
        )
        self.addTopLevelItems([*self._facts, self._stated])
        self._stated.setFirstColumnSpanned(True)
        self._stated.setExpanded(unfolded)
        self._fit_names()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Share the width anew between names and values."""
        super().resizeEvent(event)
        self._fit_names()

    def _fit_names(self, _item: QTreeWidgetItem | None = None) -> None:
        """Give names what the short ones need; where the file's long ones show, half the width."""
        names = [item.text(0) for item in self._facts]
        needed = max((self.fontMetrics().horizontalAdvance(name) for name in names), default=0)
        unfolded = self._stated is not None and self._stated.isExpanded()
        half = self.viewport().width() // 2
        self.setColumnWidth(0, half if unfolded else needed + self.indentation() + 12)

    def rows_text(self, items: list[QTreeWidgetItem]) -> str:
        """Return rows as lines of name, tab, value: what a spreadsheet takes."""
        return "\n".join(
            "\t".join(item.text(column).replace("\n", " = ") for column in (0, 1)).rstrip()
            for item in items
        )

    def copy_selected(self) -> None:
        """Put the selected rows on the clipboard."""
        items = self.selectedItems()
        if items:
            QGuiApplication.clipboard().setText(self.rows_text(items))

    def copy_all(self) -> None:
        """Put all rows on the clipboard, the folded ones too."""
        stated = [] if self._stated is None else self._stated.takeChildren()
        QGuiApplication.clipboard().setText(self.rows_text([*self._facts, *stated]))
        if self._stated is not None:
            self._stated.addChildren(stated)

    def _ask(self, place: QPoint) -> None:
        if not self.topLevelItemCount():
            return
        menu = QMenu(self)
        menu.addAction("Copy", self.copy_selected).setEnabled(bool(self.selectedItems()))
        menu.addAction("Copy all", self.copy_all)
        menu.exec(self.viewport().mapToGlobal(place))


class _Wrapping(QStyledItemDelegate):
    """Makes rows as high as their wrapped text; a tree by itself reckons with one line."""

    def __init__(self, tree: QTreeWidget) -> None:
        super().__init__(tree)
        self._tree = tree

    def sizeHint(  # noqa: N802
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        """Return the size that a cell needs at the present width of its column."""
        narrow = QStyleOptionViewItem(option)
        indented = self._tree.indentation() * (2 if index.parent().isValid() else 1)
        width = self._tree.columnWidth(index.column()) - (indented if index.column() == 0 else 0)
        narrow.rect = QRect(0, 0, max(width, 1), 1)  # an empty one is not looked at
        return super().sizeHint(narrow, index)


def _item(name: str, value: str) -> QTreeWidgetItem:
    item = QTreeWidgetItem([name, value])
    item.setToolTip(0, name)
    item.setToolTip(1, value)
    item.setTextAlignment(0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    return item
