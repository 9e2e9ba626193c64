"""The "Slide" dock: open slides and what belongs to them, zoom, look up a slide's facts."""

from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QSignalBlocker, Qt, QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_camelyon.cohort import Beside, FoundResults, found_beside
from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.annotation_editor import editor_of
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.found_list import FoundList
from napari_camelyon.widgets.label_image import LabelDialog
from napari_camelyon.widgets.menus import open_slide_dialog
from napari_camelyon.widgets.minimap import show_minimap
from napari_camelyon.widgets.napari_compat import load_what_layers_need
from napari_camelyon.widgets.opening import open_path
from napari_camelyon.widgets.patient_view import NodeView, patient_view
from napari_camelyon.widgets.pixel_size import ask_for_mpp, mpp_of_file
from napari_camelyon.widgets.slide_facts import FactsTable, Looked, look_up
from napari_camelyon.widgets.slide_list import SlideList
from napari_camelyon.widgets.style import disclaimer, note
from napari_camelyon.widgets.zoom import ZoomBar, add_zoom_keys

__all__ = ["SlideDock"]

_NOTHING_OPEN = (
    "<b>No slide is open.</b><br>Open a slide, or a folder to see all slides in it. Files can also "
    "be dropped on the window, and <i>File ▸ Open Sample</i> has a synthetic slide to try."
)
_NOTHING_SHOWN = "<b>No slide is open.</b> Double-click one in the list."


