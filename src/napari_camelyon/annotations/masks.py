"""Masks: which pixels of a slide lie inside which outlines, as a TIFF that slide programs read."""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.annotations.meaning import GroupProfile, choose_profile, tumour_region
from napari_camelyon.annotations.model import AREA_KINDS, AnnotationSet
from napari_camelyon.annotations.raster import Edges, edges_of, strip_tiles
from napari_camelyon.annotations.regions import merge, region_of
from napari_camelyon.errors import AnnotationError
from napari_camelyon.files import atomic_file
from napari_camelyon.geometry import Mpp, slide_to_level

__all__ = ["MASK_EXTENSIONS", "write_mask"]

MASK_EXTENSIONS = frozenset({".tif", ".tiff"})

_TILE_PX = 512  # that of CAMELYON's own masks and slides
_COARSEST_PX = 1024  # levels are added until the longer side is no more than this
_TUMOUR = "tumour"

Values = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Level:
    factor: float
    width_px: int
    height_px: int

    @property
    def tiles(self) -> int:
        return math.ceil(self.width_px / _TILE_PX) * math.ceil(self.height_px / _TILE_PX)


def write_mask(
    annotation_set: AnnotationSet,
    path: str | os.PathLike[str],
    size_px: tuple[int, int],
    *,
    mpp: Mpp | None,
    downsample: float = 1,
    values: Mapping[str, int] | None = None,
    profile: GroupProfile | None = None,
    splines_as_drawn: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a mask of a slide as a tiled, compressed, pyramidal TIFF of uint8 values.

    A pixel belongs to a region when its centre lies inside. Every level is made from the outlines
    themselves: its pixels stand for their centres too, so nothing is averaged. Only some tiles are
    in memory at a time, whatever the size of the slide.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Outlines that cross themselves count as in `ring_region`.
    path : path-like
        Ends in ``.tif`` or ``.tiff``; in ``.ome.tif`` or ``.ome.tiff`` for an OME-TIFF.
    size_px : tuple of int
        Width and height of the slide at level 0.
    mpp : tuple of float or None
        Micrometres per level-0 pixel ``(x, y)``, from which the file's pixel size follows; None
        leaves it out.
    downsample : float
        Level-0 pixels per pixel of the mask, at least 1. The mask covers the whole slide, so its
        size is rounded up.
    values : mapping of str to int, optional
        Value (1 to 255) of each group that is wanted, painted as its outlines are drawn, later
        ones over earlier ones. By default tumour is 1, without what is cut out of it
        (`tumour_region`). 0 is the rest.
    profile : GroupProfile, optional
        What the groups mean; by default `choose_profile` decides.
    splines_as_drawn : bool
        As in `region_of`; False reproduces the official masks.
    progress : callable, optional
        Called with ``(tiles done, tiles in all)``. What it raises stops the writing, and no file
        is left.

    Raises
    ------
    AnnotationError
        The extension is another one; a group that `values` names is not used; no group is known
        as tumour.
    FileWriteError
        The file cannot be written; what stood there before is untouched.
    ValueError
        The size, the downsample, the pixel size or a value makes no sense.
    """
    path = Path(path)
    if path.suffix.lower() not in MASK_EXTENSIONS:
        raise AnnotationError(
            f'{path} has the extension "{path.suffix}": give a mask a name in .tif or .ome.tif.'
        )
    levels = _plan_levels(size_px, downsample)
    if mpp is not None and not all(0.001 <= value <= 1000 for value in mpp):
        raise ValueError(f"The pixel size {mpp} µm/px is not between 0.001 and 1000.")
    regions = _regions(annotation_set, values, profile, splines_as_drawn)
    meaning = {_TUMOUR: 1} if values is None else dict(values)
    tell = _Counter(sum(level.tiles for level in levels), progress)
    with atomic_file(path) as temporary:
        is_ome = path.stem.lower().endswith(".ome")
        _write(temporary, levels, regions, meaning, mpp, is_ome=is_ome, tell=tell)


class _Counter:
    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _plan_levels(size_px: tuple[int, int], downsample: float) -> list[_Level]:
    if min(size_px) < 1:
        raise ValueError(f"A slide needs at least one pixel, not {size_px[0]} × {size_px[1]}.")
    if not 1 <= downsample <= 4096:
        raise ValueError(f"A downsample of {downsample} is not between 1 and 4096.")
    levels = [_level(size_px, downsample)]
    while max(levels[-1].width_px, levels[-1].height_px) > _COARSEST_PX:
        levels.append(_level(size_px, levels[-1].factor * 2))
    return levels


def _level(size_px: tuple[int, int], factor: float) -> _Level:
    return _Level(factor, math.ceil(size_px[0] / factor), math.ceil(size_px[1] / factor))


def _regions(
    annotation_set: AnnotationSet,
    values: Mapping[str, int] | None,
    profile: GroupProfile | None,
    splines_as_drawn: bool,
) -> list[tuple[int, Any]]:
    outlined = [a for a in annotation_set if a.kind in AREA_KINDS]
    if values is None:
        choice = choose_profile(annotation_set)
        if profile is None and outlined and not choice.profile.tumour:
            raise AnnotationError(choice.reason)
        chosen = choice.profile if profile is None else profile
        region = tumour_region(annotation_set, chosen, splines_as_drawn=splines_as_drawn)
        return [(1, region)]
    regions = []
    for name, value in values.items():
        if not 1 <= value <= 255:
            raise ValueError(f"The value {value} of {name} is not between 1 and 255.")
        members = [a for a in outlined if a.group == name]
        if not members:
            used = ", ".join(sorted({a.group for a in outlined if a.group})) or "none"
            raise AnnotationError(f'No outline is in the group "{name}"; groups with any: {used}.')
        drawn = [region_of(a, splines_as_drawn=splines_as_drawn) for a in members]
        regions.append((value, merge(drawn)))
    return regions


def _write(
    path: Path,
    levels: Sequence[_Level],
    regions: Sequence[tuple[int, Any]],
    meaning: Mapping[str, int],
    mpp: Mpp | None,
    *,
    is_ome: bool,
    tell: Callable[[], None],
) -> None:
    from tifffile import TiffWriter

    said = json.dumps({"values": meaning, "downsample": levels[0].factor}, ensure_ascii=True)
    with TiffWriter(path, bigtiff=True, ome=is_ome) as writer:
        for number, level in enumerate(levels):
            size_um = None if mpp is None else (mpp[0] * level.factor, mpp[1] * level.factor)
            first = number == 0
            options: dict[str, Any] = {"metadata": None}
            if is_ome:
                options = {"subfiletype": 1} if number else {"subifds": len(levels) - 1}
                options["metadata"] = _ome_metadata(said, size_um) if first else None
            elif first:
                options["description"] = said
            else:
                options["subfiletype"] = 1
            if size_um is not None:
                options["resolution"] = (1e4 / size_um[0], 1e4 / size_um[1])
                options["resolutionunit"] = "CENTIMETER"
            writer.write(
                _encoded_tiles(level, regions, tell),
                shape=(level.height_px, level.width_px),
                dtype=np.uint8,
                tile=(_TILE_PX, _TILE_PX),
                photometric="minisblack",
                compression="adobe_deflate",
                software="napari-camelyon",
                **options,
            )


def _ome_metadata(said: str, size_um: tuple[float, float] | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "YX", "Description": said}
    if size_um is not None:
        metadata |= {"PhysicalSizeX": size_um[0], "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": size_um[1], "PhysicalSizeYUnit": "µm"}
    return metadata


def _encoded_tiles(
    level: _Level, regions: Sequence[tuple[int, Any]], tell: Callable[[], None]
) -> Iterator[bytes]:
    plain: dict[int, bytes] = {}
    for tile in _tiles(level, regions):
        tell()
        if isinstance(tile, int):
            if tile not in plain:
                plain[tile] = zlib.compress(bytes([tile]) * (_TILE_PX * _TILE_PX))
            yield plain[tile]
        else:
            full = np.zeros((_TILE_PX, _TILE_PX), np.uint8)
            full[: tile.shape[0], : tile.shape[1]] = tile
            yield zlib.compress(full.tobytes())


def _tiles(level: _Level, regions: Sequence[tuple[int, Any]]) -> Iterator[Values | int]:
    """Yield the tiles of a level in the order of the file; a number where all pixels have it."""
    by_value: list[tuple[int, Edges]] = [
        (
            value,
            edges_of(shapely.transform(region, lambda p: slide_to_level(p, (level.factor,) * 2))),
        )
        for value, region in regions
    ]
    for first_row in range(0, level.height_px, _TILE_PX):
        rows = min(_TILE_PX, level.height_px - first_row)
        strips = [
            strip_tiles(edges, first_row, rows, level.width_px, _TILE_PX) for _, edges in by_value
        ]
        for start, *insides in zip(range(0, level.width_px, _TILE_PX), *strips, strict=True):
            yield _painted(
                [(value, inside) for (value, _), inside in zip(by_value, insides, strict=True)],
                (rows, min(_TILE_PX, level.width_px - start)),
            )


def _painted(
    layers: Sequence[tuple[int, NDArray[np.bool_] | bool]], shape: tuple[int, int]
) -> Values | int:
    plain = 0
    tile: Values | None = None
    for value, inside in layers:
        if isinstance(inside, bool):
            if inside:
                plain, tile = value, None
            continue
        if tile is None:
            tile = np.full(shape, plain, np.uint8)
        tile[inside] = value
    return plain if tile is None else tile
