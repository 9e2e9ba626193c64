"""A region of one colour, as a magic wand selects it on the screen."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["wand_region"]

_Mask = NDArray[np.bool_]
_WITH_DIAGONALS = np.ones((3, 3), bool)


def wand_region(
    pixels: NDArray[np.uint8],
    seed_row_col: tuple[int, int],
    tolerance: float,
    *,
    blur_px: float = 1.0,
    smallest_hole_px: int = 64,
    simplify_px: float = 0.75,
) -> Any:
    """Return the contiguous region around a pixel that has its colour.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        Red, green and blue (sRGB) as on the screen.
    seed_row_col : tuple of int
        The pixel that was clicked on.
    tolerance : float
        Greatest difference of colour: Euclidean distance in CIE L*a*b* (ΔE*ab of 1976; D65). About
        2.3 is just noticeable; haematoxylin and eosin are some 40 apart.
    blur_px : float
        Standard deviation of the Gaussian by which noise is first taken out; 0 takes the colours
        as they are.
    smallest_hole_px : int
        Enclosed specks of another colour with fewer pixels are filled.
    simplify_px : float
        The outline is simplified to this; 0 keeps every corner of every pixel. Three quarters make
        slanting stairs straight.

    Returns
    -------
    shapely.Polygon
        In pixels ``(x, y)`` of this array from its corner, pixel ``i`` covering ``[i, i + 1)``:
        `geometry.level_to_slide` turns it into slide points. Pixels that touch only at a corner
        are not contiguous. Empty if the seed lies outside.
    """
    height, width = pixels.shape[:2]
    row, column = seed_row_col
    if not (0 <= row < height and 0 <= column < width):
        return shapely.Polygon()
    from skimage.color import rgb2lab  # slow to import, and only this needs it

    colours = pixels[..., :3].astype(np.float32) / np.float32(255)
    if blur_px > 0:
        colours = ndimage.gaussian_filter(colours, (blur_px, blur_px, 0), mode="nearest")
    lab = rgb2lab(colours)
    alike = np.sqrt(((lab - lab[row, column]) ** 2).sum(axis=-1)) <= tolerance
    labels, _ = ndimage.label(alike)
    region = _mask_region(_filled(labels == labels[row, column], smallest_hole_px))
    return shapely.simplify(region, simplify_px) if simplify_px > 0 else region


def _filled(mask: _Mask, smallest_hole_px: int) -> _Mask:
    labels, count = ndimage.label(~mask, structure=_WITH_DIAGONALS)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    small = size < smallest_hole_px
    border = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    small[np.concatenate(border)] = False
    small[0] = False
    filled: _Mask = mask | small[labels]
    return filled


def _mask_region(mask: _Mask) -> Any:
    """Return the polygon that the pixels of a mask, contiguous without diagonals, cover."""
    rings = list(_rings(mask))
    # A ring keeps the mask on its left in (x, y) with y downwards: holes run the other way round.
    outer = [ring for ring in rings if _doubled_area(ring) > 0]
    holes = [ring for ring in rings if _doubled_area(ring) < 0]
    return shapely.Polygon(outer[0], holes)


def _rings(mask: _Mask) -> Iterator[NDArray[np.int64]]:
    """Follow the edges between pixels of the mask and others; yields corners as ``(x, y)``."""
    padded = np.pad(mask, 1)
    here = padded[1:-1, 1:-1]
    # Around a pixel: along its top to the right, right side down, bottom to the left, left side up.
    sides = [
        here & ~padded[:-2, 1:-1],
        here & ~padded[1:-1, 2:],
        here & ~padded[2:, 1:-1],
        here & ~padded[1:-1, :-2],
    ]
    first_corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
    found = [np.argwhere(side) + corner for side, corner in zip(sides, first_corners, strict=True)]
    stride = mask.shape[1] + 1
    starts = np.concatenate(found)
    heading = np.repeat([0, 1, 2, 3], list(map(len, found)))
    code = starts[:, 0] * stride + starts[:, 1]
    steps = np.array([1, stride, -1, -stride])
    follow: dict[int, list[int]] = {}
    for edge, corner in enumerate(code.tolist()):
        follow.setdefault(corner, []).append(edge)
    ends, headings = (code + steps[heading]).tolist(), heading.tolist()

    unused = np.ones(len(code), bool).tolist()
    for first in range(len(code)):
        if not unused[first]:
            continue
        corners, edge = [], first
        while unused[edge]:
            unused[edge] = False
            choices = follow[ends[edge]]
            # Where two pixels touch at a corner, the ring stays with what lies outside of it:
            # what the mask encloses there becomes a hole that touches the outer ring.
            wanted = (headings[edge] - 1) % 4
            following = choices[0]
            if len(choices) > 1 and headings[following] != wanted:
                following = choices[1]
            if headings[following] != headings[edge]:
                corners.append(ends[edge])
            edge = following
        rows, columns = np.divmod(np.array(corners), stride)
        yield np.stack([columns, rows], axis=1)


def _doubled_area(ring: NDArray[np.int64]) -> int:
    (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, axis=0).T
    return int((x * next_y - next_x * y).sum())
