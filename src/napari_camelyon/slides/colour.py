"""Colours as a screen expects them: through the scanner's colour profile to sRGB.

For looking only, and only when asked for: models are trained on pixels as they are stored, so
nothing that predicts or measures goes through here.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from napari_camelyon.slides.slide import Slide

__all__ = ["ColourTransform", "colour_transform", "to_srgb"]


@dataclass(frozen=True, slots=True)
class ColourTransform:
    """The way from a slide's colours to sRGB; plain values, so that it travels to a process.

    Attributes
    ----------
    profile : bytes
        The slide's ICC profile.
    name : str
        What the profile calls itself.
    """

    profile: bytes
    name: str


def colour_transform(slide: Slide) -> tuple[ColourTransform | None, str]:
    """Return the way from a slide's colours to sRGB.

    Returns
    -------
    transform : ColourTransform or None
        None when the slide has no profile or one that cannot be used.
    note : str
        The profile's name, or why there is none; reads as a part of a sentence.

    Raises
    ------
    SlideError
        The slide is gone or closed.
    """
    profile = slide.icc_profile
    if profile is None:
        return None, "the file holds no colour profile"
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))).strip()
        _lcms_transform(profile)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return None, f"the file's colour profile is damaged or not one for RGB ({error})"
    return ColourTransform(profile, name), f"the file's colour profile is {name or 'unnamed'}"


def to_srgb(pixels: NDArray[np.uint8], transform: ColourTransform) -> NDArray[np.uint8]:
    """Return pixels in sRGB; any thread may call it.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3)
        As they are stored.
    transform : ColourTransform

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
    """
    if pixels.size == 0:
        return pixels.copy()
    return np.array(_lcms_transform(transform.profile).apply(Image.fromarray(pixels)))


@lru_cache(maxsize=8)
def _lcms_transform(profile: bytes) -> ImageCms.ImageCmsTransform:
    """Build a transform, which takes longer than a tile through it."""
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    return ImageCms.ImageCmsTransform(
        opened,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        "RGB",
        "RGB",
        # What the profile itself says is right for it.
        ImageCms.Intent(ImageCms.getDefaultIntent(opened)),
        # LittleCMS wants it of a transform that several threads use at the same time.
        flags=ImageCms.Flags.NOCACHE,
    )
