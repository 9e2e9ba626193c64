"""The colour profile that a TIFF carries."""

from pathlib import Path

import tifffile

__all__ = ["icc_profile_in_tiff"]

_ICC_PROFILE_TAG = 34675  # "InterColorProfile", ICC.1:2022 annex B.5


def icc_profile_in_tiff(path: Path) -> bytes | None:
    """Return the profile of a TIFF's first page; None without one, or where it is no TIFF."""
    try:
        with tifffile.TiffFile(path) as tif:
            tag = tif.pages.first.tags.get(_ICC_PROFILE_TAG)
            return None if tag is None else bytes(tag.value)
    except (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, TypeError):
        return None
