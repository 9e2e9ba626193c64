"""Mean and spread of a slide's colours, as Reinhard compared them.

E. Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 21(5),
2001, 34–41. Its space lαβ (Ruderman et al., J. Opt. Soc. Am. A 15, 1998) is made of logarithms of
cone responses; lightness, yellow–blue and red–green are nearly independent in it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StainError

__all__ = [
    "LMS_TO_LAB",
    "MIN_RESPONSE",
    "REFERENCE_COLOUR",
    "RGB_TO_LMS",
    "ColourFit",
    "fit_reinhard",
    "to_lab",
]

RGB_TO_LMS = np.array(
    [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
)
"""From red, green, blue to cone responses (Reinhard et al. 2001, equation 4)."""

LMS_TO_LAB = np.diag([1 / np.sqrt(3), 1 / np.sqrt(6), 1 / np.sqrt(2)]) @ np.array(
    [[1, 1, 1], [1, 1, -2], [1, -1, 0]]
)
"""From logarithms of cone responses to lαβ (Reinhard et al. 2001, equation 6)."""

MIN_RESPONSE = 1.0
"""Cone responses are taken for at least this, in grey levels: black has no logarithm."""

MIN_PIXELS = 1000
"""As `macenko.MIN_PIXELS`."""

_MIN_DEVIATION = 0.003
"""Smaller spreads are those of one even colour, and would be blown up a tenfold and more."""


@dataclass(frozen=True, slots=True)
class ColourFit:
    """Mean and spread of a slide's colours.

    Attributes
    ----------
    means, deviations : tuple of float
        Of the pixels in lαβ, made with natural logarithms of grey levels 0–255.
    """

    means: tuple[float, float, float]
    deviations: tuple[float, float, float]


REFERENCE_COLOUR = ColourFit(
    means=(8.74108109, -0.12440419, 0.0444982),
    deviations=(0.6135447, 0.10989545, 0.0286032),
)
"""The colours that slides are brought to: tissue of TCGA-A2-A3XS-DX1, the colour standard of Amgad
et al. (Bioinformatics 35, 2019), as HistomicsTK's documentation gives it."""


def to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return pixels, shape (..., 3), in lαβ."""
    responses = pixels.astype(np.float64) @ RGB_TO_LMS.T
    return np.asarray(np.log(np.maximum(responses, MIN_RESPONSE)) @ LMS_TO_LAB.T)


def fit_reinhard(pixels: NDArray[np.uint8]) -> ColourFit:
    """Measure the colours of pixels of tissue.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (..., 3)
        RGB; tissue alone, for glass among them would count.

    Returns
    -------
    ColourFit

    Raises
    ------
    StainError
        There is too little tissue, or all of it is of one colour.
    """
    pixels = pixels.reshape(-1, 3)
    if len(pixels) < MIN_PIXELS:
        raise StainError(
            f"The colours cannot be measured: {len(pixels):,} pixels of tissue were seen, and "
            f"{MIN_PIXELS:,} are needed. Check the tissue mask, or go on without stain "
            "normalisation."
        )
    lab = to_lab(pixels)
    deviations = lab.std(axis=0)
    if deviations.min() < _MIN_DEVIATION:
        raise StainError(
            "The colours cannot be measured: the pixels are all of one colour. Go on without "
            "stain normalisation."
        )
    first, second, third = (float(value) for value in lab.mean(axis=0))
    a, b, c = (float(value) for value in deviations)
    return ColourFit((first, second, third), (a, b, c))
