"""The "Inference" dock: choose a model, run it over the slide, watch the heatmap grow."""

import logging
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QThreadPool, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QInputDialog, QLabel, QVBoxLayout, QWidget
from superqt.utils import WorkerBase, create_worker

from napari_camelyon.cohort import Planned, PredictRequest, predict_slide, run_progress
from napari_camelyon.cohort.kept_model import KeptModel
from napari_camelyon.errors import CamelyonError, TumourClassError
from napari_camelyon.files import cache_folder
from napari_camelyon.inference import RunControl
from napari_camelyon.models.registry import BUNDLED_NAME, list_models
from napari_camelyon.staging import NodeResult
from napari_camelyon.tissue import describe_choice
from napari_camelyon.widgets.finding_box import FindingBox
from napari_camelyon.widgets.looking_closer import LookingCloser
from napari_camelyon.widgets.pace import Pace
from napari_camelyon.widgets.patient_view import NodeView, patient_view
from napari_camelyon.widgets.pixel_size import ask_for_mpp
from napari_camelyon.widgets.polite import politely
from napari_camelyon.widgets.run_form import RunForm
from napari_camelyon.widgets.run_panel import RunPanel, about, facts_text, progress_text
from napari_camelyon.widgets.run_worker import SlideRun, carry_out
from napari_camelyon.widgets.seen import layer_of_slide, seen_box
from napari_camelyon.widgets.shown_map import ShownMap
from napari_camelyon.widgets.shrinking import ShrinkingScroll
from napari_camelyon.widgets.stain_preview import StainControls
from napari_camelyon.widgets.style import (
    CLASS_COLOURS,
    CLASS_TITLES,
    disclaimer,
    note,
    set_chip,
)

__all__ = ["InferenceDock"]

_LOOK_MS = 140
"""From one look at a run to the next, about 7 Hz: smooth, and little for a computer without a
graphics card, where a frame takes a quarter of this."""
_FIRST_LOOK_MS = 15
"""Until the first values are drawn."""
_ROW_S = 1.0
"""From one renewal of the slide's row in other docks to the next."""

_log = logging.getLogger(__name__)


