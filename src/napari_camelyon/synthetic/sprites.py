"""Small pictures of single cells, drawn once and stamped many times.

A sprite holds densities of three pigments (haematoxylin, eosin, red-cell haemoglobin) already
multiplied by its coverage, and the coverage itself; stamping is ``under × (1 - coverage) + sprite``.
Bodies are stamped before nuclei, so that no cell cuts off its neighbour's nucleus.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.synthetic.cells import RED_CELL_UM, CellType

__all__ = ["EOSIN", "HAEMATOXYLIN", "RED", "Sprite", "SpriteBank", "draw_bank", "draw_cell"]

HAEMATOXYLIN, EOSIN, RED = 0, 1, 2
ANGLES = 16
"""Directions (over half a turn) in which cells that follow fibres are drawn."""
FOLLOWING_FIBRES = ("fibroblast", "plump", "endothelium")

_FINE_UM = 0.16  # what chromatin is drawn at, before it is averaged to the slide's pixels


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cell's picture.

    Attributes
    ----------
    body, nucleus : ndarray of float32, shape (side, side, 3)
        Densities times coverage; None where there is nothing to draw.
    body_clear, nucleus_clear : ndarray of float32, shape (side, side, 1)
        1 - coverage.
    radius_um : float
        Radius of the cell, for keeping neighbours apart.
    """

    body: NDArray[np.float32] | None
    body_clear: NDArray[np.float32] | None
    nucleus: NDArray[np.float32] | None
    nucleus_clear: NDArray[np.float32] | None
    radius_um: float


@dataclass(frozen=True, slots=True)
class SpriteBank:
    """Sprites of every type at one pixel size; elongated types are sorted by direction."""

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
    diameter = max(cell.nucleus_um, 0.1) * float(np.clip(rng.normal(1, cell.spread), 0.6, 1.7))
    if cell.nucleus_um == 0:
        diameter = RED_CELL_UM * float(rng.normal(1, cell.spread))
    aspect = float(np.clip(rng.normal(cell.aspect, 0.09), 0.15, 1.0))
    body_um = diameter * cell.body
    extent_um = max(body_um, diameter / np.sqrt(aspect)) * (1.35 if cell.irregular > 0.2 else 1.2)
    side = 2 * int(np.ceil(extent_um / 2 / mpp + 1.5)) + 1
    fine = max(1, round(mpp / _FINE_UM))
    step = mpp / fine
    axis = (np.arange(side * fine) - (side * fine - 1) / 2) * step
    # A random place inside the central pixel, so that stamps do not lock to the pixel grid.
    x = axis[None] - rng.uniform(-0.5, 0.5) * mpp
    y = axis[:, None] - rng.uniform(-0.5, 0.5) * mpp
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    if name == "red":
        return _red_cell(along, across, diameter, aspect, cell, fine, rng)
    shift = cell.off_centre * (body_um - diameter) / 2
    turn = rng.uniform(0, 2 * np.pi)
    nx, ny = along - shift * np.cos(turn), across - shift * np.sin(turn)
    depth = _blob(nx, ny, diameter, aspect, cell.irregular, rng)
    nucleus = _nucleus(cell, depth, nx, ny, diameter, step, fine, rng)
    body = _body(cell, along, across, body_um, aspect, step, fine, rng)
    if name == "tingible":
        nucleus = _with_debris(nucleus, along, across, body_um, fine, rng)
    return Sprite(*body, *nucleus, radius_um=body_um / 2)


