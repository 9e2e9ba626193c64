"""Thousands of small objects at once, without looking for garbage among them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_collecting"]


@contextmanager
def without_collecting() -> Iterator[None]:
    """Leave Python's collector of garbage alone while thousands of annotations are made.

    They are no garbage, and to find that out it looks at everything there is: in a window of
    napari that takes a quarter of a second each time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
