"""Where tissue is, what spoils it, which patches are worth predicting, and their grid."""

from napari_camelyon.tissue.choice import (
    GROUPS,
    OFF,
    TISSUE,
    TissueChoice,
    TissueOutlines,
    choice_of,
    describe_choice,
    find_tissue,
    outlines_of_masks,
    switch_piece,
)
from napari_camelyon.tissue.filters import (
    PatchRules,
    PatchStatistics,
    is_tissue_patch,
    patch_statistics,
)
from napari_camelyon.tissue.kept import (
    KeptTissue,
    find_kept_tissue,
    forget_tissue,
    keep_tissue,
    tissue_choice,
)
from napari_camelyon.tissue.mask import TissueMask, tissue_mask
from napari_camelyon.tissue.outlines import mask_polygons, rasterise
from napari_camelyon.tissue.pieces import Pieces, TissuePiece, find_pieces
from napari_camelyon.tissue.plan import SPOILT_SHARE, PatchGrid, plan_patches, reference_spec
from napari_camelyon.tissue.quality import SPOILT_KINDS, Quality, SpoiltArea, find_quality
from napari_camelyon.tissue.slide_stain import fit_slide_stain, sample_tissue

__all__ = [
    "GROUPS",
    "OFF",
    "SPOILT_KINDS",
    "SPOILT_SHARE",
    "TISSUE",
    "KeptTissue",
    "PatchGrid",
    "PatchRules",
    "PatchStatistics",
    "Pieces",
    "Quality",
    "SpoiltArea",
    "TissueChoice",
    "TissueMask",
    "TissueOutlines",
    "TissuePiece",
    "choice_of",
    "describe_choice",
    "find_kept_tissue",
    "find_pieces",
    "find_quality",
    "find_tissue",
    "fit_slide_stain",
    "forget_tissue",
    "is_tissue_patch",
    "keep_tissue",
    "mask_polygons",
    "outlines_of_masks",
    "patch_statistics",
    "plan_patches",
    "rasterise",
    "reference_spec",
    "sample_tissue",
    "switch_piece",
    "tissue_choice",
    "tissue_mask",
]
