"""A scroll area that is no higher than what is in it, so that the rest can stand right below."""

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QWidget

__all__ = ["ShrinkingScroll"]


class ShrinkingScroll(QScrollArea):
    """Scrolls where there is too little room, and takes no more than is needed where there is."""

    def __init__(self, inner: QWidget) -> None:
        super().__init__()
        self._inner = inner
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inner)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size of what is in it; Qt's own hint ends at some lines of text."""
        inner = self._inner
        width = self.viewport().width()
        height = inner.heightForWidth(width) if inner.hasHeightForWidth() else -1
        frame = self.contentsMargins()
        height = max(height, inner.minimumSizeHint().height()) + frame.top() + frame.bottom()
        return QSize(inner.sizeHint().width() + frame.left() + frame.right(), height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return as much as shows that there is something to scroll to."""
        return QSize(self._inner.minimumSizeHint().width(), 60)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Ask for another height when what is in it changes."""
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self.updateGeometry()
        return super().eventFilter(watched, event)
