"""What the mouse and the keys do to annotations: one small function a tool.

The tools hang on the layer that stands for the annotations, so that they work while it is the
active one, as in every napari layer. They ask the room `annotations` what becomes of an outline
and hand the result to the editor as one step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from napari.viewer import Viewer
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_camelyon.annotations import (
    AREA_KINDS,
    Annotation,
    make_annotation,
)
from napari_camelyon.annotations.drawing import Bounds
from napari_camelyon.annotations.editing import cut_region, split
from napari_camelyon.annotations.regions import ring_region
from napari_camelyon.annotations.stroke_preview import begin_stroke, end_stroke, preview_outline
from napari_camelyon.annotations.strokes import (
    extend_stroke,
    freehand_ring,
    stroke_region,
)
from napari_camelyon.annotations.vertices import (
    Vertex,
    delete_vertex,
    insert_vertex,
    move_annotation,
    move_vertex,
    nearest_edge,
    nearest_vertex,
)
from napari_camelyon.errors import CamelyonError
from napari_camelyon.geometry import layer_to_slide
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.napari_compat import bare_brush_circle, camera
from napari_camelyon.widgets.outline_display import OutlineDisplay

__all__ = ["TOOLS", "AnnotationTools", "Tool"]

_REACH_SCREEN_PX = 8.0
_CLICK_SCREEN_PX = 4.0
"""A press and a release nearer than this are a click, not a drag."""
_SMOOTH_SCREEN_PX = 0.7
_CALM_SCREEN_PX = 0.3
_RADII_SCREEN_PX = (2.0, 400.0)
_WAND_TOLERANCES = (1.0, 60.0)

_XY = tuple[float, float]
_Drag = Iterator[None]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the dock shows it.

    Attributes
    ----------
    name, title, key : str
    help : str
        One line that says what to do.
    cursor : str
        One of napari's.
    """

    name: str
    title: str
    key: str
    help: str
    cursor: str


TOOLS = (
    Tool(
        "select",
        "Select",
        "V",
        "Click a region; Shift+click more. Drag a vertex, or an edge for a new one; Ctrl+click "
        "deletes a vertex; Shift+drag moves the region.",
        "standard",
    ),
    Tool(
        "polygon",
        "Polygon",
        "P",
        "Click from vertex to vertex; double-click or Enter closes, Backspace takes one back.",
        "cross",
    ),
    Tool("freehand", "Freehand", "F", "Draw around a region with the button held.", "cross"),
    Tool(
        "brush",
        "Brush",
        "B",
        "Paint on the selected region; with none selected, paint a new one. [ and ] or Ctrl+wheel "
        "change the radius; Shift erases.",
        "circle",
    ),
    Tool(
        "eraser",
        "Eraser",
        "E",
        "Rub out parts of the selected region; Shift paints.",
        "circle",
    ),
    Tool(
        "wand",
        "Wand",
        "W",
        "Click tissue: what is of the same colour there joins the selected region, or makes a new "
        "one; Shift+click cuts it out. [ and ] change the tolerance.",
        "cross",
    ),
    Tool("hole", "Hole", "H", "Draw around what is to be cut out of the selected region.", "cross"),
    Tool(
        "split", "Split", "S", "Draw a line across the selected region to cut it in two.", "cross"
    ),
)


