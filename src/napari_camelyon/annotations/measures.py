"""How large a region is, in the units of pathologists."""

from dataclasses import dataclass

import shapely

from napari_camelyon.annotations.meaning import area_mm2, greatest_diameter_um, perimeter_mm
from napari_camelyon.annotations.model import AREA_KINDS, Annotation
from napari_camelyon.annotations.regions import outline, region_of
from napari_camelyon.geometry import Mpp

__all__ = ["Measures", "measure"]


@dataclass(frozen=True, slots=True)
class Measures:
    """Sizes of an annotation.

    Attributes
    ----------
    area_mm2 : float
        Of its region without its holes; 0 for lines and marks.
    perimeter_mm : float
        Of its region, holes included; the length of a line.
    greatest_diameter_mm : float
        Greatest distance between two of its points.
    """

    area_mm2: float
    perimeter_mm: float
    greatest_diameter_mm: float


def measure(annotation: Annotation, mpp: Mpp) -> Measures:
    """Measure an annotation.

    Parameters
    ----------
    annotation : Annotation
        Outlines that cross themselves count as in `region_of`.
    mpp : tuple of float
        µm per level-0 pixel, which need not be square.
    """
    if annotation.kind in AREA_KINDS:
        drawn = region_of(annotation)
    else:
        points = outline(annotation)
        drawn = shapely.LineString(points) if len(points) > 1 else shapely.MultiPoint(points)
    return Measures(
        area_mm2(drawn, mpp), perimeter_mm(drawn, mpp), greatest_diameter_um(drawn, mpp) / 1000
    )
