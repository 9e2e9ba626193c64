"""How long the window waits for pixels: napari as it is, its asynchronous slicing, and ours.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/viewing.py [--slide SLIDE]

For each way of showing one and the same slide it is measured, from a fresh cache:

open      from opening the file, in a shown viewer, to the whole slide on the screen in full detail
blocked   longest time the main thread was busy without a pause, at opening and during the pans
first     from moving the view until what is known of the new place is on the screen
sharp     from moving the view until every pixel on the screen is of the level it should be
MB        by which the process grew

A pan moves the view, at 40× (0.25 µm a screen pixel), by up to a screen to where nothing has been
read yet. "slow disk" adds 50 ms to each read. The first row draws an image that lies in memory
and fills the view, so that nothing has to be read or sliced: what any way takes for drawing alone.
Without a graphics card that grows with the window, whose size is ``--window``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from large_slide import write_large_slide
from napari.layers import Image
from napari.settings import get_settings
from napari.utils import resize_dask_cache
from qtpy.QtWidgets import QApplication

from napari_camelyon.slides import layer_data, open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tile_cache import shared_cache
from napari_camelyon.widgets.napari_compat import camera, canvas_widget
from napari_camelyon.widgets.patient_view import patient_view

Show = Callable[[napari.Viewer, Path], Image]
"""Opens a slide and adds it to a viewer."""

SLOW_S = 0.05
UM_A_SCREEN_PX = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--pans", type=int, default=25)
    parser.add_argument("--only", default="", help="part of the name of a way")
    parser.add_argument("--window", nargs=2, type=int, default=(1560, 960), metavar=("W", "H"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.slide
        if path is None:
            path = Path(folder) / "large.tif"
            write_large_slide(path)
        with open_slide(path) as slide:
            slide.read(0, 0, 8, 8)  # proves the backend once, which later openings need not
            print(f"{slide.width_px} × {slide.height_px} px, read by {slide.backend}\n")
        print("| way | disk | open | blocked | pan: blocked, median (max) | first | sharp | MB |")
        print("|---|---|---|---|---|---|---|---|")
        ways: dict[str, tuple[Show, bool]] = {
            "napari": (_show_plainly, False),
            "napari, asynchronous": (_show_plainly, True),
            "this plugin": (_show_as_the_plugin_does, False),
        }
        _measure("drawing alone", "none", path, _show_what_is_in_memory, options)
        for disk in ("fast", "slow"):
            for name, (show, asynchronous) in ways.items():
                if options.only in name:
                    get_settings().experimental.async_ = asynchronous
                    _measure(name, disk, path, show, options)
        get_settings().experimental.async_ = False


def _show_plainly(viewer: napari.Viewer, path: Path) -> Image:
    levels, arguments, _ = layer_data(open_slide(path), tell=print)
    return viewer.add_layer(Image(levels, **arguments))


def _show_as_the_plugin_does(viewer: napari.Viewer, path: Path) -> Image:
    node = patient_view(viewer).open_slide(path)
    return viewer.layers[node.slide.name]


def _show_what_is_in_memory(viewer: napari.Viewer, path: Path) -> Image:
    """Show an image as large as the screen, scaled to cover the whole slide."""
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1600, 3), np.uint8)
    with open_slide(path) as slide:
        side_um = max(slide.width_px, slide.height_px) * slide.require_mpp()[0]
    return viewer.add_image(pixels, rgb=True, scale=(side_um / 1000, side_um / 1000))


def _measure(name: str, disk: str, path: Path, show: Show, options: argparse.Namespace) -> None:
    shared_cache.cache_clear()
    # napari keeps what dask computed, for any layer with the same data.
    resize_dask_cache(0)
    resize_dask_cache()
    fast_read = OpenFile.read

    def slow_read(file: OpenFile, offset: int, size: int) -> bytes:
        time.sleep(SLOW_S)
        return fast_read(file, offset, size)

    with open_slide(path) as slide:
        middle_um = np.array([slide.height_px / 2, slide.width_px / 2]) * slide.require_mpp()
    viewer = napari.Viewer()
    viewer.window.resize(*options.window)
    screen = Screen(viewer)
    _settle(0.5)
    if disk == "slow":
        OpenFile.read = slow_read
    try:
        memory = _resident_mb()
        start = time.perf_counter()
        layer = show(viewer, path)
        viewer.reset_view()
        in_calls = time.perf_counter() - start
        _, opened, longest = screen.until_sharp(layer, start)
        blocked = max(in_calls, longest)
        grown = _resident_mb() - memory

        view = camera(viewer)
        view.zoom = 1 / UM_A_SCREEN_PX
        rng = np.random.default_rng(0)
        place = middle_um
        firsts, sharps, blocks = [], [], []
        for number in range(options.pans + 1):
            # Straight on with a sway, so that every view is a new one.
            place = place + np.array([rng.uniform(100, 230), rng.uniform(-80, 80)])
            start = time.perf_counter()
            view.center = tuple(place)
            first, sharp, longest = screen.until_sharp(layer, start)
            if number:  # the first one also zooms
                firsts.append(first)
                sharps.append(sharp)
                blocks.append(longest)
            _settle(0.1)
    finally:
        OpenFile.read = fast_read
    print(
        f"| {name} | {disk} | {opened:.2f} s | {blocked * 1000:.0f} ms "
        f"| {statistics.median(blocks) * 1000:.0f} ({max(blocks) * 1000:.0f}) ms "
        f"| {statistics.median(firsts) * 1000:.0f} ms | {statistics.median(sharps) * 1000:.0f} ms "
        f"| {grown:.0f} |",
        flush=True,
    )
    viewer.close()
    _settle(0.3)


class Screen:
    """Tells when what a layer holds has come to the screen.

    napari by itself draws first and then looks which part of a layer is needed, so the first frame
    after a move may have nothing of the new place.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        self._drawing_began = self._changed = 0.0
        self._shown: list[tuple[float, float]] = []
        viewer.layers.events.inserted.connect(
            lambda event: event.value.events.set_data.connect(self._on_change)
        )
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(self._on_draw, "first")
        canvas_widget(viewer).frameSwapped.connect(self._on_frame)

    def _on_change(self) -> None:
        self._changed = time.perf_counter()

    def _on_draw(self, _event: object) -> None:
        self._drawing_began = time.perf_counter()

    def _on_frame(self) -> None:
        self._shown.append((self._drawing_began, time.perf_counter()))

    def until_sharp(self, layer: Image, start: float) -> tuple[float, float, float]:
        """Return the times to the first and to the sharp picture and the longest block, in s."""
        longest, first = 0.0, None
        self._shown.clear()
        display = layer.metadata.get("napari_camelyon", {}).get("display")
        while True:
            before = time.perf_counter()
            QApplication.processEvents()
            longest = max(longest, time.perf_counter() - before)
            # Begun after the last change of what is to be drawn, none of which is on its way.
            shown = [end for began, end in self._shown if began > max(self._changed, start)]
            if shown and layer.loaded:
                first = shown[0] - start if first is None else first
                if display is None or display.is_sharp:
                    return first, shown[0] - start, longest
            time.sleep(0.001)


def _settle(seconds: float) -> float:
    """Let events through for a while; return the longest block."""
    longest, end = 0.0, time.perf_counter() + seconds
    while True:
        before = time.perf_counter()
        QApplication.processEvents()
        longest = max(longest, time.perf_counter() - before)
        if time.perf_counter() >= end:
            return longest
        time.sleep(0.001)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
