"""The window with our docks, as ``open`` and ``demo`` show it."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_camelyon.widgets.inference_dock import InferenceDock
    from napari_camelyon.widgets.pn_dock import StageDock

__all__ = ["bring_to_front", "docked_viewer", "has_display", "open_window"]


def has_display() -> bool:
    """Tell whether a window can be shown; Qt ends the whole process where it cannot."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def docked_viewer(*, show: bool = True) -> "tuple[Viewer, InferenceDock, StageDock]":
    """Return a viewer with the docks as tabs, and "pN stage" below them.

    The "Slide" dock is in front, for without a slide there is nothing to do in the others.
    """
    import napari
    from napari import current_viewer
    from qtpy.QtCore import Qt, QTimer

    viewer = napari.Viewer(title="napari-camelyon", show=show)
    add_dock = viewer.window.add_plugin_dock_widget
    slide, _ = add_dock("napari-camelyon", "Slide")
    annotate, _ = add_dock("napari-camelyon", "Annotate", tabify=True)
    tissue, _ = add_dock("napari-camelyon", "Tissue", tabify=True)
    inference, inference_dock = add_dock("napari-camelyon", "Inference", tabify=True)
    stage, stage_dock = add_dock("napari-camelyon", "pN stage")
    for dock, title in (
        (slide, "Slide"),
        (annotate, "Annotate"),
        (tissue, "Tissue"),
        (inference, "Inference"),
        (stage, "pN stage"),
    ):
        dock.setWindowTitle(title)  # with the plugin's name, which stands above, no tab is legible

    def arrange() -> None:
        """Qt lays docks out with its event loop; before that neither sizes nor tabs are kept."""
        if current_viewer() is viewer:
            viewer.window._qt_window.resizeDocks([slide, stage], [2, 3], Qt.Orientation.Vertical)
            slide.raise_()

    QTimer.singleShot(0, arrange)
    return viewer, inference_dock, stage_dock


def bring_to_front(dock: "QWidget") -> None:
    """Show a dock of ours before the tabs beside it."""
    from qtpy.QtWidgets import QDockWidget

    holder = dock.parent()
    if isinstance(holder, QDockWidget):
        holder.raise_()


def open_window(paths: Sequence[Path], *, mpp: float | None = None) -> None:
    """Open slides and annotations in a window and stay until it is closed.

    Raises
    ------
    CamelyonError
        A file cannot be opened, or there is no display or no Qt; no window was shown then. Or
        something failed only when it was shown; the window was then shown with the rest.
    """
    _refuse_unreadable(paths, mpp)
    if not has_display():
        raise CamelyonError(
            "There is no display to show a window on. Type: napari-camelyon predict, which needs "
            "none, or work where DISPLAY or WAYLAND_DISPLAY is set."
        )
    _import_qt()
    import napari

    from napari_camelyon.widgets.opening import open_paths

    viewer, _, _ = docked_viewer()
    failures = open_paths(viewer, paths, mpp=mpp)
    napari.run()
    if failures:
        raise CamelyonError(f"{failures} of {len(paths)} files could not be opened.")


def _refuse_unreadable(paths: Sequence[Path], mpp: float | None) -> None:
    """Read every header and annotation once: it takes no time beside a window that starts."""
    from napari_camelyon.cohort import ANNOTATION_EXTENSIONS, annotated_slide, read_annotations
    from napari_camelyon.slides import Slide, open_slide

    problems = []
    slides: dict[str, Slide] = {}
    for path in sorted(paths, key=lambda path: path.suffix.lower() in ANNOTATION_EXTENSIONS):
        try:
            if not path.exists():
                raise CamelyonError(f"There is no file {path}: check the name.")
            if path.suffix.lower() in ANNOTATION_EXTENSIONS:
                name = annotated_slide(path, slides) or next(reversed(slides), "")
                read_annotations(path, slides.get(name))
            else:
                with open_slide(path, mpp=mpp) as slide:
                    slides[slide.name] = slide
        except CamelyonError as error:
            problems.append(error)
    if not problems:
        return
    for problem in problems[:-1]:
        click.echo(f"Error: {problem}", err=True)
    raise problems[-1]


def _import_qt() -> None:
    try:
        importlib.import_module("qtpy.QtWidgets")
    except (ImportError, RuntimeError) as error:
        raise CamelyonError(
            f"The window needs Qt, which cannot be imported ({error}). Type: pip install "
            "'napari[pyside6]'"
        ) from error
