"""The window with our docks, as ``open`` and ``demo`` show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_camelyon.widgets.inference_dock import InferenceDock
    from napari_camelyon.widgets.pn_dock import StageDock

__all__ = ["docked_viewer", "open_window"]


def docked_viewer(*, show: bool = True) -> "tuple[Viewer, InferenceDock, StageDock]":
    """Return a viewer with the "Inference" and "pN stage" docks beside each other."""
    import napari

    viewer = napari.Viewer(title="napari-camelyon", show=show)
    _, stage_dock = viewer.window.add_plugin_dock_widget("napari-camelyon", "pN stage")
    _, inference_dock = viewer.window.add_plugin_dock_widget(
        "napari-camelyon", "Inference", tabify=False
    )
    return viewer, inference_dock, stage_dock


def open_window(paths: Sequence[Path], *, mpp: float | None = None) -> None:
    """Open slides and annotations in a window and stay until it is closed."""
    import napari

    from napari_camelyon.widgets.opening import open_paths

    missing = [path for path in paths if not path.exists()]
    if missing:
        raise CamelyonError(f"There is no file {missing[0]}. Check the spelling.")
    viewer, _, _ = docked_viewer()
    failures = open_paths(viewer, paths, mpp=mpp)
    if failures:
        click.echo(f"{failures} of {len(paths)} files could not be opened.", err=True)
    napari.run()
