"""What one pixel of a pyramid level covers: its true downsample.

The ratio of two widths is not it. A writer that halves 4443 pixels drops the last column or
invents one, and a tiled writer may store each level padded to whole tiles. OpenSlide averages the
two ratios it sees: 2.0005 for a level of 2221 × 1783 under one of 4443 × 3567, although each of its
pixels is the mean of exactly 2 × 2 (registering the two levels of such an Aperio file shows a
shift below 0.03 px from corner to corner, where 2.0005 would give half a pixel). Over a whole slide
such an error moves what is drawn on a level by tens of pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LONGEST_SIDE_PX", "Level", "StoredLevel", "true_levels"]


LONGEST_SIDE_PX = 1 << 21
"""Pixels of a side: 10 cm at the finest plausible 0.05 µm/px, and a glass slide has 7.6 cm. What
claims more is damaged, or made to exhaust the memory."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a slide's pyramid.

    Attributes
    ----------
    width_px, height_px : int
        Size in pixels of this level, without padding.
    downsample_x, downsample_y : float
        Level-0 pixels that one pixel covers. Pixel ``i`` covers
        ``[i * downsample, (i + 1) * downsample)``.
    """

    width_px: int
    height_px: int
    downsample_x: float
    downsample_y: float


@dataclass(frozen=True, slots=True)
class StoredLevel:
    """A level as the file describes it.

    Attributes
    ----------
    width_px, height_px : int
        Stored size, perhaps padded.
    downsample : float
        What the reading library takes it for.
    tile_width_px, tile_height_px : int
        Size of the file's tiles; 0 when unknown or when there are none.
    stated_downsamples : tuple of float or None
        Level-0 pixels that one pixel covers along x and y, where the format itself states them;
        None where they have to be derived from the sizes.
    """

    width_px: int
    height_px: int
    downsample: float
    tile_width_px: int = 0
    tile_height_px: int = 0
    stated_downsamples: tuple[float, float] | None = None


def true_levels(stored: Sequence[StoredLevel]) -> tuple[Level, ...]:
    """Return the true downsamples of all levels, level 0 first.

    What a level states is taken as it is, and what of it lies beyond level 0 is cut off. Otherwise
    its downsample is derived, in this order, for both axes together, and coarser than the level
    before:

    1. the nearest power of two, if dividing by it and rounding (down, up or to the nearest)
       explains the stored size;
    2. the power of two that explains the stored size as padded to whole tiles; the padding is
       cut off;
    3. the nearest whole number, as in 1;
    4. the ratio of the sizes, each axis by itself.
    """
    base = stored[0]
    levels = [Level(base.width_px, base.height_px, 1.0, 1.0)]
    for level in stored[1:]:
        if level.stated_downsamples is not None:
            levels.append(_stated(base, level, *level.stated_downsamples))
            continue
        previous = levels[-1].downsample_x
        factor = (
            _rounded_power_of_two(base, level, previous)
            or _padded_power_of_two(base, level, previous)
            or _rounded_whole_number(base, level, previous)
        )
        if factor is None:
            levels.append(
                Level(
                    level.width_px,
                    level.height_px,
                    base.width_px / level.width_px,
                    base.height_px / level.height_px,
                )
            )
        else:
            levels.append(
                Level(
                    min(level.width_px, math.ceil(base.width_px / factor)),
                    min(level.height_px, math.ceil(base.height_px / factor)),
                    float(factor),
                    float(factor),
                )
            )
    return tuple(levels)


def _stated(base: StoredLevel, level: StoredLevel, x: float, y: float) -> Level:
    return Level(
        min(level.width_px, math.ceil(base.width_px / x)),
        min(level.height_px, math.ceil(base.height_px / y)),
        x,
        y,
    )


def _rounded_power_of_two(base: StoredLevel, level: StoredLevel, previous: float) -> int | None:
    factor = 1 << max(0, round(math.log2(level.downsample)))
    return factor if factor > previous and _explains(factor, base, level) else None


def _rounded_whole_number(base: StoredLevel, level: StoredLevel, previous: float) -> int | None:
    factor = round(level.downsample)
    return factor if factor > previous and _explains(factor, base, level) else None


def _explains(factor: int, base: StoredLevel, level: StoredLevel) -> bool:
    return all(
        length // factor <= stored <= math.ceil(length / factor)
        for length, stored in _axes(base, level)
    )


def _padded_power_of_two(base: StoredLevel, level: StoredLevel, previous: float) -> int | None:
    tiles = (level.tile_width_px, level.tile_height_px)
    if min(tiles) < 1:
        return None
    # Several powers explain a level of one tile; levels follow each other, so the first is meant.
    factor = 2 << math.floor(math.log2(previous))
    while factor <= max(base.width_px, base.height_px):
        if all(
            math.ceil(math.ceil(length / factor) / tile) * tile == stored
            for (length, stored), tile in zip(_axes(base, level), tiles, strict=True)
        ):
            return factor
        factor *= 2
    return None


def _axes(base: StoredLevel, level: StoredLevel) -> tuple[tuple[int, int], tuple[int, int]]:
    return (base.width_px, level.width_px), (base.height_px, level.height_px)
