"""The "pN stage" dock: the patient's stage, why it is that, how sure, and a row for every node."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QGridLayout,
    QInputDialog,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.cohort import FoundPatients, PatientFiles, find_patients
from napari_camelyon.errors import CamelyonError
from napari_camelyon.staging import (
    Change,
    NodeClass,
    NodeResult,
    Override,
    PatientResult,
    check_comparable,
    override_node,
    overrides_in_force,
    read_calibration,
    undo_override,
    what_would_change,
)
from napari_camelyon.widgets.background import Latest
from napari_camelyon.widgets.change_list import ChangeList
from napari_camelyon.widgets.live_staging import LiveStaging
from napari_camelyon.widgets.napari_compat import camera, main_window
from napari_camelyon.widgets.node_row import NodeRow
from napari_camelyon.widgets.opening_patient import PatientOpener
from napari_camelyon.widgets.override_dialog import OverrideDialog, kept_initials
from napari_camelyon.widgets.patient_choices import certainty_of
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.reporting import report_of
from napari_camelyon.widgets.stage_head import (
    StageCertainty,
    StageHead,
    StageReasons,
    certainty_words,
    stability_words,
)
from napari_camelyon.widgets.staging_form import (
    RuleSliders,
    SchemeBox,
)
from napari_camelyon.widgets.style import disclaimer, note

__all__ = ["StageDock"]

_SLIDE_FILES = (
    "Slides (*.tif *.tiff *.svs *.ndpi *.mrxs *.scn *.vms *.vmu *.bif *.dcm);;All files (*)"
)
_SETTLE_AFTER_MS = 120
"""A hand on a slider rests when it has not moved for so long."""
_NOTHING_OPEN = (
    "Open the folder of a patient, or add the slides of one patient one by one: one or more for "
    "each node. Results that were kept are shown at once."
)
_NO_RESULT = "Run the model over the nodes in the Inference dock; the stage follows."


class StageDock(QWidget):
    """Shows the patient: stage, reasons, nodes; and lets a person move the threshold."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self.rows: dict[str, NodeRow] = {}
        self._flown_to: tuple[str, tuple[float, ...], float] | None = None
        self.live = LiveStaging(self._view, self)
        self.opener = PatientOpener(self._view, self)
        self._looking = Latest(self)
        self._report = Latest(self)
        self._notes: tuple[str, ...] = ()
        self._settle_soon = QTimer(self)
        self._settle_soon.setSingleShot(True)
        self._settle_soon.setInterval(_SETTLE_AFTER_MS)
        self._settle_soon.timeout.connect(self.live.settle)
        self._build()
        self._view.nodes_changed.connect(self._show_nodes)
        self._view.shown_changed.connect(self._show_all)
        self._view.node_updated.connect(self._show_node)
        self._view.choices_changed.connect(self._show_nodes)
        self._view.staged.connect(self._show_stage)
        self._view.staged.connect(self.live.try_thresholds)
        self._view.choices_changed.connect(self.live.try_thresholds)
        self.live.changed.connect(self._show_stage)
        main_window(self._view.viewer).installEventFilter(self)
        self._show_nodes()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let threads end before the window goes."""
        if event.type() == QEvent.Type.Close:
            self.live.stop()
        return super().eventFilter(watched, event)

    def write_report(self, folder: Path | str) -> None:
        """Write the results into a folder, and the report of the case beside them."""
        try:
            written = self._view.save(folder)
        except CamelyonError as error:
            show_error(str(error))
            return
        self.report_button.setEnabled(False)
        self.report_button.setText("Writing …")
        self._report.call(
            report_of,
            written,
            self._notes,
            receive=self._report_written,
            fail=self._report_failed,
        )

    def _report_written(self, pages: tuple[Path, ...]) -> None:
        self._report_over()
        show_info(f"Written: {', '.join(map(str, pages))}")

    def _report_failed(self, error: CamelyonError) -> None:
        self._report_over()
        show_error(str(error))

    def _report_over(self) -> None:
        self.report_button.setText("Report …")
        self.report_button.setEnabled(self._view.stage() is not None)

    # -- what a person does ---------------------------------------------------------------------

    def open_slides(self, paths: list[str]) -> None:
        """Open slides as nodes of this patient; what cannot be opened is said, the rest opens."""
        for path in paths:
            try:
                self._view.open_slide(path)
            except CamelyonError as error:
                show_error(str(error))

    def open_patient(self, folder: Path | str) -> None:
        """Open the patient in a folder; where there are several, ask which."""
        if any(node.is_running for node in self._view.nodes.values()):
            show_info("A slide is being predicted; cancel the run first.")
            return
        self.reasons.show_hint(f"Looking for slides and results in {folder} …")
        self._looking.call(find_patients, folder, receive=self._on_found, fail=self._on_not_found)

    def save(self, folder: Path | str) -> None:
        """Write the results of every node and the patient into a folder."""
        try:
            written = self._view.save(folder)
        except CamelyonError as error:
            show_error(str(error))
        else:
            show_info(f"Saved to {written}")

    def visit(self, name: str) -> None:
        """Go to the lesion that decides a node's class; from there, show the whole slide."""
        if name not in self._view.nodes:
            return
        if self._flown_to is not None and self._flown_to == self._where(name):
            self._flown_to = None
            self._view.show_whole(name)
            return
        self._view.go_to(name)
        self._flown_to = self._where(name)

    def override(self, name: str) -> None:
        """Ask a person for the class of a node."""
        result = self._results().get(name)
        called = None if result is None else result.node_class
        held = overrides_in_force(self._view.choices.overrides).get(name)
        dialog = OverrideDialog(name, called, None if held is None else held.node_class, self)
        dialog.accepted.connect(partial(self._on_override, dialog, name))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def undo(self, name: str) -> None:
        """Take back what was last said of a node."""
        initials = kept_initials()
        if not initials:
            initials, chosen = QInputDialog.getText(self, "Take back", "Your initials:")
            if not chosen:
                return
        self._say(undo_override, name, computed=self._class_of(name), initials=initials)

    def _on_override(self, dialog: OverrideDialog, name: str) -> None:
        node_class, reason, initials = dialog.chosen
        self._say(
            override_node,
            name,
            node_class,
            computed=self._class_of(name),
            reason=reason,
            initials=initials,
        )

    def _say(
        self,
        change: Callable[..., tuple[Override, ...]],
        name: str,
        *words: str,
        **more: str | None,
    ) -> None:
        try:
            history = change(self._view.choices.overrides, name, *words, **more)
        except CamelyonError as error:
            show_error(str(error))
            return
        self._view.choose(overrides=history)

    def _class_of(self, name: str) -> NodeClass | None:
        result = self._results().get(name)
        return None if result is None else result.node_class

    def _where(self, name: str) -> tuple[str, tuple[float, ...], float] | None:
        if self._view.shown != name:
            return None
        view = camera(self._view.viewer)
        return name, tuple(view.center), view.zoom

    def _on_found(self, found: FoundPatients) -> None:
        self._show_stage()
        chosen = found.patients[0]
        if len(found.patients) > 1:
            titles = {_title(one): one for one in found.patients}
            title, accepted = QInputDialog.getItem(
                self, "Open patient", "Several patients lie in this folder:", list(titles), 0, False
            )
            if not accepted:
                return
            chosen = titles[title]
        self.opener.open(chosen, found.notes)

    def _on_not_found(self, error: CamelyonError) -> None:
        self._show_stage()
        show_error(str(error))

    def _ask_for_patient(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open patient: folder of slides or results")
        if folder:
            self.open_patient(folder)

    def open_calibration(self, path: Path | str) -> None:
        """Take a calibration into account, if it is of the model of the results."""
        try:
            calibration = read_calibration(path)
            for node in self._view.nodes.values():
                if node.heatmap is not None:
                    calibration.check_model(node.heatmap.model_sha256)
        except CamelyonError as error:
            show_error(str(error))
            return
        self._view.choose(calibration=calibration)

    def _ask_for_calibration(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open calibration", "", "Calibration (*.json)")
        if path:
            self.open_calibration(path)

    def _ask_for_slides(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add slides", "", _SLIDE_FILES)
        self.open_slides(paths)

    def _remove_shown(self) -> None:
        node = self._view.shown_node
        if node is None:
            return
        if node.is_running:
            show_info("This slide is being predicted; cancel the run first.")
            return
        self._view.remove(node.slide.name)

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Save results to")
        if folder:
            self.save(folder)

    def _ask_where_to_report(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Save results and report to")
        if folder:
            self.write_report(folder)

    def _on_rules(self) -> None:
        self._settle_soon.start()
        self.live.preview(self.sliders.rules(self._view.rules))

    def _on_scheme(self) -> None:
        before, box = self._view.choices.method, self.scheme
        self._view.choose(method=box.method, scheme=box.scheme, sentinel_only=box.sentinel_only)
        if box.method != before:
            self._settle_soon.start()
            self.live.preview(self._view.rules)

    def _on_change(self, change: Change) -> None:
        if change.kind == "threshold" and change.value is not None:
            self.threshold_slider.setValue(change.value)
        elif change.node is not None:
            self.visit(change.node)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.head = StageHead()
        self.stage_chip, self.stage_title = self.head.chip, self.head.title
        self.reasons = StageReasons()

        self.sliders = RuleSliders()
        self.threshold_slider = self.sliders.threshold_slider
        self.sliders.show_rules(self._view.lesion_rules)
        self.sliders.moved.connect(self._on_rules)
        self.certainty = StageCertainty()
        self.scheme = SchemeBox()
        self.scheme.changed.connect(self._on_scheme)

        self.node_list = QVBoxLayout()
        self.node_list.setSpacing(6)
        self.changes = ChangeList()
        self.changes.wanted.connect(self._on_change)

        self.node_scroll = self._scrolled()
        open_button = QPushButton("Open patient …")
        open_button.setToolTip("A folder with slides, with results, or with both")
        open_button.clicked.connect(self._ask_for_patient)
        add = QPushButton("Add slides …")
        add.clicked.connect(self._ask_for_slides)
        self.remove_button = QPushButton("Remove")
        self.remove_button.setToolTip("Take the shown slide out of this patient.")
        self.remove_button.clicked.connect(self._remove_shown)
        self.save_button = QPushButton("Save results …")
        self.save_button.clicked.connect(self._ask_for_folder)
        self.report_button = QPushButton("Report …")
        self.report_button.setToolTip(
            "Save the results into a folder, with the report of the case: HTML, and PDF where "
            "ReportLab is installed."
        )
        self.report_button.clicked.connect(self._ask_where_to_report)
        self.buttons = QGridLayout()
        self.buttons.setSpacing(4)
        for place, button in enumerate((open_button, add, self.remove_button, self.save_button)):
            self.buttons.addWidget(button, place // 2, place % 2)
        self.buttons.addWidget(self.report_button, 2, 0, 1, 2)

        layout = QVBoxLayout(self)
        layout.addWidget(self.head)
        layout.addWidget(self.node_scroll, 1)
        layout.addLayout(self.buttons)
        layout.addWidget(disclaimer())
        self.setMinimumWidth(300)

    def _scrolled(self) -> QScrollArea:
        """Return what may be longer than the dock is high."""
        inner = QWidget()
        inside = QVBoxLayout(inner)
        inside.setContentsMargins(0, 0, 6, 0)
        inside.setSpacing(6)
        inside.addWidget(self.reasons)
        inside.addWidget(self.sliders)
        inside.addLayout(self.node_list)
        inside.addWidget(self.certainty)
        inside.addWidget(self.changes)
        self.rules = QWidget()
        rules = QVBoxLayout(self.rules)
        rules.setContentsMargins(0, 0, 0, 0)
        rules.addWidget(_title_label("Rules"))
        rules.addWidget(self.sliders.more)
        rules.addWidget(self.scheme)
        self.explanation = note(
            "A node is macro above 2.0 mm, micro above 0.2 mm, else ITC, which never counts as "
            "positive."
        )
        self.calibration_button = QPushButton("Calibration …")
        self.calibration_button.setToolTip(
            "A file that napari-camelyon calibrate has written: gives sets of classes and stages "
            "that hold the truth as often as it was asked for."
        )
        self.calibration_button.clicked.connect(self._ask_for_calibration)
        rules.addWidget(self.calibration_button)
        rules.addWidget(self.explanation)
        inside.addWidget(self.rules)
        inside.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inner)
        return scroll

    def _names(self) -> list[str]:
        """Return every node that has a row, in the order of the rows."""
        choices = self._view.choices
        others = [*(result.name for result in choices.kept), *choices.missing]
        names = [*self._view.nodes, *(name for name in others if name not in self._view.nodes)]
        return sorted(names) if choices.name else names

    def _results(self) -> dict[str, NodeResult | None]:
        kept = {result.name: result for result in self._view.choices.kept}
        return {**kept, **self._view.results(so_far=True)}

    def _show_nodes(self) -> None:
        names = self._names()
        for name in list(self.rows):
            # A row of a slide that came, or was opened anew, is another row.
            if name not in names or self.rows[name].has_slide != (name in self._view.nodes):
                row = self.rows.pop(name)
                self.node_list.removeWidget(row)
                row.hide()
                row.deleteLater()
        for place, name in enumerate(names):
            if name not in self.rows:
                row = NodeRow(name, self._view.nodes.get(name))
                row.clicked.connect(self.visit)
                row.override_wanted.connect(self.override)
                row.undo_wanted.connect(self.undo)
                self.rows[name] = row
            if self.node_list.indexOf(self.rows[name]) != place:
                self.node_list.insertWidget(place, self.rows[name])
        self.rows = {name: self.rows[name] for name in names}
        self._show_all()

    def _show_all(self) -> None:
        for name in self.rows:
            self._show_node(name)
        self.remove_button.setEnabled(self._view.shown is not None)
        self._show_stage()

    def _show_node(self, name: str) -> None:
        row = self.rows.get(name)
        if row is None:
            return
        row.show_node(
            self._view.nodes.get(name),
            shown=name == self._view.shown,
            result=self._results().get(name),
            override=overrides_in_force(self._view.choices.overrides).get(name),
        )

    def _show_stage(self) -> None:
        view = self._view
        if not self._settle_soon.isActive():  # else a person is moving it
            self.sliders.show_rules(view.lesion_rules)
        choices = view.choices
        self.scheme.show_choice(choices.method, choices.scheme, sentinel_only=choices.sentinel_only)
        result = view.stage(so_far=True)
        self.save_button.setEnabled(view.stage() is not None)
        self.report_button.setEnabled(view.stage() is not None and not self._report.is_busy)
        self.changes.setVisible(result is not None)
        for part in (self.sliders, self.rules):
            part.setVisible(bool(self.rows))  # without a node there is nothing that they move
        self._show_stability(result)
        self._show_certainty(result)
        heatmaps = {name: node.heatmap for name, node in view.nodes.items() if node.heatmap}
        problems = (*choices.problems, *check_comparable(heatmaps))
        if result is None:
            self.head.show_nothing(len(self.rows))
            self.reasons.show_hint(_NO_RESULT if self.rows else _NOTHING_OPEN, problems)
            return
        self.head.show_result(result)
        self.reasons.show_sentences(result.reasons, problems)
        self.changes.show_changes(
            what_would_change(
                result,
                self._results(),
                # While a slider moves they are those of before.
                lesions=None
                if self.live.is_busy
                else {name: node.lesions for name, node in view.nodes.items()},
                ranges=self.live.ranges,
                threshold=view.threshold,
            )
        )

    def _show_certainty(self, result: PatientResult | None) -> None:
        if result is None:
            self.certainty.show_certainty({}, "")
            self._notes = ()
            return
        if self.live.is_stale:  # it follows from the lesions, which follow when the hand rests
            return
        nodes = self._view.nodes.items()
        lesions = {name: node.lesions for name, node in nodes if node.result is not None}
        of_nodes, of_patient = certainty_of(self._view.choices, self._results(), lesions)
        self._notes = (of_patient.sentence,) if of_patient.sentence else ()
        self.certainty.show_certainty(
            {} if all(one is None for one in of_nodes.values()) else of_patient.probabilities,
            of_patient.sentence,
        )
        for name, words in certainty_words(of_nodes).items():
            if name in self.rows:
                self.rows[name].show_certainty(words)

    def _show_stability(self, result: PatientResult | None) -> None:
        ranges = () if result is None else self.live.ranges
        self.sliders.show_stability(ranges, stability_words(ranges, self._view.threshold))


def _title_label(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-weight: 600;")
    return label


def _title(patient: PatientFiles) -> str:
    slides, results = len(patient.slides), len(patient.results)
    return (
        f"{patient.name}: {slides} slide{'s' if slides != 1 else ''}, "
        f"{results} result{'s' if results != 1 else ''}"
    )
