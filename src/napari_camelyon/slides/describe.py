"""What is known about a slide, as plain values for people and programs."""

from dataclasses import asdict
from typing import Any

from napari_camelyon.slides.colour import colour_transform
from napari_camelyon.slides.slide import Slide

__all__ = ["describe"]


def describe(slide: Slide) -> dict[str, Any]:
    """Return a slide's facts as values that JSON can hold.

    Returns
    -------
    dict
        ``path``, ``name``, ``vendor``, ``backend`` (what reads the pixels), ``width_px``,
        ``height_px``, ``width_mm``, ``height_mm`` (None without a pixel size), ``mpp`` (``[x, y]``
        or None), ``mpp_note`` (where it comes from, or why it is unknown), ``objective_power``,
        ``bounds_px`` (``[x, y, width, height]``), ``tile_px``, ``levels``
        (each with ``width_px``, ``height_px``, ``downsample_x``, ``downsample_y``),
        ``associated_images`` (names), ``icc_profile`` (its name, or None when there is none that
        can be used), ``icc_note`` (a part of a sentence about it) and ``fingerprint``.

    Raises
    ------
    SlideError
        The slide is gone or closed.
    """
    colour, icc_note = colour_transform(slide)
    width_mm = height_mm = None
    if slide.mpp is not None:
        width_mm = slide.width_px * slide.mpp[0] / 1000
        height_mm = slide.height_px * slide.mpp[1] / 1000
    return {
        "path": str(slide.path),
        "name": slide.name,
        "vendor": slide.vendor,
        "backend": slide.backend,
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
        "icc_profile": None if colour is None else colour.name,
        "icc_note": icc_note,
        "fingerprint": slide.fingerprint,
    }
