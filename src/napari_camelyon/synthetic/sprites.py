"""Small pictures of single cells, drawn once and stamped many times.

A sprite holds densities of three pigments (haematoxylin, eosin, haemoglobin of red cells) already
multiplied by its coverage, and what it leaves clear; stamping is ``under × clear + densities``.
Bodies are stamped before nuclei, so that no cell cuts off its neighbour's nucleus.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.synthetic.cells import RED_CELL_UM, CellType

__all__ = ["Layer", "Sprite", "SpriteBank", "draw_bank", "draw_cell"]

Plane = NDArray[np.float32]

ANGLES = 16
"""Directions (over half a turn) in which cells that follow fibres are drawn."""

FOLLOWING_FIBRES = ("fibroblast", "plump", "endothelium")

_GAP_UM = 0.9  # width of the gap that shrinkage leaves
_NOISE_SIDE = 256  # fine pixels: wider than almost any cell
_FINE_UM = 0.16  # chromatin is drawn this fine, then averaged to the slide's pixels


@dataclass(frozen=True, slots=True)
class Layer:
    """Something to stamp.

    Attributes
    ----------
    densities : ndarray of float32, shape (side, side, 3)
        Times coverage.
    clear : ndarray of float32, shape (side, side, 3)
        1 - coverage, repeated for each pigment: that makes stamping three times faster.
    """

    densities: Plane
    clear: Plane


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cell's picture: its body and, if it has one, its nucleus."""

    body: Layer
    nucleus: Layer | None


@dataclass(frozen=True, slots=True)
class SpriteBank:
    """Sprites of every type at one pixel size; types that follow fibres are sorted by direction."""

    mpp: float
    sprites: Mapping[str, tuple[Sprite, ...]]

    def pick(self, name: str, chance: float, angle: float) -> Sprite:
        """Return a sprite of a type; `chance` in [0, 1) chooses, `angle` (radians) directs."""
        choices = self.sprites[name]
        if name not in FOLLOWING_FIBRES:
            return choices[int(chance * len(choices))]
        direction = round(angle / np.pi * ANGLES) % ANGLES
        copies = len(choices) // ANGLES
        return choices[direction * copies + int(chance * copies)]


