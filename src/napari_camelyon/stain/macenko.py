"""The two stains of a slide, found as Macenko did.

M. Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009,
1107–1110. Light that passes a stain is weakened exponentially, so that optical densities of stains
add up: every pixel lies in the plane of haematoxylin and eosin, between the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StainError

__all__ = [
    "GLASS_LEVEL",
    "REFERENCE_STAIN",
    "StainFit",
    "StainVectors",
    "fit_macenko",
    "optical_density",
    "stain_distance_deg",
    "target_stain",
]

Vector = tuple[float, float, float]
StainVectors = tuple[Vector, Vector]
"""Haematoxylin and eosin, each an optical density in red, green and blue."""

GLASS_LEVEL = 240.0
"""Grey level of light that met no stain (the reference implementation's ``Io``)."""

MIN_DENSITY = 0.15
"""Macenko's β: a pixel with less optical density in any channel is no tissue."""

ANGLE_PERCENT = 1.0
"""Macenko's α: percentile, from either end, of the angles that are taken for a stain's."""

STRENGTH_PERCENT = 99.0
"""Percentile of the concentrations that is brought to the target's (reference implementation)."""

MIN_PIXELS = 1000
"""Fewer pixels do not make a percentile of 1 %: ten of them would decide."""

MIN_ANGLE_DEG = 5.0
"""Between the two stains. On tissue we met 13–40°; an even colour with noise has less than 5°."""

_MOST_NEGATIVE = -0.1
"""A stain absorbs light; noise and a bent plane may take a component this far below zero."""


@dataclass(frozen=True, slots=True)
class StainFit:
    """The two stains of a slide.

    Attributes
    ----------
    haematoxylin, eosin : tuple of float
        Unit vectors of optical density in red, green and blue.
    strengths : tuple of float
        99th percentile of either concentration, as base-e optical density along the vector.
    """

    haematoxylin: Vector
    eosin: Vector
    strengths: tuple[float, float]

    @property
    def vectors(self) -> StainVectors:
        """Haematoxylin and eosin."""
        return self.haematoxylin, self.eosin


REFERENCE_STAIN = StainFit(
    haematoxylin=(0.5626, 0.7201, 0.4062),
    eosin=(0.2159, 0.8012, 0.5581),
    strengths=(1.9705, 1.0308),
)
"""What slides are brought to: ``HERef`` and ``maxCRef`` of the first published code, kept by every
port of it."""


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return −ln((I + 1) / 240) of every value; a black pixel has 5.48, white glass about 0."""
    table = -np.log((np.arange(256, dtype=np.float64) + 1) / GLASS_LEVEL)
    return np.asarray(table.astype(np.float32)[pixels])


def fit_macenko(pixels: NDArray[np.uint8]) -> StainFit:
    """Find the two stains in pixels of tissue.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (..., 3)
        RGB. Glass among them is passed over; pen is not.

    Returns
    -------
    StainFit

    Raises
    ------
    StainError
        There is too little tissue, or its pixels do not show two stains.
    """
    density = optical_density(pixels.reshape(-1, 3))
    stained = density[(density >= MIN_DENSITY).all(axis=1)].astype(np.float64)
    if len(stained) < MIN_PIXELS:
        raise StainError(
            f"The stain cannot be found: {len(stained):,} stained pixels were seen, and "
            f"{MIN_PIXELS:,} are needed. Check the tissue mask, or go on without stain "
            "normalisation."
        )
    vectors = _extreme_vectors(stained)
    angle_deg = _angle_deg(*vectors)
    if angle_deg < MIN_ANGLE_DEG:
        raise StainError(
            "The stain cannot be found: the pixels are all of one colour (what would be "
            f"haematoxylin and eosin lie {angle_deg:.1f}° apart; {MIN_ANGLE_DEG:g}° are needed). "
            "Go on without stain normalisation."
        )
    if vectors.min() < _MOST_NEGATIVE:
        raise StainError(
            "The stain cannot be found: what the pixels show is brighter than glass in one colour, "
            "which no stain is. Leave pen marks out of the tissue mask, or go on without stain "
            "normalisation."
        )
    # The vector that takes more red light is haematoxylin.
    haematoxylin, eosin = sorted(vectors, key=lambda vector: -float(vector[0]))
    concentrations = np.linalg.pinv(np.stack([haematoxylin, eosin], axis=1)) @ density.T
    first, second = np.percentile(concentrations, STRENGTH_PERCENT, axis=1)
    if min(first, second) < MIN_DENSITY:
        raise StainError(
            "The stain cannot be found: one of the two stains is hardly there (strengths "
            f"{first:.2f} and {second:.2f}; {MIN_DENSITY:g} are needed). Go on without stain "
            "normalisation."
        )
    return StainFit(_vector(haematoxylin), _vector(eosin), (float(first), float(second)))


def stain_distance_deg(fit: StainFit, known: Sequence[Sequence[float]]) -> float:
    """Return how far a slide's stains are from known ones.

    Parameters
    ----------
    fit : StainFit
        Of the slide.
    known : two vectors
        Haematoxylin and eosin as optical densities, of any length.

    Returns
    -------
    float
        The larger of the two angles between the haematoxylins and between the eosins, in degrees.

    Raises
    ------
    StainError
        They are not two vectors of three numbers.
    """
    haematoxylin, eosin = target_stain(known).vectors
    return max(_angle_deg(fit.haematoxylin, haematoxylin), _angle_deg(fit.eosin, eosin))


def target_stain(known: Sequence[Sequence[float]] | None) -> StainFit:
    """Return the stain to which slides are brought for a model.

    Parameters
    ----------
    known : two vectors or None
        Haematoxylin and eosin that the model knew, as optical densities of any length; None: the
        published reference.

    Returns
    -------
    StainFit
        With the strengths of the published reference.

    Raises
    ------
    StainError
        They are not two vectors of three numbers, or point the same way.
    """
    if known is None:
        return REFERENCE_STAIN
    vectors = np.asarray(known, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1) if vectors.shape == (2, 3) else np.zeros(2)
    if not np.isfinite(vectors).all() or lengths.min() < 1e-6 or _angle_deg(*vectors) < 1:
        raise StainError(
            f"A model's stain is two different vectors of optical density in red, green and blue, "
            f"for haematoxylin and eosin; {known!r} is not. Correct the model's specification."
        )
    haematoxylin, eosin = vectors / lengths[:, None]
    return StainFit(_vector(haematoxylin), _vector(eosin), REFERENCE_STAIN.strengths)


def _extreme_vectors(stained: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two unit vectors between which the pixels lie, shape (2, 3)."""
    _, directions = np.linalg.eigh(np.cov(stained.T))
    plane = directions[:, :0:-1]  # of the two largest eigenvalues
    flat = stained @ plane
    # Eigenvectors have no sign of their own. Measured from the middle of the pixels, no angle
    # jumps from 180° to −180°, whichever sign they came with.
    middle = flat.mean(axis=0)
    middle /= np.linalg.norm(middle)
    along, across = flat @ middle, flat @ np.array([-middle[1], middle[0]])
    ends = np.percentile(np.arctan2(across, along), [ANGLE_PERCENT, 100 - ANGLE_PERCENT])
    turned = np.stack([np.cos(ends), np.sin(ends)], axis=1)
    return np.asarray(turned @ np.array([middle, [-middle[1], middle[0]]]) @ plane.T)


def _angle_deg(one: Sequence[float], other: Sequence[float]) -> float:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    # Exact for small angles too, where the arc cosine is not.
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def _vector(values: NDArray[np.float64]) -> Vector:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
