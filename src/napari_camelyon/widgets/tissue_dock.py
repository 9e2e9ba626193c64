"""The "Tissue" dock: where a run looks for tumour, to be seen and changed before it begins."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QThreadPool, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_camelyon.annotations import AnnotationSet
from napari_camelyon.cohort import PredictRequest
from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import Mpp
from napari_camelyon.tissue import (
    SPOILT_KINDS,
    TISSUE,
    TissueOutlines,
    find_kept_tissue,
    forget_tissue,
    keep_tissue,
    switch_piece,
)
from napari_camelyon.widgets.annotating import edit_annotations, tools_of
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.background import Latest
from napari_camelyon.widgets.napari_compat import main_window
from napari_camelyon.widgets.patient_view import NodeView, patient_view
from napari_camelyon.widgets.style import disclaimer, note
from napari_camelyon.widgets.tissue_layers import planned_layer
from napari_camelyon.widgets.tissue_plan import Expected, Looked, Search, look_again, search
from napari_camelyon.widgets.tissue_rows import TissueRows

__all__ = ["TissueDock"]

_NO_SLIDE = "Open a slide first."
_NO_MPP = "This slide does not say how large its pixels are: set the pixel size in the Slide dock."
_NOT_YET = (
    "A run finds the tissue by itself. Find it here to see it, to change it, and to leave out "
    "pieces, ink, blur or folds."
)
_TOOLS = (("select", "Select"), ("brush", "Brush"), ("eraser", "Eraser"))
_POLL_MS = 100
_PAUSE_MS = 250
"""After an edit; the next stroke may follow at once."""


@dataclass(slots=True)
class _Held:
    """What the dock knows of one slide's tissue."""

    editor: AnnotationEditor
    outlines: TissueOutlines
    kept: Path | None
    mpp: Mpp
    problem: str = ""
    expected: Expected | None = None
    unkept: bool = False
    """Whether a person has changed something that is in no file yet."""


