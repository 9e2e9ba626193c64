"""Where tissue is, which patches are worth predicting, and the grid they lie on."""

from napari_camelyon.tissue.filters import (
    PatchRules,
    PatchStatistics,
    is_tissue_patch,
    patch_statistics,
)
from napari_camelyon.tissue.mask import TissueMask, tissue_mask
from napari_camelyon.tissue.plan import PatchGrid, plan_patches, reference_spec

__all__ = [
    "PatchGrid",
    "PatchRules",
    "PatchStatistics",
    "TissueMask",
    "is_tissue_patch",
    "patch_statistics",
    "plan_patches",
    "reference_spec",
    "tissue_mask",
]
