"""Stain: which colours a laboratory's haematoxylin and eosin have, and changing them to others."""

from napari_camelyon.stain.macenko import (
    REFERENCE_STAIN,
    StainFit,
    StainVectors,
    fit_macenko,
    stain_distance_deg,
    target_stain,
)
from napari_camelyon.stain.reinhard import REFERENCE_COLOUR, ColourFit, fit_reinhard
from napari_camelyon.stain.transfer import (
    METHODS,
    LogSteps,
    StainMethod,
    StainTransfer,
    fit_stain,
    log_steps,
    make_transfer,
    stain_record,
    transfer,
)

__all__ = [
    "METHODS",
    "REFERENCE_COLOUR",
    "REFERENCE_STAIN",
    "ColourFit",
    "LogSteps",
    "StainFit",
    "StainMethod",
    "StainTransfer",
    "StainVectors",
    "fit_macenko",
    "fit_reinhard",
    "fit_stain",
    "log_steps",
    "make_transfer",
    "stain_distance_deg",
    "stain_record",
    "target_stain",
    "transfer",
]
