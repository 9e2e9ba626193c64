"""How well plain statistics of a patch tell tumour from normal; a model has to beat them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.calibration import auc

__all__ = ["BASELINES", "auc", "auc_interval", "separation"]

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float64]

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# Spectra of haematoxylin and eosin (Ruifrok & Johnston, 2001), to estimate their ratio.
_HAEMATOXYLIN, _EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def auc_interval(
    scores: NDArray[np.floating],
    is_tumour: NDArray[np.bool_],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the central 95 % of the AUC over bootstrap samples drawn within each class."""
    rng = np.random.default_rng(seed)
    tumour, normal = scores[is_tumour], scores[~is_tumour]
    truth = np.repeat([True, False], [tumour.size, normal.size])
    drawn = [
        auc(
            np.concatenate([rng.choice(tumour, tumour.size), rng.choice(normal, normal.size)]),
            truth,
        )
        for _ in range(repeats)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def separation(scores: NDArray[np.floating], is_tumour: NDArray[np.bool_]) -> float:
    """Return the AUC of a score in whichever direction is better, at least 0.5."""
    area = auc(scores, is_tumour)
    return max(area, 1 - area)


def _mean_of(channel: int) -> Callable[[Pixels], Scores]:
    def mean(pixels: Pixels) -> Scores:
        return np.asarray(pixels[..., channel].mean(axis=(1, 2)), np.float64)

    return mean


def _red_minus_blue(pixels: Pixels) -> Scores:
    means = pixels.mean(axis=(1, 2))
    return np.asarray(means[:, 0] - means[:, 2], np.float64)


def _stain_ratio(pixels: Pixels) -> Scores:
    density = -np.log((pixels.astype(np.float64) + 1) / 256)
    unmixed = density.mean(axis=(1, 2)) @ np.linalg.pinv(np.stack([_HAEMATOXYLIN, _EOSIN]))
    return np.asarray(unmixed[:, 1] / np.maximum(unmixed[:, 0], 1e-3), np.float64)


def _grey(pixels: Pixels) -> NDArray[np.float64]:
    return np.asarray(pixels @ _GREY, np.float64)


def _grey_deviation(pixels: Pixels) -> Scores:
    return np.asarray(_grey(pixels).std(axis=(1, 2)), np.float64)


def _gradient_energy(pixels: Pixels) -> Scores:
    grey = _grey(pixels)
    across, down = ndimage.sobel(grey, axis=2), ndimage.sobel(grey, axis=1)
    return np.asarray((across**2 + down**2).mean(axis=(1, 2)), np.float64)


BASELINES: dict[str, Callable[[Pixels], Scores]] = {
    "mean red": _mean_of(0),
    "mean green": _mean_of(1),
    "mean blue": _mean_of(2),
    "red minus blue": _red_minus_blue,
    "eosin / haematoxylin": _stain_ratio,
    "grey standard deviation": _grey_deviation,
    "gradient energy": _gradient_energy,
}
"""Statistics by name; each maps uint8 (n, height, width, 3) to one number a patch."""
