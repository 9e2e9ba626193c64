"""Opening annotations for editing: unsaved work is brought back, drawing and tools are put on."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from napari.utils.notifications import show_info, show_warning
from napari.viewer import Viewer

from napari_camelyon.annotations import (
    AnnotationSet,
    History,
    discard_journal,
    find_unsaved,
    is_saved,
    recover,
)
from napari_camelyon.annotations.drawing import Bounds
from napari_camelyon.annotations.wand import wand_region
from napari_camelyon.errors import AnnotationError
from napari_camelyon.geometry import Mpp, level_to_slide, nearest_level_pixel, slide_to_level
from napari_camelyon.slides import Slide
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.annotation_tools import AnnotationTools
from napari_camelyon.widgets.outline_display import OutlineDisplay

__all__ = ["edit_annotations", "tools_of"]

_WAND_BLUR_PX = 4.0
"""Nuclei are not tissue of another colour: they are blurred away, as far as the zoom shows them."""
_WAND_HOLE_PX = 600
_MOST_WAND_PIXELS = 16_000_000
"""More than any screen has, if levels are at most four times apart."""


def edit_annotations(
    viewer: Viewer,
    annotation_set: AnnotationSet,
    *,
    path: Path | None = None,
    imported_from: Path | None = None,
    slide_name: str | None = None,
    mpp: Mpp | None = None,
    slide: Callable[[], Slide | None] = lambda: None,
    kind: str = "annotation",
    keep: Callable[[AnnotationSet], Path] | None = None,
) -> AnnotationEditor:
    """Return an editor whose layer can be added to the viewer, drawing and tools included.

    Edits of the file that were never saved are brought back, as steps that can be undone.

    Parameters
    ----------
    viewer : napari.Viewer
        In which the layer is going to be.
    annotation_set : AnnotationSet
        As read from a file, or made for a new one.
    path : Path, optional
        Where new ones are going to be saved.
    imported_from : Path, optional
        The file that new ones were read from, which cannot be written.
    slide_name, mpp
        Of the slide on which they lie.
    slide : callable
        Returns the slide that is shown when the wand is used.
    kind : str
        Of the layer: "annotation", or what else is edited with the same tools.
    keep : callable, optional
        As of `AnnotationEditor`.
    """
    recovered = None
    source = annotation_set.source
    file = path if source is None else source.path
    if file is not None and keep is None:
        annotation_set, recovered = _with_unsaved(annotation_set, file)
    editor = AnnotationEditor(
        annotation_set,
        path=file,
        imported_from=imported_from,
        slide_name=slide_name,
        mpp=mpp,
        recovered=recovered,
        kind=kind,
        keep=keep,
    )
    display = OutlineDisplay(viewer, editor)
    tools = AnnotationTools(
        viewer,
        editor,
        display,
        lambda at_xy, view, screen_px, tolerance: _same_colour(
            slide(), at_xy, view, screen_px, tolerance
        ),
    )
    editor.layer.metadata["napari_camelyon"].update(outlines=display, tools=tools)
    return editor


def tools_of(editor: AnnotationEditor) -> AnnotationTools:
    """Return the tools of an editor."""
    tools: AnnotationTools = editor.layer.metadata["napari_camelyon"]["tools"]
    return tools


def _with_unsaved(
    annotation_set: AnnotationSet, path: Path
) -> tuple[AnnotationSet, History | None]:
    try:
        unsaved = find_unsaved(path)
        if unsaved is None:
            return annotation_set, None
        if unsaved.in_use:
            show_warning(
                f"{path.name} is being edited in another window. It is shown here as it was saved "
                "last; edits made here would not be kept safe."
            )
            return annotation_set, None
        began_with, history = recover(path)
        if is_saved(history) or (history.saved is None and not len(history.now)):  # all was undone
            discard_journal(path)
            return annotation_set, None
    except AnnotationError as error:
        show_warning(str(error))
        return annotation_set, None
    when = unsaved.last_edit.astimezone()
    day = "" if when.date() == datetime.now().date() else f" of {when:%Y-%m-%d}"
    count = "One edit" if unsaved.edits == 1 else f"{unsaved.edits} edits"
    text = (
        f"{count}{day} until {when:%H:%M} of {path.name} had not been saved and "
        f"{'was' if unsaved.edits == 1 else 'were'} brought back. Undo takes them back one by one."
    )
    if unsaved.file_changed:
        show_warning(
            f"{text} Another program has changed the file since; saving asks before it is "
            "overwritten."
        )
    else:
        show_info(text)
    return began_with, history


def _same_colour(
    slide: Slide | None,
    at_xy: tuple[float, float],
    view: Bounds,
    screen_px: float,
    tolerance: float,
) -> Any:
    """Return what around a slide point is of its colour, as far as it is in view."""
    if slide is None:
        raise AnnotationError("The wand follows the colours of a slide: open the slide first.")
    level = max(
        (k for k, one in enumerate(slide.levels) if one.downsample_x <= max(screen_px, 1.0)),
        default=0,
    )
    chosen = slide.levels[level]
    downsample = chosen.downsample_x, chosen.downsample_y
    left, top = np.maximum(nearest_level_pixel(view[0], view[1], downsample), 0)
    right, bottom = np.minimum(
        nearest_level_pixel(view[2], view[3], downsample), (chosen.width_px, chosen.height_px)
    )
    column, row = np.floor(slide_to_level(at_xy, downsample)).astype(int)
    if not (left <= column < right and top <= row < bottom):
        raise AnnotationError("There is no slide under the wand.")
    if (right - left) * (bottom - top) > _MOST_WAND_PIXELS:
        raise AnnotationError("Zoom in to use the wand: this slide has no level for this zoom.")
    corner = np.array([left, top])
    x_px, y_px = np.rint(level_to_slide(corner, downsample)).astype(int)
    pixels = slide.read(
        int(x_px),
        int(y_px),
        int(right - left),
        int(bottom - top),
        level,
        on_damage=lambda _damage: None,
    )
    seed = int(row - top), int(column - left)
    region = wand_region(
        pixels, seed, tolerance, blur_px=_WAND_BLUR_PX, smallest_hole_px=_WAND_HOLE_PX
    )
    return shapely.transform(
        region, lambda points_xy: level_to_slide(points_xy + corner, downsample)
    )