class SlideDock(QWidget):
    """Shows the slides at hand, what lies beside the shown one, and what is known of it."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._looked_beside: Path | None = None
        self._looked: Looked | None = None
        self.minimap = show_minimap(self._view.viewer)
        add_zoom_keys(self._view.viewer)
        self._build()
        self._view.shown_changed.connect(self._show_slide)
        self._view.nodes_changed.connect(self._show_slide)
        self._view.node_updated.connect(self._show_pixel_size)
        layers = self._view.viewer.layers
        layers.events.inserted.connect(self._mark_open)
        layers.events.removed.connect(self._mark_open)
        self._show_slide()
        QTimer.singleShot(0, load_what_layers_need)  # while the person looks for a slide

    # -- what a person does ---------------------------------------------------------------------

    def open_slide(self, path: Path) -> None:
        """Open a slide, or show it if it is open; say why if it cannot be opened."""
        try:
            self._view.open_slide(path)
        except CamelyonError as error:
            show_error(str(error))

    def open_annotations(self, path: Path) -> None:
        """Open an annotation file over its slide, once."""
        if path in self._open_annotations():
            return
        before = len(self._view.viewer.layers)
        try:
            open_path(self._view.viewer, path)
        except CamelyonError as error:
            show_error(str(error))
            return
        if len(self._view.viewer.layers) == before:
            show_info(f"{path.name} holds no annotation that can be drawn.")

    def open_results(self, found: FoundResults) -> None:
        """Show kept results over the slide; without a heatmap open their folder."""
        if not found.has_heatmap:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(found.folder)))
            return
        node = self._view.shown_node
        if node is None:
            return
        if _is_running(node):
            show_info("This slide is being predicted; cancel the run first.")
            return
        if node.heatmap is not None and not self._may_replace(node):
            return
        try:
            self._view.show_results(node.slide.name, found.folder)
        except CamelyonError as error:
            show_error(str(error))

    def _may_replace(self, node: NodeView) -> bool:
        answer = QMessageBox.question(
            self,
            "Replace the results in the window?",
            f"{node.slide.name} has results in the window already. Show the kept ones in their "
            "place? What was not saved is lost.",
        )
        return answer == QMessageBox.StandardButton.Yes

    def _ask_for_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a folder of slides")
        if folder:
            self.slides.open_folder(folder)

    def _ask_for_mpp(self) -> None:
        node = self._view.shown_node
        if node is None:
            return
        mpp = ask_for_mpp(self, node.slide)
        if mpp is not None:
            self._view.set_mpp(node.slide.name, mpp)

    def _show_label(self) -> None:
        node = self._view.shown_node
        if node is not None:
            LabelDialog(node.slide, self).exec()

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        open_slide = QPushButton("Open slide …")
        open_slide.setToolTip("Slides, and annotation files of slides")
        open_slide.clicked.connect(lambda: open_slide_dialog(self._view.viewer))
        open_folder = QPushButton("Open folder …")
        open_folder.setToolTip("List all slides of a folder, with pictures")
        open_folder.clicked.connect(self._ask_for_folder)
        opening = QHBoxLayout()
        opening.addWidget(open_slide)
        opening.addWidget(open_folder)

        self.empty = QLabel()
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.empty.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.zoom = ZoomBar(self._view.viewer)
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        self.pages.tabBar().setDrawBase(False)
        self.pages.addTab(self._slides_page(), "Slides")
        self._found_tab = self.pages.addTab(self._found_page(), "Found")
        self._facts_tab = self.pages.addTab(self._facts_page(), "Properties")
        self.pages.setTabToolTip(self._found_tab, "Annotations and results beside the slide")

        self.pages.currentChanged.connect(self._show_facts)

        layout = QVBoxLayout(self)
        layout.addLayout(opening)
        layout.addWidget(self.empty)
        layout.addWidget(self.zoom)
        layout.addWidget(self.pages, 1)
        layout.addWidget(disclaimer())
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _slides_page(self) -> QWidget:
        self.slides = SlideList(self._view.viewer)
        self.slides.slide_wanted.connect(self.open_slide)
        self.slides.folder_read.connect(self._on_folder)
        self.slides.folder_failed.connect(show_error)
        self.slides_note = note("Double-click a slide to show it.")
        page, layout = _page()
        layout.addWidget(self.slides, 1)
        layout.addWidget(self.slides_note)
        return page

    def _found_page(self) -> QWidget:
        self.found = FoundList()
        self.found.annotations_wanted.connect(self.open_annotations)
        self.found.results_wanted.connect(self.open_results)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.found)
        page, layout = _page()
        layout.addWidget(scroll, 1)
        return page

    def _facts_page(self) -> QWidget:
        self.name = QElidingLabel()
        self.name.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.name.setStyleSheet("font-weight: 600;")
        self.facts = FactsTable()
        self.mpp_button = QPushButton()
        self.mpp_button.clicked.connect(self._ask_for_mpp)
        self.label_button = QPushButton("Label image …")
        self.label_button.setToolTip("Asks before it shows anything: a label may bear a name.")
        self.label_button.clicked.connect(self._show_label)
        buttons = QHBoxLayout()
        buttons.addWidget(self.mpp_button)
        buttons.addWidget(self.label_button)
        self.profile_box = QCheckBox("Apply the scanner's colour profile")
        self.profile_box.setToolTip(
            "Shows the slide in the colours that the file says its scanner saw. For looking only: "
            "models get the colours as they are stored."
        )
        self.profile_box.toggled.connect(self._apply_profile)
        page, layout = _page()
        layout.addWidget(self.name)
        layout.addWidget(self.facts, 1)
        layout.addWidget(self.profile_box)
        layout.addLayout(buttons)
        return page

    def _show_slide(self) -> None:
        node = self._view.shown_node
        listed = bool(self.slides.paths())
        self.empty.setVisible(node is None)
        self.empty.setText(_NOTHING_SHOWN if listed else _NOTHING_OPEN)
        self.zoom.setVisible(node is not None)
        self.pages.setVisible(listed)
        for tab in (self._found_tab, self._facts_tab):
            self.pages.setTabEnabled(tab, node is not None)
        if node is None:
            self.facts.show_slide(None)
            self._looked_beside = None
            return
        self.name.setText(node.slide.name)
        self.facts.show_slide(node.slide)
        self.profile_box.hide()
        in_thread(look_up, node.slide, receive=self._on_looked_up)
        self._show_pixel_size(node.slide.name)
        self.label_button.setVisible(bool(node.slide.associated_names))
        if self._looked_beside != node.slide.path:
            self._looked_beside = node.slide.path
            self.found.show_found(None)
            self.pages.setTabText(self._found_tab, "Found")
            in_thread(_look_beside, node.slide.path, receive=self._on_beside)

    def _show_pixel_size(self, name: str) -> None:
        node = self._view.shown_node
        if node is None or node.slide.name != name:
            return
        stated, _ = mpp_of_file(node.slide)
        self.mpp_button.setVisible(stated is None)
        self.mpp_button.setText(
            "Set pixel size …" if node.slide.mpp is None else "Change pixel size …"
        )
        # Results are measured with the pixel size that they were computed with.
        free = node.heatmap is None and not _is_running(node)
        self.mpp_button.setEnabled(free)
        self.mpp_button.setToolTip("" if free else "There are results of this pixel size already.")

    def _on_folder(self, count: int) -> None:
        self.slides_note.setText(
            f"{count:,} slide{'s' if count != 1 else ''} in the folder. Double-click to show one."
            if count
            else "There are no slides in this folder; those of folders in it are not listed."
        )
        self._show_slide()
        self.pages.setVisible(True)  # also where there is nothing but this note
        self.pages.setCurrentIndex(0)

    def _on_looked_up(self, looked: Looked) -> None:
        self._looked = looked
        self._show_facts()

    def _show_facts(self, _tab: int = 0) -> None:
        """Show what is known by now; parts of a slide may turn out damaged at any time."""
        node, looked = self._view.shown_node, self._looked
        if node is None or looked is None or node.slide is not looked.slide:
            return
        display = self._view.display(node.slide.name)
        self.facts.show_slide(node.slide, looked, 0 if display is None else display.damaged)
        self.profile_box.setVisible(looked.colour is not None and display is not None)
        if display is not None:
            with QSignalBlocker(self.profile_box):
                self.profile_box.setChecked(display.colour is not None)

    def _apply_profile(self, on: bool) -> None:
        display = self._view.display(self._view.shown or "")
        if display is not None and self._looked is not None:
            display.show_in(self._looked.colour if on else None)

    def _on_beside(self, found: tuple[Path, Beside]) -> None:
        path, beside = found
        if path == self._looked_beside:
            self.found.show_found(beside)
            count = len(beside.annotations) + len(beside.results)
            self.pages.setTabText(self._found_tab, f"Found ({count})")
            self._mark_open()

    def _mark_open(self, _event: object = None) -> None:
        self.found.mark_open(self._open_annotations())

    def _open_annotations(self) -> set[Path]:
        layers = self._view.viewer.layers
        sets = [layer.metadata.get("napari_camelyon", {}).get("annotation_set") for layer in layers]
        opened = [found.source.path for found in sets if found is not None and found.source]
        editors = [editor for layer in layers if (editor := editor_of(layer)) is not None]
        opened += [editor.imported_from for editor in editors if editor.imported_from is not None]
        return {path.absolute() for path in opened}


def _page() -> tuple[QWidget, QVBoxLayout]:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 6, 0, 0)
    return page, layout


def _look_beside(path: Path) -> tuple[Path, Beside]:
    return path, found_beside(path)


def _is_running(node: NodeView) -> bool:
    return node.status.startswith(("starting", "running", "paused"))
