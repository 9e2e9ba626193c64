"""What a person sees while something takes longer: what it is, that it goes on, and Cancel."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, QThreadPool
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.background import Latest
from napari_camelyon.widgets.style import note

__all__ = ["Waiting"]


class Waiting(QWidget):
    """A row that shows itself while a function runs in its thread; quick ones are never seen."""

    busy_changed = QtSignal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._latest = Latest(self)
        self.title = note()
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)  # GEOS does not tell how far it is
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addLayout(row)
        self.hide()

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed."""
        return self._latest.is_busy

    def compute(
        self,
        title: str,
        function: Callable[..., Any],
        *arguments: object,
        receive: Callable[[Any], object],
        fail: Callable[[CamelyonError], object],
    ) -> None:
        """Call a function as `Latest.call` does, and show a title if it takes longer."""

        def end(hand_on: Callable[[Any], object], result: object) -> None:
            self._show_busy(False)
            hand_on(result)

        self._latest.call(
            function,
            *arguments,
            receive=lambda result: end(receive, result),
            fail=lambda error: end(fail, error),
        )
        if self._latest.is_busy:
            self.title.setText(title)
            self._show_busy(True)

    def cancel(self) -> None:
        """Give up what is being computed; nothing comes of it."""
        self._latest.drop()
        self._show_busy(False)

    def _show_busy(self, busy: bool) -> None:
        if self.isHidden() == busy:
            self.setVisible(busy)
            self.busy_changed.emit(busy)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let no thread outlive the window."""
        if event.type() == QEvent.Type.Close:
            self.cancel()
            QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)
