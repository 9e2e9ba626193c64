"""Opening slides and annotations in any order."""

from collections.abc import Sequence
from pathlib import Path

from napari.utils.notifications import show_error
from napari.viewer import Viewer

from napari_camelyon import annotations
from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.patient_view import patient_view

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
        view.add_annotations(annotations.read(path))
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
    return path.suffix.lower() in annotations.FORMATS
