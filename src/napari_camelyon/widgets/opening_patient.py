"""Opening a patient: all slides at once, and what was kept of them as soon as it is read."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_camelyon.cohort import PatientFiles, read_patient, read_prediction, read_run
from napari_camelyon.errors import CamelyonError, ResultError
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    LesionRules,
    NodeResult,
    Override,
    classify_node,
    find_lesions,
    read_node,
)
from napari_camelyon.tissue import PatchGrid
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.patient_choices import rules_with_threshold
from napari_camelyon.widgets.patient_view import NodeView, PatientView
from napari_camelyon.widgets.polite import politely
from napari_camelyon.widgets.run_worker import Staged

__all__ = ["PatientOpener"]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was kept of one slide, or why it cannot be shown."""

    node: NodeView
    folder: Path
    heatmap: Heatmap | None = None
    patch_grid: PatchGrid | None = None
    staged: Staged | None = None
    problem: str = ""


class PatientOpener(QObject):
    """Opens one patient after another in a window."""

    finished = Signal()
    """All kept results of the patient are shown."""

    def __init__(self, view: PatientView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._waited_for = 0

    @property
    def is_busy(self) -> bool:
        """Whether kept results are still being read."""
        return self._waited_for > 0

    def open(self, files: PatientFiles, notes: tuple[str, ...] = ()) -> None:
        """Put a patient in the place of the one that is open.

        Parameters
        ----------
        files : PatientFiles
        notes : tuple of str
            What was odd when it was looked for.
        """
        self._view.clear()
        problems = list(notes)
        slides = {**files.slides, **_remembered(files)}
        opened: list[NodeView] = []
        for name in sorted(slides, key=list(files.nodes).index):
            try:
                opened.append(self._view.open_slide(slides[name], show=not opened))
            except CamelyonError as error:
                problems.append(str(error))
        there = {node.slide.name for node in opened}
        kept: list[NodeResult] = []
        for name, folder in files.results.items():
            if name not in there:
                try:
                    kept.append(read_node(folder))
                except ResultError as error:
                    problems.append(str(error))
        known = there | {result.name for result in kept}
        self._view.choose(
            name=files.name,
            missing=tuple(name for name in files.nodes if name not in known),
            kept=tuple(kept),
            overrides=_overrides(files, problems),
            problems=tuple(problems),
        )
        for node in opened:
            found = files.results.get(node.slide.name)
            if found is not None:
                self._read(node, found)
        if not self.is_busy:
            self.finished.emit()

    def _read(self, node: NodeView, folder: Path) -> None:
        node.status = "reading what was kept"
        self._view.node_updated.emit(node.slide.name)
        self._waited_for += 1
        in_thread(partial(politely, _read, node, folder, self._view.rules), receive=self._on_read)

    def _on_read(self, read: _Read) -> None:
        self._waited_for -= 1
        name, node = read.node.slide.name, read.node
        if self._view.nodes.get(name) is node:  # else another patient was opened meanwhile
            problem = read.problem
            node.status = "not run"
            if read.heatmap is not None and read.patch_grid is not None:
                try:
                    self._view.put_results(
                        name, read.folder, read.heatmap, read.patch_grid, read.staged
                    )
                except CamelyonError as error:
                    problem = str(error)
            if problem:
                node.problem = problem
                self._view.node_updated.emit(name)
        if not self.is_busy:
            self.finished.emit()


def _read(node: NodeView, folder: Path, rules: LesionRules) -> _Read:
    try:
        heatmap, patch_grid = read_prediction(folder)
        rules = rules_with_threshold(rules, heatmap.threshold)
        lesions = find_lesions(heatmap, **asdict(rules))
    except CamelyonError as error:
        return _Read(node, folder, problem=str(error))
    result = classify_node(lesions, heatmap=heatmap, name=node.slide.name)
    staged = Staged(rules, lesions, result)
    return _Read(node, folder, heatmap, patch_grid, staged)


def _remembered(files: PatientFiles) -> dict[str, Path]:
    """Return the slides that lie elsewhere but where their runs found them."""
    found = {}
    for name, folder in files.results.items():
        if name in files.slides:
            continue
        try:
            path = Path(read_run(folder).slide_path)
        except ResultError:
            continue
        if path.name and path.exists():
            found[name] = path
    return found


def _overrides(files: PatientFiles, problems: list[str]) -> tuple[Override, ...]:
    if files.patient_file is None:
        return ()
    try:
        return read_patient(files.patient_file).overrides
    except ResultError as error:
        problems.append(str(error))
        return ()
