"""How fast a run is, from what it did lately, and how long the rest takes."""

import time
from collections import deque
from dataclasses import dataclass, field

__all__ = ["Pace"]

_WINDOW_S, _FEWEST_BATCHES = 15.0, 8
"""What counts is as old as this, and at least so many batches: the first ones are slow."""


@dataclass(slots=True)
class Pace:
    """Patches and seconds of the recent batches."""

    _recent: deque[tuple[int, float]] = field(default_factory=deque)
    _since_s: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """Begin to measure now: what was before, a rest say, does not count."""
        self._since_s = time.perf_counter()

    def note(self, patches: int) -> None:
        """Say that a batch has just been finished."""
        now_s = time.perf_counter()
        self.note_lasting(patches, now_s - self._since_s)
        self._since_s = now_s

    def note_lasting(self, patches: int, seconds: float) -> None:
        """Say that a batch took so long."""
        self._recent.append((patches, seconds))
        while (
            len(self._recent) > _FEWEST_BATCHES
            and sum(seconds for _patches, seconds in self._recent) > _WINDOW_S
        ):
            self._recent.popleft()

    @property
    def patches_per_s(self) -> float:
        """Of the recent batches; 0 before the first."""
        seconds = sum(seconds for _patches, seconds in self._recent)
        return sum(patches for patches, _seconds in self._recent) / seconds if seconds else 0.0

    def seconds_for(self, patches: int) -> float:
        """Return how long so many patches take at this rate; NaN before the first batch."""
        if not patches:
            return 0.0
        rate = self.patches_per_s
        return patches / rate if rate else float("nan")
