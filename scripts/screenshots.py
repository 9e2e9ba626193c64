"""Write the pictures of README and documentation, from the real window.

``python scripts/screenshots.py`` generates the synthetic demonstration patient (or takes it from
the cache), walks the whole way in the window under a virtual screen, and writes docs/images/*.webp.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_camelyon.widgets.inference_dock import InferenceDock
    from napari_camelyon.widgets.patient_view import PatientView
    from napari_camelyon.widgets.pn_dock import StageDock

IMAGES = Path(__file__).parents[1] / "docs" / "images"

WINDOW_PX = (1440, 900)
FILM_WIDTH_PX = 900
FILM_EVERY_MS, FILM_SHOWN_MS = 1200, 250
_SCREEN = "1600x1000x24"
_INSIDE = "NAPARI_CAMELYON_SCREENSHOTS_SCREEN"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic patient")
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument(
        "--real",
        type=Path,
        metavar="SLIDE",
        help="only take the picture of a real slide whose outlines lie beside it",
    )
    chosen = parser.parse_args()
    if sys.platform.startswith("linux") and _INSIDE not in os.environ:
        sys.exit(_again_under_xvfb())
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.real is None:
        walk(chosen.seed, chosen.out)
    else:
        outline_over(chosen.real, chosen.out)


def outline_over(slide: Path, out: Path) -> None:
    """Show the outlines of a real slide, and how they run between its cells.

    The documentation has the pictures of a mosaic of patches of CAMELYON16 (CC0).
    """
    import numpy as np

    from napari_camelyon.cli.window import bring_to_front, docked_viewer
    from napari_camelyon.widgets.napari_compat import camera
    from napari_camelyon.widgets.opening import open_paths

    viewer, _, _ = docked_viewer()
    viewer.window.resize(*WINDOW_PX)
    wait(1000)
    with tempfile.TemporaryDirectory() as folder:  # nothing is left beside the real files
        outline = Path(shutil.copy(slide.with_suffix(".xml"), folder))
        open_paths(viewer, [slide, outline])
        dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
        bring_to_front(dock)
        editor = dock.editor
        viewer.layers.selection.active = editor.layer
        viewer.reset_view()
        take(viewer, out / "real-outlines.webp")
        largest = max(editor.now, key=lambda a: np.ptp(a.points, axis=0).prod())
        editor.select([largest.id])
        dock.pages.setCurrentIndex(1)
        hand = Mouse(viewer, editor.layer)
        camera(viewer).center = hand.world(largest.points[0])
        camera(viewer).zoom = 1.5 / editor.layer.scale[-1]
        take(viewer, out / "real-outline.webp")
        viewer.close()
        editor.close()


def walk(seed: int, out: Path) -> None:
    """Open, run, look at a lesion, stage; a picture of the window at each step."""
    from napari_camelyon.cli.window import bring_to_front, docked_viewer
    from napari_camelyon.synthetic import cached_patient, outlines_of, plan_patient
    from napari_camelyon.widgets.opening import open_paths
    from napari_camelyon.widgets.patient_view import patient_view

    paths = cached_patient(seed)
    names = {node.node_class: node.name for node in plan_patient(seed)}
    macro, micro = names["macro"], names["micro"]

    viewer, dock, stage = docked_viewer()
    viewer.window.resize(*WINDOW_PX)
    wait(1000)  # slides are fitted into the canvas as it is then
    view = patient_view(viewer)
    open_paths(viewer, [*paths, *outlines_of(paths)])
    view.show(macro)
    viewer.reset_view()
    wait(1500)
    take(viewer, out / "slide.webp")

    bring_to_front(dock)
    docks = [dock_with_more(dock)]
    film = Film(viewer)
    dock.run_all()
    until(lambda: share_done(view, macro) > 0.5 or dock.is_idle)
    take(viewer, out / "running.webp")
    if dock.is_running:
        docks += docks_of_a_run(dock)
    beside(docks, out / "run-dock.webp")

    until(lambda: dock.is_idle)
    view.go_to(micro)
    wait(1500)
    film.hold()
    take(viewer, out / "lesion.webp")

    view.show(macro)
    viewer.reset_view()
    wait(1500)
    film.hold()
    film.write(out / "film.webp")
    take(viewer, out / "window.webp")
    stage_dock(stage, out)

    tissue(viewer, view, paths[-1].stem, out)
    view.show(macro)
    annotate(viewer, view, paths, macro, out)
    compare(viewer, paths, macro, out)

    problems = [node.problem for node in view.nodes.values() if node.problem]
    viewer.close()
    if problems:
        sys.exit("The pictures show a run that failed: " + " ".join(problems))


def stage_dock(dock: "StageDock", out: Path) -> None:
    """Photograph the pN panel on its own, from the top and from the bottom of what it holds."""
    until(lambda: not dock.live.is_busy and bool(dock.live.ranges))
    holder = dock.parent()
    holder.setFloating(True)
    holder.resize(380, 900)
    scroll = dock.node_scroll.verticalScrollBar()
    pictures = []
    for place in (scroll.minimum, scroll.maximum):
        wait(600)
        scroll.setValue(place())
        wait(200)
        pictures.append(picture_of(dock))
    beside(pictures, out / "stage-dock.webp")
    holder.setFloating(False)
    wait(600)


def dock_with_more(dock: "InferenceDock") -> Image.Image:
    """Return a picture of the dock with everything that can be chosen."""
    dock.form.more_button.setChecked(True)
    wait(400)
    picture = photograph_dock(dock)
    dock.form.more_button.setChecked(False)
    return picture


def docks_of_a_run(dock: "InferenceDock") -> list[Image.Image]:
    """Return pictures of the dock while a run goes, and while it rests."""
    running = photograph_dock(dock)
    dock.pause()
    until(lambda: dock.status.text().startswith("Paused") or dock.is_idle)
    wait(400)
    resting = photograph_dock(dock)
    dock.pause()
    return [running, resting]


def photograph_dock(dock: "InferenceDock") -> Image.Image:
    """Return a picture of the dock without the room that is left below it."""
    picture = picture_of(dock)
    lowest = dock.looking_closer.button.geometry().bottom() + 10
    return picture.crop((0, 0, picture.width, min(picture.height, lowest)))


def picture_of(widget: "QWidget") -> Image.Image:
    """Return a picture of a widget."""
    from qtpy.QtGui import QImage

    pixels = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    return Image.frombuffer(
        "RGB",
        (pixels.width(), pixels.height()),
        bytes(pixels.constBits()),
        "raw",
        "RGB",
        pixels.bytesPerLine(),
        1,
    )


def beside(pictures: list[Image.Image], path: Path) -> None:
    """Write pictures side by side, their tops in one line."""
    gap = 12
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), "#262930")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + gap
    whole.save(path, quality=90, method=6)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def annotate(  # noqa: PLR0915
    viewer: "Viewer", view: "PatientView", slides: list[Path], name: str, out: Path
) -> None:
    """Take each tool in hand over a copy of an outline, and a picture in the middle of its use."""
    import numpy as np

    from napari_camelyon import annotations
    from napari_camelyon.cli.window import bring_to_front
    from napari_camelyon.widgets.napari_compat import camera
    from napari_camelyon.widgets.opening import open_paths

    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    bring_to_front(dock)
    (outline,) = (path.with_suffix(".xml") for path in slides if path.stem == name)
    before = {layer: layer.visible for layer in viewer.layers}
    for layer in list(viewer.layers)[1:]:
        layer.visible = False
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(outline, Path(folder) / "metastasis.xml"))
        open_paths(viewer, [copy])
        viewer.layers.selection.active = viewer.layers[-1]
        editor = dock.editor
        (one,) = editor.now
        region = annotations.region_of(one)
        left, top, right, bottom = region.bounds
        middle, size = np.array([left + right, top + bottom]) / 2, right - left
        edge = np.array(region.exterior.interpolate(0.1, normalized=True).coords[0])
        inwards = (middle - edge) / np.hypot(*(middle - edge))
        hand = Mouse(viewer, editor.layer)
        width_px = hand.canvas.width()
        view_of = camera(viewer)

        def look(at: "np.ndarray", across: float) -> None:
            view_of.center = hand.world(at)
            view_of.zoom = width_px / (across * editor.layer.scale[-1])
            wait(500)

        look(middle, 1.8 * size)
        editor.select([one.id])
        dock.pages.setCurrentIndex(1)
        wait(600)
        take(viewer, out / "annotate.webp")

        side = np.array([-inwards[1], inwards[0]])
        round_ring = [
            edge + 0.12 * size * (np.cos(a) * inwards + np.sin(a) * side)
            for a in np.linspace(0, 5.5, 30)
        ]
        across = [edge + t * size * inwards for t in np.linspace(-0.1, 1.2, 12)]
        along = [
            np.array(region.exterior.interpolate(share, normalized=True).coords[0])
            for share in np.linspace(0.07, 0.13, 9)
        ]
        inside = [point + 0.25 * size * inwards for point in round_ring]
        look(edge + 0.12 * size * inwards, 0.75 * size)
        first = one.points[np.argmin(np.hypot(*(one.points - edge).T))]
        dock.tools.wand_tolerance = 12.0
        strokes = {
            "select": [first, first - 0.03 * size * inwards, first - 0.06 * size * inwards],
            "freehand": inside,
            "brush": along,
            "eraser": along,
            "hole": inside,
            "split": across,
        }
        for tool in dock.tool_buttons:
            editor.select([] if tool in ("polygon", "freehand", "wand") else [one.id])
            dock.take_tool(tool)
            if tool == "polygon":
                for point in inside[::5]:
                    hand.drag([point])
                hand.hover(inside[-1])
            elif tool == "wand":
                look(middle, 0.75 * size)
                hand.drag([middle])
            else:
                hand.drag(strokes[tool], release=False)
            wait(300)
            hand.photograph().save(out / f"tool-{tool}.webp", quality=85, method=6)
            look(edge + 0.12 * size * inwards, 0.75 * size)
            if tool in strokes:
                hand.release(strokes[tool][-1])
            while editor.history.done:
                editor.undo()
            dock.tools.cancel()
        dock.take_tool("select")
        viewer.layers.remove(editor.layer)
        editor.close()
    for layer, visible in before.items():
        layer.visible = visible
    view.show(name)


class Mouse:
    """A mouse over the canvas that points at slide points."""

    def __init__(self, viewer: "Viewer", layer: "Shapes") -> None:
        from napari_camelyon.widgets.napari_compat import canvas_widget

        self._viewer, self._layer = viewer, layer
        self.canvas = canvas_widget(viewer)

    def world(self, at: "np.ndarray") -> tuple[float, ...]:
        from napari_camelyon.geometry import slide_to_layer

        return tuple(self._layer.data_to_world(slide_to_layer(at))[-2:])

    def hover(self, at: "np.ndarray") -> None:
        self._send("MouseMove", at, held=False)
        wait(40)

    def drag(self, path: "list[np.ndarray]", *, release: bool = True) -> None:
        self.hover(path[0])
        self._send("MouseButtonPress", path[0], held=True)
        for at in path[1:]:
            self._send("MouseMove", at, held=True)
            wait(40)
        if release:
            self.release(path[-1])

    def release(self, at: "np.ndarray") -> None:
        self._send("MouseButtonRelease", at, held=False)
        wait(40)

    def photograph(self) -> Image.Image:
        """Return the middle of the canvas."""
        from napari_camelyon.widgets.slide_layer import slides_are_sharp

        until(lambda: slides_are_sharp(self._viewer))
        whole = Image.fromarray(self._viewer.screenshot(canvas_only=True, flash=False)[..., :3])
        width, height = whole.size
        side = min(width, height) - 120
        box = ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2)
        return whole.crop(box).resize((360, 360), Image.Resampling.LANCZOS)

    def _send(self, kind: str, at: "np.ndarray", *, held: bool) -> None:
        import numpy as np
        from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        from napari_camelyon.widgets.napari_compat import camera

        view = camera(self._viewer)
        row, column = (np.array(self.world(at)) - np.array(view.center[-2:])) * view.zoom
        place = QPoint(
            round(self.canvas.width() / 2 + column), round(self.canvas.height() / 2 + row)
        )
        none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
        event = QMouseEvent(
            getattr(QEvent.Type, kind),
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            none if kind == "MouseMove" else left,
            left if held else none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)


def tissue(viewer: "Viewer", view: "PatientView", name: str, out: Path) -> None:
    """Find the tissue of the slide with a pen stroke, a fold and a place out of focus.

    The file that keeps it is removed again: the slides are those of the cache.
    """
    from napari_camelyon.cli.window import bring_to_front

    view.show(name)
    viewer.reset_view()
    dock = viewer.window.dock_widgets["Tissue (napari-camelyon)"]
    bring_to_front(dock)
    dock.find_tissue()
    until(lambda: not dock.is_busy)
    dock.leave_out("pen", True)
    dock.leave_out("blur", True)
    until(lambda: not dock.is_busy)
    take(viewer, out / "tissue.webp")
    dock.start_over()


def compare(viewer: "Viewer", slides: list[Path], name: str, out: Path) -> None:
    """Let two readers, both made of the true outline, differ, and show one place of it."""
    from napari_camelyon.cli.window import bring_to_front

    holder, dock = viewer.window.add_plugin_dock_widget("napari-camelyon", "Compare", tabify=True)
    holder.setWindowTitle("Compare")
    wait(500)
    bring_to_front(dock)
    (outline,) = (path.with_suffix(".xml") for path in slides if path.stem == name)
    with tempfile.TemporaryDirectory() as folder:
        for side, path in zip("AB", two_readers(outline, Path(folder)), strict=True):
            dock.choose_file(side, path)
        dock.compare()
        until(lambda: dock.adjudication is not None)
        dock.initials.setText("MK")
        dock.go_to(1)
        dock.choose("A")
        wait(500)
        take(viewer, out / "compare.webp")


def two_readers(outline: Path, folder: Path) -> list[Path]:
    """Write an outline of the whole with something beside it, and one of its two halves."""
    import shapely

    from napari_camelyon import annotations

    (true,) = annotations.read(outline)
    region = annotations.region_of(true)
    left, top, right, bottom = region.bounds
    middle = (left + right) / 2
    gap = shapely.box(middle, top, middle + 250, bottom)
    beside = shapely.Point(right + 500, (top + bottom) / 2).buffer(180, quad_segs=4)
    drawn = {
        "reader_1.xml": [region.simplify(50), beside],
        "reader_2.xml": shapely.get_parts(region.buffer(-60).simplify(20).difference(gap)),
    }
    for name, regions in drawn.items():
        members = (annotations.annotation_from_region(one, group=true.group) for one in regions)
        annotations.write(annotations.AnnotationSet(tuple(members)), folder / name)
    return [folder / name for name in drawn]


def take(viewer: "Viewer", path: Path) -> None:
    """Write a picture of the whole window: as WebP, since tissue has too many colours for PNG."""
    from napari_camelyon.widgets.slide_layer import slides_are_sharp

    wait(400)
    until(lambda: slides_are_sharp(viewer))
    photograph(viewer).save(path, quality=85, method=6)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def photograph(viewer: "Viewer") -> Image.Image:
    return Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])


class Film:
    """A picture of the window every so often, as one animated picture that loops."""

    def __init__(self, viewer: "Viewer") -> None:
        from qtpy.QtCore import QTimer

        self._viewer = viewer
        self._pictures: list[Image.Image] = []
        self._lasting_ms: list[int] = []
        self._timer = QTimer()
        self._timer.timeout.connect(lambda: self._take(FILM_SHOWN_MS))
        self._timer.start(FILM_EVERY_MS)

    def hold(self) -> None:
        """Stop taking pictures but for this one, which stays for two seconds."""
        self._timer.stop()
        self._take(2000)

    def write(self, path: Path) -> None:
        self._pictures[0].save(
            path,
            save_all=True,
            append_images=self._pictures[1:],
            duration=self._lasting_ms,
            loop=0,
            quality=60,
            method=6,
        )
        print(f"{path.name}: {path.stat().st_size:,} bytes, {len(self._pictures)} pictures")

    def _take(self, lasting_ms: int) -> None:
        width, height = WINDOW_PX
        size = (FILM_WIDTH_PX, FILM_WIDTH_PX * height // width)
        smaller = photograph(self._viewer).resize(size)
        self._pictures.append(smaller)
        self._lasting_ms.append(lasting_ms)


def share_done(view: "PatientView", name: str) -> float:
    heatmap = view.nodes[name].heatmap
    return 0.0 if heatmap is None else heatmap.computed_share or 0.0


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        wait(50)


def wait(milliseconds: int) -> None:
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def _again_under_xvfb() -> int:
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        sys.exit("xvfb-run is missing. Type: apt-get install xvfb xauth")
    command = [xvfb, "-a", "-s", f"-screen 0 {_SCREEN}", sys.executable, *sys.argv]
    environment = {**os.environ, _INSIDE: "1", "QT_QPA_PLATFORM": "xcb"}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    main()
