"""How the window keeps up while a model runs: a tick on the main thread, with and without a run.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/responsiveness.py [--slide SLIDE]

A timer of 5 ms ticks on the main thread; what lies between two ticks is time in which the window
could do nothing else. For each row:

longest   between two ticks, and the 99th percentile, in milliseconds
busy      the most that the main thread itself computed between two ticks, and the 99th percentile:
          what is left of the longest on a computer that has nothing else to do
over 50   gaps of more than 50 ms, and how many ticks there were
drawn     times a second that the heatmap's layer was refreshed; updates are what the engine yielded

"at rest" is the open slide with nothing to do. "drawn alone" draws the canvas as often as a run
does, without one: what a frame takes here, which without a graphics card is most of it; "panned
alone" moves the view as often. What a run adds to them stands in the rows "beside". "start" is
from Run to the first value on the screen, "run" from there to the last, "end" until the lesions are
drawn. Each run is done twice, the second time with the model loaded. "fast engine" is an engine of
this script that fills a heatmap of 2,000 × 4,000 cells with 500 updates a second and computes
nothing; so what it costs the window is updating alone.

Below stand the seconds from Run to the first value on the screen, and the patches a second beside
those of the same run without a window.
"""

import argparse
import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from large_slide import write_large_slide
from napari.layers import Image
from napari.viewer import Viewer
from qtpy.QtCore import QEventLoop, Qt, QTimer

from napari_camelyon.cli.window import bring_to_front, docked_viewer
from napari_camelyon.cohort import Planned, PredictRequest, RunFacts, predict_slide
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, empty_heatmap
from napari_camelyon.inference import NumericPath, RunControl, Update
from napari_camelyon.slides import Slide, open_slide
from napari_camelyon.slides.tile_cache import shared_cache
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import PatchGrid, reference_spec
from napari_camelyon.widgets import inference_dock
from napari_camelyon.widgets.inference_dock import InferenceDock
from napari_camelyon.widgets.napari_compat import camera, canvas_widget
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.slide_layer import slides_are_sharp

TICK_MS = 5
FRAME_MS = 140
"""As often as the dock draws."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slide", type=Path, default=None)
    parser.add_argument("--model", type=Path, action="append", default=[], help="besides bundled")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run; then stopped")
    parser.add_argument("--window", nargs=2, type=int, default=(1560, 960), metavar=("W", "H"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict("os.environ", {"NAPARI_CAMELYON_CACHE": folder}),
    ):
        path = options.slide
        if path is None:
            path = Path(folder) / "large.tif"
            write_large_slide(path, 49_152, 49_152, tissue_share=0.6)
        viewer, dock, _ = docked_viewer()
        viewer.window.resize(*options.window)
        window = Window(viewer, dock)
        settle(1)
        node = patient_view(viewer).open_slide(path)
        bring_to_front(dock)
        print(f"{node.slide.name}: {node.slide.width_px:,} × {node.slide.height_px:,} px\n")
        until(lambda: slides_are_sharp(viewer))
        settle(1)
        print("| what | longest (p99) | busy (p99) | over 50 of all | drawn a s | updates a s |")
        print("|---|---|---|---|---|---|")
        window.print_row("at rest", window.watch(lambda: settle(options.seconds / 2)))
        half_s = options.seconds / 2
        window.print_control("drawn alone", lambda: draw_alone(viewer, half_s))
        window.print_control("panned alone", lambda: pan(viewer, lambda: settle(half_s)))
        first, rates = [], []
        for model in (None, *options.model):
            if model is not None:
                dock.choose_model(model)
            for title in ("not loaded", "loaded"):
                name = f"{dock.form['model'].value}, {title}"
                seconds, rate = window.run(name, options.seconds)
                first.append((name, seconds))
            rates.append((dock.form["model"].value, rate, rate_without(path, model, options)))
        window.engine = Counted(fast_engine)
        window.run("fast engine", options.seconds)
        viewer.close()
    print("\nFrom Run to the first value on the screen:")
    for name, seconds in first:
        print(f"  {name}: {seconds:.2f} s")
    print("\nPatches a second in the window, and without one:")
    for name, inside, outside in rates:
        print(f"  {name}: {inside:.0f} and {outside:.0f}, {inside / outside:.0%}")


@dataclass(slots=True)
class Gaps:
    """What was seen between two moments."""

    seconds: list[float] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    drawn: int = 0
    updates: int = 0

    @property
    def lasting_s(self) -> float:
        return sum(self.seconds)

    @property
    def longest(self) -> list[tuple[float, float]]:
        """By the clock and of the main thread's own work: the longest, the 99th percentile."""
        return [(max(them), float(np.percentile(them, 99))) for them in (self.seconds, self.busy_s)]


