"""The "Inference" dock: choose a model, run it over the slide, watch the heatmap grow."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox
from napari.utils import progress
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QThreadPool, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import WorkerBase, create_worker

from napari_camelyon.cohort import Planned, PredictRequest, predict_slide
from napari_camelyon.errors import CamelyonError
from napari_camelyon.inference import RunControl
from napari_camelyon.staging import NodeResult
from napari_camelyon.widgets.napari_compat import calm_activity_indicator
from napari_camelyon.widgets.patient_view import NodeView, patient_view
from napari_camelyon.widgets.pixel_size import ask_for_mpp
from napari_camelyon.widgets.style import (
    CLASS_COLOURS,
    CLASS_TITLES,
    disclaimer,
    note,
    set_chip,
)

if TYPE_CHECKING:
    from napari_camelyon.inference import Update

__all__ = ["InferenceDock"]

_BUNDLED = "Bundled demonstration model"
_DEVICES = ("auto", "cuda", "mps", "cpu")
_REFRESH_S = 0.15
"""Pause between two drawings of a growing heatmap: about 7 Hz is smooth and costs little."""


class InferenceDock(QWidget):
    """Runs a model over the slide that is shown, or over all slides of the patient."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._model_paths: dict[str, Path | None] = {_BUNDLED: None}
        self._worker: WorkerBase[Any] | None = None
        self._control = RunControl()
        self._running: NodeView | None = None
        self._waiting: list[str] = []
        self._activity: progress | None = None
        self._last_drawn = 0.0
        self._build()
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        self._view.node_updated.connect(self._show_result)
        self._show_slide()
        self._view.viewer.window._qt_window.installEventFilter(self)
        calm_activity_indicator(self._view.viewer)

    # -- what is asked for ----------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._worker is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and no slide waits."""
        return not self.is_running and not self._waiting

    def request(self) -> PredictRequest:
        """Return what the form says now."""
        return PredictRequest(
            model=self._model_paths[self.form["model"].value],
            stride_um=self.form["stride_um"].value or None,
            min_tissue_fraction=self.form["min_tissue_percent"].value / 100,
            device=self.form["device"].value,
        )

    def choose_model(self, path: Path | str) -> None:
        """Put a model file or folder into the list and choose it."""
        path = Path(path)
        self._model_paths[path.name] = path
        self.form["model"].choices = tuple(self._model_paths)
        self.form["model"].value = path.name

    def run_shown(self) -> None:
        """Run the model over the slide that is shown."""
        if self._view.shown is None:
            show_info("Open a slide first: File ▸ Open File(s), or drop it on the window.")
            return
        self._waiting = [self._view.shown]
        self._run_next()

    def run_all(self) -> None:
        """Run the model over every slide of the patient, the one that is shown first."""
        self._waiting = sorted(self._view.nodes, key=lambda name: name != self._view.shown)
        self._run_next()

    def cancel(self) -> None:
        """Stop after the present batch; what was computed stays."""
        self._waiting = []
        if self._worker is not None:
            self._control.cancel()
            self.status.setText("Stopping …")

    # -- the run --------------------------------------------------------------------------------

    def _run_next(self) -> None:
        while self._waiting and not self.is_running:
            name = self._waiting.pop(0)
            node = self._view.nodes.get(name)
            if node is not None and self._has_mpp(name, node):
                self._start(name)

    def _has_mpp(self, name: str, node: NodeView) -> bool:
        if node.slide.mpp is not None:
            return True
        mpp = ask_for_mpp(self, node.slide)
        if mpp is not None:
            self._view.set_mpp(name, mpp)
        return mpp is not None

    def _start(self, name: str) -> None:
        self._view.show(name)
        node = self._view.nodes[name]
        self._running = node
        node.status, node.problem = "starting", ""
        self._control = RunControl()
        # superqt's own: with napari's wrapper around it, an error in the thread makes another
        # one in napari (0.9.2), and a cancelled generator is left open with its reading threads.
        worker = create_worker(
            predict_slide,
            node.slide,
            self.request(),
            control=self._control,
            _start_thread=False,
            _ignore_errors=True,  # `_on_errored` tells them
        )
        worker.yielded.connect(self._on_yielded)
        worker.errored.connect(self._on_errored)
        worker.returned.connect(self._on_returned)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._set_busy(True)
        # Not the moving bar of an unknown range: see `calm_activity_indicator`.
        self.bar.setRange(0, 1)
        self.bar.setValue(0)
        self.status.setText("Loading the model and looking for tissue …")
        self._activity = progress(total=0, desc=f"{name}: starting")
        self._view.node_updated.emit(name)
        worker.start()

    def _on_yielded(self, value: "Planned | Update") -> None:
        node = self._running
        if node is None or self._activity is None:
            return
        if isinstance(value, Planned):
            total = value.patch_grid.patch_count
            self._view.begin_heatmap(node, value.patch_grid, value.heatmap)
            self.bar.setRange(0, max(1, total))
            self.status.setText(f"{total:,} patches" if total else "No tissue found on this slide.")
            self._activity.total = total
            self._activity.set_description(node.slide.name)
            return
        now = time.monotonic()
        if now - self._last_drawn < _REFRESH_S and value.done < value.total:
            return
        self._last_drawn = now
        self.bar.setValue(value.done)
        self.status.setText(
            f"{value.done:,} of {value.total:,} patches · {value.patches_per_s:,.0f} a second · "
            f"{_duration(value.seconds_left)} left"
        )
        node.status = f"running {value.done / value.total:.0%}"
        self._view.refresh_heatmap(node)
        self._view.node_updated.emit(node.slide.name)
        # Last, for it lets events through: the end of the run may be dealt with inside.
        self._activity.update(value.done - self._activity.n)

    def _on_returned(self, _value: object = None) -> None:
        node = self._running
        if node is None:
            return
        heatmap = node.heatmap
        complete = heatmap is not None and heatmap.computed_share == 1
        share = 0.0 if heatmap is None else heatmap.computed_share or 0.0
        node.status = "done" if complete else f"stopped at {share:.0%}"
        if heatmap is not None and heatmap.damaged_cells:
            dealt_with = heatmap.computed_cells + heatmap.damaged_cells == heatmap.planned_cells
            until = "done" if dealt_with else node.status
            node.status = f"{until}, {heatmap.damaged_cells:,} patches on damaged parts left out"
        self._view.restage(node)

    def _on_errored(self, error: Exception) -> None:
        node = self._running
        self._waiting = []
        if node is not None:
            node.status, node.problem = "failed", str(error)
            self._view.restage(node)
        self.status.setText(str(error))
        if not isinstance(error, CamelyonError):
            raise error
        show_error(str(error))

    def _on_finished(self, _nothing: None = None) -> None:
        node, self._running, self._worker = self._running, None, None
        if self._activity is not None:
            self._activity.close()
            self._activity = None
        self._set_busy(False)
        if node is not None:
            if node.status != "failed":
                self.status.setText(node.status.capitalize() + ".")
            self._view.node_updated.emit(node.slide.name)
        # Let the event loop breathe between two slides.
        QTimer.singleShot(0, self._run_next)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop and join the run before the window goes: its thread must not outlive it."""
        if event.type() == QEvent.Type.Close:
            self._waiting = []  # also between two slides, when nothing runs
            if self.is_running:
                self._running = None
                self._control.cancel()
                QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.details = note()
        self.form = Container(
            widgets=[
                ComboBox(name="model", choices=tuple(self._model_paths), label="Model"),
                FloatSpinBox(
                    name="stride_um",
                    label="Stride (µm)",
                    value=0,
                    min=0,
                    max=1000,
                    step=8,
                    tooltip="Distance between neighbouring patches; 0 leaves it to the model. "
                    "Isolated tumour cells need 32 µm or less.",
                ),
                FloatSpinBox(
                    name="min_tissue_percent",
                    label="Tissue at least (%)",
                    value=40,
                    min=0,
                    max=100,
                    step=5,
                    tooltip="Patches with less tissue are not predicted.",
                ),
                ComboBox(
                    name="device",
                    label="Device",
                    choices=_DEVICES,
                    tooltip="auto takes a GPU where there is one.",
                ),
            ],
            labels=True,
        )
        self.form["stride_um"].native.setSpecialValueText("the model's own")
        self.form["min_tissue_percent"].native.setDecimals(0)
        self.form.native.layout().setContentsMargins(0, 0, 0, 0)
        # Otherwise the form is what gives way when a window is low.
        self.form.native.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        load = QPushButton("Load model file …")
        load.clicked.connect(self._ask_for_model_file)
        load_folder = QPushButton("WSInfer folder …")
        load_folder.clicked.connect(self._ask_for_model_folder)
        self.run_button = QPushButton("Run")
        self.run_button.clicked.connect(self.run_shown)
        self.run_all_button = QPushButton("Run all slides")
        self.run_all_button.clicked.connect(self.run_all)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.status = note()
        self.result_chip = QLabel()
        self.result_text = QLabel()
        self.result_text.setWordWrap(True)

        layout = QVBoxLayout(self)
        layout.addWidget(self.title)
        layout.addWidget(self.details)
        layout.addWidget(self.form.native)
        layout.addLayout(_row(load, load_folder))
        layout.addSpacing(6)
        layout.addLayout(_row(self.run_button, self.run_all_button, self.cancel_button))
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        result = QHBoxLayout()
        result.addWidget(self.result_chip)
        result.addWidget(self.result_text, 1)
        layout.addLayout(result)
        layout.addStretch(1)
        layout.addWidget(disclaimer())
        self._set_busy(False)

    def _ask_for_model_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Load model", "", "Models (*.safetensors *.pt *.pth)"
        )
        if path:
            self.choose_model(path)

    def _ask_for_model_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Load WSInfer model folder")
        if path:
            self.choose_model(path)

    def _set_busy(self, busy: bool) -> None:
        self.run_button.setEnabled(not busy)
        self.run_all_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.form.enabled = not busy
        self.bar.setVisible(busy)

    def _show_slide(self) -> None:
        node = self._view.shown_node
        self.run_all_button.setVisible(len(self._view.nodes) > 1)
        if node is None:
            self.title.setText("<b>No slide is open.</b>")
            self.details.setText(
                "Open one with File ▸ Open File(s), drop it on the window, or try File ▸ Open "
                "Sample ▸ napari-camelyon."
            )
        else:
            slide = node.slide
            size = f"{slide.width_px:,} × {slide.height_px:,} px"
            mpp = f"{slide.mpp[0]:.4g} µm/px" if slide.mpp else "pixel size unknown"
            self.title.setText(f"<b>{slide.name}</b>")
            self.details.setText(f"{size} · {mpp}")
        self._show_result(self._view.shown or "")

    def _show_result(self, name: str) -> None:
        if name != (self._view.shown or ""):
            return
        node = self._view.shown_node
        result = node.result if node is not None else None
        self.result_chip.setVisible(result is not None)
        self.result_text.setText("")
        if result is not None:
            set_chip(
                self.result_chip,
                CLASS_TITLES[result.node_class],
                CLASS_COLOURS[result.node_class],
                size_pt=12,
            )
            self.result_text.setText(_finding(result))
            self.result_text.setToolTip("\n".join(result.reasons))


def _finding(result: NodeResult) -> str:
    if result.diameter_mm is None:
        return "no lesion found"
    count = f"{result.lesions} lesion{'s' if result.lesions != 1 else ''}"
    return f"{count}, the largest {result.diameter_mm:.2f} ± {result.margin_mm:.2f} mm"


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
