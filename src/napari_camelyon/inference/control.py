"""What a person may tell a run while it goes: stop, rest, go on, and where they look."""

import threading

__all__ = ["RunControl"]


class RunControl:
    """The reins of one run; any thread may pull them, the run looks between batches."""

    def __init__(self) -> None:
        self._going = threading.Event()
        self._going.set()
        self._cancelled = threading.Event()
        self._view_px: tuple[float, float, float, float] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the run was told to stop."""
        return self._cancelled.is_set()

    @property
    def paused(self) -> bool:
        """Whether the run was told to rest."""
        return not self._going.is_set()

    @property
    def view_px(self) -> tuple[float, float, float, float] | None:
        """What a person looks at: ``(x, y, width, height)`` in level-0 pixels, None: unknown."""
        return self._view_px

    def cancel(self) -> None:
        """Stop after the present batch, also when the run rests."""
        self._cancelled.set()
        self._going.set()

    def pause(self) -> None:
        """Rest after the present batch."""
        if not self.cancelled:
            self._going.clear()

    def go_on(self) -> None:
        """End the rest."""
        self._going.set()

    def look_at(self, x_px: float, y_px: float, width_px: float, height_px: float) -> None:
        """Say what is in view, as a rectangle of the slide in level-0 pixels; it is next."""
        self._view_px = (x_px, y_px, width_px, height_px)

    def wait_while_paused(self) -> None:
        """Return when the run may go on, or was told to stop."""
        self._going.wait()
