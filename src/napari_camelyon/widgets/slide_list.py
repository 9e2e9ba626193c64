"""The list of slides in the "Slide" dock: those of a folder and those that are open."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QThreadPool, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap, QShowEvent
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import Preview, find_slides, read_preview, slide_name
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.napari_compat import main_window
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.pictures import fit_into_square, to_qimage

__all__ = ["SlideList"]

_ICON_PX = 48
_READ_PX = 2 * _ICON_PX
"""Longer side of the pictures that are read: enough for two device pixels per logical one."""

_PATH = Qt.ItemDataRole.UserRole
_SCROLLED_MS = 60


@dataclass(frozen=True, slots=True)
class _Glance:
    """What a row shows, once it was read."""

    stamp: tuple[int, int] | None
    icon: QIcon
    facts: str
    problem: str


class SlideList(QListWidget):
    """Names at once, pictures and facts as they are read; a double click asks for a slide.

    Pictures are read one by one in a thread, those in sight first, and kept for as long as the
    list lives and the file does not change.
    """

    slide_wanted = Signal(object)
    """The path of the slide that was double-clicked, or chosen with Return."""
    folder_read = Signal(int)
    """A folder's slides are listed; how many they are."""
    folder_failed = Signal(str)
    """Why a folder cannot be listed, in a sentence."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(viewer)
        self._of_folder: list[Path] = []
        self._items: dict[Path, QListWidgetItem] = {}
        self._glances: dict[Path, _Glance] = {}
        self._no_picture = _square(QColor(128, 136, 150, 60))
        self._waiting: deque[Path] = deque()
        self._folder_wanted = 0
        self._reading = False
        self._closing = False
        self.setIconSize(QSize(_ICON_PX, _ICON_PX))
        self.setUniformItemSizes(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.setSpacing(1)
        self.itemActivated.connect(lambda item: self.slide_wanted.emit(item.data(_PATH)))
        self._in_sight_first = QTimer(self)
        self._in_sight_first.setSingleShot(True)
        self._in_sight_first.setInterval(_SCROLLED_MS)
        self._in_sight_first.timeout.connect(self._order_waiting)
        self.verticalScrollBar().valueChanged.connect(lambda _value: self._in_sight_first.start())
        self._view.nodes_changed.connect(self._list)
        self._view.shown_changed.connect(self._show_shown)
        main_window(viewer).installEventFilter(self)
        self._list()

    @property
    def is_idle(self) -> bool:
        """Whether no picture is being read or waits."""
        return not self._reading and not self._waiting

    def paths(self) -> list[Path]:
        """Return the slides in the order in which they are listed."""
        return list(self._items)

    def open_folder(self, folder: Path | str) -> None:
        """List the slides of a folder in the place of another folder's; open slides stay."""
        self._folder_wanted += 1
        in_thread(_find, Path(folder), self._folder_wanted, receive=self._on_found)

    def _on_found(self, found: tuple[int, list[Path], str]) -> None:
        number, paths, problem = found
        if number != self._folder_wanted or self._closing:
            return
        if problem:
            self.folder_failed.emit(problem)
            return
        self._of_folder = paths
        self._list()
        self.folder_read.emit(len(paths))

    # -- the list -------------------------------------------------------------------------------

    def _list(self) -> None:
        opened = [node.slide.path for node in self._view.nodes.values()]
        of_folder = set(self._of_folder)
        wanted = [path for path in opened if path not in of_folder] + self._of_folder
        if wanted != self.paths():
            present = self.currentItem().data(_PATH) if self.currentItem() is not None else None
            self.clear()
            self._items = {path: QListWidgetItem(self) for path in wanted}
            for path, item in self._items.items():
                item.setData(_PATH, path)
                if path in self._glances and self._glances[path].stamp != _stamp(path):
                    del self._glances[path]  # the file is another one by now
            if present in self._items:
                self.setCurrentItem(self._items[present])
        self._show_shown()
        self._order_waiting()

    def _show_shown(self) -> None:
        self._mark()
        shown = self._view.shown_node
        if shown is not None and shown.slide.path in self._items:
            self.scrollToItem(self._items[shown.slide.path])

    def _mark(self) -> None:
        for path in self._items:
            self._show_item(path)

    def _show_item(self, path: Path) -> None:
        """Show what is known of a slide; open ones have a dot, the one in the window is bold."""
        item, glance = self._items[path], self._glances.get(path)
        shown = self._view.shown_node
        font = item.font()
        font.setBold(shown is not None and path == shown.slide.path)
        item.setFont(font)
        name = slide_name(path)
        opened = any(path == node.slide.path for node in self._view.nodes.values())
        facts = "…" if glance is None else glance.facts
        item.setText(f"{'● ' if opened else ''}{name}\n{facts}")
        item.setIcon(self._no_picture if glance is None else glance.icon)
        where = f"{path}{', open' if opened else ''}"
        item.setToolTip(where if glance is None or not glance.problem else glance.problem)

    # -- reading the pictures -------------------------------------------------------------------

    def _order_waiting(self) -> None:
        """Let the pictures wait in the order of the list, those in sight first."""
        area = self.viewport().rect()
        unknown = [path for path in self._items if path not in self._glances]
        in_sight = {
            path for path in unknown if self.visualItemRect(self._items[path]).intersects(area)
        }
        self._waiting = deque(sorted(unknown, key=lambda path: path not in in_sight))
        self._read_next()

    def _read_next(self) -> None:
        if self._reading or not self._waiting or self._closing:
            return
        self._reading = True
        # One worker a picture: between two of them others get their turn in the pool.
        in_thread(
            read_preview,
            self._waiting.popleft(),
            _READ_PX,
            receive=self._on_preview,
            finished=self._on_finished,
        )

    def _on_preview(self, preview: Preview) -> None:
        if self._closing:
            return
        icon = self._no_picture
        if preview.picture is not None:
            icon = QIcon(fit_into_square(to_qimage(preview.picture), _READ_PX))
        self._glances[preview.path] = _Glance(
            _stamp(preview.path), icon, _facts(preview), preview.problem
        )
        if preview.path in self._items:
            self._show_item(preview.path)

    def _on_finished(self, _nothing: None = None) -> None:
        self._reading = False
        self._read_next()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Read what is in sight first: before this nothing was."""
        super().showEvent(event)
        self._in_sight_first.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop reading before the window goes: the thread must not outlive it."""
        if event.type() == QEvent.Type.Close:
            self._closing = True
            self._waiting.clear()
            QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)


def _find(folder: Path, number: int) -> tuple[int, list[Path], str]:
    """List a folder in the worker's thread, with the number of the request."""
    try:
        return number, find_slides(folder), ""
    except SlideError as error:
        return number, [], str(error)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _facts(preview: Preview) -> str:
    if not preview.width_px:
        return "cannot be opened"
    if preview.problem:
        return "cannot be read"
    if preview.mpp is None:
        return f"{preview.width_px:,} × {preview.height_px:,} px"
    x, y = preview.mpp
    return (
        f"{preview.width_px * x / 1000:.1f} × {preview.height_px * y / 1000:.1f} mm · {x:.3g} µm/px"
    )


def _square(colour: QColor) -> QIcon:
    square = QPixmap(_READ_PX, _READ_PX)
    square.fill(colour)
    return QIcon(square)