class Counted:
    """Runs, and counts what is yielded."""

    def __init__(self, engine: Callable[..., Iterator[Planned | Update]]) -> None:
        self._engine = engine
        self.updates = 0

    def __call__(self, *arguments: object, **more: object) -> Iterator[Planned | Update]:
        for step in self._engine(*arguments, **more):
            self.updates += 1
            yield step


class Window:
    """The window with a tick on its main thread, and a count of what is drawn."""

    def __init__(self, viewer: Viewer, dock: InferenceDock) -> None:
        self.viewer, self.dock = viewer, dock
        self.engine = Counted(predict_slide)
        self.gaps = Gaps()
        self.frames = 0
        self.controls: dict[str, Gaps] = {}
        self._last = self._last_busy = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        canvas_widget(viewer).frameSwapped.connect(self._count_frame)

    def _tick(self) -> None:
        now, busy = time.perf_counter(), time.thread_time()
        self.gaps.seconds.append(now - self._last)
        self.gaps.busy_s.append(busy - self._last_busy)
        self._last, self._last_busy = now, busy

    def _count_frame(self) -> None:
        self.frames += 1

    def begin(self) -> None:
        self.gaps = Gaps()
        self._last, self._last_busy = time.perf_counter(), time.thread_time()
        self._timer.start(TICK_MS)

    def end(self) -> Gaps:
        self._tick()
        self._timer.stop()
        return self.gaps

    def watch(self, do: Callable[[], object]) -> Gaps:
        self.begin()
        do()
        return self.end()

    def run(self, name: str, seconds: float) -> tuple[float, float]:
        """Run and print three rows; returns seconds to the first value, and patches a second."""
        gc.collect()
        dock = self.dock
        self.begin()
        start = time.perf_counter()
        with patch.object(inference_dock, "predict_slide", self.engine):
            dock.run_shown()
        until(lambda: dock._drawn is not None or dock.is_idle)
        frames = self.frames
        until(lambda: self.frames > frames)
        first_s = time.perf_counter() - start
        self.print_row(f"{name}: start", self.end())

        (layer,) = (one for one in self.viewer.layers if _kind(one) == "heatmap")
        layer.events.set_data.connect(self._count_drawing)
        self.begin()
        before = dock._run.update.done
        run, updates = dock._run, self.engine.updates
        self._run_for(seconds)
        gaps = self.end()
        rate = (run.update.done - before) / gaps.lasting_s
        layer.events.set_data.disconnect(self._count_drawing)
        gaps.updates = self.engine.updates - updates
        self.print_row(f"{name}: run", gaps)
        self.print_difference("drawn alone", gaps)

        self.begin()
        pan(self.viewer, lambda: self._run_for(seconds / 2))
        gaps = self.end()
        self.print_row(f"{name}: run, panned", gaps)
        self.print_difference("panned alone", gaps)

        self.begin()
        dock.cancel()
        until(lambda: dock.is_idle)
        settle(0.3)
        self.print_row(f"{name}: end", self.end())
        return first_s, rate

    def _run_for(self, seconds: float) -> None:
        begun = time.perf_counter()
        while self.dock.is_running and time.perf_counter() - begun < seconds:
            wait_for_events()

    def print_control(self, name: str, do: Callable[[], object]) -> None:
        self.controls[name] = self.watch(do)
        self.print_row(name, self.controls[name])

    def print_difference(self, control: str, gaps: Gaps) -> None:
        """Print what a run adds to the same window without one."""
        more = [
            f"{1000 * (of_run - of_control):+.0f} ({1000 * (run_99 - control_99):+.0f}) ms"
            for (of_run, run_99), (of_control, control_99) in zip(
                gaps.longest, self.controls[control].longest, strict=True
            )
        ]
        print(f"| … beside {control} | {more[0]} | {more[1]} | | | |", flush=True)

    def _count_drawing(self, _event: object) -> None:
        self.gaps.drawn += 1

    def print_row(self, name: str, gaps: Gaps) -> None:
        ms, busy = 1000 * np.array(gaps.seconds), 1000 * np.array(gaps.busy_s)
        rates = [f"{count / gaps.lasting_s:.1f}" for count in (gaps.drawn, gaps.updates)]
        drawn, updates = rates if gaps.drawn else ("–", "–")
        print(
            f"| {name} | {ms.max():.0f} ({np.percentile(ms, 99):.0f}) ms "
            f"| {busy.max():.0f} ({np.percentile(busy, 99):.0f}) ms "
            f"| {(ms > 50).sum()} of {len(ms):,} | {drawn} | {updates} |",
            flush=True,
        )


