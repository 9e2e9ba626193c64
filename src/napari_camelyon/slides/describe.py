"""What is known about a slide, as plain values for people and programs."""

from dataclasses import asdict
from typing import Any

from napari_camelyon.slides.slide import Slide

__all__ = ["describe"]


def describe(slide: Slide) -> dict[str, Any]:
    """Return a slide's facts as values that JSON can hold.

    Returns
    -------
    dict
        ``path``, ``name``, ``vendor``, ``width_px``, ``height_px``, ``width_mm``, ``height_mm``
        (None without a pixel size), ``mpp`` (``[x, y]`` or None), ``mpp_note``,
        ``objective_power``, ``bounds_px`` (``[x, y, width, height]``), ``tile_px``, ``levels``
        (each with ``width_px``, ``height_px``, ``downsample_x``, ``downsample_y``),
        ``associated_images`` (names) and ``fingerprint``.
    """
    width_mm = height_mm = None
    if slide.mpp is not None:
        width_mm = slide.width_px * slide.mpp[0] / 1000
        height_mm = slide.height_px * slide.mpp[1] / 1000
    return {
        "path": str(slide.path),
        "name": slide.name,
        "vendor": slide.vendor,
        "width_px": slide.width_px,
        "height_px": slide.height_px,
        "width_mm": width_mm,
        "height_mm": height_mm,
        "mpp": None if slide.mpp is None else list(slide.mpp),
        "mpp_note": slide.mpp_note,
        "objective_power": slide.objective_power,
        "bounds_px": list(slide.bounds_px),
        "tile_px": slide.tile_px,
        "levels": [asdict(level) for level in slide.levels],
        "associated_images": list(slide.associated_names),
        "fingerprint": slide.fingerprint,
    }
