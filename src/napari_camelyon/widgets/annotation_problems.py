"""What is wrong with the annotations: go there, and mend it with one click."""

from dataclasses import dataclass
from weakref import ref

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.annotations import AnnotationSet, Problem, check, repair, repairs_for
from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.style import note

__all__ = ["ProblemList"]

_LOOK_MS = 400
_SIGNS = {"error": "✕", "warning": "!", "note": "·"}


@dataclass(frozen=True, slots=True)
class _Found:
    of: AnnotationSet
    problems: tuple[Problem, ...]


class ProblemList(QWidget):
    """Looks for problems while it is visible, in a thread."""

    place_wanted = Signal(object)
    """A slide point to go to."""

    def __init__(self) -> None:
        super().__init__()
        self._editor: AnnotationEditor | None = None
        self._slide_size_px: tuple[int, int] | None = None
        self._found: _Found | None = None
        self._looking = False
        self._look_soon = QTimer(self)
        self._look_soon.setSingleShot(True)
        self._look_soon.setInterval(_LOOK_MS)
        self._look_soon.timeout.connect(self._look)
        self.title = note()
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.currentItemChanged.connect(self._on_chosen)
        self.list.itemClicked.connect(lambda _item: self._go())
        self.offer = note()
        self.mend = QPushButton("Mend")
        self.mend.clicked.connect(self._mend)
        row = QHBoxLayout()
        row.addWidget(self.offer, 1)
        row.addWidget(self.mend)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 4, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.list, 1)
        layout.addLayout(row)

    @property
    def is_looking(self) -> bool:
        """Whether the list does not show the problems of now yet."""
        return self._looking or self._look_soon.isActive()

    def show_problems(
        self, editor: AnnotationEditor | None, slide_size_px: tuple[int, int] | None
    ) -> None:
        """Look for the problems of an editor's annotations, once the list is visible."""
        self._editor, self._slide_size_px = editor, slide_size_px
        if self.isVisible():
            self._look_soon.start()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Look, now that somebody looks."""
        super().showEvent(event)
        self._look_soon.start()

    def _look(self) -> None:
        editor = self._editor
        if editor is None:
            self._found = None
            self._fill()
            return
        if self._looking or (self._found is not None and self._found.of is editor.now):
            return
        self._looking = True
        self.title.setText("Looking for problems …")
        keeper, now, size = ref(self), editor.now, self._slide_size_px

        def receive(found: _Found) -> None:
            living = keeper()
            if living is not None:
                living._receive(found)

        in_thread(lambda: _Found(now, check(now, size)), receive=receive)

    def _receive(self, found: _Found) -> None:
        self._looking, self._found = False, found
        self._fill()
        if self._editor is not None and found.of is not self._editor.now:
            self._look_soon.start()  # it was edited meanwhile

    def _fill(self) -> None:
        problems = () if self._found is None else self._found.problems
        self.list.clear()
        for problem in problems:
            item = QListWidgetItem(f"{_SIGNS[problem.severity]}  {problem.message}")
            item.setData(Qt.ItemDataRole.UserRole, problem)
            self.list.addItem(item)
        count = len(problems)
        if self._editor is None:
            self.title.setText("No annotations.")
        elif not count:
            self.title.setText("No problems found.")
        else:
            self.title.setText(
                f"{count:,} problem{'' if count == 1 else 's'}. Click one to go there; nothing is "
                "mended unasked."
            )
        self._on_chosen()

    def _chosen(self) -> Problem | None:
        item = self.list.currentItem()
        problem: Problem | None = None if item is None else item.data(Qt.ItemDataRole.UserRole)
        return problem

    def _on_chosen(self, *_items: object) -> None:
        problem = self._chosen()
        offered = None if problem is None else repairs_for(problem)
        if problem is None:
            self.offer.setText("")
        else:
            self.offer.setText(offered or "This one needs your own decision.")
        self.mend.setEnabled(offered is not None)
        self._go()

    def _go(self) -> None:
        problem = self._chosen()
        if problem is None or self._editor is None:
            return
        if problem.annotation_id is not None:
            self._editor.select([problem.annotation_id])
        if problem.at_xy is not None:
            self.place_wanted.emit(problem.at_xy)

    def _mend(self) -> None:
        problem, editor = self._chosen(), self._editor
        if problem is None or editor is None:
            return
        try:
            mended = repair(editor.now, problem, self._slide_size_px)
        except CamelyonError as error:
            editor.report(error)
            return
        editor.edit(f"mend {problem.code.replace('-', ' ')}", mended)
