"""What counts as a lesion; the same for finding, restaging and what is written of it."""

from dataclasses import dataclass

import numpy as np

from napari_camelyon.errors import StagingError

__all__ = ["JOIN_DILATION_UM", "MIN_PATCHES", "LesionRules"]

JOIN_DILATION_UM = 37.5
"""Deposits that touch when grown by this are one lesion, as in CAMELYON16's evaluation.

Its script dilates by 75 µm / 2 before it labels. It is the default here because a patch of 62 µm
or more cannot see a gap of less anyway: so the same tissue gives the same lesions whatever the
patch size. On the six outlined CAMELYON17 slides with a label at hand it changes no class.
"""

MIN_PATCHES = 2
"""Smaller deposits are ignored; the reference pipeline, too, ignores isolated positive patches."""


@dataclass(frozen=True, slots=True)
class LesionRules:
    """What counts as a lesion.

    Attributes
    ----------
    threshold : float or None
        Probability from which a cell is tumour, between 0 and 1; None: the heatmap's own.
    seed_threshold : float or None
        A deposit counts only if one of its cells reaches this, which is at least the threshold
        (hysteresis, as in Canny's edges: extent by the one, existence by the other). None: every
        deposit counts.
    min_patches : int
        Deposits of fewer cells are left out, before joining.
    min_diameter_mm : float
        Lesions of a smaller greatest diameter are left out, after joining.
    join_dilation_um : float
        Deposits whose tissue grown by this touches are joined into one lesion, and so is what lies
        in a hole of another. Sizes are those before growing. 0: nothing is joined.

    Raises
    ------
    StagingError
        A value is outside its range.
    """

    threshold: float | None = None
    seed_threshold: float | None = None
    min_patches: int = MIN_PATCHES
    min_diameter_mm: float = 0.0
    join_dilation_um: float = JOIN_DILATION_UM

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise StagingError(
                f"The threshold {self.threshold} is no probability between 0 and 1 (both excluded)."
            )
        if self.seed_threshold is not None and not 0 < self.seed_threshold <= 1:
            raise StagingError(
                f"The seed threshold {self.seed_threshold} is no probability above 0 and up to 1."
            )
        if self.threshold is not None:
            self.threshold_of(self.threshold)
        if self.min_patches < 1:
            raise StagingError(f"A lesion has at least 1 patch; {self.min_patches} was asked for.")
        if not 0 <= self.min_diameter_mm < np.inf:
            raise StagingError(
                f"A lesion cannot be of {self.min_diameter_mm} mm or more; give 0 or a positive "
                "length."
            )
        if not 0 <= self.join_dilation_um < np.inf:
            raise StagingError(
                f"Deposits cannot be joined over {self.join_dilation_um} µm; give 0 or a positive "
                "length."
            )

    def threshold_of(self, own: float) -> float:
        """Return the threshold that holds for a heatmap whose own is given.

        Raises
        ------
        StagingError
            The seed threshold is lower.
        """
        threshold = own if self.threshold is None else self.threshold
        if self.seed_threshold is not None and self.seed_threshold < threshold:
            raise StagingError(
                f"The seed threshold {self.seed_threshold} is lower than the threshold "
                f"{threshold}: every deposit has a cell of that anyway. Raise it, or leave it out."
            )
        return threshold
