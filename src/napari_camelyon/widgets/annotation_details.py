"""The selected regions: their sizes, name, group and verdict, and what can be made of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_camelyon.annotations import (
    AREA_KINDS,
    STATUSES,
    Annotation,
    status_of,
    verification_note,
    verified,
)
from napari_camelyon.annotations.editing import fill_holes, intersect, subtract, unite
from napari_camelyon.annotations.smoothing import simplify, smooth
from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import mean_mpp
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.annotation_groups import NO_GROUP
from napari_camelyon.widgets.outline_display import OutlineDisplay
from napari_camelyon.widgets.region_sizes import RegionSizes, count_vertices
from napari_camelyon.widgets.style import note
from napari_camelyon.widgets.waiting import Waiting

__all__ = ["RegionDetails"]

_PREVIEW_MS = 120
_CHANGED = "a region was changed before this was done, so nothing came of it. Try again."


class RegionDetails(QWidget):
    """What is selected, and the operations on it."""

    def __init__(self) -> None:
        super().__init__()
        self.editor: AnnotationEditor | None = None
        self._display: OutlineDisplay | None = None
        # Smoothing the largest outlines takes seconds: not at every step of the slider.
        self._preview_soon = QTimer(self)
        self._preview_soon.setSingleShot(True)
        self._preview_soon.setInterval(_PREVIEW_MS)
        self._preview_soon.timeout.connect(self._show_preview)
        self._kind = ""
        self._previewed: tuple[Annotation, Annotation] | None = None
        self._apply_wanted = False
        self._build()

    def show_selected(
        self, editor: AnnotationEditor | None, display: OutlineDisplay | None
    ) -> None:
        """Show what is selected in an editor now."""
        if editor is not self.editor and self.waiting.is_busy:
            self.waiting.cancel()
            show_info("What was being computed was given up: other annotations are shown now.")
        self.editor, self._display = editor, display
        selected = [] if editor is None else editor.selected_annotations
        self.empty.setVisible(not selected)
        self.form.setVisible(bool(selected))
        self._show_operations()
        self.sizes.show_selected(editor)
        if editor is None or not selected:
            return
        current = selected[-1]
        single = len(selected) == 1
        with signals_blocked(self.group), signals_blocked(self.status):
            self.name.setEnabled(single)
            self.name.setText(current.name if single else f"{len(selected)} regions")
            self.group.clear()
            names = editor.group_names()
            if None not in names:
                names.append(None)
            for name in names:
                self.group.addItem(NO_GROUP if name is None else name, name)
            groups = {annotation.group for annotation in selected}
            self.group.setCurrentIndex(names.index(current.group) if len(groups) == 1 else -1)
            verdicts = {status_of(annotation) for annotation in selected}
            self.status.setCurrentIndex(
                STATUSES.index(status_of(current)) if len(verdicts) == 1 else -1
            )
            self.comment.setText(verification_note(current) if single else "")
            self.comment.setEnabled(single)
        areas = [a for a in selected if a.kind in AREA_KINDS]
        for button in (self.union, self.intersection, self.difference):
            button.setEnabled(len(areas) > 1)
        for button in (self.fill, self.simplify_button, self.smooth_button):
            button.setEnabled(len(areas) == 1)
        self._end_preview()

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.empty = note(
            "Nothing is selected. Click a region with the Select tool, or draw a new one."
        )
        self.sizes = RegionSizes()
        """The dock shows it above its pages: it changes while a person draws."""
        self.form = self._form()
        self.operations = self._operations()
        self.preview = self._preview_row()
        # Once it has its place; as a child it goes when the window does.
        self._bring_soon = QTimer(self)
        self._bring_soon.setSingleShot(True)
        self._bring_soon.timeout.connect(self._bring_into_view)
        self.waiting = Waiting()
        self.waiting.busy_changed.connect(self._show_busy)
        self.waiting.cancel_button.clicked.connect(self._give_up)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 4, 0)
        for widget in (self.empty, self.form, self.operations, self.preview, self.waiting):
            layout.addWidget(widget)
        layout.addStretch(1)

    def _form(self) -> QWidget:
        self.name = QLineEdit()
        self.name.setPlaceholderText("name")
        self.name.editingFinished.connect(self._rename)
        self.group = QComboBox()
        self.group.activated.connect(lambda _index: self.assign(self.group.currentData()))
        self.status = QComboBox()
        self.status.addItems(STATUSES)
        self.status.activated.connect(self._judge)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("why")
        self.comment.editingFinished.connect(self._judge)
        verdict = QHBoxLayout()
        verdict.addWidget(self.status)
        verdict.addWidget(self.comment, 1)
        holder = QWidget()
        form = QFormLayout(holder)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Name", self.name)
        form.addRow("Group", self.group)
        form.addRow("Verdict", verdict)
        return holder

    def _operations(self) -> QWidget:
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)

        def button(title: str, tooltip: str, function: Callable[[], object]) -> QPushButton:
            made = QPushButton(title)
            made.setToolTip(tooltip)
            made.clicked.connect(lambda _on=False: function())
            place = grid.count()
            grid.addWidget(made, place // 3, place % 3)
            return made

        self.union = button("Unite", "Make one region of the selected ones.", self._unite)
        self.difference = button(
            "Subtract", "Cut the other selected regions out of the one selected last.", self._cut
        )
        self.intersection = button(
            "Intersect", "Keep what the selected regions have in common.", self._intersect
        )
        self.fill = button("Fill holes", "Fill all holes of the region.", self._fill)
        self.simplify_button = button(
            "Simplify …",
            "Leave out vertices that hardly matter.",
            lambda: self._preview("simplify"),
        )
        self.smooth_button = button(
            "Smooth …", "Round off a jagged outline.", lambda: self._preview("smooth")
        )
        self.delete = button("Delete", "Delete what is selected (Delete key).", self._delete)
        return holder

    def _preview_row(self) -> QWidget:
        self.strength = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.strength.setDecimals(1)
        self.strength.valueChanged.connect(lambda _value: self._preview_soon.start())
        self.deviation = note()
        self.apply = QPushButton("Apply")
        self.apply.clicked.connect(self._apply_preview)
        self.drop = QPushButton("Cancel")
        self.drop.clicked.connect(self._give_up)
        row = QHBoxLayout()
        row.addWidget(self.deviation, 1)
        row.addWidget(self.drop)
        row.addWidget(self.apply)
        holder = QWidget()
        preview = QVBoxLayout(holder)
        preview.setContentsMargins(0, 0, 0, 0)
        preview.addWidget(self.strength)
        preview.addLayout(row)
        holder.hide()
        return holder

    def _show_busy(self, busy: bool) -> None:
        self.drop.setVisible(not busy)  # the bar has one
        self._show_operations()

    def _show_operations(self) -> None:
        """Show the operations, or in their place what was begun with one of them."""
        selected = self.editor is not None and bool(self.editor.selected)
        begun = self.waiting.is_busy or not self.preview.isHidden()
        self.operations.setVisible(selected and not begun)
        if begun:
            self._bring_soon.start()

    def _bring_into_view(self) -> None:
        viewport = self.parentWidget()
        scroll = None if viewport is None else viewport.parentWidget()
        if isinstance(scroll, QScrollArea):
            for widget in (self.preview, self.waiting):
                if widget.isVisible():
                    scroll.ensureWidgetVisible(widget)

    # -- what a person does ---------------------------------------------------------------------

    def _rename(self) -> None:
        editor = self.editor
        current = None if editor is None else editor.current
        if editor is None or current is None or len(editor.selected) != 1:
            return
        if self.name.text() != current.name:
            editor.replace("rename region", [replace(current, name=self.name.text())])

    def assign(self, group: str | None) -> None:
        """Put the selected regions into a group."""
        editor = self.editor
        if editor is None:
            return
        changed = [
            replace(a, group=group, colour=None if group is None else editor.colour(group))
            for a in editor.selected_annotations
            if a.group != group
        ]
        if changed:
            title = "no group" if group is None else group
            editor.replace(f"assign to {title}", changed)

    def _judge(self) -> None:
        editor = self.editor
        if editor is None or self.status.currentIndex() < 0:
            return
        status = STATUSES[self.status.currentIndex()]
        single = len(editor.selected) == 1
        changed = []
        for annotation in editor.selected_annotations:
            words = self.comment.text() if single else verification_note(annotation)
            if (status, words) != (status_of(annotation), verification_note(annotation)):
                changed.append(verified(annotation, status, words))
        if changed:
            editor.replace(f"mark {status}", changed)

    def _unite(self) -> None:
        self._combine("unite", "Uniting", unite)

    def _intersect(self) -> None:
        self._combine("intersect", "Intersecting", intersect)

    def _combine(
        self,
        label: str,
        doing: str,
        function: Callable[[Sequence[Annotation]], Annotation | None],
    ) -> None:
        areas = self._areas()

        def done(editor: AnnotationEditor, result: Annotation | None) -> None:
            if result is None:
                editor.report(CamelyonError("The selected regions have nothing in common."))
                return
            editor.replace(label, [result], [a.id for a in areas])
            editor.select([result.id])

        what = f"{len(areas):,} regions"
        self._compute(f"{doing} {what}", areas, function, [areas[-1], *areas[:-1]], done=done)

    def _cut(self) -> None:
        *others, current = self._areas()

        def done(editor: AnnotationEditor, left: Annotation | None) -> None:
            editor.replace(
                "subtract", [] if left is None else [left], [current.id] if left is None else []
            )

        what = "a region" if len(others) == 1 else f"{len(others):,} regions"
        self._compute(f"Subtracting {what}", self._areas(), subtract, current, others, done=done)

    def _fill(self) -> None:
        current = None if self.editor is None else self.editor.current
        if current is None:
            return

        def done(editor: AnnotationEditor, filled: Annotation) -> None:
            if filled is not current:
                editor.replace("fill holes", [filled])

        self._compute("Filling holes", [current], fill_holes, current, done=done)

    def _compute(
        self,
        title: str,
        taken: Sequence[Annotation],
        function: Callable[..., Any],
        *arguments: object,
        done: Callable[[AnnotationEditor, Any], None],
    ) -> None:
        """Compute in a thread what becomes of annotations, if nobody changes them meanwhile."""
        editor = self.editor
        if editor is None:
            return

        def receive(result: Any) -> None:
            if _are_as_taken(editor, taken):
                done(editor, result)
            else:
                editor.report(CamelyonError(f"{title}: {_CHANGED}"))

        self._end_preview()
        self.waiting.compute(
            f"{title} …", function, *arguments, receive=receive, fail=editor.report
        )

    def _delete(self) -> None:
        if self.editor is not None:
            self.editor.remove_selected()

    def _areas(self) -> list[Annotation]:
        assert self.editor is not None
        return [a for a in self.editor.selected_annotations if a.kind in AREA_KINDS]

    # -- simplify and smooth, seen before they are done -----------------------------------------

    def _preview(self, kind: str) -> None:
        self._kind = kind
        um = self.editor is not None and self.editor.mpp is not None
        unit = "µm" if um else "px"
        title = "Greatest deviation" if kind == "simplify" else "Spacing"
        self.strength.setToolTip(f"{title}, {unit}")
        with signals_blocked(self.strength):
            self.strength.setRange(0.5, 50.0)
            self.strength.setValue(2.0 if kind == "simplify" else 10.0)
        self.preview.show()
        self._show_operations()
        self._show_preview()

    def _show_preview(self) -> None:
        editor = self.editor
        current = None if editor is None else editor.current
        if editor is None or current is None or self.preview.isHidden():
            return
        scale, unit = (1.0, "px") if editor.mpp is None else (mean_mpp(editor.mpp), "µm")

        def receive(result: tuple[Annotation, float]) -> None:
            changed, deviation_px = result
            self._previewed = current, changed
            if self._display is not None:
                self._display.show_while_edited(changed)
            self.deviation.setText(
                f"{count_vertices([changed]):,} vertices; the outline moves by "
                f"{deviation_px * scale:.1f} {unit} at most."
            )
            if self._apply_wanted:
                self._apply_preview()

        def fail(error: CamelyonError) -> None:
            self._previewed = None
            self.deviation.setText(str(error))

        self._previewed = None
        function, doing = (
            (simplify, "Simplifying") if self._kind == "simplify" else (smooth, "Smoothing")
        )
        self.waiting.compute(
            f"{doing} {count_vertices([current]):,} vertices …",
            function,
            current,
            self.strength.value() / scale,
            receive=receive,
            fail=fail,
        )

    def _apply_preview(self) -> None:
        if self._preview_soon.isActive():
            self._preview_soon.stop()
            self._show_preview()
        self._apply_wanted = self.waiting.is_busy
        if self._apply_wanted:
            return  # until it is computed
        editor, previewed, label = self.editor, self._previewed, self._kind
        self._end_preview()
        if editor is None or previewed is None:
            return
        before, after = previewed
        if after is not before:
            editor.replace(label, [after])

    def _give_up(self) -> None:
        self._apply_wanted = False
        self._end_preview()

    def _end_preview(self) -> None:
        self._previewed = None
        if self.preview.isHidden():
            return
        self.preview.hide()
        self.waiting.cancel()
        self._show_operations()
        if self._display is not None:
            self._display.show_while_edited(None)
        if self._apply_wanted and self.editor is not None:
            self._apply_wanted = False
            self.editor.report(CamelyonError(f"{self._kind.capitalize()}: {_CHANGED}"))


def _are_as_taken(editor: AnnotationEditor, taken: Sequence[Annotation]) -> bool:
    known = editor.outlines.annotations
    return all(known.get(annotation.id) is annotation for annotation in taken)
