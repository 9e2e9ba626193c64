"""Proof that tiles decoded directly are OpenSlide's pixels, once for every file.

A file is trusted to nobody: some of its places on every level are read both ways. The verdict is
kept under the file's fingerprint, for as long as the libraries that took part stay the same.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import FileWriteError, SlideError
from napari_camelyon.files import atomic_file, cache_folder
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.tiff_pixels import TiffPixels

__all__ = ["is_proven_equal", "largest_difference"]

_PLACES = 6
_SIDE_PX = 96
MIXING_TOLERANCE = 2
"""Grey levels that OpenSlide's own rounding costs where it places a region between pixels."""


def is_proven_equal(slow: OpenSlideBackend, fast: TiffPixels, fingerprint: str) -> bool:
    """Tell whether both give the same pixels; compares them unless the verdict is known.

    Never raises: what cannot be read both ways is not proven.
    """
    known = _verdict_file(fingerprint)
    verdict = _known_verdict(known)
    if verdict is None:
        try:
            verdict = largest_difference(slow, fast, seed=int(fingerprint[:8], 16)) == 0
        except SlideError:
            return False  # perhaps only unreachable now: nothing to remember
        _remember(known, verdict)
    return verdict


def largest_difference(slow: OpenSlideBackend, fast: TiffPixels, *, seed: int = 0) -> int:
    """Return by how many grey levels the two differ at some places of every level.

    Where OpenSlide takes a level's downsample for no whole number it mixes neighbouring pixels;
    there it is compared with the same mixture of the direct pixels, and `MIXING_TOLERANCE` grey
    levels count as none.

    Raises
    ------
    SlideError
        One of them cannot read a place.
    """
    rng = np.random.default_rng(seed)
    worst = 0
    for index, level in enumerate(slow.levels):
        width, height = min(_SIDE_PX, level.width_px), min(_SIDE_PX, level.height_px)
        right, bottom = level.width_px - width, level.height_px - height
        places = [(0, 0), (right, bottom)]
        # Where much is stored there is tissue: white would agree with anything.
        for column, row in fast.fullest_places(index, _PLACES):
            jitter_x, jitter_y = rng.integers(0, _SIDE_PX, 2)
            places.append((min(column + int(jitter_x), right), min(row + int(jitter_y), bottom)))
        for column, row in places:
            stored = slow.read_level(index, column, row, width, height).astype(np.float64)
            direct = fast.read_level(index, column, row, width, height).astype(np.float64)
            across = round(column * level.downsample) / level.downsample - column
            down = round(row * level.downsample) / level.downsample - row
            mixed = _shifted(_shifted(direct, down, 0), across, 1)
            # What a mixture at the border needs lies outside the window.
            rim = 1 if across or down else 0
            inside = np.s_[rim : height - rim, rim : width - rim]
            found = np.abs(stored[inside] - mixed[inside]).max(initial=0)
            if found > (MIXING_TOLERANCE if rim else 0):
                worst = max(worst, int(np.ceil(found)))
    return worst


def _shifted(pixels: NDArray[np.float64], by: float, axis: int) -> NDArray[np.float64]:
    """Return the mixture of neighbours at places `by` (-1 to 1) pixels farther along an axis."""
    neighbour = np.roll(pixels, -1 if by > 0 else 1, axis)
    return (1 - abs(by)) * pixels + abs(by) * neighbour


def _verdict_file(fingerprint: str) -> Path | None:
    libraries = " ".join(version(name) for name in ("openslide-python", "tifffile", "imagecodecs"))
    key = hashlib.sha256(f"{fingerprint} {libraries}".encode()).hexdigest()[:32]
    try:
        return cache_folder() / "direct-reading" / f"{key}.json"
    except FileWriteError:
        return None


def _known_verdict(path: Path | None) -> bool | None:
    if path is None:
        return None
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))["equal"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return verdict if isinstance(verdict, bool) else None


def _remember(path: Path | None, verdict: bool) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps({"equal": verdict}), encoding="utf-8")
    except (FileWriteError, OSError):
        return  # a cache that cannot be written only costs the comparison again
