"""Stain and scanner: from pigment densities to the colours of one laboratory.

Absorbed light follows Beer and Lambert: a pixel's optical density is the sum of the pigments'
densities times their spectra (Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["CENTRES", "Centre", "draw_centre", "scan"]


@dataclass(frozen=True, slots=True)
class Centre:
    """A laboratory and its scanner.

    Attributes
    ----------
    haematoxylin, eosin : tuple of float
        Spectra: optical density (base e) in red, green and blue at concentration 1.
    red_cell : tuple of float
        The same for haemoglobin.
    gains : (float, float)
        How strongly haematoxylin and eosin stain here.
    white : tuple of float
        Empty glass, RGB in 0–1.
    gamma : float
        Tone curve of the scanner.
    blur_um : float
        Optical blur (standard deviation).
    sharpen : float
        Strength of the scanner's unsharp mask.
    grain : float
        Standard deviation of the sensor's noise, in grey levels.
    quality : int
        JPEG quality of the stored tiles.
    """

    haematoxylin: tuple[float, float, float] = (0.62, 0.70, 0.34)
    eosin: tuple[float, float, float] = (0.14, 0.86, 0.42)
    red_cell: tuple[float, float, float] = (0.06, 0.75, 0.75)
    gains: tuple[float, float] = (1.0, 1.0)
    white: tuple[float, float, float] = (0.982, 0.98, 0.984)
    gamma: float = 1.0
    blur_um: float = 0.22
    sharpen: float = 0.4
    grain: float = 1.6
    quality: int = 85


CENTRES: tuple[Centre, ...] = (
    Centre(),
    Centre(  # violet: much haematoxylin, blue tint, crisp
        haematoxylin=(0.70, 0.72, 0.28),
        eosin=(0.16, 0.90, 0.34),
        gains=(1.0, 1.0),
        white=(0.974, 0.974, 0.986),
        sharpen=0.55,
        grain=1.2,
    ),
    Centre(  # pink: strong eosin, warm glass, softer optics
        haematoxylin=(0.60, 0.72, 0.42),
        eosin=(0.10, 0.80, 0.50),
        gains=(0.95, 1.25),
        white=(0.984, 0.976, 0.972),
        gamma=1.05,
        blur_um=0.32,
        sharpen=0.2,
        grain=2.0,
    ),
    Centre(  # pale: thin section
        haematoxylin=(0.58, 0.68, 0.36),
        eosin=(0.13, 0.82, 0.44),
        gains=(0.74, 0.72),
        white=(0.98, 0.982, 0.982),
        gamma=1.1,
        sharpen=0.5,
        grain=1.4,
    ),
    Centre(  # purple-brown: aged stain
        haematoxylin=(0.60, 0.76, 0.50),
        eosin=(0.18, 0.84, 0.52),
        gains=(0.92, 0.95),
        white=(0.972, 0.97, 0.968),
        gamma=1.0,
        blur_um=0.26,
        sharpen=0.65,
        grain=2.4,
    ),
)
"""Five laboratories for the generator's own slides; none copies a real one."""


def draw_centre(rng: np.random.Generator) -> Centre:
    """Draw a laboratory, wide enough that colour tells a model little.

    The spread (± 0.08 on each entry of the spectra, gains 0.7–1.6 and 0.45–1.2, blur, JPEG
    35–95) is the one that carried over from generated to real patches in earlier trials.
    """

    def around(spectrum: tuple[float, float, float]) -> tuple[float, float, float]:
        r, g, b = (float(np.clip(v + rng.normal(0, 0.08), 0.02, 1.1)) for v in spectrum)
        return r, g, b

    white = rng.uniform(0.86, 0.99) + rng.normal(0, 0.012, 3)
    r, g, b = (float(v) for v in np.clip(white, 0.8, 1.0))
    return Centre(
        haematoxylin=around((0.62, 0.70, 0.34) if rng.uniform() < 0.6 else (0.70, 0.70, 0.28)),
        eosin=around((0.14, 0.86, 0.42)),
        red_cell=around((0.06, 0.75, 0.75)),
        gains=(
            float(np.exp(rng.uniform(np.log(0.6), np.log(1.5)))),
            float(np.exp(rng.uniform(np.log(0.45), np.log(1.7)))),
        ),
        white=(r, g, b),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        blur_um=float(rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.4, 1.0)], p=[0.8, 0.2])),
        sharpen=float(rng.uniform(0, 1.3)),
        grain=float(rng.uniform(0.5, 4.0)),
        quality=int(rng.integers(35, 96)),
    )


def scan(
    pigments: NDArray[np.float32], centre: Centre, mpp: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn pigment densities (height, width, 3) into the colours a scanner stores, uint8 RGB."""
    spectra = np.array([centre.haematoxylin, centre.eosin, centre.red_cell], np.float32)
    spectra[0] *= centre.gains[0]
    spectra[1] *= centre.gains[1]
    spectra *= np.float32(-1 / centre.gamma)
    light = np.exp(pigments @ spectra)
    light *= np.array(centre.white, np.float32) * np.float32(255)
    sigma = centre.blur_um / mpp
    if sigma > 0.15:
        light = ndimage.gaussian_filter(light, (sigma, sigma, 0), truncate=3)
    if centre.sharpen > 0:
        soft = ndimage.gaussian_filter(light, (1.1, 1.1, 0), truncate=2.5)
        light += np.float32(centre.sharpen) * (light - soft)
    light += np.float32(centre.grain) * rng.standard_normal(light.shape, dtype=np.float32)
    return np.asarray(np.clip(light + np.float32(0.5), 0, 255), np.uint8)
