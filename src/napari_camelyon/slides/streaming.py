"""A slide for the eye: what is already there at once, what is missing as it arrives.

A view asks for a window and never waits: pieces that were read before are shown as they are, the
others are filled from the best coarser piece there is, and threads read them meanwhile. Only what
the last view wanted is read, the middle of it first.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.colour import ColourTransform, to_srgb
from napari_camelyon.slides.pyramid import pyramid_levels
from napari_camelyon.slides.slide import Slide
from napari_camelyon.slides.tile_cache import TileCache, shared_cache

__all__ = ["NOTHING_YET", "SlideStream", "StreamedLevel"]

NOTHING_YET = 235
"""Grey that stands where not even the coarsest level has been read: nearly the white of glass."""

_PIECE_PX = 512
_THREADS = 12
"""More than there are cores: on a slow disk or network most of them wait."""
_IDLE_S = 5.0
"""For so long a thread waits for more to read: whoever starts one waits until it runs, which takes
milliseconds where others are busy, and that would be the window."""
_AHEAD = 3
"""A view that finds nothing reads itself first at this many levels coarser, in a few pieces."""

_Key = tuple[int, int, int]  # level, row and column of the piece


class SlideStream:
    """Windows of a slide's ×2 pyramid (`slides.pyramid`), at once and then better.

    Call it from one thread. Threads of its own read what is missing, and end some seconds later.

    Parameters
    ----------
    slide : Slide
        Must stay open; once it is closed what is missing stays missing.
    on_arrival : callable
        Called from a reading thread when a piece came that the last view is waiting for: ask for
        the window again.
    on_damage : callable, optional
        Called from a reading thread with the error of each damaged piece, which is shown in
        `slide.DAMAGED_RGB`.
    colour : ColourTransform, optional
        From `colour_transform`: the slide is shown in sRGB instead of the colours as stored.
    cache : TileCache, optional
        Where pieces are kept; the shared one unless given.
    begin_soon : callable, optional
        Given a function, calls it in this thread, soon and after what is to be drawn first: reading
        begins then. Without a graphics card drawing needs all cores. At once unless given.

    Attributes
    ----------
    slide : Slide
    levels : tuple of StreamedLevel
        The levels as arrays, finest first.
    arrived : int
        Pieces that came so far while a view was waiting for them.
    """

    def __init__(
        self,
        slide: Slide,
        *,
        on_arrival: Callable[[], object],
        on_damage: Callable[[SlideError], None] | None = None,
        colour: ColourTransform | None = None,
        cache: TileCache | None = None,
        begin_soon: Callable[[Callable[[], None]], object] = lambda begin: begin(),
    ) -> None:
        self.slide = slide
        self._pyramid = pyramid_levels(slide)
        self._side = slide.tile_px * max(1, round(_PIECE_PX / slide.tile_px))
        self._on_arrival = on_arrival
        self._on_damage = on_damage or (lambda _error: None)
        self._cache = shared_cache() if cache is None else cache
        self._begin_soon = begin_soon
        self._token = object()  # names our pieces in the cache without keeping us alive
        self._colour = colour
        self._closed = False
        self._lock = threading.Condition()
        self._wanted: deque[_Key] = deque()
        self._awaited: dict[_Key, None] = {}  # the most urgent one first
        self.arrived = 0
        # What is on the screen stays known, however small the cache is.
        self._in_view: dict[_Key, NDArray[np.uint8]] = {}
        self._being_read: set[_Key] = set()
        self._threads = self._idle = 0
        # The coarsest level is what everything falls back on, so no other slide may displace it.
        self._coarsest: dict[_Key, NDArray[np.uint8]] = {}
        self.levels = tuple(
            StreamedLevel(self, index, (level.rows, level.columns, 3))
            for index, level in enumerate(self._pyramid)
        )

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing of the window that was asked for last."""
        return not self._awaited

    def window(self, level: int, top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
        """Return a window as well as it is known now, and have the missing pieces read.

        Parameters
        ----------
        level : int
        top, left, bottom, right : int
            Rows and columns of the level, within it; the last ones are not included.

        Returns
        -------
        ndarray of uint8, shape (bottom - top, right - left, 3)
        """
        pixels = np.empty((bottom - top, right - left, 3), np.uint8)
        side = self._side
        missing = []
        in_view = {}
        for row in range(top // side, (bottom - 1) // side + 1):
            for column in range(left // side, (right - 1) // side + 1):
                first_row, first_column = max(top, row * side), max(left, column * side)
                into = pixels[
                    first_row - top : (row + 1) * side - top,
                    first_column - left : (column + 1) * side - left,
                ]
                y, x = first_row - row * side, first_column - column * side
                piece = self._known((level, row, column))
                if piece is not None:
                    in_view[level, row, column] = piece
                    into[:] = piece[y : y + into.shape[0], x : x + into.shape[1]]
                else:
                    missing.append((level, row, column))
                    self._fill_coarsely(into, level, first_row, first_column)
        self._in_view = in_view
        self._want(missing, level, ((top + bottom) / 2 / side, (left + right) / 2 / side))
        return pixels

    def overview(self) -> NDArray[np.uint8]:
        """Return the whole of the coarsest level as well as it is known; asks for nothing new."""
        last = len(self._pyramid) - 1
        rows, columns, _ = self.levels[last].shape
        pixels = np.full((rows, columns, 3), NOTHING_YET, np.uint8)
        for (_, row, column), piece in list(self._coarsest.items()):
            top, left = row * self._side, column * self._side
            pixels[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        return pixels

    @property
    def has_overview(self) -> bool:
        """Whether the coarsest level is known as a whole."""
        return len(self._coarsest) == len(list(self._pieces_of(len(self._pyramid) - 1)))

    def close(self) -> None:
        """Read nothing more; pieces that are being read at this moment still finish."""
        with self._lock:
            self._closed = True
            self._wanted.clear()
            self._lock.notify_all()

    def _known(self, key: _Key) -> NDArray[np.uint8] | None:
        if self._is_coarsest(key):
            return self._coarsest.get(key)
        piece = self._in_view.get(key)
        return self._cache.get((self._token, key)) if piece is None else piece

    def _pieces_of(self, level: int) -> Iterator[_Key]:
        rows, columns, _ = self.levels[level].shape
        for row in range(-(-rows // self._side)):
            for column in range(-(-columns // self._side)):
                yield level, row, column

    def _is_coarsest(self, key: _Key) -> bool:
        return key[0] == len(self._pyramid) - 1

    def _fill_coarsely(self, into: NDArray[np.uint8], level: int, top: int, left: int) -> None:
        """Fill a window, which lies in one missing piece, from the finest coarser piece known."""
        height, width = into.shape[:2]
        for coarser in range(level + 1, len(self._pyramid)):
            shrink = 1 << (coarser - level)
            y, x = top / shrink, left / shrink
            row, column = int(y // self._side), int(x // self._side)
            piece = self._known((coarser, row, column))
            if piece is None:
                continue
            y, x = y - row * self._side, x - column * self._side
            # A piece of odd side has halves that share a pixel: the box stays inside.
            bottom = min(y + height / shrink, piece.shape[0])
            right = min(x + width / shrink, piece.shape[1])
            y0, x0 = int(y), int(x)
            part = np.ascontiguousarray(piece[y0 : -int(-bottom // 1), x0 : -int(-right // 1)])
            box = (x - x0, y - y0, right - x0, bottom - y0)
            larger = Image.fromarray(part).resize((width, height), Image.Resampling.NEAREST, box)
            into[:] = np.asarray(larger)
            return
        into[:] = NOTHING_YET

    def _want(self, missing: list[_Key], level: int, centre: tuple[float, float]) -> None:
        def distance(key: _Key) -> float:
            return (key[1] + 0.5 - centre[0]) ** 2 + (key[2] + 0.5 - centre[1]) ** 2

        missing.sort(key=distance)
        # A few coarse pieces come first where there is nothing near: a rough picture is soon there.
        last = len(self._pyramid) - 1
        ahead = min(level + _AHEAD, last)
        shift = ahead - level
        coarse = [(ahead, row >> shift, column >> shift) for _, row, column in missing]
        order = dict.fromkeys((*coarse, *missing, *self._pieces_of(last)))
        unknown = [key for key in order if self._known(key) is None]
        with self._lock:
            self._awaited = dict.fromkeys(unknown)
            self._wanted.clear()
        if unknown:
            self._begin_soon(self._read_awaited)

    def _read_awaited(self) -> None:
        with self._lock:
            if not self._closed:
                missing = [key for key in self._awaited if key not in self._being_read]
                self._wanted = deque(missing)
            self._lock.notify(len(self._wanted))
            # One at most, and those that wake or begin get others to join them.
            one_more = self._idle == 0 and self._count_one_more()
        if one_more:
            self._begin_thread()

    def _count_one_more(self) -> bool:
        """Count another thread if there is work for it, and tell so; the lock is held."""
        has_work = len(self._wanted) > self._idle and self._threads < _THREADS
        self._threads += has_work
        return has_work

    def _begin_thread(self) -> None:
        threading.Thread(target=self._read_pieces, name="slide pieces", daemon=True).start()

    def _read_pieces(self) -> None:
        key = self._next()
        while key is not None:
            try:
                piece = self._read(key)
            except BaseException:
                with self._lock:
                    self._being_read.discard(key)
                    self._threads -= 1
                raise
            if self._is_coarsest(key):
                self._coarsest[key] = piece
            else:
                self._cache.put((self._token, key), piece)
            with self._lock:
                self._being_read.discard(key)
                is_awaited = key in self._awaited
                if is_awaited:
                    self.arrived += 1
                    del self._awaited[key]
                    self._in_view[key] = piece
            if is_awaited:
                self._on_arrival()
            key = self._next()

    def _next(self) -> _Key | None:
        """Return what to read next; a thread that gets nothing has been signed off and ends."""
        with self._lock:
            while not self._wanted:
                self._idle += 1
                in_time = not self._closed and self._lock.wait(_IDLE_S)
                self._idle -= 1
                if not in_time and not self._wanted:
                    self._threads -= 1
                    return None
            key = self._wanted.popleft()
            self._being_read.add(key)
            one_more = self._count_one_more()
        if one_more:
            self._begin_thread()
        return key

    def _read(self, key: _Key) -> NDArray[np.uint8]:
        index, row, column = key
        level = self._pyramid[index]
        top, left = row * self._side, column * self._side
        width, height = min(self._side, level.columns - left), min(self._side, level.rows - top)
        piece = level.read(left, top, width, height, self._tell_damage)
        return piece if self._colour is None else to_srgb(piece, self._colour)

    def _tell_damage(self, error: SlideError) -> None:
        if not self._closed:  # then the slide may be closed as well, which is no damage
            self._on_damage(error)


@dataclass(frozen=True)
class StreamedLevel:
    """One level of a `SlideStream` as an array that is read by slicing, at once.

    Attributes
    ----------
    stream : SlideStream
    index : int
    shape : tuple of int
        ``(rows, columns, 3)``
    """

    stream: SlideStream
    index: int
    shape: tuple[int, int, int]
    dtype = np.dtype(np.uint8)
    ndim = 3

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.uint8]:
        """Return ``[first_row:last_row, first_column:last_column]`` as it is known now."""
        (top, bottom, _), (left, right, _) = (
            part.indices(length) for part, length in zip(index[:2], self.shape[:2], strict=True)
        )
        return self.stream.window(self.index, top, left, bottom, right)