class TissueDock(QWidget):
    """Finds, shows and edits the tissue of the shown slide, and says what a run would do."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._held: dict[str, _Held] = {}
        self._ignored = ""
        self._search: Search | None = None
        self._searched = ""
        self._keeping: _Held | None = None
        self._searching = Latest(self)
        self._looking = Latest(self)
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL_MS)
        self._poll.timeout.connect(self._show_progress)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PAUSE_MS)
        self._soon.timeout.connect(self._look_again)
        self._build()
        main_window(self._view.viewer).installEventFilter(self)
        self._view.shown_changed.connect(self._look)
        self._view.nodes_changed.connect(self._look)
        self._look()

    # -- what there is --------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is being found or computed."""
        return self._searching.is_busy or self._looking.is_busy or self._soon.isActive()

    @property
    def editor(self) -> AnnotationEditor | None:
        """The outlines of the shown slide; None before its tissue was found."""
        held = self._held_now
        return None if held is None else held.editor

    @property
    def _held_now(self) -> _Held | None:
        return self._held.get(self._view.shown or "")

    # -- what a person does ---------------------------------------------------------------------

    def find_tissue(self) -> None:
        """Look for the tissue of the shown slide; again, it is an edit that can be undone."""
        node = self._view.shown_node
        if node is None or node.slide.mpp is None or self._searching.is_busy:
            return
        self._search, self._searched = Search(), node.slide.name
        self._poll.start()
        self._show_busy()
        self._searching.call(
            search,
            node.slide,
            self._search,
            receive=partial(self._on_found, node.slide.name),
            fail=self._on_failed,
        )
        self._show_busy()

    def cancel(self) -> None:
        """Stop looking; what there was stays."""
        if self._search is not None:
            self._search.stopped = True
        self._searching.drop()
        self._show_busy()

    def take_tool(self, name: str) -> None:
        """Take one of the annotation tools in hand for the outlines of the tissue."""
        editor = self.editor
        if editor is None:
            return
        self._view.viewer.layers.selection.active = editor.layer
        editor.layer.visible = True
        tools_of(editor).take(name)

    def switch(self, number: int, on: bool) -> None:
        """Switch a piece of tissue of the shown slide on or off, as an edit."""
        node, held = self._view.shown_node, self._held_now
        if node is None or held is None or node.tissue is None or node.tissue.found is None:
            return
        pixel_px = node.tissue.mask.pixel_px
        after = switch_piece(held.editor.now, node.tissue.found, pixel_px, number, on=on)
        held.editor.edit(f"switch piece {number} {'on' if on else 'off'}", after)

    def go_to(self, number: int) -> None:
        """Bring a piece of tissue into view."""
        node = self._view.shown_node
        if node is not None and node.tissue is not None and node.tissue.found is not None:
            self._view.look_at(node.tissue.found.pieces[number - 1].bounds_px)

    def leave_out(self, kind: str, left_out: bool) -> None:
        """Leave patches on spoilt areas of one kind out of a run, or no more."""
        held = self._held_now
        if held is None:
            return
        kinds = {*held.outlines.leave_out} - {kind} | ({kind} if left_out else set())
        in_order = tuple(one for one in SPOILT_KINDS if one in kinds)
        self._change(held, replace(held.outlines, leave_out=in_order))

    def set_min_tissue(self, percent: float) -> None:
        """Set how much tissue a patch needs at least."""
        held = self._held_now
        if held is not None:
            self._change(held, replace(held.outlines, min_tissue_fraction=percent / 100))

    def show_plan(self, shown: bool) -> None:
        """Draw the planned patches over the slide, or no more."""
        for layer in self._view.layers_of(self._view.shown or "", "planned"):
            layer.visible = shown

    def start_over(self) -> None:
        """Forget what was kept and changed; a run finds the tissue by itself again."""
        node = self._view.shown_node
        if node is None:
            return
        try:
            forget_tissue(node.slide)
        except CamelyonError as error:
            show_error(str(error))
            return
        self._soon.stop()
        self._looking.drop()
        name = node.slide.name
        self._held.pop(name, None)
        self._view.show_layers(name, ("tissue", "planned"), [])
        self._view.set_tissue(name, None)
        self._show_all()

    def plan_again(self) -> None:
        """Plan anew: another model or stride may be chosen now."""
        if self._held_now is not None:
            self._soon.start()

    # -- what follows from it -------------------------------------------------------------------

    def _look(self) -> None:
        """Take in the slide that is shown; what was kept of its tissue comes with it."""
        self._finish_looking()
        for name in [name for name in self._held if name not in self._view.nodes]:
            del self._held[name]
        node = self._view.shown_node
        self._ignored = ""
        if node is not None and node.slide.mpp is not None and node.slide.name not in self._held:
            self._take_kept(node)
        held = self._held_now
        if node is not None and held is not None and node.slide.mpp is not None:
            if node.tissue is None or node.slide.mpp != held.mpp:
                self._soon.start()
            held.mpp = node.slide.mpp
        self._show_all()

    def _take_kept(self, node: NodeView) -> None:
        try:
            kept = find_kept_tissue(node.slide)
        except CamelyonError as error:
            self._ignored = str(error)
            return
        if kept is None:
            return
        if kept.outlines is None:
            self._ignored = kept.ignored
            return
        self._hold(node, kept.outlines, kept.path)

    def _on_found(self, name: str, outlines: TissueOutlines) -> None:
        self._show_busy()
        node, held = self._view.nodes.get(name), self._held.get(name)
        if node is None:
            return
        if held is None:
            self._hold(node, outlines, None)
            return
        held.outlines = replace(held.outlines, looked_for=outlines.looked_for)
        held.editor.edit("find tissue again", outlines.annotations)

    def _on_failed(self, error: CamelyonError) -> None:
        self._show_busy()
        show_error(str(error))

    def _hold(self, node: NodeView, outlines: TissueOutlines, kept: Path | None) -> None:
        name = node.slide.name
        editor = edit_annotations(
            self._view.viewer,
            outlines.annotations,
            path=kept,
            slide_name=name,
            mpp=node.slide.mpp,
            slide=lambda: self._view.nodes[name].slide if name in self._view.nodes else None,
            kind="tissue",
            keep=lambda annotations: self._keep(name, annotations),
        )
        editor.draw_in(TISSUE)
        held = _Held(editor, outlines, kept, node.slide.require_mpp())
        self._held[name] = held
        editor.changed.connect(lambda _change: self._change(held, held.outlines))
        editor.groups_shown_changed.connect(self._show_tools)
        tools_of(editor).tool_changed.connect(self._show_tools)
        active = self._view.viewer.layers.selection.active
        self._view.show_layers(name, ("tissue",), [editor.layer])
        if active is not None and active in self._view.viewer.layers:
            self._view.viewer.layers.selection.active = active
        self._soon.start(0)
        self._show_all()

    def _keep(self, name: str, annotations: AnnotationSet) -> Path:
        held = self._held[name]
        path = keep_tissue(
            self._view.nodes[name].slide, replace(held.outlines, annotations=annotations)
        )
        held.kept, held.unkept = path, False
        return path

    def _change(self, held: _Held, outlines: TissueOutlines) -> None:
        held.outlines, held.unkept = outlines, True
        self._soon.start()
        self._show_state()

    def _look_again(self) -> None:
        node, held = self._view.shown_node, self._held_now
        if node is None or held is None or node.slide.mpp is None:
            return
        outlines = replace(held.outlines, annotations=held.editor.now)
        keep, held.unkept = held.unkept, False
        self._keeping = held if keep else None
        kept_in = str(held.kept) if held.kept is not None else ""
        self._looking.call(
            partial(look_again, keep=keep),
            node.slide,
            outlines,
            self._request(),
            kept_in,
            receive=partial(self._on_looked, node.slide.name),
            fail=self._on_not_looked,
        )
        self._show_state()

    def _on_looked(self, name: str, looked: Looked) -> None:
        self._keeping = None
        held = self._held.get(name)
        if held is None or name not in self._view.nodes:
            return
        held.expected, held.problem = looked.expected, looked.problem
        if looked.kept is not None:
            held.kept = looked.kept
            held.editor.note_kept(looked.annotations, looked.kept)
        self._draw_plan(name, looked.expected)
        self._view.set_tissue(name, looked.choice)
        self._show_all()

    def _on_not_looked(self, error: CamelyonError) -> None:
        self._keeping = None
        if self._held_now is not None:
            self._held_now.problem = str(error)
        self._show_all()

    def _finish_looking(self) -> None:
        """Keep what was changed on the slide that is left, before another one is looked at."""
        self._soon.stop()
        self._looking.drop()
        if self._keeping is not None:  # nobody hears of its file
            self._keeping.unkept, self._keeping = True, None
        for name, held in self._held.items():
            if held.unkept and name in self._view.nodes:
                try:
                    held.editor.note_kept(held.editor.now, self._keep(name, held.editor.now))
                except CamelyonError as error:
                    show_error(str(error))
                self._view.nodes[
                    name
                ].tissue = None  # until it is shown again, a run reads the file

    def _draw_plan(self, name: str, expected: Expected | None) -> None:
        node = self._view.nodes[name]
        if expected is None:
            self._view.show_layers(name, ("planned",), [])
            return
        shown = self.plan_box.isChecked()
        fresh = planned_layer(name, expected.grid, node.slide.mpp, visible=shown)
        active = self._view.viewer.layers.selection.active
        self._view.show_layers(name, ("planned",), [fresh])
        if active is not None and active in self._view.viewer.layers:
            self._view.viewer.layers.selection.active = active

    def _request(self) -> PredictRequest:
        """Return what the Inference dock would run, where there is one."""
        dock = self._view.viewer.window.dock_widgets.get("Inference (napari-camelyon)")
        return PredictRequest() if dock is None else dock.request()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Plan anew when the dock comes to the front: another model may be chosen now."""
        super().showEvent(event)
        self.plan_again()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let no thread outlive the window, and no change be lost with it."""
        if event.type() == QEvent.Type.Close:
            self.cancel()
            QThreadPool.globalInstance().waitForDone(10_000)
            self._finish_looking()
        return super().eventFilter(watched, event)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.state = note()
        self.find_button = QPushButton("Find tissue")
        self.find_button.setToolTip("Tissue and its pieces; ink, folds, and what is out of focus")
        self.find_button.clicked.connect(self.find_tissue)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.over_button = QPushButton("Start over")
        self.over_button.setToolTip("Forget the changes and remove the file that keeps them")
        self.over_button.clicked.connect(self.start_over)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.rows = TissueRows()
        self.rows.piece_switched.connect(self.switch)
        self.rows.piece_wanted.connect(self.go_to)
        self.rows.kind_switched.connect(self.leave_out)
        self.rows.min_tissue_changed.connect(self.set_min_tissue)
        self.plan_box = QCheckBox("Show planned patches")
        self.plan_box.setChecked(True)
        self.plan_box.toggled.connect(self.show_plan)
        self.plan = QLabel()
        self.plan.setWordWrap(True)
        self.found = QWidget()
        inner = QVBoxLayout(self.found)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(self._tool_row())
        inner.addWidget(self.rows, 1)
        inner.addWidget(self.plan_box)
        inner.addWidget(self.plan)

        row = QHBoxLayout()
        for button in (self.find_button, self.cancel_button, self.over_button):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.title)
        layout.addWidget(self.state)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.found, 1)
        self.filler = QWidget()
        self.filler.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout.addWidget(self.filler)
        layout.addWidget(disclaimer())
        self.setMinimumWidth(300)

    def _tool_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        self.tool_buttons: dict[str, QPushButton] = {}
        for name, title in _TOOLS:
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(f"{title} outlines; the Annotate dock has all tools.")
            button.clicked.connect(lambda _on=False, tool=name: self._on_tool(tool))
            self.tool_buttons[name] = button
            row.addWidget(button)
        self.group_box = QComboBox()
        for group in (TISSUE, *SPOILT_KINDS):
            self.group_box.addItem(group, group)
        self.group_box.setToolTip("What is drawn next")
        self.group_box.currentIndexChanged.connect(self._on_group)
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Ctrl+Z")
        self.undo_button.clicked.connect(self._undo)
        row.addWidget(self.group_box)
        row.addWidget(self.undo_button)
        return row

    def _on_tool(self, name: str) -> None:
        self.take_tool(name)
        self._show_tools()

    def _on_group(self, _index: int) -> None:
        if self.editor is not None:
            self.editor.select(())
            self.editor.draw_in(self.group_box.currentData())

    def _undo(self) -> None:
        if self.editor is not None:
            self.editor.undo()

    def _show_all(self) -> None:
        node, held = self._view.shown_node, self._held_now
        self.title.setText("" if node is None else f"<b>{node.slide.name}</b>")
        self.title.setVisible(node is not None)
        self.found.setVisible(held is not None)
        self.filler.setVisible(held is None)
        if node is not None and held is not None:
            self.rows.show_choice(held.outlines, node.tissue)
            self._show_tools()
        self._show_busy()

    def _show_tools(self, _event: object = None) -> None:
        editor = self.editor
        if editor is None:
            return
        is_active = self._view.viewer.layers.selection.active is editor.layer
        present = tools_of(editor).tool.name if is_active else ""
        for name, button in self.tool_buttons.items():
            button.setChecked(name == present)
        with signals_blocked(self.group_box):
            self.group_box.setCurrentIndex(self.group_box.findData(editor.draw_group))
        self.undo_button.setEnabled(bool(editor.history.done))

    def _show_busy(self) -> None:
        node, busy = self._view.shown_node, self._searching.is_busy
        self.find_button.setEnabled(node is not None and node.slide.mpp is not None and not busy)
        self.find_button.setText("Find tissue" if self._held_now is None else "Find again")
        self.cancel_button.setVisible(busy)
        self.bar.setVisible(busy)
        self.over_button.setVisible(self._held_now is not None and not busy)
        if not busy:
            self._poll.stop()
        self._show_state()

    def _show_progress(self) -> None:
        if self._search is not None and self._search.total:
            self.bar.setRange(0, self._search.total)
            self.bar.setValue(self._search.done)
        else:
            self.bar.setRange(0, 0)

    def _show_state(self) -> None:
        self.state.setText(self._state_text())
        held = self._held_now
        self.plan.setText("" if held is None else _plan_text(held))
        if held is not None:
            self.undo_button.setEnabled(bool(held.editor.history.done))

    def _state_text(self) -> str:
        node, held = self._view.shown_node, self._held_now
        if node is None:
            return _NO_SLIDE
        if node.slide.mpp is None:
            return _NO_MPP
        if self._searching.is_busy and self._searched == node.slide.name:
            return "Looking for tissue and what spoils it …"
        if held is None:
            return f"{self._ignored}. {_NOT_YET}" if self._ignored else _NOT_YET
        if held.problem:
            return held.problem
        if held.unkept:
            return "Changed …"
        if held.kept is not None:
            return f"Kept in {held.kept.name}: every run of this slide uses it."
        return "As found. What you change is kept beside the slide."


def _plan_text(held: _Held) -> str:
    expected = held.expected
    if expected is None:
        return ""
    count = expected.grid.patch_count
    if not count:
        return "<b>No patch</b> has enough tissue."
    patches = f"<b>{count:,} patch{'' if count == 1 else 'es'}</b>"
    on = f"with {expected.model}, {expected.device}"
    if expected.seconds is None:
        text = f"{patches} {on}; duration not known yet: a first run measures it."
    else:
        text = f"{patches}, about {_duration(expected.seconds)} {on}."
    left_out = expected.grid.left_out_sentence
    return f"{text} {left_out}." if left_out else text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
