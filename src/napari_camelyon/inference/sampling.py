"""What uncertainty costs, told before torch is there."""

from typing import Literal

__all__ = ["SYMMETRIES", "UncertaintyKind", "cost_factor"]

UncertaintyKind = Literal["tta", "mc_dropout", "ensemble"]

SYMMETRIES = 8
"""Elements of the symmetry group of the square: four turns, each also mirrored."""


def cost_factor(kind: str, *, samples: int = 20, models: int = 1) -> int:
    """Return how many times the computing of a plain run uncertainty costs.

    Of a plain run patch by patch: a model that can be run over whole blocks loses that as well.

    Parameters
    ----------
    kind : str
        ``none``, ``tta``, ``mc_dropout`` or ``ensemble``.
    samples : int
        Predictions a patch for ``mc_dropout``.
    models : int
        Of an ensemble, the first included; taken to cost the same.
    """
    return {"none": 1, "tta": SYMMETRIES, "mc_dropout": samples, "ensemble": models}[kind]
