"""How large a pixel is: what the file says, whether to believe it, and what a person says instead.

A wrong pixel size silently scales every millimetre that is reported, so an unbelievable one counts
as missing, and nothing is ever derived from the objective's power.
"""

import math
from collections.abc import Mapping

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Mpp

__all__ = ["PLAUSIBLE_MPP", "choose_mpp", "is_plausible"]

PLAUSIBLE_MPP = (0.05, 20.0)
"""Bounds in µm/px. Slide scanners sample at 0.1 to 1 µm/px and exported overviews stay below 20;
the commonest wrong value is 352.8 µm/px, which is the 72 dpi that image programs write when they
know nothing better."""


def is_plausible(mpp: Mpp) -> bool:
    """Tell whether both pixel sizes lie within `PLAUSIBLE_MPP`."""
    low, high = PLAUSIBLE_MPP
    return all(math.isfinite(value) and low <= value <= high for value in mpp)


def choose_mpp(
    properties: Mapping[str, str], given: float | tuple[float, float] | None, name: str
) -> tuple[Mpp | None, str]:
    """Return the pixel size to believe and where it comes from.

    Parameters
    ----------
    properties : mapping
        The slide's properties; ``openslide.mpp-x`` and ``openslide.mpp-y`` are used.
    given : float or tuple of float or None
        What a person gave, µm/px; it wins over the file.
    name : str
        The slide, for messages.

    Returns
    -------
    mpp : tuple of float or None
        µm per level-0 pixel ``(x, y)``; they may differ.
    note : str
        Where it comes from, or why it is unknown; reads as the end of a sentence.

    Raises
    ------
    SlideError
        `given` lies outside `PLAUSIBLE_MPP`.
    """
    in_file = _mpp_in_file(properties)
    if given is not None:
        x, y = given if isinstance(given, tuple) else (given, given)
        chosen = (float(x), float(y))
        if not is_plausible(chosen):
            raise SlideError(
                f"A pixel size of {_format(chosen)} µm/px cannot be right for {name}: "
                f"give micrometres per pixel between {PLAUSIBLE_MPP[0]} and {PLAUSIBLE_MPP[1]:g}, "
                "for instance 0.25 for a 40× scan."
            )
        says = "says nothing" if in_file is None else f"says {_format(in_file)} µm/px"
        return chosen, f"given by the user (the file {says})"
    if in_file is None:
        return None, "the file does not state its pixel size"
    if not is_plausible(in_file):
        return None, (
            f"the file states {_format(in_file)} µm/px, which is outside the plausible "
            f"{PLAUSIBLE_MPP[0]}–{PLAUSIBLE_MPP[1]:g} µm/px and therefore taken as missing"
        )
    return in_file, "stated by the file"


def _mpp_in_file(properties: Mapping[str, str]) -> Mpp | None:
    values = []
    for axis in ("x", "y"):
        try:
            values.append(float(properties[f"openslide.mpp-{axis}"]))
        except (KeyError, ValueError):
            return None
    return values[0], values[1]


def _format(mpp: Mpp) -> str:
    return f"{mpp[0]:.4g}" if mpp[0] == mpp[1] else f"{mpp[0]:.6g} × {mpp[1]:.6g}"
