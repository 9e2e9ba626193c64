"""What is there to be detected on a slide: the tumours of CAMELYON16's evaluation mask."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, regionprops

from napari_camelyon.annotations import AnnotationSet
from napari_camelyon.annotations.meaning import tumour_region
from napari_camelyon.annotations.raster import edges_of, strip_tiles
from napari_camelyon.errors import EvaluationError
from napari_camelyon.geometry import slide_to_level

__all__ = [
    "EVALUATION_LEVEL",
    "ITC_BELOW_UM",
    "JOINED_BELOW_UM",
    "RESOLUTION_UM",
    "SlideTruth",
    "mask_of_annotations",
    "truth_of_mask",
]

EVALUATION_LEVEL = 5
"""Level of the evaluation mask: 2 to the power of it is its downsample."""

RESOLUTION_UM = 0.243
"""µm per level-0 pixel, which the official script takes for every slide."""

JOINED_BELOW_UM = 75.0
"""Tumours nearer to each other than this, about five tumour cells, are one."""

ITC_BELOW_UM = 275.0
"""A tumour whose major axis is shorter is isolated tumour cells: 200 µm, grown by 75."""


@dataclass(frozen=True, slots=True, eq=False)
class SlideTruth:
    """The tumours of a slide.

    Attributes
    ----------
    slide : str
    labels : ndarray of int32, shape (rows, columns), or None
        Number of the tumour in each pixel of the evaluation mask, from 1; None: a normal slide.
    itc : frozenset of int
        Numbers of those that are isolated tumour cells.
    centres_px : mapping of int to (x, y)
        Of each tumour, in level-0 pixels.
    downsample : int
        Level-0 pixels in a pixel of the mask.
    """

    slide: str
    labels: NDArray[np.int32] | None
    itc: frozenset[int] = frozenset()
    centres_px: dict[int, tuple[float, float]] | None = None
    downsample: int = 2**EVALUATION_LEVEL

    @property
    def tumours(self) -> int:
        """Number of tumours, isolated tumour cells included."""
        return 0 if self.labels is None else int(self.labels.max(initial=0))

    @property
    def counted(self) -> int:
        """Number of tumours that count: those that are no isolated tumour cells."""
        return self.tumours - len(self.itc)


def mask_of_annotations(
    annotation_set: AnnotationSet,
    size_px: tuple[int, int],
    *,
    level: int = EVALUATION_LEVEL,
) -> NDArray[np.bool_]:
    """Return which pixels of a level have their centre in outlined tumour.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Tumour without what is cut out of it, splines as straight lines, as in the official masks.
    size_px : tuple of int
        Width and height of the slide at level 0.
    level : int
        Its downsample is 2 to the power of it.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        Rounded up to cover the slide.
    """
    downsample = 2**level
    columns, rows = (-(-side // downsample) for side in size_px)
    region = tumour_region(annotation_set, splines_as_drawn=False)
    to_level = partial(slide_to_level, downsample_xy=(downsample, downsample))
    edges = edges_of(shapely.transform(region, to_level))
    (strip,) = strip_tiles(edges, 0, rows, columns, columns)
    return np.broadcast_to(np.asarray(strip, dtype=np.bool_), (rows, columns)).copy()


def truth_of_mask(
    slide: str,
    tumour: NDArray[np.bool_],
    *,
    resolution_um: float = RESOLUTION_UM,
    level: int = EVALUATION_LEVEL,
) -> SlideTruth:
    """Return the tumours of a mask as CAMELYON16's official script finds them.

    What is nearer to tumour than 37.5 µm becomes tumour, holes are filled, and pixels that touch,
    corners included, are one tumour; it is isolated tumour cells when its major axis (of the
    ellipse with the same second moments) is shorter than 275 µm.

    Parameters
    ----------
    slide : str
    tumour : ndarray of bool, shape (rows, columns)
        At the level of the evaluation.
    resolution_um : float
        µm per level-0 pixel.
    level : int
        Its downsample is 2 to the power of it.

    Raises
    ------
    EvaluationError
        The mask is empty although the slide is said to hold tumour, or has another shape.
    """
    if tumour.ndim != 2:
        raise EvaluationError(f"The mask of {slide} has {tumour.ndim} dimensions instead of 2.")
    if not tumour.any():
        raise EvaluationError(
            f"The mask of {slide} holds no tumour. Leave the mask of a normal slide away."
        )
    pixel_um = resolution_um * 2**level
    distance = ndimage.distance_transform_edt(~tumour)
    grown = distance < JOINED_BELOW_UM / (pixel_um * 2)
    filled = ndimage.binary_fill_holes(grown)
    labels = np.asarray(label(filled, connectivity=2), dtype=np.int32)  # type: ignore[no-untyped-call]
    regions = regionprops(labels)  # type: ignore[no-untyped-call]
    itc = {
        int(region.label)
        for region in regions
        if region.axis_major_length < ITC_BELOW_UM / pixel_um
    }
    scale = 2**level
    centres = {
        int(region.label): (
            (math.floor(region.centroid[1]) + 0.5) * scale,
            (math.floor(region.centroid[0]) + 0.5) * scale,
        )
        for region in regions
    }
    return SlideTruth(slide, labels, frozenset(itc), centres, scale)
