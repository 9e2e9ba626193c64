"""Draws thousands of outlines at once, and the selected one with its vertices, over the slide.

napari's Shapes layer builds a mesh of every outline, which takes seconds for thousands and half a
second for one vertex that moves. Here a layer that stands for the whole file gets plain lines:
only what is in view, simplified to what the screen can show.
"""

from collections.abc import Collection, Sequence
from weakref import ref

import numpy as np
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from vispy.color import Color
from vispy.scene.visuals import Line, Markers

from napari_camelyon.annotations import ASAP_DEFAULT_COLOUR, POINT_KINDS, Annotation
from napari_camelyon.annotations.drawing import (
    Bounds,
    drawn_lines,
    segments,
    thinned,
    visible_ids,
)
from napari_camelyon.annotations.model import Points
from napari_camelyon.geometry import layer_to_slide, slide_to_layer
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.napari_compat import camera, canvas_size_px, drawing_node

__all__ = ["OutlineDisplay"]

LINE_SCREEN_PX = 2.0
SELECTED_SCREEN_PX = 3.0
VERTEX_SCREEN_PX = 7.0
_MOST_VERTICES = 400
"""More than these in view are not drawn: they would hide the tissue. Any can be dragged."""
_FOLLOW_MS = 60
_MARGIN = 0.5
"""How much of a view is drawn beyond each of its borders, so that small pans need nothing new."""