class AnnotationTools:
    """The tools of one editor.

    Attributes
    ----------
    tool : Tool
        The one in hand; `take` changes it.
    radius_screen_px : float
        Of brush and eraser, on the screen at every zoom.
    wand_tolerance : float
        How far a colour may be from the one that was clicked, see `wand_region`.
    """

    tool_changed = Signal()
    radius_changed = Signal()
    save_wanted = Signal()
    """Ctrl+S was pressed over the canvas."""
    region_beheld = Signal(object)
    """A region looks like this while it is being edited."""

    def __init__(
        self,
        viewer: Viewer,
        editor: AnnotationEditor,
        display: OutlineDisplay,
        wand: Callable[[_XY, Bounds, float, float], Any],
    ) -> None:
        self.editor, self.display = editor, display
        self.tool = TOOLS[0]
        self.radius_screen_px = 30.0
        self.wand_tolerance = 8.0
        self._camera = camera(viewer)
        self._wand = wand
        self._path: list[_XY] = []
        self._pointer: _XY | None = None
        self._panning = False
        layer = editor.layer
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_move_callbacks.append(self._on_move)
        layer.mouse_wheel_callbacks.append(self._on_wheel)
        layer.mouse_double_click_callbacks.append(self._on_double_click)
        self._bind_keys()
        bare_brush_circle(viewer)
        self._camera.events.zoom.connect(self._show_radius)
        editor.selection_changed.connect(self._forget_hover)
        editor.changed.connect(self._forget_hover)

    def take(self, name: str) -> None:
        """Take a tool in hand; what was begun with the one before is dropped."""
        self.cancel()
        self.tool = next(tool for tool in TOOLS if tool.name == name)
        layer = self.editor.layer
        layer.mode = "pan_zoom"
        layer.mouse_pan = name == "select"
        layer.cursor = self.tool.cursor
        self._show_radius()
        self.tool_changed.emit()

    def cancel(self) -> None:
        """Drop what is being drawn."""
        self._path = []
        self.display.show_drawing(np.empty((0, 2)))
        self._forget_hover()

    def finish(self) -> None:
        """Close the polygon that is being drawn."""
        if self.tool.name == "polygon" and len(self._path) > 2:
            self._add_region("draw polygon", np.array(self._path))
        self.cancel()

    def change_radius(self, factor: float) -> None:
        """Make brush and eraser larger or smaller; with the wand in hand, its tolerance."""
        if self.tool.name == "wand":
            low, high = _WAND_TOLERANCES
            self.wand_tolerance = min(max(self.wand_tolerance * factor, low), high)
            self.radius_changed.emit()
            return
        low, high = _RADII_SCREEN_PX
        self.radius_screen_px = min(max(self.radius_screen_px * factor, low), high)
        self._show_radius()
        self.radius_changed.emit()

    # -- mouse ----------------------------------------------------------------------------------

    def _on_drag(self, _layer: object, event: Any) -> _Drag:
        if event.button != 1 or self._panning or self._is_put_down():
            return
        drag = {
            "select": self._drag_selected,
            "polygon": self._place_vertex,
            "freehand": self._draw_freehand,
            "brush": self._paint,
            "eraser": self._paint,
            "wand": self._use_wand,
            "hole": self._draw_hole,
            "split": self._draw_cut,
        }[self.tool.name]
        try:
            yield from drag(event)
        except CamelyonError as error:
            self.editor.report(error)
        finally:
            self.display.show_result(None)
            if self.tool.name != "polygon":
                self._path = []

    def _on_move(self, _layer: object, event: Any) -> None:
        self._pointer = self._place(event)
        if self._is_put_down():
            return
        if self.tool.name == "select":
            self._hover()
        elif self.tool.name == "polygon" and self._path:
            self.display.show_drawing(np.array([*self._path, self._pointer]))

    def _on_wheel(self, _layer: object, event: Any) -> None:
        if "Control" in event.modifiers and self.tool.cursor == "circle":
            self.change_radius(1.15 ** (event.delta[1] or event.delta[0]))
            event.handled = True

    def _on_double_click(self, _layer: object, event: Any) -> None:
        if self.tool.name == "polygon" and not self._is_put_down():
            self.finish()
            event.handled = True

    def _is_put_down(self) -> bool:
        """Whether one of napari's own tools is in hand; what it draws the editor takes over."""
        return bool(self.editor.layer.mode != "pan_zoom")

    # -- tools ----------------------------------------------------------------------------------

    def _drag_selected(self, event: Any) -> _Drag:
        at = self._place(event)
        current, vertex = self.editor.current, self._vertex_at(at)
        if current is not None and vertex is not None and "Control" in event.modifiers:
            yield
            left = delete_vertex(current, vertex)
            self._change("delete vertex", current, left)
            return
        begun, label = current, "move vertex"
        if current is not None and vertex is None:
            edge = nearest_edge(current, at, self._reach_px())
            if edge is not None and self.editor.is_editable(current) and not event.modifiers:
                after, place = edge
                begun, label = insert_vertex(current, after, place), "insert vertex"
                vertex = Vertex(after.part, after.ring, after.index + 1)
        if begun is None or vertex is None or event.modifiers:
            yield from self._click_or_move(event)
            return
        layer = self.editor.layer
        layer.mouse_pan = False
        changed = begun if begun is not current else None
        try:
            yield
            while event.type == "mouse_move":
                changed = move_vertex(begun, vertex, self._place(event))
                self.display.show_while_edited(changed)
                self.region_beheld.emit(changed)
                self.display.show_vertex(self._place(event))
                yield
        finally:
            layer.mouse_pan = True
            self.display.show_while_edited(None)
        if changed is not None and current is not None:
            self._change(label, current, changed)

    def _click_or_move(self, event: Any) -> _Drag:
        """Select what is clicked; with Shift add it, or drag the current region elsewhere."""
        first, at, shift = np.array(event.pos), self._place(event), "Shift" in event.modifiers
        current = self.editor.current if shift else None
        layer, farthest, moved = self.editor.layer, 0.0, None
        layer.mouse_pan = not shift
        try:
            yield
            while event.type == "mouse_move":
                farthest = max(farthest, float(np.hypot(*(np.array(event.pos) - first))))
                if current is not None and farthest > _CLICK_SCREEN_PX:
                    x, y = self._place(event)
                    moved = move_annotation(current, (x - at[0], y - at[1]))
                    self.display.show_while_edited(moved)
                    self.region_beheld.emit(moved)
                yield
        finally:
            layer.mouse_pan = True
            self.display.show_while_edited(None)
        if moved is not None and current is not None:
            self._change("move region", current, moved)
        elif farthest <= _CLICK_SCREEN_PX:
            self._select_at(self._place(event), adding=shift)

    def _select_at(self, at: _XY, *, adding: bool) -> None:
        found = self.editor.pick(at, self._reach_px())
        if not adding:
            self.editor.select([] if found is None else [found])
        elif found is not None:
            rest = [key for key in self.editor.selected if key != found]
            self.editor.select(rest if found in self.editor.selected else [*rest, found])

    def _place_vertex(self, event: Any) -> _Drag:
        at = self._place(event)
        yield
        while event.type == "mouse_move":
            yield
        if not self._path or self._path[-1] != at:
            self._path.append(at)
        self.display.show_drawing(np.array(self._path))

    def _draw_freehand(self, event: Any) -> _Drag:
        yield from self._draw_path(event)
        ring = freehand_ring(self._path, self._smooth_px())
        if ring is not None:
            self._add_region("draw freehand", ring)

    def _draw_hole(self, event: Any) -> _Drag:
        current = self._needs_current("cut a hole into")
        yield from self._draw_path(event)
        ring = freehand_ring(self._path, self._smooth_px())
        if current is not None and ring is not None:
            self._change("cut hole", current, cut_region(current, ring_region(ring)))

    def _draw_cut(self, event: Any) -> _Drag:
        current = self._needs_current("split")
        yield from self._draw_path(event)
        if current is None or len(self._path) < 2:
            return
        pieces = split(current, np.array(self._path))
        if len(pieces) < 2:
            raise CamelyonError("The line must cross the whole region.")
        self.editor.replace("split region", pieces)
        self.editor.select([piece.id for piece in pieces])

    def _draw_path(self, event: Any) -> _Drag:
        self._path = [self._place(event)]
        yield
        while event.type == "mouse_move":
            self._path.append(self._place(event))
            self.display.show_drawing(np.array(self._path))
            yield
        self.display.show_drawing(np.empty((0, 2)))

    def _paint(self, event: Any) -> _Drag:
        adding = (self.tool.name == "brush") != ("Shift" in event.modifiers)
        current = self.editor.current
        if current is not None and current.kind not in AREA_KINDS:
            current = None
        if current is None and not adding:
            current = self._needs_current("rub out")
            yield
            return
        radii_px = [self.radius_screen_px * px for px in self.display.screen_px_xy]
        preview = begin_stroke(current, adding=adding)
        at = self._place(event)
        stroke = self._calm(stroke_region([at], *radii_px))
        group = self.editor.draw_group if current is None else current.group
        self.display.show_result(preview_outline(preview, stroke), group)
        yield
        while event.type == "mouse_move":
            before, at = at, self._place(event)
            stroke = self._calm(extend_stroke(stroke, [before, at], *radii_px))
            self.display.show_result(preview_outline(preview, stroke), group)
            yield
        result = end_stroke(preview, stroke)
        label = "paint" if adding else "erase"
        if current is None and result is not None:
            self._add(label, result)
        elif current is not None:
            self._change(label, current, result)

    def _use_wand(self, event: Any) -> _Drag:
        at, cutting = self._place(event), "Shift" in event.modifiers
        yield
        while event.type == "mouse_move":
            yield
        region = self._wand(at, self.display.view, self.display.screen_px, self.wand_tolerance)
        current = self.editor.current
        if current is None and cutting:
            self._needs_current("cut a part out of")
            return
        preview = begin_stroke(current, adding=not cutting)
        result = end_stroke(preview, region)
        if current is None and result is not None:
            self._add("wand", result)
        elif current is not None:
            self._change("wand", current, result)

    def _calm(self, stroke: Any) -> Any:
        # A round brush has far more corners than anybody sees, and somebody will edit them.
        return shapely.simplify(stroke, _CALM_SCREEN_PX * self.display.screen_px)

    # -- what comes of it -----------------------------------------------------------------------

    def _change(self, label: str, old: Annotation, new: Annotation | None) -> None:
        if new is not old:
            gone = [old.id] if new is None else []
            self.editor.replace(label, [] if new is None else [new], gone)

    def _add_region(self, label: str, ring: Any) -> None:
        self._add(label, make_annotation("polygon", ring))

    def _add(self, label: str, made: Annotation) -> None:
        group = self.editor.draw_group
        colour = None if group is None else self.editor.colour(group)
        self.editor.add(label, [replace(made, group=group, colour=colour)])

    def _needs_current(self, what: str) -> Annotation | None:
        current = self.editor.current
        if current is None or current.kind not in AREA_KINDS:
            raise CamelyonError(f"Select the region to {what} first (V, then click it).")
        return current

    # -- pointing -------------------------------------------------------------------------------

    def _vertex_at(self, at: _XY) -> Vertex | None:
        current = self.editor.current
        if current is None or not self.editor.is_editable(current):
            return None
        return nearest_vertex(current, at, self._reach_px())

    def _hover(self) -> None:
        current, at = self.editor.current, self._pointer
        if current is None or at is None or not self.editor.is_editable(current):
            self.display.show_vertex(None)
            return
        vertex = self._vertex_at(at)
        if vertex is not None:
            part = current.parts[vertex.part]
            x, y = (part.points, *part.holes)[vertex.ring][vertex.index]
            self.display.show_vertex((float(x), float(y)))
            return
        edge = nearest_edge(current, at, self._reach_px())
        self.display.show_vertex(None if edge is None else edge[1], new=True)

    def _forget_hover(self, _change: object = None) -> None:
        self.display.show_vertex(None)

    def _place(self, event: Any) -> _XY:
        row_column = np.asarray(self.editor.layer.world_to_data(event.position))[-2:]
        x, y = layer_to_slide(row_column)
        return float(x), float(y)

    def _reach_px(self) -> float:
        return _REACH_SCREEN_PX * self.display.screen_px

    def _smooth_px(self) -> float:
        return _SMOOTH_SCREEN_PX * self.display.screen_px

    def _show_radius(self) -> None:
        if self.tool.cursor == "circle":
            self.editor.layer.cursor_size = 2 * self.radius_screen_px / self._camera.zoom

    # -- keys -----------------------------------------------------------------------------------

    def _bind_keys(self) -> None:
        editor = self.editor
        keys: dict[str, Callable[[], object]] = {
            **{tool.key: _taking(self, tool.name) for tool in TOOLS},
            "Control-Z": editor.undo,
            "Control-Shift-Z": editor.redo,
            "Control-Y": editor.redo,
            "Control-S": self.save_wanted.emit,
            "Escape": self._escape,
            "Enter": self.finish,
            "Delete": self._delete,
            "Backspace": self._delete,
            "[": lambda: self.change_radius(1 / 1.15),
            "]": lambda: self.change_radius(1.15),
        }
        for key, function in keys.items():
            editor.layer.bind_key(key, _on_key(function), overwrite=True)
        editor.layer.bind_key("Space", self._pan_while_held, overwrite=True)

    def _escape(self) -> None:
        if self._path:
            self.cancel()
        elif self.tool.name != "select":
            self.take("select")
        else:
            self.editor.select([])

    def _delete(self) -> None:
        if self._path:
            self._path.pop()
            self.display.show_drawing(np.array(self._path).reshape(-1, 2))
            return
        current, at = self.editor.current, self._pointer
        vertex = None if at is None or self.tool.name != "select" else self._vertex_at(at)
        if current is not None and vertex is not None:
            self._change("delete vertex", current, delete_vertex(current, vertex))
        else:
            self.editor.remove_selected()

    def _pan_while_held(self, layer: Any) -> Iterator[None]:
        self._panning, layer.mouse_pan = True, True
        yield
        self._panning, layer.mouse_pan = False, self.tool.name == "select"


def _taking(tools: AnnotationTools, name: str) -> Callable[[], None]:
    return lambda: tools.take(name)


def _on_key(function: Callable[[], object]) -> Callable[[object], None]:
    # After napari is done with the key: an edit may replace what its event goes to.
    def pressed(_layer: object) -> None:
        QTimer.singleShot(0, function)

    return pressed