def draw_bank(
    types: Mapping[str, CellType], mpp: float, rng: np.random.Generator, copies: int = 48
) -> SpriteBank:
    """Draw the sprites of every type: `copies` of each, or as many over all directions."""
    sprites = {}
    for name, cell in types.items():
        if name in FOLLOWING_FIBRES:
            turns = np.repeat(np.arange(ANGLES), max(1, copies // ANGLES)) * np.pi / ANGLES
        else:
            turns = rng.uniform(0, np.pi, copies)
        sprites[name] = tuple(draw_cell(name, cell, mpp, float(turn), rng) for turn in turns)
    return SpriteBank(mpp, sprites)


def draw_cell(
    name: str, cell: CellType, mpp: float, angle: float, rng: np.random.Generator
) -> Sprite:
    """Draw one cell with its long axis in the direction `angle` (radians, y downwards)."""
    size = cell.nucleus_um or RED_CELL_UM
    size *= float(np.clip(rng.normal(1, cell.spread), 0.6, 1.7))
    nucleus = _Outline(size, float(np.clip(rng.normal(cell.aspect, 0.09), 0.15, 1)), cell.irregular)
    body = _Outline(size * cell.body, nucleus.aspect**0.6, min(0.12, cell.irregular + 0.04))
    # The nucleus may be off the middle, and a gap lies around the body.
    extent_um = max(
        body.extent_um + (2 * _GAP_UM if cell.gap else 0), nucleus.extent_um * (1 + cell.off_centre)
    )
    canvas = _canvas(extent_um, mpp, angle, rng)
    if name == "red":
        return Sprite(_red_cell(cell, canvas, nucleus, rng), None)
    room = cell.off_centre * (body.diameter_um - nucleus.diameter_um) / 2
    way = rng.uniform(0, 2 * np.pi)
    inner = canvas.moved(room * np.cos(way), room * np.sin(way))
    nuclear = _nucleus(cell, inner, nucleus, rng)
    if name == "tingible":
        nuclear = _with_debris(nuclear, canvas, body.diameter_um, rng)
    return Sprite(_body(cell, canvas, body, rng), nuclear)


@dataclass(frozen=True, slots=True)
class _Outline:
    """A bumpy ellipse: equivalent diameter (µm), short over long axis, amplitude of bumps."""

    diameter_um: float
    aspect: float
    irregular: float

    @property
    def extent_um(self) -> float:
        """Diameter that the outline hardly ever exceeds."""
        long = self.diameter_um / float(np.sqrt(self.aspect))
        return long * (1.04 + 2.4 * self.irregular)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Fine pixels around a cell's centre: places (µm) along and across its long axis."""

    along: Plane
    across: Plane
    step_um: float
    fine: int

    def moved(self, along_um: float, across_um: float) -> "_Canvas":
        return _Canvas(
            self.along - np.float32(along_um),
            self.across - np.float32(across_um),
            self.step_um,
            self.fine,
        )

    def averaged(self, densities: Plane, cover: Plane) -> Layer:
        """Bring densities (3, h, w) under a cover (h, w) to the slide's pixels."""
        side = cover.shape[0] // self.fine
        layers = np.concatenate([densities * cover, (1 - cover)[None]])
        blocks = layers.reshape(4, side, self.fine, side, self.fine)
        # Adding slices is several times faster than a mean over two axes.
        rows = sum((blocks[:, :, k] for k in range(1, self.fine)), start=blocks[:, :, 0])
        small = sum((rows[..., k] for k in range(1, self.fine)), start=rows[..., 0])
        small = small.transpose(1, 2, 0) * np.float32(1 / self.fine**2)
        clear = np.repeat(small[..., 3:], 3, axis=2)
        return Layer(np.ascontiguousarray(small[..., :3]), clear)

    def texture(self, sigma_um: float, rng: np.random.Generator) -> Plane:
        """Return smooth noise of mean 0 and standard deviation 1."""
        side = self.along.shape[0]
        noise = _noise(round(4 * sigma_um / self.step_um), 2 + side // _NOISE_SIDE)
        row, column = rng.integers(0, _NOISE_SIDE, 2)
        part = noise[row : row + side, column : column + side]
        return np.asarray(part / (part.std() + 1e-6), np.float32)


@lru_cache(maxsize=64)
def _noise(quarter_sigma_px: int, repeats: int) -> Plane:
    """Return periodic noise to cut a cell's texture from, at any place of the first period.

    To filter once and cut often makes a bank twice as fast as to filter for each cell.
    """
    noise = np.random.default_rng(1).standard_normal((_NOISE_SIDE, _NOISE_SIDE), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, quarter_sigma_px / 4, truncate=3, mode="wrap")
    return np.tile(smooth, (repeats, repeats))


def _canvas(extent_um: float, mpp: float, angle: float, rng: np.random.Generator) -> _Canvas:
    side = 2 * int(np.ceil(extent_um / 2 / mpp + 1.5)) + 1
    fine = max(1, round(mpp / _FINE_UM))
    step = mpp / fine
    axis = (np.arange(side * fine) - (side * fine - 1) / 2) * step
    # A random place inside the central pixel, so that stamps do not lock to the pixel grid.
    x = (axis[None] - rng.uniform(-0.5, 0.5) * mpp).astype(np.float32)
    y = (axis[:, None] - rng.uniform(-0.5, 0.5) * mpp).astype(np.float32)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return _Canvas(x * c + y * s, y * c - x * s, step, fine)


def _depth(canvas: _Canvas, outline: _Outline, rng: np.random.Generator) -> Plane:
    """Return the depth (µm) under an outline's surface, negative outside."""
    long = outline.diameter_um / 2 / np.sqrt(outline.aspect)
    short = outline.diameter_um / 2 * np.sqrt(outline.aspect)
    u, v = canvas.along / np.float32(long), canvas.across / np.float32(short)
    radius, theta = np.hypot(u, v), np.arctan2(v, u)
    limit = np.ones_like(radius)
    for order in (2, 3, 4, 5):
        amplitude = np.float32(rng.normal(0, outline.irregular / order**0.5))
        limit += amplitude * np.cos(order * theta + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray((limit - radius) * ((np.sqrt(long * short) + short) / 2), np.float32)


def _soft(depth: Plane, width_um: float) -> Plane:
    return np.asarray(np.clip(depth / np.float32(width_um) + 0.5, 0, 1), np.float32)


def _around(mean: float, deviation: float, rng: np.random.Generator) -> np.float32:
    return np.float32(mean * np.clip(rng.normal(1, deviation), 0.5, 1.6))


def _nucleus(cell: CellType, canvas: _Canvas, outline: _Outline, rng: np.random.Generator) -> Layer:
    depth = _depth(canvas, outline, rng)
    density = 1 + np.float32(cell.clumps) * canvas.texture(cell.clump_um / 2.4, rng)
    if rng.uniform() < cell.ghosts:
        return _cap_of_nucleus(cell, canvas, depth, density, rng)
    density += np.float32(cell.rim) * np.exp(-((depth - np.float32(0.35)) ** 2) / np.float32(0.18))
    # The middle of a section through a ball is thicker than its border.
    half = np.float32(outline.diameter_um / 2)
    density *= np.float32(0.86) + np.float32(0.2) * np.clip(depth / half, 0, 1)
    density = np.clip(density, 0.25, 2.8) * _around(cell.haematoxylin, cell.density_spread, rng)
    eosin = np.full_like(density, cell.nucleus_eosin)
    fewest, most = cell.nucleoli
    for _ in range(int(rng.integers(fewest, most + 1))):
        reach = 0.28 * outline.diameter_um * np.sqrt(rng.uniform(0, 1))
        way = rng.uniform(0, 2 * np.pi)
        spot = _spot(
            canvas.moved(reach * np.cos(way), reach * np.sin(way)),
            float(_around(cell.nucleolus_um, 0.2, rng)),
            0.4,
        )
        density += spot * (np.float32(max(1.9, cell.haematoxylin * 1.25)) - density)
        eosin += spot * np.float32(0.35)
    densities = np.stack([density, eosin, np.zeros_like(density)])
    return canvas.averaged(densities, _soft(depth, 0.35))


def _cap_of_nucleus(
    cell: CellType, canvas: _Canvas, depth: Plane, density: Plane, rng: np.random.Generator
) -> Layer:
    """Draw a nucleus that the knife only grazed: cytoplasm above or below shines through."""
    pale = np.clip(density, 0.25, 2.0) * np.float32(cell.haematoxylin * rng.uniform(0.35, 0.8))
    densities = np.stack([pale, np.full_like(pale, cell.nucleus_eosin), np.zeros_like(pale)])
    cover = _soft(depth, float(rng.uniform(0.8, 2.0))) * np.float32(rng.uniform(0.5, 0.9))
    return canvas.averaged(densities, cover)


def _spot(canvas: _Canvas, diameter_um: float, soft_um: float) -> Plane:
    return _soft(np.float32(diameter_um / 2) - np.hypot(canvas.along, canvas.across), soft_um)


def _body(cell: CellType, canvas: _Canvas, outline: _Outline, rng: np.random.Generator) -> Layer:
    depth = _depth(canvas, outline, rng)
    inside = _soft(depth, 0.6)
    eosin = np.full_like(depth, _around(cell.body_eosin, 0.12, rng))
    if cell.foam > 0:
        mottled = canvas.texture(0.55, rng) + canvas.texture(1.3, rng)
        eosin *= np.clip(1 + np.float32(cell.foam * 0.36) * mottled, 0.2, 1.8)
    eosin += np.float32(cell.membrane) * np.exp(-((depth - np.float32(0.3)) ** 2) / 0.15)
    cover = inside * np.float32(0.92)
    if rng.uniform() < cell.gap:
        # A crescent of glass on one side: the cell shrank away from its neighbour.
        way = rng.uniform(0, 2 * np.pi)
        lit = np.float32(np.cos(way)) * canvas.along + np.float32(np.sin(way)) * canvas.across
        side = np.clip(lit / np.float32(outline.diameter_um * 0.28) - np.float32(0.25), 0, 1)
        ring = _soft(depth + np.float32(_GAP_UM), 0.6) - _soft(depth - np.float32(0.3), 0.6)
        gap = np.clip(ring, 0, 1) * side
        eosin += gap * (np.float32(0.02) - eosin)
        cover = np.maximum(cover, gap * np.float32(0.95))
    haematoxylin = np.float32(cell.body_haematoxylin) * inside
    return canvas.averaged(np.stack([haematoxylin, eosin, np.zeros_like(eosin)]), cover)


def _with_debris(
    nucleus: Layer, canvas: _Canvas, body_um: float, rng: np.random.Generator
) -> Layer:
    """Add the dark bodies that a tingible-body macrophage has eaten."""
    spots = np.zeros_like(canvas.along)
    for _ in range(int(rng.integers(2, 6))):
        reach, way = 0.36 * body_um * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        place = canvas.moved(reach * np.cos(way), reach * np.sin(way))
        spots = np.maximum(spots, _spot(place, rng.uniform(0.8, 2.4), 0.3))
    densities = np.broadcast_to(
        np.array([2.3, 0.4, 0.0], np.float32)[:, None, None], (3, *spots.shape)
    )
    debris = canvas.averaged(densities, spots)
    return Layer(nucleus.densities * debris.clear + debris.densities, nucleus.clear * debris.clear)


def _red_cell(
    cell: CellType, canvas: _Canvas, outline: _Outline, rng: np.random.Generator
) -> Layer:
    depth = _depth(canvas, outline, rng)
    # Paler in the middle, where it is thin.
    thick = np.float32(0.75) + np.float32(0.25) * np.exp(-((depth - np.float32(0.9)) ** 2) / 0.8)
    thick *= np.float32(cell.body_eosin)
    densities = np.stack([np.zeros_like(thick), 0.55 * thick, 0.6 * thick]).astype(np.float32)
    return canvas.averaged(densities, _soft(depth, 0.5) * np.float32(0.95))
