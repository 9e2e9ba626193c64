"""How long an annotator waits: this editor, and napari's own Shapes layer with the same outlines.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/annotating.py [--regions 5000]

With real mouse events in a shown window, over an open slide of CAMELYON's full size, for each way:

load      from the file (ours) or the arrays (napari) to the first frame with all outlines
pick      from the click on a region to what it has changed
move      what one move of the mouse has to compute while a vertex is dragged; median and maximum
frame     from that move to the screen: napari waits for up to 16 ms before it hands a move on, and
          drawing takes most of the rest without a graphics card
drop      letting the vertex go: the edit is done, journalled and drawn
undo      taking it back
brush     one move of a brush of 30 screen pixels over the outline, as "move"
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
from large_slide import write_large_slide
from napari.layers import Shapes
from napari.layers.shapes._shapes_constants import Mode
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, make_annotation
from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.widgets.annotating import tools_of
from napari_camelyon.widgets.napari_compat import camera, canvas_widget, load_what_layers_need
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.slide_layer import slides_are_sharp

_PITCH_PX = 1300
"""From one outline to the next: 5,000 of them lie on the slide, which is in view as a whole."""

LARGEST_OFFICIAL = 45_065
"""Points of the largest polygon among the official annotations of CAMELYON16 and 17."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--regions", type=int, default=5000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--skip-napari", action="store_true")
    options = parser.parse_args()
    many = _many(options.regions, options.points)
    one = [_wavy_ring(np.array([60_000.0, 60_000.0]), 20_000.0, LARGEST_OFFICIAL, 900)]
    print("| outlines | way | load | pick | move | frame | drop | undo | brush |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.tif"
        noise = np.random.default_rng(0).integers(120, 250, (1024, 1024, 3), dtype=np.uint8)
        write_large_slide(slide, pixels=noise)
        for title, rings in ((f"{len(many):,} × {options.points}", many), ("1 × 45,065", one)):
            _measure_ours(title, rings, options.moves, slide)
            if not options.skip_napari:
                _measure_napari(title, rings, min(options.moves, 5), slide)


def _many(count: int, points: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    columns = int(np.ceil(np.sqrt(count)))
    return [
        _wavy_ring(_PITCH_PX * np.array([k % columns + 0.5, k // columns + 0.5]), 450.0, points, s)
        for k, s in enumerate(rng.integers(0, 2**31, count))
    ]


def _wavy_ring(centre: np.ndarray, radius: float, points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    waves = sum(
        rng.uniform(0, 0.15) / k * np.sin(k * angle + rng.uniform(0, 6)) for k in range(2, 9)
    )
    return centre + radius * (1 + waves)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _measure_ours(title: str, rings: list[np.ndarray], moves: int, slide: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.xml"
        made = [make_annotation("polygon", ring, group="Tumor") for ring in rings]
        annotations.write(AnnotationSet(tuple(made), (Group("Tumor", colour="#00c000"),)), path)
        viewer = _viewer(slide)
        hand = _Hand(viewer)
        view = patient_view(viewer)
        start = time.perf_counter()
        editor = view.add_annotations(annotations.read(path))
        load = hand.until_drawn() - start
        viewer.layers.selection.active = editor.layer
        ring = rings[len(rings) // 2]
        hand.look_at(ring, editor.layer)
        tools = tools_of(editor)
        tools.take("select")
        hand.until_drawn()
        assert not editor.selected
        pick = hand.click(ring[0], editor.layer)
        assert editor.selected, "the click has picked the region"
        vertex = ring[0]
        steps = [vertex + k * np.array([3.0, 2.0]) for k in range(1, moves + 1)]
        work, frame, drop = hand.drag([vertex, *steps], editor.layer)
        assert editor.history.done, "the drag has moved a vertex"
        undo = hand.frame_after(editor.undo)
        tools.take("brush")
        brush, _, _ = hand.drag(
            [ring[k] for k in range(0, min(len(ring), 5 * moves), 5)], editor.layer
        )
        assert editor.history.done[-1].label == "paint"
        _print(title, "this editor", load, pick, work, frame, drop, undo, brush)
        editor.close()
        viewer.close()


def _measure_napari(title: str, rings: list[np.ndarray], moves: int, slide: Path) -> None:
    viewer = _viewer(slide)
    hand = _Hand(viewer)
    start = time.perf_counter()
    layer = Shapes(
        [slide_to_layer(ring) for ring in rings], shape_type="polygon", edge_width=10, ndim=2
    )
    viewer.add_layer(layer)
    load = hand.until_drawn() - start
    ring = rings[len(rings) // 2]
    hand.look_at(ring, layer)
    layer.mode = Mode.DIRECT
    hand.until_drawn()
    pick = hand.click(ring.mean(axis=0), layer)
    steps = [ring[0] + k * np.array([3.0, 2.0]) for k in range(1, moves + 1)]
    work, frame, drop = hand.drag([ring[0], *steps], layer)
    _print(title, "napari's Shapes", load, pick, work, frame, drop, None, None)
    viewer.close()


def _print(
    title: str,
    way: str,
    load: float,
    pick: float,
    work: list[float],
    frame: list[float],
    drop: float,
    undo: float | None,
    brush: list[float] | None,
) -> None:
    def ms(values: list[float] | None) -> str:
        if values is None:
            return "–"
        return f"{statistics.median(values) * 1000:.0f} ({max(values) * 1000:.0f}) ms"

    undone = "–" if undo is None else f"{undo * 1000:.0f} ms"
    print(
        f"| {title} | {way} | {load:.2f} s | {pick * 1000:.0f} ms | {ms(work)} | {ms(frame)} "
        f"| {drop * 1000:.0f} ms | {undone} | {ms(brush)} |",
        flush=True,
    )


def _viewer(slide: Path) -> napari.Viewer:
    viewer = napari.Viewer()
    viewer.window.resize(1100, 700)
    load_what_layers_need()  # as our window does while the person looks for a slide
    patient_view(viewer).open_slide(slide)
    end = time.perf_counter() + 3
    while time.perf_counter() < end or not slides_are_sharp(viewer):
        QApplication.processEvents()
    return viewer


class _Hand:
    """Moves the mouse over the canvas and waits for what it does."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.canvas = canvas_widget(viewer)
        self._frames = 0
        self.canvas.frameSwapped.connect(self._count)

    def _count(self) -> None:
        self._frames += 1

    def until_drawn(self) -> float:
        """Let everything be done that is wanted, until nothing is drawn for a while.

        Returns when the last frame was on the screen.
        """
        last, frames = time.perf_counter(), self._frames
        while time.perf_counter() - last < 0.15:
            QApplication.processEvents()
            if self._frames != frames:
                last, frames = time.perf_counter(), self._frames
        return last

    def look_at(self, ring: np.ndarray, layer: Shapes) -> None:
        view = camera(self.viewer)
        view.center = layer.data_to_world(slide_to_layer(ring.mean(axis=0)))
        view.zoom = (
            0.4 * min(self.canvas.width(), self.canvas.height()) / np.ptp(ring, axis=0).max()
        )

    def click(self, at: np.ndarray, layer: Shapes) -> float:
        place = self._place(at, layer)
        self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton)
        self.until_drawn()
        start = time.perf_counter()
        self._send(QEvent.Type.MouseButtonPress, place, Qt.MouseButton.LeftButton)
        self._send(QEvent.Type.MouseButtonRelease, place, Qt.MouseButton.LeftButton)
        took = time.perf_counter() - start
        self.until_drawn()
        return took

    def drag(self, path: list[np.ndarray], layer: Shapes) -> tuple[list[float], list[float], float]:
        first, *others = [self._place(at, layer) for at in path]
        self._send(QEvent.Type.MouseMove, first, Qt.MouseButton.NoButton)
        self.until_drawn()
        work: list[float] = []
        untimed = _timed_steps(layer, work)
        self._send(QEvent.Type.MouseButtonPress, first, Qt.MouseButton.LeftButton)
        QApplication.processEvents()
        work.clear()
        frame = []
        for place in others:
            start, frames = time.perf_counter(), self._frames
            self._send(QEvent.Type.MouseMove, place, Qt.MouseButton.LeftButton)
            while self._frames == frames and time.perf_counter() - start < 1:
                QApplication.processEvents()
            frame.append(time.perf_counter() - start)
        start, frames = time.perf_counter(), self._frames
        self._send(QEvent.Type.MouseButtonRelease, others[-1], Qt.MouseButton.LeftButton)
        while self._frames == frames and time.perf_counter() - start < 1:
            QApplication.processEvents()
        drop = time.perf_counter() - start
        layer.mouse_drag_callbacks[:] = untimed
        self.until_drawn()
        return work, frame, drop

    def frame_after(self, function: Callable[[], object]) -> float:
        start, frames = time.perf_counter(), self._frames
        function()
        while self._frames == frames and time.perf_counter() - start < 1:
            QApplication.processEvents()
        took = time.perf_counter() - start
        self.until_drawn()
        return took

    def _place(self, at: np.ndarray, layer: Shapes) -> QPoint:
        view = camera(self.viewer)
        world = np.array(layer.data_to_world(slide_to_layer(at))) - np.array(view.center[-2:])
        row, column = world * view.zoom
        return QPoint(
            round(self.canvas.width() / 2 + column), round(self.canvas.height() / 2 + row)
        )

    def _send(self, kind: QEvent.Type, place: QPoint, button: Qt.MouseButton) -> None:
        held = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else button
        event = QMouseEvent(
            kind,
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else button,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)


def _timed_steps(layer: Shapes, times: list[float]) -> list[Callable]:
    """Let a layer's drags tell how long each step takes; return the callbacks as they were."""

    def timed(callback: Callable) -> Callable:
        def steps(*arguments: object) -> Iterator[None]:
            drag = callback(*arguments)
            while True:
                start = time.perf_counter()
                try:
                    next(drag)
                except StopIteration:
                    return
                times.append(time.perf_counter() - start)
                yield

        return steps

    untimed = list(layer.mouse_drag_callbacks)
    layer.mouse_drag_callbacks[:] = [timed(callback) for callback in untimed]
    return untimed


if __name__ == "__main__":
    main()
