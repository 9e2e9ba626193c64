"""Units of patches, read ahead in threads while the device computes."""

import itertools
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import DamagedSlideError
from napari_camelyon.inference.dense import read_picture
from napari_camelyon.inference.patches import read_block, touched_cells
from napari_camelyon.inference.units import UnitPlan, View, Waiting, give_back, look, take_next
from napari_camelyon.slides import Damage, Slide
from napari_camelyon.tissue import PatchRules, is_tissue_patch

__all__ = ["ReadAhead", "ReadBatch", "Reader"]


@dataclass(frozen=True, slots=True)
class Reader:
    """How patches are read; the same for all of a run.

    Attributes
    ----------
    slide : Slide
    plan : UnitPlan
    needed : ndarray of bool, shape (batches,)
        The batches in which something is not known yet; the others are not read.
    patch_px : int
        Side of the model's input in pixels.
    rules : PatchRules or None
        Patches that do not pass are not predicted.
    dense_margin_px : int or None
        None: patch by patch. Else each batch is read as one picture with this margin, in pixels of
        the model's input.
    """

    slide: Slide
    plan: UnitPlan
    needed: NDArray[np.bool_]
    patch_px: int
    rules: PatchRules | None = None
    dense_margin_px: int | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ReadBatch:
    """What is predicted at once.

    Attributes
    ----------
    cells : ndarray of int64, shape (n, 2)
    pixels : ndarray of uint8
        ``(n, px, px, 3)``, or the picture ``(height, width, 3)`` of a dense run.
    lost : ndarray of bool, shape (n,)
        Which cells saw damage.
    passing : ndarray of bool, shape (n,)
        Which cells pass the rules.
    damage : DamagedSlideError or None
        The first damage there.
    unit : object
        To whose pixels it belongs.
    """

    cells: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    lost: NDArray[np.bool_]
    passing: NDArray[np.bool_]
    damage: DamagedSlideError | None
    unit: "_Unit"


@dataclass(eq=False, slots=True)
class _Unit:
    """Pixels that several batches share, and how many of these are still needed."""

    buffer: NDArray[np.uint8] | None
    open_batches: int


