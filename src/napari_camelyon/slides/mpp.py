"""How large a pixel is: what the file says, whether to believe it, and what a person says instead.

A wrong pixel size silently scales every millimetre that is reported, so an unbelievable one counts
as missing, and nothing is ever derived from the objective's power.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Mpp

__all__ = ["PLAUSIBLE_MPP", "KeptMpp", "choose_mpp", "given_mpp", "is_plausible", "mpp_hint"]

PLAUSIBLE_MPP = (0.05, 20.0)
"""Bounds in µm/px. Slide scanners sample at 0.1 to 1 µm/px and exported overviews stay below 20;
the commonest wrong value is 352.8 µm/px, which is the 72 dpi that image programs write when they
know nothing better."""


@dataclass(frozen=True, slots=True)
class KeptMpp:
    """What was found of a pixel size that a person gave earlier; see `slides.kept_mpp`.

    Attributes
    ----------
    mpp : tuple of float or None
        µm per level-0 pixel ``(x, y)``; None when there is none that can be used.
    note : str
        Where it comes from; empty without it.
    ignored : str
        What was found and is not used, and why; empty when there is nothing of the kind.
    """

    mpp: Mpp | None = None
    note: str = ""
    ignored: str = ""


def is_plausible(mpp: Mpp) -> bool:
    """Tell whether both pixel sizes lie within `PLAUSIBLE_MPP`."""
    low, high = PLAUSIBLE_MPP
    return all(math.isfinite(value) and low <= value <= high for value in mpp)


def given_mpp(given: float | tuple[float, float], name: str) -> Mpp:
    """Return a pixel size that a person gave as ``(x, y)``.

    Raises
    ------
    SlideError
        It lies outside `PLAUSIBLE_MPP`.
    """
    x, y = given if isinstance(given, tuple) else (given, given)
    chosen = (float(x), float(y))
    if not is_plausible(chosen):
        raise SlideError(
            f"A pixel size of {_format(chosen)} µm/px cannot be right for {name}: "
            f"give micrometres per pixel between {PLAUSIBLE_MPP[0]} and {PLAUSIBLE_MPP[1]:g}, "
            "for instance 0.25 for a 40× scan."
        )
    return chosen


def choose_mpp(
    properties: Mapping[str, str],
    given: float | tuple[float, float] | None,
    name: str,
    kept: KeptMpp = KeptMpp(),
) -> tuple[Mpp | None, str]:
    """Return the pixel size to believe and where it comes from.

    What is given now wins over what was kept, and that over what the file states.

    Parameters
    ----------
    properties : mapping
        The slide's properties; ``openslide.mpp-x`` and ``openslide.mpp-y`` are used.
    given : float or tuple of float or None
        What a person gives now, µm/px.
    name : str
        The slide, for messages.
    kept : KeptMpp
        What a person gave earlier.

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
    says = f"the file says {'nothing' if in_file is None else f'{_format(in_file)} µm/px'}"
    if given is not None:
        return given_mpp(given, name), f"given by the user ({says})"
    aside = f"; {kept.ignored}" if kept.ignored else ""
    if kept.mpp is not None:
        return kept.mpp, f"{kept.note} ({says}){aside}"
    if in_file is None:
        return None, f"the file does not state its pixel size{aside}"
    if not is_plausible(in_file):
        return None, (
            f"the file states {_format(in_file)} µm/px, which is outside the plausible "
            f"{PLAUSIBLE_MPP[0]}–{PLAUSIBLE_MPP[1]:g} µm/px and therefore taken as missing{aside}"
        )
    return in_file, f"stated by the file{aside}"


def mpp_hint(objective_power: float | None) -> tuple[float, str]:
    """Return a pixel size to begin a question with, and why; it is never used unasked.

    What many scanners have is 10 µm divided by the magnification: 0.25 µm/px at 40×, 0.5 at 20×,
    1.0 at 10×. Cameras and adapters differ, so that it is a guess and no measurement.

    Returns
    -------
    mpp : float
        µm per level-0 pixel.
    reason : str
        A part of a sentence.
    """
    if objective_power is not None and objective_power > 0:
        usual = 10 / objective_power
        if is_plausible((usual, usual)):
            return usual, f"{objective_power:g}× scans often have about {usual:.3g} µm/px"
    return 0.25, "40× scans often have about 0.25 µm/px, 20× scans about 0.5"


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
