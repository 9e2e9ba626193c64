"""Where a slide's image lies on its glass, for annotations that are measured from there."""

from napari_camelyon.errors import MissingMppError, SlideError
from napari_camelyon.geometry import GlassFrame
from napari_camelyon.slides.slide import Slide

__all__ = ["glass_frame"]


def glass_frame(slide: Slide) -> GlassFrame:
    """Return where the image of a Hamamatsu slide lies on its glass.

    From ``hamamatsu.XOffsetFromSlideCentre`` and ``…Y…``, nanometres
    (https://openslide.org/formats/hamamatsu/).

    Raises
    ------
    MissingMppError
        The size of a pixel is not known.
    SlideError
        The slide does not say where on its glass it lies, as those of other scanners.
    """
    try:
        x_nm, y_nm = (
            float(slide.properties[f"hamamatsu.{axis}OffsetFromSlideCentre"]) for axis in "XY"
        )
    except (KeyError, ValueError) as error:
        raise SlideError(
            f"{slide.path} does not say where on its glass the image lies, as Hamamatsu's slides "
            "do. Give the slide on which the annotations were drawn."
        ) from error
    if slide.mpp is None:
        raise MissingMppError(
            f"{slide.path} does not say how large its pixels are; give it with --mpp, or keep it "
            "with: napari-camelyon mpp SLIDE --set"
        )
    return GlassFrame((slide.width_px, slide.height_px), slide.mpp, (x_nm, y_nm))
