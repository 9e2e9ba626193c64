"""What a view is given: at once, at the right place, and in the end exactly the slide's pixels."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import Slide, SlideStream, dask_levels, open_slide
from napari_camelyon.slides.slide import DAMAGED_RGB
from napari_camelyon.slides.streaming import NOTHING_YET
from napari_camelyon.slides.tile_cache import TileCache

SIDE_PX = 2600
"""Six pieces of 512 pixels a side at level 0, in a pyramid of three levels."""


@dataclass
class Gate:
    """A slide whose reads wait until they are let through; else it is the slide."""

    slide: Slide
    open: threading.Event = field(default_factory=threading.Event)
    reads: list[tuple[int, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.slide, name)

    def read(self, *place: int, level: int = 0, **how: Any) -> NDArray[np.uint8]:
        self.open.wait()
        self.reads.append((*place, level))
        return self.slide.read(*place, level=level, **how)


@dataclass
class Arrivals:
    """Counts what arrives, and waits for a stream to be complete."""

    came: threading.Condition = field(default_factory=threading.Condition)
    count: int = 0

    def __call__(self) -> None:
        with self.came:
            self.count += 1
            self.came.notify_all()

    def wait(self, stream: SlideStream) -> None:
        with self.came:
            assert self.came.wait_for(lambda: stream.is_complete, timeout=60)


def stream_of(thread: threading.Thread) -> SlideStream | None:
    """Return the stream that a thread reads for."""
    return getattr(getattr(thread, "_target", None), "__self__", None)


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """Noise over a slope, so that a wrong place shows at any resolution."""
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    noise = np.random.default_rng(3).integers(0, 20, (SIDE_PX, SIDE_PX))
    slopes = (rows * 230 // SIDE_PX, columns * 230 // SIDE_PX, (rows + columns) * 115 // SIDE_PX)
    return np.stack([slope + noise for slope in slopes], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def path(make_slide, picture) -> Path:
    return make_slide(picture, factors=(1, 2), tile_px=256)


@pytest.fixture
def gate(path) -> Iterator[Gate]:
    with open_slide(path) as slide:
        gate = Gate(slide)
        yield gate
        gate.open.set()


def sharp(stream: SlideStream, arrivals: Arrivals, *window: int) -> NDArray[np.uint8]:
    stream.window(*window)
    arrivals.wait(stream)
    return stream.window(*window)


@pytest.mark.parametrize("cache_bytes", [1 << 28, 0])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_in_the_end_it_is_the_exact_pyramid(gate, cache_bytes, data):
    gate.open.set()
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(cache_bytes))
    exact = dask_levels(gate.slide)
    level = data.draw(st.integers(0, len(exact) - 1))
    rows, columns, _ = exact[level].shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    bottom = data.draw(st.integers(top + 1, min(rows, top + 1200)))
    right = data.draw(st.integers(left + 1, min(columns, left + 1200)))
    np.testing.assert_array_equal(
        sharp(stream, arrivals, level, top, left, bottom, right),
        exact[level][top:bottom, left:right].compute(),
    )


def test_levels_are_those_of_the_dask_pyramid(gate):
    stream = SlideStream(gate, on_arrival=Arrivals())
    assert [level.shape for level in stream.levels] == [
        array.shape for array in dask_levels(gate.slide)
    ]


def test_a_view_never_waits(gate):
    stream = SlideStream(gate, on_arrival=Arrivals(), cache=TileCache(1 << 28))
    assert (stream.window(0, 100, 200, 900, 1300) == NOTHING_YET).all()
    assert not stream.is_complete
    assert not gate.reads


def test_reading_begins_when_the_picture_was_drawn(gate):
    gate.open.set()
    arrivals, begin = Arrivals(), []
    stream = SlideStream(
        gate, on_arrival=arrivals, cache=TileCache(1 << 28), begin_soon=begin.append
    )
    stream.window(0, 0, 0, 600, 600)
    stream.window(0, 1900, 0, 2500, 600)
    assert not stream.is_complete
    assert not [thread for thread in threading.enumerate() if stream_of(thread) is stream]
    for function in begin:
        function()
    arrivals.wait(stream)
    assert not [read for read in gate.reads if read[4] == 0 and read[1] < 1024]
    assert np.array_equal(stream.window(0, 1900, 0, 2500, 600), gate.slide.read(0, 1900, 600, 600))


def test_threads_stay_for_the_next_view_and_end_when_it_is_closed(gate):
    gate.open.set()
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(1 << 28))
    sharp(stream, arrivals, 0, 0, 0, 600, 600)
    first = {thread for thread in threading.enumerate() if stream_of(thread) is stream}
    sharp(stream, arrivals, 0, 1900, 0, 2500, 600)
    assert first & {thread for thread in threading.enumerate() if stream_of(thread) is stream}
    stream.close()
    for thread in threading.enumerate():
        if stream_of(thread) is stream:
            thread.join(60)
            assert not thread.is_alive()


def test_what_is_missing_is_filled_from_the_finest_coarser_level(gate, picture):
    gate.open.set()
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(1 << 28))
    known = sharp(stream, arrivals, 1, 0, 0, 1300, 1300)
    gate.open.clear()
    at_once = stream.window(0, 600, 300, 1900, 1500)
    assert not stream.is_complete
    np.testing.assert_array_equal(
        at_once, known.repeat(2, axis=0).repeat(2, axis=1)[600:1900, 300:1500]
    )
    # Half a pixel of the coarser level at most, plus the noise: the place is right.
    assert np.abs(at_once.astype(int) - picture[600:1900, 300:1500]).max() <= 22


def test_only_the_last_view_is_read(gate):
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(1 << 28))
    for corner in range(0, 1800, 100):
        stream.window(0, corner, corner, corner + 700, corner + 700)
    stream.window(0, 1900, 0, 2500, 600)
    gate.open.set()
    arrivals.wait(stream)
    pieces = {read[:2] for read in gate.reads if read[4] == 0 and read[2] <= 512}
    threads_of_the_first_view = 12
    assert len(pieces) <= threads_of_the_first_view + 9
    np.testing.assert_array_equal(
        stream.window(0, 1900, 0, 2500, 600), gate.slide.read(0, 1900, 600, 600)
    )


def test_what_was_read_is_not_read_again(gate):
    gate.open.set()
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(1 << 28))
    sharp(stream, arrivals, 0, 0, 0, 1000, 1000)
    sharp(stream, arrivals, 0, 1000, 1000, 2000, 2000)
    reads = len(gate.reads)
    sharp(stream, arrivals, 0, 0, 0, 1000, 1000)
    assert len(gate.reads) == reads


def test_overview_comes_by_itself(gate):
    gate.open.set()
    arrivals = Arrivals()
    stream = SlideStream(gate, on_arrival=arrivals, cache=TileCache(0))
    assert not stream.has_overview
    assert (stream.overview() == NOTHING_YET).all()
    sharp(stream, arrivals, 0, 0, 0, 10, 10)
    assert stream.has_overview
    np.testing.assert_array_equal(stream.overview(), dask_levels(gate.slide)[-1].compute())


def test_closed_it_reads_nothing_and_complains_of_nothing(gate):
    damaged = []
    stream = SlideStream(
        gate, on_arrival=Arrivals(), on_damage=damaged.append, cache=TileCache(1 << 28)
    )
    stream.window(0, 0, 0, 600, 600)
    stream.close()
    gate.slide.close()
    gate.open.set()
    stream.window(0, 600, 600, 1200, 1200)
    for thread in threading.enumerate():
        if thread.name == "slide pieces":
            thread.join(60)
    assert not damaged


def test_damage_is_shown_and_told(damaged_slide, noise):
    told: list[SlideError] = []
    arrivals = Arrivals()
    with open_slide(damaged_slide) as slide:
        stream = SlideStream(
            slide, on_arrival=arrivals, on_damage=told.append, cache=TileCache(1 << 28)
        )
        rows, columns, _ = stream.levels[0].shape
        shown = sharp(stream, arrivals, 0, 0, 0, rows, columns)
    assert told
    expected = noise.copy()
    expected[64:128, 128:192] = DAMAGED_RGB
    np.testing.assert_array_equal(shown[: len(noise), : noise.shape[1]], expected)
