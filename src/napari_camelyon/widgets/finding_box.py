"""The amber box: what the guards found, in sentences, until a person puts it away."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QToolButton

if TYPE_CHECKING:
    from napari_camelyon.inference import Finding

__all__ = ["FindingBox"]

_MOST_PX = 190
_STYLE = (
    "QFrame#findings { background: #f5c451; border-radius: 6px; }"
    "QFrame#findings QLabel { background: transparent; color: #1d1a10; }"
    "QFrame#findings QScrollArea, QFrame#findings QWidget#sentences { background: transparent; }"
    "QFrame#findings QToolButton { background: transparent; border: none; color: #1d1a10;"
    " font-weight: 700; font-size: 11pt; padding: 0 4px; }"
    "QFrame#findings QToolButton:hover { background: rgba(0, 0, 0, 30); border-radius: 3px; }"
)


class FindingBox(QFrame):
    """Shows findings; hidden while there are none, or when those shown were put away."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("findings")
        self.setStyleSheet(_STYLE)
        self._shown: tuple[Finding, ...] = ()
        self.text = QLabel()
        self.text.setObjectName("sentences")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self.text)
        self.dismiss_button = QToolButton()
        self.dismiss_button.setText("✕")
        self.dismiss_button.setToolTip("Put the warning away; it stays in the results")
        self.dismiss_button.clicked.connect(self.hide)
        self._row = row = QHBoxLayout(self)
        row.setContentsMargins(10, 7, 4, 7)
        row.addWidget(self._scroll, 1)
        row.addWidget(self.dismiss_button, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_findings(self, findings: "Sequence[Finding]") -> None:
        """Show these; a box that was put away comes up again for another kind only.

        While a run goes on, the figures in a finding change.
        """
        findings = tuple(findings)
        if findings == self._shown:
            return
        new = {one.kind for one in findings} - {one.kind for one in self._shown}
        self._shown = findings
        mark = "• " if len(findings) > 1 else ""
        self.text.setText("\n".join(f"{mark}{finding.sentence}" for finding in findings))
        self.setVisible(bool(new) or (not self.isHidden() and bool(findings)))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Be as high as the sentences need at this width, up to a limit; then they scroll."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        margins = self._row.contentsMargins()
        around = margins.left() + margins.right() + self._row.spacing()
        width = self.width() - around - self.dismiss_button.sizeHint().width()
        needed = self.text.heightForWidth(max(1, width))
        bar = Qt.ScrollBarPolicy
        self._scroll.setVerticalScrollBarPolicy(
            bar.ScrollBarAsNeeded if needed > _MOST_PX else bar.ScrollBarAlwaysOff
        )
        self._scroll.setFixedHeight(min(_MOST_PX, max(needed, 18)))
