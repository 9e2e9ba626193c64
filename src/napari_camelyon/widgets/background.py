"""Calling a function in a thread and handing its result to a widget."""

from collections.abc import Callable
from typing import Any

from superqt.utils import create_worker

__all__ = ["in_thread"]


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
