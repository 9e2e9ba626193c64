"""The "Compare" dock: where two annotators of a slide differ, and what is decided on it."""

from functools import partial
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, QSignalBlocker, QSize, Qt, QThreadPool
from qtpy.QtGui import QKeySequence, QPaintEvent, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.annotations import (
    FORMATS,
    Adjudication,
    Choice,
    Comparison,
    Difference,
    GroupProfile,
    begin_adjudication,
    choices_for,
    decide,
    decisions_path,
    save_adjudicated,
    write_decisions,
)
from napari_camelyon.cohort import found_beside
from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import Mpp
from napari_camelyon.widgets.annotation_editor import own_profile
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.compare_layers import COLOURS, clear_difference, draw_difference
from napari_camelyon.widgets.napari_compat import main_window
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.style import chip, disclaimer, note

__all__ = ["CompareDock"]

_FILES = "Annotations (*.xml *.geojson *.json);;All files (*)"
_NO_SLIDE = "<b>No slide is open.</b> Open one; the files of two annotators are compared over it."
_NO_MPP = (
    "The pixel size of this slide is unknown, so there are no distances and areas. Set it in the "
    "Slide dock, under Properties."
)
_ONE_FILE = (
    "Choose the files of two annotators. Files of the slide's name beside it, in folders there "
    "and in “annotations” are listed; “…” finds others."
)
_BUTTONS: tuple[tuple[Choice, str, str, str], ...] = (
    ("A", "A", "A", "What A has here; nothing where A has nothing"),
    ("B", "B", "B", "What B has here; nothing where B has nothing"),
    ("both", "Both", "2", "The outlines of A and those of B"),
    ("neither", "Neither", "0", "Nothing at this place"),
    ("A ∪ B", "Union", "U", "Whatever lies in A or in B, as one outline"),
    ("A ∩ B", "Intersection", "I", "Only what lies in both"),
)
"""Choice, button, key, and what it does."""

_NEXT_KEY, _PREVIOUS_KEY = "Alt+Down", "Alt+Up"


