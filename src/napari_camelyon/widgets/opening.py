"""Opening slides and annotations in any order."""

from collections.abc import Sequence
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer

from napari_camelyon.cohort import ANNOTATION_EXTENSIONS, annotated_slide, read_annotations
from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.patient_view import PatientView, patient_view

__all__ = ["open_path", "open_paths"]


def open_path(viewer: Viewer, path: Path, *, mpp: float | None = None) -> None:
    """Open one slide or annotation file.

    Raises
    ------
    SlideError, AnnotationError
        It cannot be read as either.
    """
    view = patient_view(viewer)
    if _holds_annotations(path):
        _open_annotations(view, path)
    else:
        view.open_slide(path, mpp=mpp)


def open_paths(viewer: Viewer, paths: Sequence[Path], *, mpp: float | None = None) -> int:
    """Open several; what cannot be opened is said in the window, the rest opens.

    Slides come first, so that each file of annotations finds the slide of its own name.

    Returns
    -------
    int
        How many could not be opened.
    """
    failures = 0
    for path in sorted(paths, key=_holds_annotations):
        try:
            open_path(viewer, path, mpp=mpp)
        except CamelyonError as error:
            failures += 1
            show_error(str(error))
    return failures


def _holds_annotations(path: Path) -> bool:
    return path.suffix.lower() in ANNOTATION_EXTENSIONS


def _open_annotations(view: PatientView, path: Path) -> None:
    name = annotated_slide(path, view.nodes) or view.shown
    slide = None if name is None else view.nodes[name].slide
    found = read_annotations(path, slide)
    if slide is None or found.source is None or found.source.format != "ndpa":
        view.add_annotations(found)
        return
    editor = view.add_annotations(found, over=name, imported_from=path)
    where = "asks for a file" if editor.path is None else f"writes {editor.path.name}"
    show_info(f"{path.name} can be read, but not written: Save {where}.")