def fast_engine(
    slide: Slide, _request: PredictRequest, *, control: RunControl, **_more: object
) -> Iterator[Planned | Update]:
    """Fill a large heatmap in rows, 500 times a second, with no model."""
    rows, columns = 2000, 4000
    stride_px = max(1, slide.width_px // columns)
    grid = Grid(rows, columns, 0, 0, 2 * stride_px, 2 * stride_px, stride_px, stride_px)
    selected = np.ones(grid.shape, bool)
    plan = PatchGrid(grid, np.ones(grid.shape, np.float32), selected)
    spec = reference_spec(slide)
    heatmap = empty_heatmap(
        grid, slide.require_mpp(), spec, planned_cells=rows * columns,
        slide_name=slide.name, slide_fingerprint=slide.fingerprint,
    )  # fmt: skip
    yield planned_of(spec, plan, heatmap)
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for step in range(rows * 8):
        part = np.s_[step // 8, step % 8 * 500 : (step % 8 + 1) * 500]
        heatmap.values[part] = 0.4 * rng.random(500, np.float32)  # no lesion
        done = (step + 1) * 500
        rate = done / (time.perf_counter() - start)
        total = rows * columns
        yield Update(heatmap, np.empty((0, 2), np.int64), done, total, rate, (total - done) / rate)
        if control.cancelled:
            return
        time.sleep(max(0.0, start + (step + 1) / 500 - time.perf_counter()))


def planned_of(spec: ModelSpec, plan: PatchGrid, heatmap: Heatmap) -> Planned:
    """Return a plan with nothing in it that only a model could fill."""
    path = NumericPath("cpu", "fast engine", "fp32")
    return Planned(SimpleNamespace(spec=spec), plan, heatmap, path, (), RunFacts())


def rate_without(path: Path, model: Path | None, options: argparse.Namespace) -> float:
    """Return the patches a second of the same run in this process, with the window at rest."""
    control = RunControl()
    shared_cache.cache_clear()  # the tiles that the runs in the window have decoded
    with open_slide(path) as slide:
        begun = before = None
        for step in predict_slide(slide, PredictRequest(model=model), control=control):
            if isinstance(step, Planned):
                continue
            if begun is None:
                begun, before = time.perf_counter(), step.done
            elif time.perf_counter() - begun > options.seconds:
                control.cancel()
            last = step.done
        return (last - before) / (time.perf_counter() - begun)


def draw_alone(viewer: Viewer, seconds: float) -> None:
    timer = QTimer()
    timer.timeout.connect(canvas_widget(viewer).update)
    timer.start(FRAME_MS)
    settle(seconds)
    timer.stop()


def pan(viewer: Viewer, meanwhile: Callable[[], object]) -> None:
    """Move the view to and fro, as often as the canvas is drawn."""
    view = camera(viewer)
    depth, row, column = view.center
    steps = itertools.count()

    def move() -> None:
        along = 60 * np.sin(next(steps) / 5) / view.zoom
        view.center = (depth, row + along / 2, column + along)

    timer = QTimer()
    timer.timeout.connect(move)
    timer.start(FRAME_MS)
    meanwhile()
    timer.stop()
    view.center = (depth, row, column)


def settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    until(lambda: time.perf_counter() > end)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        wait_for_events()


def wait_for_events() -> None:
    """Let the event loop run for a moment; polling it would take what a run wants."""
    loop = QEventLoop()
    QTimer.singleShot(TICK_MS, loop.quit)
    loop.exec()


def _kind(layer: Image) -> str:
    return layer.metadata.get("napari_camelyon", {}).get("kind", "")


if __name__ == "__main__":
    main()
