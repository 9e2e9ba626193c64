"""Work that would hold the window up, in portions with a frame between two."""

from collections.abc import Hashable, Iterator

from qtpy.QtCore import QTimer

__all__ = ["Portions"]

_BETWEEN_MS = 25
"""Enough for a frame, also without a graphics card."""


class Portions:
    """Goes on with generators, each from one ``yield`` to the next, in the window's thread."""

    def __init__(self) -> None:
        self._works: dict[Hashable, Iterator[None]] = {}
        self._timer = QTimer()
        self._timer.setInterval(_BETWEEN_MS)
        self._timer.timeout.connect(self._go_on)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._works

    def begin(self, key: Hashable, work: Iterator[None]) -> None:
        """Do the first portion now and the others later, in the place of other work of the key."""
        self._works[key] = work
        self._do(key)
        if self._works:
            self._timer.start()

    def _go_on(self) -> None:
        if self._works:
            self._do(next(iter(self._works)))
        if not self._works:
            self._timer.stop()

    def _do(self, key: Hashable) -> None:
        work = self._works[key]
        try:
            next(work)
        except StopIteration:
            del self._works[key]
        except Exception:
            del self._works[key]  # it would fail again, as often as the timer says
            raise
