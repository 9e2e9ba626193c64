"""The check whether a slide's levels lie on each other, in a thread of its own."""

from typing import Any

from napari.utils import cancelable_progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject, Qt, QThreadPool
from qtpy.QtWidgets import QMessageBox, QWidget
from superqt.utils import WorkerBase, create_worker

from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import mean_mpp
from napari_camelyon.slides import LevelOffset, Slide, alignment_sentences, measure_alignment

__all__ = ["AlignmentCheck"]


class AlignmentCheck(QObject):
    """Measures one slide and shows what was found; napari's activity dock can cancel it.

    Attributes
    ----------
    result : QMessageBox or None
        What is shown when all levels are measured.
    """

    def __init__(self, window: QWidget, slide: Slide) -> None:
        super().__init__(window)
        self._window = window
        self._cancelled = False
        self.result: QMessageBox | None = None
        self._slide = slide
        self._offsets: list[LevelOffset] = []
        # superqt's own worker, as in the "Inference" dock.
        worker = create_worker(
            measure_alignment,
            slide,
            _start_thread=False,
            _ignore_errors=True,  # `_on_errored` tells them
        )
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._end)
        self._worker: WorkerBase[Any] | None = worker
        self._activity = cancelable_progress(
            total=max(1, len(slide.levels) - 1),
            desc=f"{slide.name}: comparing its levels",
        )
        window.installEventFilter(self)
        worker.start()

    @property
    def is_running(self) -> bool:
        """Whether levels are being measured."""
        return self._worker is not None

    def cancel(self) -> None:
        """Stop after the level at hand, without a result."""
        self._cancelled = True
        if self._worker is not None:
            self._worker.quit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop and join the check before the window goes: its thread must not outlive it."""
        if event.type() == QEvent.Type.Close and self._worker is not None:
            self.cancel()
            QThreadPool.globalInstance().waitForDone(10_000)
            self._end()
        return super().eventFilter(watched, event)

    def _on_yielded(self, offset: LevelOffset) -> None:
        if self._worker is None:
            return
        self._offsets.append(offset)
        # napari's button only leaves word; it calls nobody unless the progress itself iterates.
        if self._activity.is_canceled:
            self.cancel()
        self._activity.update(1)

    def _on_returned(self, _value: object = None) -> None:
        if self._worker is None or self._cancelled or self._activity.is_canceled:
            return
        mpp = None if self._slide.mpp is None else mean_mpp(self._slide.mpp)
        verdict, *details = alignment_sentences(self._offsets, mpp)
        box = QMessageBox(self._window)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setWindowTitle(f"Alignment of {self._slide.name}")
        box.setText(verdict)
        box.setInformativeText("\n".join(details))
        box.setWindowModality(Qt.WindowModality.NonModal)
        box.show()
        self.result = box

    def _on_errored(self, error: Exception) -> None:
        if not isinstance(error, CamelyonError):
            raise error
        show_error(str(error))

    def _end(self, _nothing: None = None) -> None:
        if self._worker is None:
            return
        self._worker = None
        self._activity.close()
