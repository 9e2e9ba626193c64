"""Work in a thread that steps back for the window.

A run keeps every core busy. Beside it the system gives the window's thread, and those that draw for
it where there is no graphics card, only their share; a frame then takes as long again as it needs.
Threads that have said they may wait take what is left over, which is nearly everything.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

__all__ = ["politely"]

_T = TypeVar("_T")

_NICE = 10
_SWITCH_S = 0.001
"""After so long a thread lets the window's have the interpreter; 5 ms are usual. A frame asks for
it anew with each of its hundreds of calls to OpenGL."""
_BELOW_NORMAL = -1
"""THREAD_PRIORITY_BELOW_NORMAL of Windows."""


def politely(work: Callable[..., _T], *arguments: object) -> _T:
    """Do work in a thread of its own that steps back for others, and wait for it.

    Threads that it begins step back too on Linux, where they inherit this: those that read slides,
    and those of torch and OpenVINO. On macOS nothing changes. The thread is a new one each time,
    for on Linux a thread cannot come forward again.

    Parameters
    ----------
    work : callable
        What it raises is raised.
    *arguments
        What it is called with.

    Returns
    -------
    object
        What `work` returns.
    """
    with (
        _switching_often(),
        ThreadPoolExecutor(1, thread_name_prefix="run", initializer=_step_back) as thread,
    ):
        return thread.submit(work, *arguments).result()


_at_work: list[float] = []
"""For each piece of work that goes on, the usual interval as it was before the first began."""
_counting = threading.Lock()


@contextmanager
def _switching_often() -> Iterator[None]:
    with _counting:
        usual_s = _at_work[0] if _at_work else sys.getswitchinterval()
        _at_work.append(usual_s)
        sys.setswitchinterval(min(usual_s, _SWITCH_S))
    try:
        yield
    finally:
        with _counting:
            _at_work.pop()
            if not _at_work:
                sys.setswitchinterval(usual_s)


def _step_back() -> None:
    with suppress(OSError, AttributeError):  # then it competes as others do
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        elif sys.platform == "win32":
            import ctypes

            kernel = ctypes.windll.kernel32
            kernel.GetCurrentThread.restype = ctypes.c_void_p
            kernel.SetThreadPriority.argtypes = (ctypes.c_void_p, ctypes.c_int)
            kernel.SetThreadPriority(kernel.GetCurrentThread(), _BELOW_NORMAL)