class ReadAhead:
    """Reads the units of a run in an order that may change until one of them is begun.

    At most ``threads + 1`` units are read but not handed out; their pixels lie in buffers that are
    used again as soon as the batches in them are finished. So memory is bounded by
    ``threads + 2 + batches in flight`` units, whatever the slide.

    Parameters
    ----------
    reader : Reader
    waiting : Waiting
        The units; not to be changed by others while reading goes on, except by `note_values`.
    threads : int
    """

    def __init__(self, reader: Reader, waiting: Waiting, threads: int) -> None:
        self._reader = reader
        self._waiting = waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-patches")
        self._most_ahead = threads + 1
        self._ahead: list[tuple[int, Future[list[ReadBatch]]]] = []
        self._ready: deque[ReadBatch] = deque()
        self._buffers: deque[NDArray[np.uint8]] = deque()
        self._refill()

    def look(self, view: View | None) -> None:
        """Read what is in view next: what was asked for but not begun waits again."""
        look(self._waiting, view)
        begun = []
        for unit, future in self._ahead:
            if future.cancel():
                give_back(self._waiting, unit)
            else:
                begun.append((unit, future))
        self._ahead = begun
        self._refill()

    def take(self, *, may_wait: bool) -> ReadBatch | None:
        """Return the next batch; None: all were taken, or none is ready and it may not wait.

        Raises
        ------
        SlideError
            The slide cannot be read any more.
        """
        if not self._ready:
            self._refill()
            if not self._ahead:
                return None
            if not any(future.done() for _unit, future in self._ahead):
                if not may_wait:
                    return None
                wait([future for _unit, future in self._ahead], return_when=FIRST_COMPLETED)
            done = [entry for entry in self._ahead if entry[1].done()]
            seen = [entry for entry in done if self._waiting.in_view[entry[0]]]
            chosen = (seen or done)[0]
            self._ahead.remove(chosen)
            self._ready.extend(chosen[1].result())
            self._refill()
        return self._ready.popleft()

    def part_of(self, batch: ReadBatch, chosen: NDArray[np.bool_]) -> ReadBatch:
        """Read some cells of a dense batch again, as a smaller picture; in the calling thread."""
        return _read_picture(self._reader, batch.cells[chosen])

    def finished(self, batch: ReadBatch) -> None:
        """Say that the pixels of a batch are not needed any more."""
        batch.unit.open_batches -= 1
        if not batch.unit.open_batches and batch.unit.buffer is not None:
            self._buffers.append(batch.unit.buffer)

    def close(self) -> None:
        """Read nothing more; returns when the threads have ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _refill(self) -> None:
        while len(self._ahead) < self._most_ahead:
            unit = take_next(self._waiting)
            if unit is None:
                return
            read = _read_dense if self._reader.dense_margin_px is not None else _read_patches
            future = self._pool.submit(read, self._reader, unit, self._buffer)
            self._ahead.append((unit, future))

    def _buffer(self, patches: int) -> NDArray[np.uint8]:
        try:
            return self._buffers.popleft()
        except IndexError:
            px = self._reader.patch_px
            most = int(np.diff(self._reader.plan.unit_edges).max())
            return np.empty((max(most, patches), px, px, 3), dtype=np.uint8)


def _read_patches(
    reader: Reader, unit: int, new_buffer: Callable[[int], NDArray[np.uint8]]
) -> list[ReadBatch]:
    plan, slide = reader.plan, reader.slide
    parts = [plan.batch(number) for number in plan.batches_of(unit) if reader.needed[number]]
    chosen = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    cells, blocks = plan.cells[chosen], plan.blocks[chosen]
    buffer = new_buffer(len(cells))
    damages: list[Damage] = []
    edges = np.append(np.flatnonzero(np.diff(blocks, prepend=-1)), len(blocks))
    for begin, end in itertools.pairwise(edges.tolist()):
        read_block(
            slide, plan.grid, cells[begin:end], reader.patch_px, damages.append, buffer[begin:end]
        )
    lost = touched_cells(slide, plan.grid, cells, reader.patch_px, damages)
    passing = np.ones(len(cells), dtype=np.bool_)
    if reader.rules is not None:
        passing[:] = [is_tissue_patch(patch, reader.rules) for patch in buffer[: len(cells)]]
    damage = damages[0].error if damages else None
    shared = _Unit(buffer, len(parts))
    batches = []
    start = 0
    for part in parts:
        own = slice(start, start + part.stop - part.start)
        batches.append(ReadBatch(cells[own], buffer[own], lost[own], passing[own], damage, shared))
        start = own.stop
    return batches


def _read_dense(
    reader: Reader, unit: int, _new_buffer: Callable[[int], NDArray[np.uint8]]
) -> list[ReadBatch]:
    (number,) = reader.plan.batches_of(unit)
    return [_read_picture(reader, reader.plan.cells[reader.plan.batch(number)])]


def _read_picture(reader: Reader, cells: NDArray[np.int64]) -> ReadBatch:
    slide, grid, patch_px = reader.slide, reader.plan.grid, reader.patch_px
    margin_px = reader.dense_margin_px or 0
    damages: list[Damage] = []
    picture = read_picture(slide, grid, cells, patch_px, damages.append, margin_px=margin_px)
    # Resampling a picture as a whole mixes neighbouring pixels of the model's input.
    lost = touched_cells(slide, grid, cells, patch_px, damages, margin_px=margin_px + 1)
    passing = np.ones(len(cells), dtype=np.bool_)
    damage = damages[0].error if damages else None
    return ReadBatch(cells, picture, lost, passing, damage, _Unit(None, 1))
