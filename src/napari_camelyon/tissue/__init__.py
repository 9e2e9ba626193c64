"""Where tissue is, which patches are worth predicting, and the grid they lie on."""

from napari_camelyon.tissue.filters import (
    PatchRules,
    PatchStatistics,
    is_tissue_patch,
    patch_statistics,
)
from napari_camelyon.tissue.mask import TissueMask, tissue_mask
from napari_camelyon.tissue.plan import PatchGrid, plan_patches, reference_spec
from napari_camelyon.tissue.slide_stain import fit_slide_stain, sample_tissue

__all__ = [
    "PatchGrid",
    "PatchRules",
    "PatchStatistics",
    "TissueMask",
    "fit_slide_stain",
    "is_tissue_patch",
    "patch_statistics",
    "plan_patches",
    "reference_spec",
    "sample_tissue",
    "tissue_mask",
]
