"""The "Annotate" dock: tools, groups, the selected region and the file of its annotations."""

from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel, QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, versions
from napari_camelyon.errors import CamelyonError, FileChangedError
from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.widgets.annotating import tools_of
from napari_camelyon.widgets.annotation_details import RegionDetails
from napari_camelyon.widgets.annotation_editor import AnnotationEditor, editor_of
from napari_camelyon.widgets.annotation_groups import GroupPage
from napari_camelyon.widgets.annotation_problems import ProblemList
from napari_camelyon.widgets.annotation_tools import TOOLS, AnnotationTools
from napari_camelyon.widgets.napari_compat import camera, main_window
from napari_camelyon.widgets.outline_display import OutlineDisplay
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.style import disclaimer, note

__all__ = ["AnnotateDock"]

_FORMATS = "ASAP XML (*.xml);;GeoJSON (*.geojson)"


class AnnotateDock(QWidget):
    """Edits the annotations of the shown slide."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self.editor: AnnotationEditor | None = None
        self._build()
        main_window(self._view.viewer).installEventFilter(self.details.waiting)
        self._view.shown_changed.connect(self._look)
        layers = self._view.viewer.layers
        layers.events.inserted.connect(self._look)
        layers.events.removed.connect(self._look)
        layers.selection.events.active.connect(self._look)
        self._look()

    # -- which annotations ----------------------------------------------------------------------

    @property
    def tools(self) -> AnnotationTools | None:
        """The tools of the annotations in the dock."""
        return None if self.editor is None else tools_of(self.editor)

    @property
    def display(self) -> OutlineDisplay | None:
        """What draws the annotations in the dock."""
        return None if self.tools is None else self.tools.display

    def _look(self, _event: object = None) -> None:
        """Take the annotations that are active, else those that are in the viewer."""
        layers = self._view.viewer.layers
        active = editor_of(layers.selection.active)
        # The tissue of a slide is edited with these tools too, but only where it is chosen.
        there = [
            editor
            for layer in layers
            if (editor := editor_of(layer)) is not None and editor.keep is None
        ]
        wanted = active or (self.editor if self.editor in there else None)
        wanted = wanted or (there[-1] if there else None)
        if wanted is not self.editor:
            self._hold(wanted)
        self._show_all()

    def _hold(self, editor: AnnotationEditor | None) -> None:
        if self.editor is not None:
            tools = tools_of(self.editor)
            for signal, slot in _connections(self, self.editor, tools):
                signal.disconnect(slot)
        self.editor = editor
        if editor is not None:
            for signal, slot in _connections(self, editor, tools_of(editor)):
                signal.connect(slot)

    # -- what a person does ---------------------------------------------------------------------

    def begin_new(self) -> AnnotationEditor:
        """Begin annotations of the shown slide, which has none open; nothing is written yet."""
        editor = self._view.add_annotations(
            AnnotationSet(groups=(Group("metastases", colour="#D55E00"),))
        )
        self._view.viewer.layers.selection.active = editor.layer
        self._look()
        return editor

    def take_tool(self, name: str) -> None:
        """Take a tool in hand; without annotations, begin new ones."""
        editor = self.editor or self.begin_new()
        self._view.viewer.layers.selection.active = editor.layer
        editor.layer.visible = True
        editor.warn_if_read_only()
        tools_of(editor).take(name)

    def _undo(self) -> None:
        if self.editor is not None:
            self.editor.undo()

    def _redo(self) -> None:
        if self.editor is not None:
            self.editor.redo()

    def save(self) -> None:
        """Save to the file the annotations came from; ask for one if there is none."""
        editor = self.editor
        if editor is None:
            return
        known = editor.path is not None and editor.path.suffix.lower() in annotations.FORMATS
        if not known and editor.keep is None:
            self._ask_and_save()
            return
        try:
            editor.save()
        except FileChangedError as error:
            self._ask_about_changed(editor, error)
        except CamelyonError as error:
            show_error(str(error))
        else:
            show_info(f"Saved {editor.path}")

    def save_as(self, path: Path) -> None:
        """Save to another file, which is the file of these annotations from then on."""
        if self.editor is None:
            return
        try:
            self.editor.save(path)
        except CamelyonError as error:
            show_error(str(error))
        else:
            show_info(f"Saved {path}")

    def _ask_and_save(self) -> None:
        editor, node = self.editor, self._view.shown_node
        if editor is None:
            return
        start = editor.path or (node.slide.path.with_suffix(".xml") if node else Path())
        name, _ = QFileDialog.getSaveFileName(self, "Save annotations", str(start), _FORMATS)
        if name:
            self.save_as(Path(name))

    def _ask_about_changed(self, editor: AnnotationEditor, error: FileChangedError) -> None:
        box = QMessageBox(self)
        box.setWindowTitle("The file has changed")
        box.setText(str(error))
        overwrite = box.addButton("Overwrite", QMessageBox.ButtonRole.DestructiveRole)
        other = box.addButton("Save as …", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        if box.clickedButton() is overwrite:
            try:
                editor.save(anyway=True)
            except CamelyonError as trouble:
                show_error(str(trouble))
        elif box.clickedButton() is other:
            self._ask_and_save()

    def _fill_versions(self) -> None:
        self.versions_menu.clear()
        editor = self.editor
        kept = [] if editor is None or editor.path is None else versions(editor.path)
        for version in kept:
            when = version.replaced.astimezone()
            action = self.versions_menu.addAction(f"as it was until {when:%Y-%m-%d %H:%M:%S}")
            action.triggered.connect(lambda _on=False, v=version: self.restore(v.path))
        if not kept:
            self.versions_menu.addAction("none yet: each save keeps one").setEnabled(False)

    def restore(self, path: Path) -> None:
        """Bring an older version back, as an edit that can be undone; the file waits for Save."""
        if self.editor is None:
            return
        try:
            old = annotations.read(path)
        except CamelyonError as error:
            show_error(str(error))
            return
        self.editor.restore(old)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.help = note()
        self.radius = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.radius.setDecimals(0)
        self.radius.valueChanged.connect(self._set_radius)
        self.groups = GroupPage()
        self.details = RegionDetails()
        self.groups.assign_wanted.connect(self.details.assign)
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        self.pages.tabBar().setDrawBase(False)
        self.pages.addTab(_scrolled(self.groups), "Groups")
        self.pages.addTab(_scrolled(self.details), "Region")
        self.problems = ProblemList()
        self.problems.place_wanted.connect(self._go_to)
        self.pages.addTab(self.problems, "Problems")

        layout = QVBoxLayout(self)
        layout.addLayout(self._file_row())
        layout.addWidget(self.state)
        layout.addLayout(self._tool_grid())
        layout.addWidget(self.help)
        layout.addWidget(self.radius)
        layout.addLayout(self._step_row())
        layout.addWidget(self.details.sizes)
        layout.addWidget(self.pages, 1)
        layout.addWidget(disclaimer())
        self.setMinimumWidth(320)

    def _file_row(self) -> QHBoxLayout:
        self.title = QElidingLabel()
        self.title.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.title.setStyleSheet("font-weight: 600;")
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.state = note()
        self.state.setToolTip("Every edit is kept in a journal beside the file until it is saved.")
        self.save_button = QPushButton("Save")
        self.save_button.setToolTip("Ctrl+S")
        self.save_button.clicked.connect(self.save)
        self.more = QToolButton()
        self.more.setText("…")
        self.more.setToolTip("Save as, older versions")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self.more)
        menu.addAction("Save as …").triggered.connect(self._ask_and_save)
        self.versions_menu = menu.addMenu("Older versions")
        self.versions_menu.aboutToShow.connect(self._fill_versions)
        self.more.setMenu(menu)
        row = QHBoxLayout()
        row.addWidget(self.title, 1)
        row.addWidget(self.save_button)
        row.addWidget(self.more)
        return row

    def _tool_grid(self) -> QGridLayout:
        self.tool_buttons: dict[str, QPushButton] = {}
        self._tool_group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, tool in enumerate(TOOLS):
            button = QPushButton(f"{tool.title}  {tool.key}")
            button.setCheckable(True)
            button.setToolTip(tool.help)
            button.clicked.connect(lambda _on=False, name=tool.name: self.take_tool(name))
            self._tool_group.addButton(button)
            self.tool_buttons[tool.name] = button
            grid.addWidget(button, place // 4, place % 4)
        return grid

    def _step_row(self) -> QHBoxLayout:
        self.undo_button = QPushButton("Undo")
        self.undo_button.setToolTip("Ctrl+Z")
        self.undo_button.clicked.connect(self._undo)
        self.redo_button = QPushButton("Redo")
        self.redo_button.setToolTip("Ctrl+Shift+Z")
        self.redo_button.clicked.connect(self._redo)
        row = QHBoxLayout()
        row.addWidget(self.undo_button)
        row.addWidget(self.redo_button)
        return row

    def _show_all(self, _change: object = None) -> None:
        editor = self.editor
        self._show_file()
        self._show_tool()
        self.groups.show_groups(editor)
        self.details.show_selected(editor, self.display)
        self._show_problems()

    def _show_problems(self) -> None:
        node = self._view.shown_node
        size = None if node is None else (node.slide.width_px, node.slide.height_px)
        self.problems.show_problems(self.editor, size)

    def _go_to(self, at_xy: tuple[float, float]) -> None:
        if self.editor is not None:
            layer = self.editor.layer
            camera(self._view.viewer).center = layer.data_to_world(slide_to_layer(at_xy))

    def _show_file(self) -> None:
        editor = self.editor
        self.save_button.setEnabled(editor is not None and not editor.is_saved)
        self.more.setEnabled(editor is not None)
        done = [] if editor is None else editor.history.done
        undone = [] if editor is None else editor.history.undone
        self.undo_button.setEnabled(bool(done))
        self.undo_button.setText(f"Undo {done[-1].label}" if done else "Undo")
        self.redo_button.setEnabled(bool(undone))
        self.redo_button.setText(f"Redo {undone[-1].label}" if undone else "Redo")
        if editor is None:
            self.title.setText("No annotations")
            self.state.setText(
                "Open an annotation file over the slide, or take a tool to begin a new one."
                if self._view.shown_node is not None
                else "Open a slide first; then open its annotations or draw new ones."
            )
            return
        count = len(editor.now)
        regions = f"{count:,} annotation{'' if count == 1 else 's'}"
        new = "tissue" if editor.keep is not None else "new annotations"
        self.title.setText(new if editor.path is None else editor.path.name)
        self.title.setToolTip("" if editor.path is None else str(editor.path))
        if editor.is_saved:
            self.state.setText(f"{regions}, saved")
        elif editor.path is None:
            self.state.setText(f"{regions}, not saved: no file yet")
        else:
            self.state.setText(f"{regions}, edits not saved yet")

    def _show_tool(self) -> None:
        tools = self.tools
        for button in self.tool_buttons.values():
            button.setEnabled(self._view.shown_node is not None or self.editor is not None)
        tool = TOOLS[0] if tools is None else tools.tool
        self.tool_buttons[tool.name].setChecked(True)
        self.help.setText(tool.help)
        self.radius.setVisible(tools is not None and tool.name in ("brush", "eraser", "wand"))
        if tools is None:
            return
        with signals_blocked(self.radius):
            if tool.name == "wand":
                self.radius.setRange(1, 60)
                self.radius.setValue(tools.wand_tolerance)
                self.radius.setToolTip("How far colours may differ")
            else:
                self.radius.setRange(2, 400)
                self.radius.setValue(tools.radius_screen_px)
                self.radius.setToolTip("Radius of the brush, screen pixels")

    def _set_radius(self, value: float) -> None:
        tools = self.tools
        if tools is None:
            return
        now = tools.wand_tolerance if tools.tool.name == "wand" else tools.radius_screen_px
        tools.change_radius(value / now)

    def _show_selected(self) -> None:
        self.groups.show_groups(self.editor)
        self.details.show_selected(self.editor, self.display)


def _scrolled(widget: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(widget)
    return scroll


def _connections(
    dock: AnnotateDock, editor: AnnotationEditor, tools: AnnotationTools
) -> list[tuple[object, object]]:
    return [
        (editor.changed, dock._show_all),
        (editor.selection_changed, dock._show_selected),
        (editor.groups_shown_changed, dock._show_selected),
        (editor.saved, dock._show_file),
        (tools.tool_changed, dock._show_tool),
        (tools.radius_changed, dock._show_tool),
        (tools.save_wanted, dock.save),
        (tools.region_beheld, dock.details.sizes.behold),
    ]
