"""The lower part of the Inference dock: buttons, bar, and how far a run is, in words."""

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_camelyon.widgets.style import note

if TYPE_CHECKING:
    from napari_camelyon.cohort import Planned
    from napari_camelyon.inference import Update

__all__ = ["RunPanel", "ShareBar", "about", "duration", "facts_text", "progress_text"]

_TRACK, _DONE = QColor(128, 136, 150, 70), QColor("#5b8def")
_QUIET = "color: #9aa3b2; font-size: 9pt;"
_PROBLEM = "color: #ee7f74; font-size: 9pt;"


class RunPanel(QWidget):
    """Run and Run all slides while nothing runs; Pause and Cancel while something does."""

    def __init__(self) -> None:
        super().__init__()
        self.run_button = QPushButton("Run")
        self.run_all_button = QPushButton("Run all slides")
        self.pause_button = QPushButton("Pause")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop; what was computed is kept")
        self.bar = ShareBar()
        self.status = note()
        self.facts = note()
        buttons = QHBoxLayout()
        for button in (
            self.run_button,
            self.run_all_button,
            self.pause_button,
            self.cancel_button,
        ):
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addWidget(self.facts)
        self.say("", "")
        self._several = False
        self.set_busy(False)

    def set_busy(self, busy: bool) -> None:
        """Show the buttons that are of use now."""
        for button in (self.run_button, self.run_all_button):
            button.setEnabled(not busy)
            button.setVisible(not busy)
        self.run_all_button.setVisible(not busy and self._several)
        for button in (self.pause_button, self.cancel_button):
            button.setEnabled(busy)
            button.setVisible(busy)
        self.bar.setVisible(busy)
        if busy:
            self.show_paused(False)

    def set_several(self, several: bool) -> None:
        """Say whether there is more than one slide to run over."""
        self._several = several
        self.run_all_button.setVisible(several and not self.cancel_button.isEnabled())

    def show_paused(self, paused: bool) -> None:
        """Let the button say what it would do."""
        self.pause_button.setText("Continue" if paused else "Pause")

    def say(self, status: str, facts: str | None = None, *, problem: bool = False) -> None:
        """Show a sentence, and below it facts; None leaves those as they are."""
        self.status.setText(status)
        self.status.setVisible(bool(status))
        if facts is not None:
            self.facts.setText(facts)
            self.facts.setVisible(bool(facts))
        style = _PROBLEM if problem else _QUIET
        if style != self.status.styleSheet():
            self.status.setStyleSheet(style)


class ShareBar(QWidget):
    """A bar that is drawn with the next frame of the window.

    Qt's own draws itself, and with it the whole window, at once whenever its value changes: beside
    a canvas of OpenGL that doubled what a run cost the window.
    """

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self.setFixedHeight(8)

    def show_share(self, done: int, total: int) -> None:
        """Move to this share of the whole."""
        self.share = done / max(1, total)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the track and what is done."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(self.rect()).adjusted(0, 1, 0, -1)
        painter.setBrush(_TRACK)
        painter.drawRoundedRect(whole, 3, 3)
        if self.share:
            done = QRectF(whole)
            done.setWidth(max(whole.height(), self.share * whole.width()))
            painter.setBrush(_DONE)
            painter.drawRoundedRect(done, 3, 3)
        painter.end()


def progress_text(update: "Update", *, paused: bool = False) -> str:
    """Say how far a run is."""
    done = f"{update.done:,} of {update.total:,} patches"
    if paused:
        share = update.done / max(1, update.total)
        return f"Paused at {share:.0%} · {done}"
    if not math.isfinite(update.seconds_left):  # nothing was measured yet
        return done
    return f"{done} · {update.patches_per_s:,.0f} a second · {duration(update.seconds_left)} left"


def facts_text(planned: "Planned", update: "Update | None") -> str:
    """Say what computes, and what need not be computed."""
    path = getattr(planned, "path", None)
    parts = [] if path is None else [path.describe()]
    if update is not None and update.known:
        parts.append(f"{update.known:,} patches known from the last run")
    if update is not None and update.damaged:
        parts.append(f"{update.damaged:,} on damaged parts left out")
    text = " · ".join(parts)
    text = text[:1].upper() + text[1:]
    lines = [text]
    compiling = getattr(planned, "compiling", None)
    if compiling is not None and compiling.is_under_way:
        lines.append("Compiling this model for later runs in the background")
    if update is not None and update.problem:
        lines.append(update.problem)
    return "\n".join(filter(None, lines))


def about(seconds: float) -> str:
    """Return a duration in the words of a guess: "about 12 min"."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def duration(seconds: float) -> str:
    """Return minutes and seconds, and hours where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
