"""A slide described as a layer: plain values, so that nothing here needs napari."""

import threading
from collections.abc import Callable
from typing import Any

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import world_placement
from napari_camelyon.slides.lazy import dask_levels
from napari_camelyon.slides.slide import Slide

__all__ = ["DamageNotice", "layer_data"]


def layer_data(
    slide: Slide, *, tell: Callable[[str], object]
) -> tuple[list[Any], dict[str, Any], str]:
    """Return a slide as napari's readers do: ``(levels, arguments of the layer, "image")``.

    Parameters
    ----------
    slide : Slide
        Must stay open while a layer shows it.
    tell : callable
        Is given a sentence once, from whichever thread reads, when a part of the file cannot be
        read; that part is shown in magenta.
    """
    damage = DamageNotice(slide.name, tell)
    arguments: dict[str, Any] = {
        "name": slide.name,
        "multiscale": True,
        "rgb": True,
        # Without limits napari reads the whole level to find them.
        "contrast_limits": (0, 255),
        "metadata": {
            "napari_camelyon": {
                "slide": slide.name,
                "kind": "slide",
                "path": str(slide.path),
                "damage": damage,
            }
        },
        **world_placement(slide.mpp),
    }
    return dask_levels(slide, on_damage=damage), arguments, "image"


class DamageNotice:
    """Tells once that a part of a slide is damaged, and counts the parts."""

    def __init__(self, slide_name: str, tell: Callable[[str], object]) -> None:
        self._slide_name = slide_name
        self._tell = tell
        self._lock = threading.Lock()
        self._told: set[str] = set()

    @property
    def count(self) -> int:
        """Different parts of the file that could not be read so far."""
        return len(self._told)

    def __call__(self, error: SlideError) -> None:
        """Take in the error of one part; any thread may call."""
        with self._lock:
            is_first = not self._told
            self._told.add(str(error))
        if is_first:
            self._tell(f"Part of {self._slide_name} is damaged and shown in magenta. {error}")
