"""What would alter the stage, the smallest change first; a click shows where."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_camelyon.staging import Change
from napari_camelyon.widgets.style import chip, note, sentence, set_chip, stage_colour

__all__ = ["ChangeList"]

_SHOWN_AT_FIRST = 4


class ChangeList(QWidget):
    """A clickable line for each change."""

    wanted = Signal(object)
    """A `Change` that a person wants to see."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[_ChangeLine] = []
        self._changes: tuple[Change, ...] = ()
        self._all = False
        self.title = QLabel("What would change it")
        self.title.setStyleSheet("font-weight: 600;")
        self.more_button = QPushButton()
        self.more_button.setFlat(True)
        self.more_button.clicked.connect(self._toggle)
        self.nothing = note("No single change of a size, a threshold or a node would.")
        self._list = QVBoxLayout()
        self._list.setSpacing(3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.title)
        layout.addWidget(self.nothing)
        layout.addLayout(self._list)
        layout.addWidget(self.more_button, 0, Qt.AlignmentFlag.AlignLeft)

    def show_changes(self, changes: Sequence[Change]) -> None:
        """Show other changes."""
        if tuple(changes) != self._changes or not changes:
            self._changes = tuple(changes)
            self._show()

    def _toggle(self) -> None:
        self._all = not self._all
        self._show()

    def _show(self) -> None:
        for line in self.lines:
            self._list.removeWidget(line)
            line.hide()
            line.deleteLater()
        count = len(self._changes)
        shown = self._changes if self._all else _few_of(self._changes)
        self.lines = []
        for change in shown:
            line = _ChangeLine(change)
            line.wanted.connect(self.wanted)
            self._list.addWidget(line)
            self.lines.append(line)
        self.nothing.setVisible(count == 0)
        self.more_button.setVisible(count > _SHOWN_AT_FIRST)
        self.more_button.setText("Show fewer" if self._all else f"Show all {count}")


def _few_of(changes: Sequence[Change]) -> list[Change]:
    """Return the smallest change of each kind, and the next ones while there is room."""
    kinds = [change.kind for change in changes]
    first = [kinds.index(change.kind) == place for place, change in enumerate(changes)]
    ordered = sorted(range(len(changes)), key=lambda place: (not first[place], place))
    return [changes[place] for place in sorted(ordered[:_SHOWN_AT_FIRST])]


class _ChangeLine(QFrame):
    """One change; a click, Enter or Space asks to see it."""

    wanted = Signal(object)

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change
        self.setObjectName("change")
        self.setStyleSheet(
            "QFrame#change { border: 1px solid transparent; border-radius: 4px; }"
            "QFrame#change:hover { background: rgba(128,136,150,52); }"
            "QFrame#change:focus { border: 1px solid #8fb4ff; }"
        )
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(change.sentence)
        self.setToolTip(
            "Click: try this threshold." if change.kind == "threshold" else "Click: go to the node."
        )
        stage = chip(change.stage, stage_colour(change.stage), size_pt=8)
        set_chip(stage, change.stage, stage_colour(change.stage), size_pt=8)
        self.label = sentence(change.sentence)
        # The line as a whole is clicked.
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(6)
        layout.addWidget(stage, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.label, 1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Tell that the line was clicked."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.wanted.emit(self.change)
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Take Enter and Space for a click."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.wanted.emit(self.change)
        else:
            super().keyPressEvent(event)
