"""Processes that share the work of generating."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

__all__ = ["process_pool"]


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool that works the same on every operating system, one thread a process.

    Spawned, not forked: a forked copy of a process with threads of torch or Qt may hang.
    """
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_use_one_thread
    )


def _use_one_thread() -> None:
    # Each process's BLAS would take all cores for its small products: 2.6 times slower on two.
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
