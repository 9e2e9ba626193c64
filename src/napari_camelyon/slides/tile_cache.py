"""Decoded tiles, the least recently used of which make room for new ones."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import SlideError

__all__ = ["DEFAULT_BYTES", "TileCache", "shared_cache"]

DEFAULT_BYTES = 1 << 30
"""What the shared cache holds unless ``NAPARI_CAMELYON_CACHE_BYTES`` says otherwise."""


@dataclass(slots=True)
class _Making:
    """A tile that some thread is making now; others wait for it."""

    done: threading.Event = field(default_factory=threading.Event)
    tile: NDArray[np.uint8] | None = None


class TileCache:
    """A cache bounded in bytes; any thread may use it.

    Parameters
    ----------
    most_bytes : int
        Tiles are dropped, the least recently used first, before there are more.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._making: dict[Hashable, _Making] = {}
        self._bytes = 0

    @property
    def bytes_held(self) -> int:
        """Bytes of all tiles that are held now."""
        return self._bytes

    def get(self, key: Hashable) -> NDArray[np.uint8] | None:
        """Return a tile, which is then the most recently used, or None."""
        with self._lock:
            return self._find(key)

    def get_or_make(
        self, key: Hashable, make: Callable[[], NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """Return a tile, made and kept if it is not here.

        Threads that want the same tile at the same time wait for the one that makes it, as threads
        that read neighbouring patches do. If that one fails each tries by itself.
        """
        while True:
            with self._lock:
                tile = self._find(key)
                if tile is not None:
                    return tile
                other = self._making.get(key)
                if other is None:
                    own = self._making[key] = _Making()
                    break
            other.done.wait()
            if other.tile is not None:
                return other.tile
        try:
            own.tile = make()
            self.put(key, own.tile)
            return own.tile
        finally:
            with self._lock:
                del self._making[key]
            own.done.set()

    def _find(self, key: Hashable) -> NDArray[np.uint8] | None:
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
        return tile

    def put(self, key: Hashable, tile: NDArray[np.uint8]) -> None:
        """Keep a tile; one larger than the whole cache is not kept."""
        if tile.nbytes > self.most_bytes:
            return
        with self._lock:
            old = self._tiles.pop(key, None)
            self._bytes += tile.nbytes - (0 if old is None else old.nbytes)
            self._tiles[key] = tile
            while self._bytes > self.most_bytes:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


@cache
def shared_cache() -> TileCache:
    """Return the cache that all slides of this process share, viewing and inference alike.

    Raises
    ------
    SlideError
        ``NAPARI_CAMELYON_CACHE_BYTES`` is no number of bytes.
    """
    wanted = os.environ.get("NAPARI_CAMELYON_CACHE_BYTES", "").strip()
    if wanted and not wanted.isdecimal():
        raise SlideError(
            f"NAPARI_CAMELYON_CACHE_BYTES is {wanted!r}: give a whole number of bytes, such as "
            f"{DEFAULT_BYTES} for 1 GiB, or leave it unset."
        )
    return TileCache(int(wanted) if wanted else DEFAULT_BYTES)