class InferenceDock(QWidget):
    """Runs a model over the slide that is shown, or over all slides of the patient."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._kept = KeptModel()
        self._pace = Pace()
        self._worker: WorkerBase[Any] | None = None
        self._run = SlideRun(RunControl())
        self._running: NodeView | None = None
        self._request = PredictRequest()
        self._waiting: list[str] = []
        self._unfinished: dict[str, PredictRequest] = {}
        self._drawn: object = None
        self._paused_drawn = False
        self._row_drawn = 0.0
        self._looking = QTimer(self)
        self._looking.timeout.connect(self._look)
        self._build()
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        self._view.node_updated.connect(self._show_result)
        self._view.tissue_changed.connect(lambda _name: self._show_what_run_means())
        self.form.changed.connect(self._show_what_run_means)
        self._show_slide()
        self._view.viewer.window._qt_window.installEventFilter(self)

    # -- what is asked for ----------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a run is under way, also one that rests."""
        return self._worker is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and no slide waits."""
        return not self.is_running and not self._waiting

    def request(self) -> PredictRequest:
        """Return what the form says now."""
        return self.form.request()

    def choose_model(self, path: Path | str) -> None:
        """Put a model file or folder into the list and choose it."""
        self.form.choose_model(path)

    def run_shown(self) -> None:
        """Run the model over the slide that is shown, or go on where a run was stopped."""
        if self._view.shown is None:
            show_info("Open a slide first: File ▸ Open File(s), or drop it on the window.")
            return
        self._waiting = [self._view.shown]
        self._run_next()

    def run_all(self) -> None:
        """Run the model over every slide of the patient, the one that is shown first."""
        self._waiting = sorted(self._view.nodes, key=lambda name: name != self._view.shown)
        self._run_next()

    def pause(self) -> None:
        """Let the run rest after the present batch, or go on."""
        control = self._run.control
        if control.paused:
            control.go_on()
        else:
            control.pause()
        self.panel.show_paused(control.paused)
        self._look()

    def cancel(self) -> None:
        """Stop after the present batch; what was computed stays."""
        self._waiting = []
        if self.is_running:
            self._run.control.cancel()
            self.panel.pause_button.setEnabled(False)
            self.panel.cancel_button.setEnabled(False)
            self.panel.say("Stopping …")

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
        node.status, node.problem = "starting", ""
        self._running, self._request = node, self.request()
        self._run = run = SlideRun(RunControl(), self._view.rules)
        self._drawn, self._paused_drawn, self._row_drawn = None, False, 0.0
        self._tell_view()  # what is in view is first
        steps = partial(
            predict_slide,
            node.slide,
            self._request,
            control=run.control,
            checkpoint_folder=cache_folder() / "unfinished",
            tissue=node.tissue,
            load=self._kept.load,
            prepare=self._kept.prepare,
        )
        # superqt's own: with napari's wrapper around it, an error in the thread makes another
        # one in napari (0.9.2).
        worker = create_worker(
            politely,
            carry_out,
            run,
            steps,
            _start_thread=False,
            _ignore_errors=True,  # `_on_errored` tells them
        )
        worker.errored.connect(self._on_errored)
        worker.returned.connect(self._on_returned)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self.form.setEnabled(False)
        self.findings.show_findings(())
        self.panel.set_busy(True)
        self.panel.bar.show_share(0, 1)
        self.panel.say("Loading the model and looking for tissue …", "")
        self._view.node_updated.emit(name)
        self._view.make_layer_ahead(node)
        worker.start()
        self._looking.start(_FIRST_LOOK_MS)

    def _look(self) -> None:
        """Show what the run has come to; draw no more often than this is called."""
        node, run = self._running, self._run
        planned, update = run.planned, run.update
        if node is None:
            return
        if self._drawn is None:  # later, what is missing was taken away by a person
            self._view.make_layer_ahead(node)
        if planned is None:
            return
        if node.heatmap is not planned.heatmap:
            self._view.begin_heatmap(node, planned.patch_grid, planned.heatmap)
            self._say_planned(planned)
        self._tell_view()
        self.findings.show_findings(run.findings)
        paused = run.control.paused
        if update is None or (update is self._drawn and paused == self._paused_drawn):
            return
        self._view.show_uncertainty(node)
        self._pace.keep(self._request, update.patches_per_s)
        if self._drawn is None:
            self._looking.setInterval(_LOOK_MS)
        new, self._drawn, self._paused_drawn = update is not self._drawn, update, paused
        if new:
            self._view.refresh_heatmap(node)
        done, total = update.known + update.done, update.known + update.total
        self.panel.bar.show_share(done, total)
        if not run.control.cancelled:
            self.panel.say(progress_text(update, paused=paused), facts_text(planned, update))
        self._show_elsewhere(node, done, total)

    def _say_planned(self, planned: Planned) -> None:
        self.stain.set_model_stain(planned.model.spec.stain)
        total = planned.patch_grid.patch_count
        text = f"{total:,} patches" if total else "No tissue found on this slide."
        expected_s = planned.expected_s or self._pace.seconds(self._request, total)
        if total and expected_s is not None:
            text += f", {about(expected_s)}"
        self.panel.say(text, facts_text(planned, None))

    def _show_elsewhere(self, node: NodeView, done: int, total: int) -> None:
        """Renew the node's row in other docks, which need not be as quick."""
        word = "paused" if self._paused_drawn else "running"
        node.status = f"{word} {done / max(1, total):.0%}"
        now = time.monotonic()
        if now - self._row_drawn < _ROW_S and not self._paused_drawn and done < total:
            return
        self._row_drawn = now
        self._view.node_updated.emit(node.slide.name)

    def _tell_view(self) -> None:
        """Tell the run what a person looks at, if it is its slide."""
        node, viewer = self._running, self._view.viewer
        if node is None or self._view.shown != node.slide.name:
            return
        layer = layer_of_slide(viewer, node.slide.name)
        if layer is None:
            return
        (left, top), (right, bottom) = seen_box(viewer, layer).tolist()
        seen = (left, top, right - left, bottom - top)
        if seen != self._run.control.view_px:
            self._run.control.look_at(*seen)

    def _on_returned(self, _value: object = None) -> None:
        self._look()
        node, staged = self._running, self._run.staged
        if node is None:
            return
        heatmap = node.heatmap
        complete = heatmap is not None and heatmap.computed_share == 1
        share = 0.0 if heatmap is None else heatmap.computed_share or 0.0
        node.status = "done" if complete else f"stopped at {share:.0%}"
        if self._run.control.cancelled and not complete:
            self._unfinished[node.slide.name] = self._request
        if heatmap is not None and heatmap.damaged_cells:
            dealt_with = heatmap.computed_cells + heatmap.damaged_cells == heatmap.planned_cells
            until = "done" if dealt_with else node.status
            node.status = f"{until}, {heatmap.damaged_cells:,} patches on damaged parts left out"
        self._keep_facts(node)
        self._view.restage(node, staged)

    def _keep_facts(self, node: NodeView) -> None:
        """Keep what the run told of itself, warnings included, for when results are saved."""
        planned = self._run.planned
        if planned is not None and node.heatmap is planned.heatmap:
            findings = tuple(asdict(finding) for finding in self._run.findings)
            progress = run_progress(planned, self._run.update)
            node.facts = replace(planned.facts, findings=findings, progress=progress)

    def _on_errored(self, error: Exception) -> None:
        self._look()
        node = self._running
        self._waiting = []
        if isinstance(error, TumourClassError) and error.class_names:
            self._ask_for_tumour_class(error)
            return
        if not isinstance(error, CamelyonError):
            # A defect of ours: the log has what is needed to find it.
            _log.error("A run failed.", exc_info=error)
            error = CamelyonError(
                f"The run failed for a reason that was not foreseen ({type(error).__name__}: "
                f"{error}). What was computed is kept. The log of this program says more."
            )
        if node is not None:
            node.status, node.problem = "failed", str(error)
            self._unfinished[node.slide.name] = self._request
            self._keep_facts(node)
            self._view.restage(node)
        self.panel.say(str(error), problem=True)
        show_error(str(error))

    def _ask_for_tumour_class(self, error: TumourClassError) -> None:
        node = self._running
        name, chosen = QInputDialog.getItem(
            self,
            "Which class is tumour?",
            f"{self.form['model'].value} does not tell which of its classes is tumour.\n"
            "Everything that follows depends on it.\n\nTumour is:",
            error.class_names,
            editable=False,
        )
        if node is None:  # the window was closed meanwhile
            return
        node.status = "not run"
        if chosen:
            self.form.set_tumour_class(name)
            self._waiting = [node.slide.name]

    def _on_finished(self, _nothing: None = None) -> None:
        self._looking.stop()
        node, self._running, self._worker = self._running, None, None
        if node is not None:
            self._view.take_empty_layers_away(node)
        self.panel.set_busy(False)
        self.form.setEnabled(True)
        if node is not None and node.status == "not run":
            self.panel.say("")
        elif node is not None and node.status != "failed":
            self.panel.say(node.status.capitalize() + ".")
        if node is not None and node.status.startswith("done"):
            self._unfinished.pop(node.slide.name, None)
        self._show_what_run_means()
        # Let the event loop breathe between two slides.
        QTimer.singleShot(0, self._run_next)
        if node is not None:
            self._view.node_updated.emit(node.slide.name)  # last: a listener may close the window

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop and join the run before the window goes: its thread must not outlive it."""
        if event.type() == QEvent.Type.Close:
            self._waiting = []  # also between two slides, when nothing runs
            self._looking.stop()
            if self.is_running:
                self._running = None
                self._run.control.cancel()
                QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.details = note()
        self.stain = StainControls(self._view.viewer)
        self.form = RunForm(self.stain)
        self.looking_closer = LookingCloser(self._view.viewer, self.request, self._kept.load)
        self.findings = FindingBox()
        self.panel = RunPanel()
        self.panel.run_button.clicked.connect(self.run_shown)
        self.panel.run_all_button.clicked.connect(self.run_all)
        self.panel.pause_button.clicked.connect(self.pause)
        self.panel.cancel_button.clicked.connect(self.cancel)
        self.run_button, self.run_all_button = self.panel.run_button, self.panel.run_all_button
        self.pause_button, self.cancel_button = self.panel.pause_button, self.panel.cancel_button
        self.status, self.bar = self.panel.status, self.panel.bar
        self.result_chip = QLabel()
        self.result_text = QLabel()
        self.result_text.setWordWrap(True)
        result = QHBoxLayout()
        result.addWidget(self.result_chip)
        result.addWidget(self.result_text, 1)

        # What is chosen may be long and scrolls; what runs is always in sight.
        inner = QWidget()
        chosen = QVBoxLayout(inner)
        chosen.setContentsMargins(0, 0, 4, 0)
        chosen.addWidget(self.title)
        chosen.addWidget(self.details)
        chosen.addWidget(self.form)
        layout = QVBoxLayout(self)
        layout.addWidget(ShrinkingScroll(inner))
        layout.addWidget(self.findings)
        layout.addWidget(self.panel)
        layout.addLayout(result)
        self.shown_map = ShownMap(self._view)
        layout.addWidget(self.shown_map)
        layout.addSpacing(4)
        layout.addWidget(self.looking_closer.button)
        layout.addStretch(1)
        layout.addWidget(disclaimer())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """List the models that are known by now."""
        super().showEvent(event)
        if not self.is_running:
            self.form.add_models(
                {
                    one.name: one.name
                    for one in list_models()
                    if one.fetched and not one.problem and one.name != BUNDLED_NAME
                }
            )

    def _show_what_run_means(self) -> None:
        node = self._view.shown_node
        chosen = None if node is None else node.tissue
        self.form.show_tissue("" if chosen is None else describe_choice(chosen))
        self.form.say_cost(self._pace.cost_text(self.request(), self._view.shown_node))
        unfinished = self._unfinished.get(self._view.shown or "")
        goes_on = unfinished is not None and unfinished == self.request()
        self.run_button.setText("Continue" if goes_on else "Run")
        self.run_button.setToolTip(
            "Go on where the last run stopped" if goes_on else "Run the model over this slide"
        )

    def _show_slide(self) -> None:
        node = self._view.shown_node
        self.panel.set_several(len(self._view.nodes) > 1)
        self._unfinished = {
            name: request for name, request in self._unfinished.items() if name in self._view.nodes
        }
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
        self._show_what_run_means()

    def _show_result(self, name: str) -> None:
        if name != (self._view.shown or ""):
            return
        node = self._view.shown_node
        result = node.result if node is not None else None
        self.result_chip.setVisible(result is not None)
        self.result_text.setVisible(result is not None)
        if result is not None:
            unclear = result.node_class == "negative" and not _is_complete(result)
            set_chip(
                self.result_chip,
                "not known yet" if unclear else CLASS_TITLES[result.node_class],
                None if unclear else CLASS_COLOURS[result.node_class],
                size_pt=12,
            )
            self.result_text.setText(_finding(result))
            self.result_text.setToolTip("\n".join(result.reasons))


def _is_complete(result: NodeResult) -> bool:
    return result.computed_share is None or result.computed_share == 1


def _finding(result: NodeResult) -> str:
    if result.diameter_mm is None:
        return "no lesion found" + ("" if _is_complete(result) else " so far")
    count = f"{result.lesions} lesion{'s' if result.lesions != 1 else ''}"
    return f"{count}, the largest {result.diameter_mm:.2f} ± {result.margin_mm:.2f} mm"
