"""The area of the tumour as the groups mean it, measured in a thread after every edit."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLabel

from napari_camelyon.annotations import (
    AnnotationSet,
    GroupProfile,
    area_mm2,
    tumour_region,
)
from napari_camelyon.annotations.profiles import OWN
from napari_camelyon.geometry import Mpp
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.style import three_digits

__all__ = ["TumourArea"]

_MEASURE_MS = 300


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """Everything that the area depends on."""

    annotation_set: AnnotationSet
    profile: GroupProfile
    mpp: Mpp

    def is_same(self, other: "_Question | None") -> bool:
        return (
            other is not None
            and self.annotation_set is other.annotation_set
            and (self.profile, self.mpp) == (other.profile, other.mpp)
        )


class TumourArea(QLabel):
    """Measures while it is visible. What was edited meanwhile is measured anew."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self._wanted: _Question | None = None
        self._editor: AnnotationEditor | None = None
        self._running: _Question | None = None
        self._found: tuple[_Question, float | None] | None = None
        # Not while a person is still clicking: joining thousands of outlines takes seconds.
        self._measure_soon = QTimer(self)
        self._measure_soon.setSingleShot(True)
        self._measure_soon.setInterval(_MEASURE_MS)
        self._measure_soon.timeout.connect(self._measure)

    @property
    def is_measuring(self) -> bool:
        """Whether the area shown is not that of now yet."""
        return self._running is not None or self._measure_soon.isActive()

    def show_area_of(self, editor: AnnotationEditor | None) -> None:
        """Show the area of an editor's annotations as they are now, once it is measured."""
        self._editor, self._wanted = editor, None
        if editor is None:
            self.clear()
            self.setToolTip("")
            return
        profile = editor.profile.profile
        if profile.tumour and editor.mpp is not None:
            self._wanted = _Question(editor.now, profile, editor.mpp)
        self._say(editor)
        self._measure_if_need_be()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Measure, now that somebody looks."""
        super().showEvent(event)
        self._measure_if_need_be()

    def _measure_if_need_be(self) -> None:
        if self._wanted is None or self._is_known:
            self._measure_soon.stop()
        elif self.isVisible():
            self._measure_soon.start()

    @property
    def _is_known(self) -> bool:
        return (
            self._wanted is not None
            and self._found is not None
            and self._wanted.is_same(self._found[0])
        )

    def _measure(self) -> None:
        wanted = self._wanted
        if wanted is None or self._running is not None or self._is_known:
            return
        self._running = wanted
        # Methods, not functions: Qt calls none of a widget that went while it was measured.
        in_thread(_measured, wanted, receive=self._receive, finished=self._end)

    def _receive(self, found: tuple[_Question, float]) -> None:
        self._found = found

    def _end(self, _nothing: None = None) -> None:
        asked, self._running = self._running, None
        if asked is not None and (self._found is None or self._found[0] is not asked):
            self._found = (asked, None)  # it failed
        if self._editor is not None:
            self._say(self._editor)
        self._measure_if_need_be()  # anew if it was edited meanwhile

    def _say(self, editor: AnnotationEditor) -> None:
        choice = editor.profile
        # Names of groups come from files: none of them is to be read as formatting.
        self.setToolTip(f"<qt>{escape(choice.reason)}</qt>")
        if not choice.profile.tumour:
            own = editor.own_profile is not None
            reason = "You said of no group that it means tumour." if own else choice.reason
            self.setText(f"<b>No tumour area.</b> {escape(reason)}")
            return
        if editor.mpp is None:
            self.setText("<b>No tumour area.</b> The slide does not say how large its pixels are.")
            return
        title = escape(_title(choice.profile))
        if self._found is None or not self._is_known:
            self.setText(f"<b>Tumour area …</b> ({title})")
        elif self._found[1] is None:
            self.setText(
                "<b>The tumour area could not be measured.</b> The Problems page may say why."
            )
        else:
            self.setText(f"<b>Tumour area {three_digits(self._found[1])} mm²</b> ({title})")


def _title(profile: GroupProfile) -> str:
    # A map that was opened has its path as name.
    return "own map" if profile.name == OWN else Path(profile.name).name


def _measured(question: _Question) -> tuple[_Question, float]:
    region = tumour_region(question.annotation_set, question.profile)
    return question, area_mm2(region, question.mpp)