class CompareDock(QWidget):
    """Shows in what two files differ, one place after another, and keeps what is decided."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._adjudications: dict[str, Adjudication] = {}
        self._places: dict[str, int] = {}
        self._slide_path: Path | None = None
        self._comparing: tuple[str, Mpp, Path, Path, GroupProfile | None] | None = None
        self._told_unkept = False
        self._build()
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        main_window(self._view.viewer).installEventFilter(self)
        self._show_slide()

    # -- what a person does ---------------------------------------------------------------------

    @property
    def adjudication(self) -> Adjudication | None:
        """The comparison of the shown slide's files; None before there is one."""
        return self._adjudications.get(self._view.shown or "")

    @property
    def difference(self) -> Difference | None:
        """The difference that is shown."""
        adjudication, place = self.adjudication, self._places.get(self._view.shown or "")
        if adjudication is None or place is None:
            return None
        return adjudication.differences[place]

    def choose_file(self, side: str, path: Path) -> None:
        """Put a file into the list of a side ("A" or "B") and choose it."""
        box = self.file_boxes[side]
        if box.findData(str(path)) < 0:
            box.addItem(_short(path, self._slide_path), str(path))
            box.setItemData(box.count() - 1, str(path), Qt.ItemDataRole.ToolTipRole)
        box.setCurrentIndex(box.findData(str(path)))

    def compare(self) -> None:
        """Compare the two chosen files in a thread; the list follows."""
        node, paths = self._view.shown_node, self._chosen()
        if node is None or node.slide.mpp is None or paths is None:
            return
        name, profile = (
            node.slide.name,
            own_profile(self._view.viewer.layers, node.slide.name, paths),
        )
        self._comparing = (name, node.slide.mpp, *paths, profile)
        self._show_state()
        in_thread(_compare, *self._comparing, receive=self._on_compared)

    def go_to(self, place: int) -> None:
        """Show the difference at a place of the list; the list follows."""
        item = self.list.topLevelItem(place)
        if item is not None:
            self.list.setCurrentItem(item)

    def choose(self, chosen: Choice) -> None:
        """Decide on the shown difference and go to the next one that is undecided.

        The same choice again takes it back.
        """
        adjudication, difference = self.adjudication, self.difference
        if adjudication is None or difference is None or chosen not in choices_for(difference):
            return
        if not self.initials.text().strip():
            self.initials.setFocus()
            self.work.ensureWidgetVisible(self.initials)
            show_info("Enter your initials first: they are kept with each decision.")
            return
        present = adjudication.current.get(difference.key)
        if present is not None and present.chosen == chosen:
            self._keep(difference, "undecided")
        else:
            self._keep(difference, chosen)
            self._go_on()

    def save(self, out: Path) -> None:
        """Write the third file and the decisions beside it."""
        adjudication, name = self.adjudication, self._view.shown
        if adjudication is None or name is None:
            return
        try:
            self._adjudications[name] = saved = save_adjudicated(adjudication, out)
        except CamelyonError as error:
            show_error(str(error))
            return
        undecided = len(saved.differences) - len(saved.current)
        rest = f" {_undecided(undecided)} as in A." if undecided else ""
        show_info(f"Saved {out.name} and {decisions_path(out).name}.{rest}")
        self._show_state()

    def _keep(self, difference: Difference, chosen: Choice) -> None:
        name, adjudication = self._view.shown, self.adjudication
        if name is None or adjudication is None:
            return
        text = self.note.text()
        made = decide(adjudication, difference, chosen, self.initials.text(), text)
        self._adjudications[name] = made
        try:
            write_decisions(made)
        except CamelyonError as error:
            if not self._told_unkept:
                show_error(f"Decisions are not kept for later yet: {error}")
            self._told_unkept = True
        else:
            self._told_unkept = False
        self._show_item(made.differences.index(difference))
        self._show_state()

    def _keep_note(self) -> None:
        """Keep a note that was changed on what is decided already."""
        adjudication, difference = self.adjudication, self.difference
        if adjudication is None or difference is None or not self.initials.text().strip():
            return
        present = adjudication.current.get(difference.key)
        if present is not None and present.note != self.note.text().strip():
            self._keep(difference, present.chosen)

    def _go_on(self) -> None:
        adjudication, place = self.adjudication, self._places.get(self._view.shown or "")
        if adjudication is None or place is None:
            return
        current = adjudication.current
        count = len(adjudication.differences)
        for step in range(1, count):
            following = (place + step) % count
            if adjudication.differences[following].key not in current:
                self.go_to(following)
                return

    def _ask_for_file(self, side: str) -> None:
        folder = "" if self._slide_path is None else str(self._slide_path.parent)
        name, _ = QFileDialog.getOpenFileName(self, f"Annotations of {side}", folder, _FILES)
        if name:
            self.choose_file(side, Path(name))

    def _ask_for_out(self) -> None:
        adjudication = self.adjudication
        if adjudication is None:
            return
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Save adjudicated annotations",
            str(adjudication.out),
            "ASAP XML (*.xml);;GeoJSON (*.geojson)",
        )
        if name:
            self.save(Path(name))

    def _chosen(self) -> tuple[Path, Path] | None:
        first, second = (self.file_boxes[side].currentData() for side in "AB")
        return (Path(first).absolute(), Path(second).absolute()) if first and second else None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let no thread outlive the window."""
        if event.type() == QEvent.Type.Close:
            self._comparing = None
            QThreadPool.globalInstance().waitForDone(10_000)
        return super().eventFilter(watched, event)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.again_button = QToolButton()
        self.again_button.setText("⟳")
        self.again_button.setToolTip("Compare again: the files as they lie on the disk now")
        self.again_button.clicked.connect(self.compare)
        found = QHBoxLayout()
        found.addWidget(self.summary, 1)
        found.addWidget(self.again_button, 0, Qt.AlignmentFlag.AlignTop)
        self.work = self._work_page()
        layout = QVBoxLayout(self)
        layout.addWidget(self.hint)
        layout.addWidget(self._files_page())
        layout.addLayout(found)
        layout.addWidget(self.work, 1)
        self.filler = QWidget()
        self.filler.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        layout.addWidget(self.filler)
        layout.addWidget(disclaimer())
        self.setMinimumWidth(300)

    def _files_page(self) -> QWidget:
        self.files = QWidget()
        self.file_boxes: dict[str, QComboBox] = {}
        grid = QGridLayout(self.files)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        for row, side in enumerate("AB"):
            swatch = chip(side, COLOURS[side])
            swatch.setToolTip(f"Outlines of {side} are drawn in this colour.")
            box = _FileBox()
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            box.currentIndexChanged.connect(partial(self._on_file, box))
            find = QToolButton()
            find.setText("…")
            find.setToolTip(f"Choose another file for {side}")
            find.clicked.connect(partial(self._ask_for_file, side))
            for column, widget in enumerate((swatch, box, find)):
                grid.addWidget(widget, row, column)
            self.file_boxes[side] = box
        self.compare_button = QPushButton("Compare")
        self.compare_button.setToolTip("The files are compared as they lie on the disk.")
        self.compare_button.clicked.connect(self.compare)
        grid.addWidget(self.compare_button, 2, 0, 1, 3)
        return self.files

    def _on_file(self, box: QComboBox, _index: int) -> None:
        box.setToolTip(box.currentData() or "")  # names of files may be cut off
        self._show_state()

    def _work_page(self) -> QWidget:
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note on this decision")
        self.note.editingFinished.connect(self._keep_note)
        self.save_button = QPushButton("Save adjudicated …")
        self.save_button.setToolTip(
            "What both agree on is taken from A, and so is what is undecided."
        )
        self.save_button.clicked.connect(self._ask_for_out)
        self.kept = note()
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 4, 0)
        layout.addWidget(self._difference_list(), 1)
        layout.addLayout(self._steps())
        layout.addWidget(self.sentence)
        layout.addLayout(self._choice_buttons())
        layout.addWidget(self.note)
        layout.addWidget(self.save_button)
        layout.addWidget(self.kept)
        # Where another dock takes half of the window, it scrolls instead of being squeezed.
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        scroll.setMinimumHeight(19 * self.fontMetrics().height())  # down to the choices
        return scroll

    def _difference_list(self) -> QTreeWidget:
        self.list = _ShortTree()
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setAllColumnsShowFocus(True)
        self.list.setHeaderLabels(["decided", "differs", "mm", "Dice"])
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column in (2, 3):
            self.list.headerItem().setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
        self.list.headerItem().setToolTip(2, "Greatest diameter of all that is concerned")
        self.list.currentItemChanged.connect(self._on_chosen_in_list)
        return self.list

    def _steps(self) -> QHBoxLayout:
        self.previous_button, self.next_button = QPushButton("Previous"), QPushButton("Next")
        for button, step, key in (
            (self.previous_button, -1, _PREVIOUS_KEY),
            (self.next_button, 1, _NEXT_KEY),
        ):
            button.clicked.connect(partial(self._step, step))
            shown_key = QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
            button.setToolTip(f"{shown_key}, anywhere in the window")
            # Wherever one looks at the slide, and whatever layer is chosen.
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(partial(self._step, step))
        self.progress = QLabel()
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.initials = QLineEdit()
        self.initials.setPlaceholderText("Initials")
        self.initials.setToolTip("Who decides; kept with each decision.")
        self.initials.setMaxLength(12)
        self.initials.setFixedWidth(self.fontMetrics().horizontalAdvance("Initials W"))
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.previous_button)
        row.addWidget(self.next_button)
        row.addWidget(self.progress, 1)
        row.addWidget(self.initials)
        return row

    def _choice_buttons(self) -> QGridLayout:
        self.buttons: dict[Choice, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        for k, (choice, title, key, what) in enumerate(_BUTTONS):
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(f"{what} ({key}, while this dock is in use)")
            button.clicked.connect(partial(self._choose_with_button, choice))
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(partial(self.choose, choice))
            button.setMinimumHeight(button.sizeHint().height())
            grid.addWidget(button, k // 3, k % 3)
            self.buttons[choice] = button
        return grid

    def _choose_with_button(self, choice: Choice, _on: bool = False) -> None:
        self.choose(choice)
        self._show_state()  # the click has toggled the button

    def _show_slide(self) -> None:
        node = self._view.shown_node
        self._forget_stale()
        path = None if node is None else node.slide.path
        if path != self._slide_path:
            self._slide_path = path
            for box in self.file_boxes.values():
                with QSignalBlocker(box):
                    box.clear()
            if path is not None:
                in_thread(_look_beside, path, receive=self._on_beside)
        self._fill_list()
        self._show_state()

    def _forget_stale(self) -> None:
        """Distances of another pixel size are of no use; the decisions are on the disk."""
        for name, adjudication in list(self._adjudications.items()):
            node = self._view.nodes.get(name)
            if node is None or node.slide.mpp != adjudication.comparison.mpp:
                del self._adjudications[name]
                self._places.pop(name, None)
                clear_difference(self._view.viewer, name)

    def _on_beside(self, found: tuple[Path, tuple[Path, ...]]) -> None:
        slide_path, files = found
        if slide_path != self._slide_path:
            return
        adjudication = self.adjudication
        for k, side in enumerate("AB"):
            chosen = self.file_boxes[side].currentData()
            for path in files:
                self.choose_file(side, path)
            if chosen:  # by a person, while it was being looked for
                self.choose_file(side, Path(chosen))
            elif len(files) > k:
                self.choose_file(side, files[k])
            else:
                self.file_boxes[side].setCurrentIndex(-1)
        if adjudication is not None:
            for side, one in (("A", adjudication.first), ("B", adjudication.second)):
                if one.source is not None:
                    self.choose_file(side, one.source.path)
        self._show_state()

    def _on_compared(self, result: tuple[str, Adjudication | CamelyonError]) -> None:
        name, found = result
        if self._comparing is None:  # the window was closed
            return
        self._comparing = None
        if isinstance(found, CamelyonError):
            show_error(str(found))
        elif name in self._view.nodes:
            self._adjudications[name] = found
            self._places.pop(name, None)
            if name == self._view.shown:
                self._fill_list()
                self._show_first()
        self._show_state()

    def _show_first(self) -> None:
        adjudication = self.adjudication
        if adjudication is None or not adjudication.differences:
            clear_difference(self._view.viewer, self._view.shown or "")
            return
        current = adjudication.current
        undecided = [k for k, one in enumerate(adjudication.differences) if one.key not in current]
        self.go_to(undecided[0] if undecided else 0)

    def _fill_list(self) -> None:
        adjudication, place = self.adjudication, self._places.get(self._view.shown or "")
        with QSignalBlocker(self.list):
            self.list.clear()
            if adjudication is None:
                return
            self.list.addTopLevelItems([_item(one) for one in adjudication.differences])
            for k in range(len(adjudication.differences)):
                self._show_item(k)
            if place is not None:
                self.go_to(place)

    def _show_item(self, place: int) -> None:
        adjudication = self.adjudication
        if adjudication is None:
            return
        decision = adjudication.current.get(adjudication.differences[place].key)
        item = self.list.topLevelItem(place)
        if item is None:
            return
        item.setText(0, "" if decision is None else decision.chosen)
        said = ""
        if decision is not None:
            when = decision.when[:16].replace("T", " ")
            said = f"{decision.chosen}, {decision.by}, {when} UTC\n{decision.note}"
        item.setToolTip(0, said.strip())

    def _on_chosen_in_list(self, item: QTreeWidgetItem | None) -> None:
        name, adjudication = self._view.shown, self.adjudication
        if item is None or name is None or adjudication is None:
            return
        self._places[name] = self.list.indexOfTopLevelItem(item)
        difference = self.difference
        if difference is not None:
            self._view.look_at(difference.bounds_px)  # first: the width of lines is that of a zoom
            draw_difference(
                self._view.viewer, name, adjudication.comparison.mpp, adjudication, difference
            )
            decision = adjudication.current.get(difference.key)
            self.note.setText("" if decision is None else decision.note)
        self._show_state()

    def _step(self, step: int, _on: bool = False) -> None:
        place = self._places.get(self._view.shown or "")
        if place is not None:
            self.go_to(place + step)

    def _show_state(self) -> None:
        node, adjudication = self._view.shown_node, self.adjudication
        paths = self._chosen()
        self.hint.setText(
            _hint(node is not None, node is None or node.slide.mpp is not None, paths)
        )
        self.hint.setVisible(bool(self.hint.text()))
        self.files.setVisible(node is not None)
        free = node is not None and node.slide.mpp is not None and self._comparing is None
        compared = adjudication is not None and paths == _compared_files(adjudication)
        self.compare_button.setVisible(not compared)
        self.again_button.setVisible(compared)
        self.again_button.setEnabled(free)
        self.compare_button.setEnabled(free and paths is not None and paths[0] != paths[1])
        self.compare_button.setText("Comparing …" if self._comparing else "Compare")
        self.summary.setVisible(adjudication is not None)
        has_list = adjudication is not None and bool(adjudication.differences)
        self.work.setVisible(has_list)
        self.filler.setVisible(not has_list)
        if adjudication is None:
            return
        self.summary.setText(_summary(adjudication.comparison))
        self.summary.setToolTip(
            f"Outlines agree from a Dice of {adjudication.comparison.agree_dice:g}.\n"
            f"{adjudication.comparison.profile_reason}"
        )
        decided, count = len(adjudication.current), len(adjudication.differences)
        self.progress.setText(f"{decided:,} of {count:,} decided")
        path = decisions_path(adjudication.out)
        self.kept.setText(
            "Decisions are kept on the disk as you go."
            if adjudication.decisions and not self._told_unkept
            else ""
        )
        self.kept.setToolTip(str(path))
        self._show_difference()

    def _show_difference(self) -> None:
        adjudication, difference = self.adjudication, self.difference
        place = self._places.get(self._view.shown or "", -1)
        self.sentence.setText("" if difference is None else difference.sentence)
        self.previous_button.setEnabled(place > 0)
        self.next_button.setEnabled(0 <= place < self.list.topLevelItemCount() - 1)
        decision = None
        if adjudication is not None and difference is not None:
            decision = adjudication.current.get(difference.key)
        possible = () if difference is None else choices_for(difference)
        for choice, button in self.buttons.items():
            button.setEnabled(choice in possible)
            button.setChecked(decision is not None and decision.chosen == choice)


class _FileBox(QComboBox):
    """A list of files; the name of a long one is cut in its middle, as its end says what it is."""

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Draw the box as always, with its text shortened."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        field = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, field.width() - 8
        )
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


class _ShortTree(QTreeWidget):
    """A list that takes what room there is and makes do with five rows."""

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size that the list would like."""
        return QSize(200, round(7.5 * self.fontMetrics().height()))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the size below which it is of no use."""
        return self.sizeHint()


def _compared_files(adjudication: Adjudication) -> tuple[Path, ...]:
    sources = (adjudication.first.source, adjudication.second.source)
    return tuple(source.path for source in sources if source is not None)


def _hint(has_slide: bool, has_mpp: bool, paths: tuple[Path, Path] | None) -> str:
    if not has_slide:
        return _NO_SLIDE
    if not has_mpp:
        return _NO_MPP
    if paths is None:
        return _ONE_FILE
    return "A and B are the same file." if paths[0] == paths[1] else ""


def _summary(comparison: Comparison) -> str:
    if comparison.tumour_dice is None:
        tumour = f"<b>No tumour to compare.</b> {comparison.profile_reason}"
    else:
        tumour = (
            f"<b>Tumour: Dice {comparison.tumour_dice:.3f}</b>, "
            f"A {comparison.first_tumour_mm2:.2f}, B {comparison.second_tumour_mm2:.2f} mm²"
        )
    agreeing = len(comparison.agreeing)
    regions = (
        f"{agreeing:,} region{' agrees' if agreeing == 1 else 's agree'}; "
        f"{len(comparison.only_in_first):,} only in A, {len(comparison.only_in_second):,} only in B"
    )
    left_out = comparison.first_left_out + comparison.second_left_out
    marks = f"; {left_out:,} marks not compared" if left_out else ""
    return f"{tumour}<br>{regions}{marks}."


def _item(difference: Difference) -> QTreeWidgetItem:
    dice = "–" if difference.match is None else f"{difference.dice:.2f}"
    size = f"{difference.size_mm:.2f}"
    item = QTreeWidgetItem(["", difference.kind, size, dice])
    item.setToolTip(1, difference.sentence)
    for column in (2, 3):
        item.setTextAlignment(column, Qt.AlignmentFlag.AlignRight)
    return item


def _undecided(count: int) -> str:
    return "One undecided difference is" if count == 1 else f"{count:,} undecided differences are"


def _short(path: Path, slide_path: Path | None) -> str:
    """Return a path as seen from the slide's folder or the one above, else its name."""
    if slide_path is not None:
        for folder in (slide_path.parent, slide_path.parent.parent):
            if path.is_relative_to(folder):
                return str(path.relative_to(folder))
    return path.name


def _look_beside(path: Path) -> tuple[Path, tuple[Path, ...]]:
    beside = found_beside(path).annotations
    return path, tuple(file for file in beside if file.suffix.lower() in FORMATS)


def _compare(
    name: str, mpp: Mpp, first: Path, second: Path, profile: GroupProfile | None
) -> tuple[str, Adjudication | CamelyonError]:
    """Compare in the worker's thread."""
    try:
        return name, begin_adjudication(first, second, mpp, profile=profile)
    except CamelyonError as error:
        return name, error
