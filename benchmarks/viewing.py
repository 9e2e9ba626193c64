"""How long the window waits for pixels: napari as it is, its asynchronous slicing, and ours.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/viewing.py [--slide SLIDE]

For each way of showing one and the same slide it is measured, from a fresh cache:

open      from opening the file, in a shown viewer, to the whole slide drawn in full detail
blocked   longest time the main thread was busy without a pause, at opening and during the pans
first     from moving the view to the first picture drawn from there
sharp     from moving the view until every pixel drawn is of the level it should be
memory    by which the process grew

A pan moves the view, at 40× (0.25 µm a screen pixel), by up to a screen to where nothing has been
read yet. "slow disk" adds 50 ms to each reading of a tile.
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
from qtpy.QtWidgets import QApplication

from napari_camelyon.slides import Slide, layer_data, open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.tile_cache import shared_cache
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.slide_layer import slide_layer

SLOW_S = 0.05
UM_A_SCREEN_PX = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--pans", type=int, default=25)
    parser.add_argument("--only", default="", help="part of the name of a way")
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
        ways: dict[str, tuple[Callable[[Slide], Image], bool]] = {
            "napari": (_plain_layer, False),
            "napari, asynchronous": (_plain_layer, True),
            "this plugin": (slide_layer, False),
        }
        for disk in ("fast", "slow"):
            for name, (make_layer, asynchronous) in ways.items():
                if options.only in name:
                    get_settings().experimental.async_ = asynchronous
                    _measure(name, disk, path, make_layer, options.pans)
        get_settings().experimental.async_ = False


def _plain_layer(slide: Slide) -> Image:
    levels, arguments, _ = layer_data(slide, tell=print)
    return Image(levels, **arguments)


def _measure(
    name: str, disk: str, path: Path, make_layer: Callable[[Slide], Image], pans: int
) -> None:
    shared_cache.cache_clear()
    fast_read = OpenFile.read

    def slow_read(file: OpenFile, offset: int, size: int) -> bytes:
        time.sleep(SLOW_S)
        return fast_read(file, offset, size)

    viewer = napari.Viewer()
    viewer.window.resize(1560, 960)
    _settle(0.5)
    if disk == "slow":
        OpenFile.read = slow_read
    try:
        memory = _resident_mb()
        start = time.perf_counter()
        slide = open_slide(path)
        layer = make_layer(slide)
        viewer.add_layer(layer)
        viewer.reset_view()
        in_calls = time.perf_counter() - start
        _, _, longest = _until_sharp(layer)
        opened, blocked = time.perf_counter() - start, max(in_calls, longest)
        grown = _resident_mb() - memory

        view = camera(viewer)
        view.zoom = 1 / UM_A_SCREEN_PX
        rng = np.random.default_rng(0)
        place = np.array([slide.height_px / 2, slide.width_px / 2]) * slide.mpp[0]
        firsts, sharps, blocks = [], [], []
        for number in range(pans + 1):
            # Straight on with a sway, so that every view is a new one.
            place = place + np.array([rng.uniform(100, 230), rng.uniform(-80, 80)])
            view.center = tuple(place)
            first, sharp, longest = _until_sharp(layer)
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
    slide.close()
    _settle(0.3)


def _until_sharp(layer: Image) -> tuple[float, float, float]:
    """Return the time to the first picture, to the sharp one, and the longest block, in seconds."""
    start = time.perf_counter()
    longest = first = 0.0
    while True:
        before = time.perf_counter()
        QApplication.processEvents()
        now = time.perf_counter()
        longest = max(longest, now - before)
        if first == 0.0:
            first = now - start
        display = layer.metadata["napari_camelyon"].get("display")
        if layer.loaded and (display is None or display.is_sharp):
            return first, now - start, longest
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