class OutlineDisplay:
    """Draws what an editor holds.

    Attributes
    ----------
    editor : AnnotationEditor
    """

    def __init__(self, viewer: Viewer, editor: AnnotationEditor) -> None:
        self._viewer = ref(viewer)
        self.editor = editor
        self._drawn: tuple[float, Bounds] | None = None
        self._being_edited: Annotation | None = None
        self._lines: dict[str, Line] = {}
        self._marks: dict[str, Markers] = {}
        # While the view moves only what is drawn already moves; the rest follows a moment later.
        self._follow_soon = QTimer()
        self._follow_soon.setSingleShot(True)
        self._follow_soon.setInterval(_FOLLOW_MS)
        self._follow_soon.timeout.connect(self._follow)
        editor.changed.connect(self._redraw)
        editor.selection_changed.connect(self._redraw)
        editor.groups_shown_changed.connect(self._redraw)
        camera(viewer).events.zoom.connect(self._on_camera)
        camera(viewer).events.center.connect(self._on_camera)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        editor.layer.events.opacity.connect(self._on_opacity)
        if editor.layer in viewer.layers:
            self._attach()

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is drawn suits the present view."""
        return not self._follow_soon.isActive()

    # -- for the tools --------------------------------------------------------------------------

    def show_while_edited(self, annotation: Annotation | None) -> None:
        """Draw the current annotation as it would be, before it is; None draws it as it is."""
        self._being_edited = annotation
        self._draw_selected()

    def show_drawing(self, line: Points) -> None:
        """Draw a line that belongs to no annotation yet; an empty one takes it away."""
        if len(line) < 2:
            self._lines_hidden("tool")
        else:
            colour = _rgba(self.editor.colour(self.editor.draw_group))
            self._set_line("tool", _pieces_of([line]), colour, SELECTED_SCREEN_PX)

    def show_result(self, lines: Sequence[Points] | None, group: str | None = None) -> None:
        """Draw lines in the place of the current annotation; None draws it as it is."""
        if lines is None:
            self._lines_hidden("tool")
            self._draw_selected()
            return
        for name in ("halo", "selected"):
            self._lines_hidden(name)
        self._marks_hidden("vertices")
        tolerance_px = self.screen_px / 2
        pieces = _pieces_of([thinned(line, tolerance_px) for line in lines])
        if len(pieces):
            self._set_line("tool", pieces, _rgba(self.editor.colour(group)), SELECTED_SCREEN_PX)
        else:
            self._lines_hidden("tool")

    def show_vertex(self, at_xy: tuple[float, float] | None, *, new: bool = False) -> None:
        """Mark the vertex that a press would take, or the place where it would make a new one."""
        if at_xy is None:
            self._marks_hidden("vertex")
            return
        face = "#ffffff" if new else "#ffd33d"
        self._set_marks("vertex", np.array([at_xy]), face, VERTEX_SCREEN_PX + 4, symbol="disc")

    # -- drawing --------------------------------------------------------------------------------

    def _on_inserted(self, event: object) -> None:
        if event.value is self.editor.layer:
            self._attach()

    def _on_removed(self, event: object) -> None:
        if event.value is self.editor.layer:
            self._lines, self._marks = {}, {}  # they went with the layer's node
            self._drawn = None

    def _attach(self) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        node = drawing_node(viewer, self.editor.layer)
        self._lines = {
            name: Line(method="gl", connect="segments", antialias=True, parent=node)
            for name in ("all", "halo", "selected", "tool")
        }
        self._marks = {name: Markers(parent=node) for name in ("dots", "vertices", "vertex")}
        for order, visual in enumerate((*self._lines.values(), *self._marks.values())):
            visual.order = order
            visual.visible = False
        self._redraw()

    def _on_camera(self) -> None:
        if self._lines and self._needs_more():
            self._follow_soon.start()

    def _follow(self) -> None:
        if self._needs_more():
            self._redraw()

    def _on_opacity(self) -> None:
        for visual in (*self._lines.values(), *self._marks.values()):
            visual.opacity = self.editor.layer.opacity

    def _redraw(self, _change: object = None) -> None:
        if not self._lines:
            return
        editor = self.editor
        view = self.view
        tolerance_px = self.screen_px
        self._drawn = (tolerance_px, view)
        left, top, right, bottom = view
        margin_x, margin_y = _MARGIN * (right - left), _MARGIN * (bottom - top)
        wide = (left - margin_x, top - margin_y, right + margin_x, bottom + margin_y)
        known, hidden, selected = editor.outlines.annotations, editor.hidden, set(editor.selected)
        ids = [
            key
            for key in visible_ids(editor.outlines, wide)
            if known[key].group not in hidden and key not in selected
        ]
        points, owner = segments(editor.outlines, ids, tolerance_px)
        if len(points):
            palette = self._palette(ids)
            self._set_line("all", points, palette[owner], LINE_SCREEN_PX)
        else:
            self._lines_hidden("all")
        self._draw_dots(hidden)
        self._draw_selected()

    def _draw_selected(self) -> None:
        if not self._lines:
            return
        editor = self.editor
        shown = [
            self._being_edited if self._being_edited and a.id == self._being_edited.id else a
            for a in editor.selected_annotations
            if a.group not in editor.hidden
        ]
        pieces, colours = [], []
        for annotation in shown:
            points = self._pieces(annotation)
            pieces.append(points)
            colours.append(np.tile(_rgba(editor.colour(annotation.group)), (len(points), 1)))
        if not pieces or not sum(map(len, pieces)):
            for name in ("halo", "selected"):
                self._lines_hidden(name)
        else:
            points = np.concatenate(pieces)
            self._set_line("halo", points, _rgba("#ffffff"), SELECTED_SCREEN_PX + 2.5)
            self._set_line("selected", points, np.concatenate(colours), SELECTED_SCREEN_PX)
        self._draw_vertices(shown[-1] if shown else None)

    def _pieces(self, annotation: Annotation) -> Points:
        outlines, tolerance_px = self.editor.outlines, self.screen_px / 2
        if outlines.annotations.get(annotation.id) is annotation:
            return segments(outlines, [annotation.id], tolerance_px)[0]
        return _pieces_of([thinned(line, tolerance_px) for line in drawn_lines(annotation)])

    def _draw_vertices(self, annotation: Annotation | None) -> None:
        in_view = np.empty((0, 2))
        if annotation is not None and self.editor.is_editable(annotation):
            left, top, right, bottom = self.view
            points = np.concatenate(annotation.rings)
            inside = (points >= (left, top)).all(axis=1) & (points <= (right, bottom)).all(axis=1)
            in_view = points[inside]
        if 0 < len(in_view) <= _MOST_VERTICES and self._are_apart(in_view):
            self._set_marks("vertices", in_view, "#ffffff", VERTEX_SCREEN_PX)
        else:
            self._marks_hidden("vertices")

    def _are_apart(self, vertices: Points) -> bool:
        """Whether marks of vertices leave something to be seen of the line between them."""
        steps = np.hypot(*np.diff(vertices, axis=0).T) / self.screen_px
        return len(steps) == 0 or float(np.median(steps)) > 1.5 * VERTEX_SCREEN_PX

    def _draw_dots(self, hidden: Collection[str | None]) -> None:
        dots = [
            a
            for a in self.editor.now
            if a.kind in POINT_KINDS and a.group not in hidden and len(a.points)
        ]
        if not dots:
            self._marks_hidden("dots")
            return
        points = np.concatenate([dot.points for dot in dots])
        faces = np.concatenate(
            [np.tile(_rgba(self.editor.colour(dot.group)), (len(dot.points), 1)) for dot in dots]
        )
        finite = np.isfinite(points).all(axis=1)
        self._set_marks("dots", points[finite], faces[finite], 10.0, symbol="disc")

    def _palette(self, ids: Sequence[str]) -> NDArray[np.float32]:
        groups = [self.editor.outlines.annotations[key].group for key in ids]
        colours = {group: _rgba(self.editor.colour(group)) for group in dict.fromkeys(groups)}
        return np.array([colours[group] for group in groups], np.float32)

    # -- nodes ----------------------------------------------------------------------------------

    def _set_line(
        self, name: str, points: Points, colour: NDArray[np.float32], width_px: float
    ) -> None:
        if name not in self._lines:
            return
        line = self._lines[name]
        line.set_data(pos=_node_points(points), color=colour, width=width_px)
        line.visible = True

    def _set_marks(
        self,
        name: str,
        points: Points,
        face: str | NDArray[np.float32],
        size_px: float,
        symbol: str = "square",
    ) -> None:
        if name not in self._marks:
            return
        self._marks[name].set_data(
            _node_points(points),
            size=size_px,
            face_color=face,
            edge_color="#16181d",
            edge_width=1,
            symbol=symbol,
        )
        self._marks[name].visible = True

    def _lines_hidden(self, name: str) -> None:
        if name in self._lines:
            self._lines[name].visible = False

    def _marks_hidden(self, name: str) -> None:
        if name in self._marks:
            self._marks[name].visible = False

    # -- the view -------------------------------------------------------------------------------

    @property
    def screen_px_xy(self) -> tuple[float, float]:
        """Level-0 pixels a screen pixel, along x and along y."""
        viewer, layer = self._viewer(), self.editor.layer
        assert viewer is not None
        along_y, along_x = 1 / (camera(viewer).zoom * np.asarray(layer.scale[-2:]))
        return float(along_x), float(along_y)

    @property
    def screen_px(self) -> float:
        """Level-0 pixels a screen pixel, along the axis that has fewer: what is within it is near.

        Pixels of a slide need not be square.
        """
        return min(self.screen_px_xy)

    @property
    def view(self) -> Bounds:
        """What the canvas shows: left, top, right, bottom in slide points."""
        viewer, layer = self._viewer(), self.editor.layer
        assert viewer is not None
        half = np.array(canvas_size_px(viewer)) / 2 / camera(viewer).zoom
        centre = np.array(camera(viewer).center[-2:])
        corners = np.array([centre - half, centre + half]) / layer.scale[-2:]
        (left, top), (right, bottom) = layer_to_slide(corners)
        return left, top, right, bottom

    def _needs_more(self) -> bool:
        if self._viewer() is None or self._drawn is None:
            return False
        tolerance_px, drawn = self._drawn
        left, top, right, bottom = self.view
        margin_x, margin_y = _MARGIN * (drawn[2] - drawn[0]), _MARGIN * (drawn[3] - drawn[1])
        inside = (
            left >= drawn[0] - margin_x
            and right <= drawn[2] + margin_x
            and top >= drawn[1] - margin_y
            and bottom <= drawn[3] + margin_y
        )
        # Vertices are drawn in the view alone.
        moved = bool(self.editor.selected) and drawn != (left, top, right, bottom)
        return not inside or moved or not 0.7 < self.screen_px / tolerance_px < 1.4


def _pieces_of(lines: Sequence[Points]) -> Points:
    pieces = [np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 2) for line in lines]
    return np.concatenate(pieces) if pieces else np.empty((0, 2))


def _node_points(points: Points) -> NDArray[np.float32]:
    return slide_to_layer(points)[:, ::-1].astype(np.float32)


def _rgba(colour: str) -> NDArray[np.float32]:
    try:
        return np.asarray(Color(colour).rgba, np.float32)
    except (ValueError, RuntimeError):
        return np.asarray(Color(ASAP_DEFAULT_COLOUR).rgba, np.float32)