def _blob(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    diameter: float,
    aspect: float,
    irregular: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the depth (µm) under the surface of a bumpy ellipse of the given equivalent diameter."""
    long, short = diameter / 2 / np.sqrt(aspect), diameter / 2 * np.sqrt(aspect)
    u, v = (x / long).astype(np.float32), (y / short).astype(np.float32)
    radius = np.hypot(u, v)
    theta = np.arctan2(v, u)
    limit = np.ones_like(radius)
    for order in (2, 3, 4, 5):
        limit += np.float32(rng.normal(0, irregular / order**0.5)) * np.cos(
            order * theta + np.float32(rng.uniform(0, 2 * np.pi))
        )
    return (limit - radius) * np.float32(np.sqrt(long * short) * 0.5 + short * 0.5)


def _soft(depth: NDArray[np.float32], width_um: float) -> NDArray[np.float32]:
    return np.clip(depth / np.float32(width_um) + np.float32(0.5), 0, 1)


def _averaged(layers: NDArray[np.float32], fine: int) -> NDArray[np.float32]:
    side = layers.shape[0] // fine
    return layers.reshape(side, fine, side, fine, -1).mean(axis=(1, 3))


def _texture(
    shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma_px)
    return noise / (noise.std() + np.float32(1e-6))


def _nucleus(
    cell: CellType,
    depth: NDArray[np.float32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    diameter: float,
    step: float,
    fine: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    cover = _soft(depth, 0.35)
    density = 1 + np.float32(cell.clumps) * _texture(depth.shape, cell.clump_um / 2.4 / step, rng)
    density += np.float32(cell.rim) * np.exp(-((depth - np.float32(0.35)) ** 2) / np.float32(0.18))
    # The middle of a section through a ball is thicker than its border.
    density *= np.float32(0.86) + np.float32(0.2) * np.clip(depth / np.float32(diameter / 2), 0, 1)
    density = np.clip(density, 0.25, 2.2) * np.float32(
        cell.haematoxylin * np.clip(rng.normal(1, cell.density_spread), 0.5, 1.6)
    )
    eosin = np.full_like(density, cell.nucleus_eosin)
    fewest, most = cell.nucleoli
    for _ in range(int(rng.integers(fewest, most + 1))):
        reach = 0.28 * diameter * np.sqrt(rng.uniform(0, 1))
        way = rng.uniform(0, 2 * np.pi)
        size = cell.nucleolus_um * float(np.clip(rng.normal(1, 0.2), 0.5, 1.6))
        spot = _soft(
            np.float32(size / 2)
            - np.hypot(x - reach * np.cos(way), y - reach * np.sin(way)).astype(np.float32),
            0.4,
        )
        density += spot * (np.float32(max(1.9, cell.haematoxylin * 1.25)) - density)
        eosin += spot * np.float32(0.35)
    layers = np.stack([density * cover, eosin * cover, np.zeros_like(cover), 1 - cover], axis=-1)
    small = _averaged(layers, fine)
    return small[..., :3].copy(), small[..., 3:].copy()


def _body(
    cell: CellType,
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    body_um: float,
    aspect: float,
    step: float,
    fine: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    depth = _blob(along, across, body_um, aspect**0.6, min(0.12, cell.irregular + 0.04), rng)
    inside = _soft(depth, 0.6)
    eosin = np.full_like(depth, cell.body_eosin * float(np.clip(rng.normal(1, 0.12), 0.6, 1.5)))
    if cell.foam > 0:
        eosin *= np.clip(
            1 + np.float32(cell.foam * 0.5) * _texture(depth.shape, 0.55 / step, rng), 0.2, 1.8
        )
    eosin += np.float32(cell.membrane) * np.exp(-((depth - np.float32(0.3)) ** 2) / 0.15)
    cover = inside * np.float32(0.92)
    if rng.uniform() < cell.gap:
        # A crescent of glass on one side: the cell shrank away from its neighbour.
        way = rng.uniform(0, 2 * np.pi)
        lit = np.cos(way) * along + np.sin(way) * across
        side = np.clip(lit.astype(np.float32) / np.float32(body_um * 0.28) - np.float32(0.25), 0, 1)
        ring = _soft(depth + np.float32(0.9), 0.6) - _soft(depth - np.float32(0.3), 0.6)
        gap = np.clip(ring, 0, 1) * side
        eosin = eosin * (1 - gap) + np.float32(0.02) * gap
        cover = np.maximum(cover, gap * np.float32(0.95))
    haematoxylin = np.full_like(eosin, cell.body_haematoxylin) * inside
    layers = np.stack(
        [haematoxylin * cover, eosin * cover, np.zeros_like(cover), 1 - cover], axis=-1
    )
    small = _averaged(layers, fine)
    return small[..., :3].copy(), small[..., 3:].copy()


def _with_debris(
    nucleus: tuple[NDArray[np.float32], NDArray[np.float32]],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    body_um: float,
    fine: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add the dark bodies that a tingible-body macrophage has eaten."""
    spots = np.zeros(x.shape if x.ndim == 2 and x.shape == y.shape else (y.shape[0], x.shape[1]))
    for _ in range(int(rng.integers(2, 6))):
        reach, way = 0.36 * body_um * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        size = rng.uniform(0.8, 2.4)
        away = np.hypot(x - reach * np.cos(way), y - reach * np.sin(way))
        spots = np.maximum(spots, np.clip((size / 2 - away) / 0.3 + 0.5, 0, 1))
    cover = _averaged(spots.astype(np.float32)[..., None], fine)
    densities = np.array([2.3, 0.4, 0.0], np.float32)
    return nucleus[0] * (1 - cover) + densities * cover, nucleus[1] * (1 - cover)


def _red_cell(
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    diameter: float,
    aspect: float,
    cell: CellType,
    fine: int,
    rng: np.random.Generator,
) -> Sprite:
    depth = _blob(along, across, diameter, aspect, cell.irregular, rng)
    cover = _soft(depth, 0.5) * np.float32(0.95)
    thick = np.float32(0.75) + np.float32(0.25) * np.exp(-((depth - 0.9) ** 2) / np.float32(0.8))
    eosin, red = cell.body_eosin * 0.55 * thick, cell.body_eosin * 0.6 * thick
    layers = np.stack([np.zeros_like(cover), eosin * cover, red * cover, 1 - cover], axis=-1)
    small = _averaged(layers.astype(np.float32), fine)
    return Sprite(small[..., :3].copy(), small[..., 3:].copy(), None, None, diameter / 2)
