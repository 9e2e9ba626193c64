"""Is this patch worth predicting? The reference pipeline's three checks, and a fourth.

The published reference pipeline keeps a patch (``is_tissue_patch``) when at least 40 % of it is
tissue, the variance of its gradient is at least 5.0 and its intensity variance at least 25.0, and
its saturation shows that it is no glass. It names no operators. Ours are written down here:

- grey is the ITU-R BT.601 luma in grey levels 0–255;
- the gradient is the Sobel magnitude in grey levels per pixel (kernels divided by 8);
- variances are population variances over the whole patch;
- saturation is the mean HSV saturation (0–1) of the tissue pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.tissue.mask import MIN_COLOUR_SPREAD

__all__ = ["PatchRules", "PatchStatistics", "is_tissue_patch", "patch_statistics"]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PatchRules:
    """Lower limits that a patch must reach to be predicted.

    Attributes
    ----------
    min_tissue_fraction : float
        Share of tissue pixels, 0–1 (reference pipeline: 40 %).
    min_gradient_variance : float
        Variance of the gradient magnitude, (grey levels per pixel)² (reference pipeline: 5.0);
        below it the patch is blurred.
    min_intensity_variance : float
        Variance of the grey levels (reference pipeline: 25.0); below it the patch is uniform.
    min_saturation : float
        Mean HSV saturation of the tissue pixels, 0–1; below it the patch is glass or an artefact.
    """

    min_tissue_fraction: float = 0.40
    min_gradient_variance: float = 5.0
    min_intensity_variance: float = 25.0
    min_saturation: float = 0.05


@dataclass(frozen=True, slots=True)
class PatchStatistics:
    """What `PatchRules` is held against; the units are those of its limits."""

    tissue_fraction: float
    gradient_variance: float
    intensity_variance: float
    saturation: float


def patch_statistics(patch: NDArray[np.uint8]) -> PatchStatistics:
    """Measure a patch.

    Parameters
    ----------
    patch : ndarray of uint8, shape (rows, columns, 3)
        RGB.

    Returns
    -------
    PatchStatistics
        All zero saturation where no pixel is tissue.
    """
    largest = patch.max(axis=2)
    spread = largest - patch.min(axis=2)
    tissue = spread > MIN_COLOUR_SPREAD
    grey = patch.astype(np.float32) @ _LUMA
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)) / 8
    saturation = spread[tissue] / largest[tissue].astype(np.float32)
    return PatchStatistics(
        tissue_fraction=float(tissue.mean()),
        gradient_variance=float(gradient.var()),
        intensity_variance=float(grey.var()),
        saturation=float(saturation.mean()) if saturation.size else 0.0,
    )


def is_tissue_patch(patch: NDArray[np.uint8], rules: PatchRules | None = None) -> bool:
    """Say whether a patch passes all of the rules.

    Parameters
    ----------
    patch : ndarray of uint8, shape (rows, columns, 3)
        RGB.
    rules : PatchRules, optional
        Default: the reference pipeline's limits.
    """
    rules = rules or PatchRules()
    measured = patch_statistics(patch)
    return (
        measured.tissue_fraction >= rules.min_tissue_fraction
        and measured.gradient_variance >= rules.min_gradient_variance
        and measured.intensity_variance >= rules.min_intensity_variance
        and measured.saturation >= rules.min_saturation
    )
