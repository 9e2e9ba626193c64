"""Calling a function in a thread and handing its result to a widget."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from qtpy.QtCore import QObject
from superqt.utils import create_worker

from napari_camelyon.errors import CamelyonError

__all__ = ["Latest", "in_thread"]

_BLINK_S = 0.15
"""For so long the window may stand still without a person taking notice."""


def in_thread(
    function: Callable[..., object],
    *arguments: object,
    receive: Callable[[Any], object],
    finished: Callable[[None], object] | None = None,
) -> None:
    """Call a function in a thread and hand its result to a method of a widget.

    Parameters
    ----------
    function : callable
        Tells what it cannot do in its result: an error in it is nobody's to show.
    *arguments
        Of the function.
    receive : callable
        Is given the result in the window's thread.
    finished : callable, optional
        Called with None in the window's thread afterwards, also after an error.
    """
    worker = create_worker(function, *arguments, _start_thread=False, _ignore_errors=True)
    worker.returned.connect(receive)
    if finished is not None:
        worker.finished.connect(finished)
    worker.start()


@dataclass(slots=True, eq=False)
class _Call:
    """A call that is waited for."""

    function: Callable[..., Any]
    arguments: tuple[object, ...]
    receive: Callable[[Any], object]
    fail: Callable[[CamelyonError], object]
    dropped: bool = False
    result: Any = None
    error: Exception | None = None
    done: Event = field(default_factory=Event)


class Latest(QObject):
    """Calls functions in threads; what the latest call gave is handed on, all else is dropped."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._call: _Call | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a result is waited for."""
        return self._call is not None

    def call(
        self,
        function: Callable[..., Any],
        *arguments: object,
        receive: Callable[[Any], object],
        fail: Callable[[CamelyonError], object],
    ) -> None:
        """Call a function; if it takes no longer than a blink, its result is there at once.

        Parameters
        ----------
        function : callable
            Touches no widget.
        *arguments
            Of the function.
        receive : callable
            Is given the result in the window's thread, before this returns or later.
        fail : callable
            Is given the error instead, if it is one of ours.
        """
        self.drop()
        self._call = call = _Call(function, arguments, receive, fail)
        worker = create_worker(_run, call, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._on_done)
        worker.start()
        if call.done.wait(_BLINK_S):
            self._on_done(call)

    def drop(self) -> None:
        """Wait no longer for the result. What has begun in the thread ends there, unheard."""
        if self._call is not None:
            self._call.dropped = True
        self._call = None

    def _on_done(self, call: _Call) -> None:
        if call is not self._call:
            return
        self._call = None
        if isinstance(call.error, CamelyonError):
            call.fail(call.error)
        elif call.error is not None:
            raise call.error
        else:
            call.receive(call.result)


def _run(call: _Call) -> _Call:
    try:
        if not call.dropped:  # while it waited for its turn
            call.result = call.function(*call.arguments)
    except Exception as error:  # noqa: BLE001 - raised in the window's thread
        call.error = error
    call.done.set()
    return call
