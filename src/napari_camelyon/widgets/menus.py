"""Menu entries."""

from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.alignment_check import AlignmentCheck
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.reader_settings import (
    SLIDE_EXTENSIONS,
    default_extensions,
    set_default_reader,
)

__all__ = [
    "check_alignment",
    "default_reader_dialog",
    "open_slide_dialog",
    "save_annotations_dialog",
]

_FILES = (
    "Slides and annotations (*.tif *.tiff *.svs *.ndpi *.mrxs *.scn *.bif *.vms *.vmu *.dcm "
    "*.svslide *.xml *.geojson *.json *.ndpa);;All files (*)"
)


def open_slide_dialog(viewer: Viewer) -> None:
    """Ask for slides and annotations and open them; napari does not ask for a reader then."""
    parent = viewer.window._qt_window
    names, _ = QFileDialog.getOpenFileNames(parent, "Open slides and annotations", "", _FILES)
    open_paths(viewer, [Path(name) for name in names])


def save_annotations_dialog(viewer: Viewer) -> None:
    """Ask for a file and write the annotations of the shown slide into it."""
    view = patient_view(viewer)
    parent = view.viewer.window._qt_window
    name, _ = QFileDialog.getSaveFileName(
        parent, "Save annotations", "", "ASAP XML (*.xml);;GeoJSON (*.geojson)"
    )
    if not name:
        return
    try:
        view.save_annotations(name)
    except CamelyonError as error:
        show_error(str(error))
    else:
        show_info(f"Saved {name}")


def check_alignment(viewer: Viewer) -> None:
    """Measure whether the levels of the shown slide lie on each other, and show the result."""
    node = patient_view(viewer).shown_node
    window = viewer.window._qt_window
    if node is None:
        show_info("Open a slide first: File ▸ Open File(s), or drop it on the window.")
    elif any(check.is_running for check in window.findChildren(AlignmentCheck)):
        show_info("A slide is being checked already.")
    else:
        AlignmentCheck(window, node.slide)


def default_reader_dialog(viewer: Viewer) -> None:
    """Let the person choose the extensions that napari opens with us without asking."""
    dialog = default_reader_form(viewer.window._qt_window)
    dialog.exec()


def default_reader_form(parent: QWidget | None = None) -> QDialog:
    """Return the dialog of `default_reader_dialog`; accepting it writes napari's settings."""
    dialog = QDialog(parent)
    dialog.setWindowTitle("Open by default with napari-camelyon")
    layout = QVBoxLayout(dialog)
    text = QLabel(
        "Several plugins can read these files, so napari asks each time. Ticked ones are opened "
        "as slides or annotations without asking. The choice is kept in napari's settings."
    )
    text.setWordWrap(True)
    layout.addWidget(text)
    chosen = set(default_extensions())
    boxes = {extension: QCheckBox(f"*.{extension}") for extension in SLIDE_EXTENSIONS}
    for extension, box in boxes.items():
        box.setChecked(extension in chosen)
        layout.addWidget(box)
    buttons = QDialogButtonBox(
        QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
    )
    layout.addWidget(buttons)

    def keep() -> None:
        for on in (True, False):
            set_default_reader([e for e, box in boxes.items() if box.isChecked() is on], on=on)
        dialog.accept()

    buttons.accepted.connect(keep)
    buttons.rejected.connect(dialog.reject)
    return dialog
