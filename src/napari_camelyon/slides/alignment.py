"""Whether the levels of a slide lie on each other: measured on the tissue itself.

A writer that places a level half a pixel off, or a reader that takes a downsample for something it
is not, shifts outlines and heatmaps against the tissue without a word. Here the same places are
read from each level and from a finer one and registered: at first to whole pixels by
cross-correlation, then by least squares between the coarser pixels and the exact area means of the
finer ones, which finds hundredths of a pixel and says how sure it is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.slides.resample import area_means

if TYPE_CHECKING:
    from napari_camelyon.slides.levels import Level
    from napari_camelyon.slides.slide import Slide

__all__ = [
    "LevelOffset",
    "alignment_error",
    "alignment_sentences",
    "alignment_verdict",
    "measure_alignment",
]

_CELLS = 3
"""One place is looked for in each of 3 × 3 parts of the slide, so that they are spread over it."""

_WINDOW_PX = 128
"""Side of what is compared, in pixels of the coarser level; less where the level is small."""

_SMALLEST_WINDOW_PX = 16

_MARGIN_PX = 2
"""Read around each window, in pixels of the coarser level, so that it can be shifted."""

_LARGEST_RATIO = 8
"""Between a level and the one that it is compared with, where there is a choice."""

_FINER_WINDOW_PX = _LARGEST_RATIO * _WINDOW_PX
"""Longest side of what is read of the finer level for one place: 3 MiB."""

_OVERVIEW_PX = 1 << 22
"""Most pixels of the level on which places are chosen: 12 MiB."""

_CANDIDATES = 12
"""Where no level is that small, places are chosen among 12 × 12 small samples instead."""

_SAMPLE_PX = 64

_STEPS = 8
"""Least squares converges within three or four steps from a whole pixel away."""

_LARGEST_ERROR_PX = 0.1
"""A place counts if, by the residuals, its shift is known to a tenth of a pixel of the level."""

_SMALLEST_CORRELATION = 0.6
"""And if both show the same: other tissue stays below 0.5, compression noise alone near 0."""


@dataclass(frozen=True, slots=True)
class LevelOffset:
    """How far a level lies from level 0.

    Attributes
    ----------
    level : int
    downsample : float
        Level-0 pixels that one pixel of the level covers, along x.
    x_px, y_px : float or None
        What lies at a slide point in level 0 lies here by so much farther right and down,
        level-0 pixels; None where it could not be measured.
    spread_px : float or None
        The largest distance of a single place from the median, level-0 pixels. A wrong downsample
        shows here: the offset then differs from place to place.
    places : int
        How many places were used.
    """

    level: int
    downsample: float
    x_px: float | None
    y_px: float | None
    spread_px: float | None
    places: int

    @property
    def is_off(self) -> bool:
        """Whether the offset matters: over one level-0 pixel and a tenth of the level's own."""
        if self.x_px is None or self.y_px is None or self.spread_px is None:
            return False
        return max(abs(self.x_px), abs(self.y_px), self.spread_px) > max(1, 0.1 * self.downsample)


def alignment_error(slide: "Slide") -> tuple[LevelOffset, ...]:
    """Measure how far each coarser level lies from level 0; takes a second or two.

    Returns
    -------
    tuple of LevelOffset
        One for each level but the first.

    Raises
    ------
    SlideError
        The slide cannot be read.
    """
    return tuple(measure_alignment(slide))


def measure_alignment(slide: "Slide") -> Iterator[LevelOffset]:
    """Yield what `alignment_error` returns, level by level, so that one can stop in between."""
    if len(slide.levels) < 2:
        return
    textured = _Texture(slide)
    known = {0: (0.0, 0.0)}
    for index in range(1, len(slide.levels)):
        level = slide.levels[index]
        finer = _reference(slide, index, list(known))
        shifts = [
            shift
            for column, row, side in textured.places(index, finer)
            if (shift := _register(slide, index, finer, column, row, side)) is not None
        ]
        if not shifts:
            yield LevelOffset(index, level.downsample_x, None, None, None, 0)
            continue
        x_px = median(x for x, _ in shifts)
        y_px = median(y for _, y in shifts)
        spread_px = max(math.hypot(x - x_px, y - y_px) for x, y in shifts)
        known[index] = known[finer][0] + x_px, known[finer][1] + y_px
        yield LevelOffset(index, level.downsample_x, *known[index], spread_px, len(shifts))


def _reference(slide: "Slide", index: int, known: list[int]) -> int:
    """Return the finest measured level that is still near enough: errors add up from one on."""
    downsample = slide.levels[index].downsample_x
    near = [one for one in known if downsample / slide.levels[one].downsample_x <= _LARGEST_RATIO]
    return min(near, default=max(known))


def alignment_verdict(offsets: Sequence[LevelOffset]) -> str:
    """Return in a sentence whether the levels of a slide lie on each other."""
    if not offsets:
        return "The slide has one level, so there is nothing to align."
    off = [str(offset.level) for offset in offsets if offset.is_off]
    if off:
        words = ("Level", "does") if len(off) == 1 else ("Levels", "do")
        return (
            f"{words[0]} {', '.join(off)} of the file {words[1]} not lie on level 0: outlines and "
            "heatmaps seem shifted against the tissue where the window shows it."
        )
    measured = sum(offset.places > 0 for offset in offsets)
    if measured == 0:
        return "No level could be measured."
    which = "All levels" if measured == len(offsets) else "All levels that could be measured"
    return f"{which} lie on level 0."


def alignment_sentences(offsets: Sequence[LevelOffset], mpp: float | None) -> list[str]:
    """Return what was measured as sentences for people, the verdict first.

    Parameters
    ----------
    offsets : sequence of LevelOffset
    mpp : float or None
        µm per level-0 pixel, to say it in µm as well.
    """
    return [alignment_verdict(offsets), *(_sentence(offset, mpp) for offset in offsets)]


def _sentence(offset: LevelOffset, mpp: float | None) -> str:
    name = f"Level {offset.level} (1:{offset.downsample:.4g})"
    if offset.x_px is None or offset.y_px is None or offset.spread_px is None:
        return f"{name}: not measured, no place has enough tissue in common with the finer level."
    distance = math.hypot(offset.x_px, offset.y_px)
    um = "" if mpp is None else f" ({distance * mpp:.2f} µm)"
    places = "place" if offset.places == 1 else f"{offset.places} places"
    return f"{name}: {offset.x_px:+.2f} px right, {offset.y_px:+.2f} px down{um}, from {places}" + (
        "." if offset.places == 1 else f", ± {offset.spread_px:.2f} px."
    )


class _Texture:
    """Where on a slide there is something to register."""

    def __init__(self, slide: "Slide") -> None:
        self._slide = slide
        small = [
            index
            for index, level in enumerate(slide.levels)
            if level.width_px * level.height_px <= _OVERVIEW_PX
        ]
        self._steps: list[NDArray[np.float32]] = []
        if small:
            level = slide.levels[small[0]]
            grey = _read_grey(slide, small[0], 0, 0, level.width_px, level.height_px)
            self._steps = _step_products(grey)
            self._level = level

    def places(self, index: int, finer: int) -> list[tuple[int, int, int]]:
        """Return windows ``(column, row, side)`` in pixels of a level, one a part of the slide."""
        level = self._slide.levels[index]
        ratio = level.downsample_x / self._slide.levels[finer].downsample_x
        shorter = min(level.width_px, level.height_px)
        side = min(_WINDOW_PX, int(_FINER_WINDOW_PX / ratio), shorter // _CELLS)
        if side < _SMALLEST_WINDOW_PX:
            return []
        values, pitch = self._values(level, side)
        found = []
        for rows in np.array_split(np.arange(values.shape[0]), _CELLS):
            for columns in np.array_split(np.arange(values.shape[1]), _CELLS):
                part = values[np.ix_(rows, columns)]
                if part.max(initial=0) > 0:
                    row, column = np.unravel_index(int(part.argmax()), part.shape)
                    x, y = int(columns[column] * pitch[0]), int(rows[row] * pitch[1])
                    found.append(
                        (_inside(x, side, level.width_px), _inside(y, side, level.height_px), side)
                    )
        return found

    def _values(self, level: "Level", side: int) -> tuple[NDArray[np.float32], tuple[float, float]]:
        """Return the texture of places on a grid, and its pitch in pixels of a level."""
        if not self._steps:
            return self._sampled(level)
        wide = max(2, round(side * level.downsample_x / self._level.downsample_x))
        tall = max(2, round(side * level.downsample_y / self._level.downsample_y))
        sums = [_block_sums(product, tall, wide) for product in self._steps]
        pitch = (
            wide * self._level.downsample_x / level.downsample_x,
            tall * self._level.downsample_y / level.downsample_y,
        )
        return _least_variation(*sums), pitch

    def _sampled(self, level: "Level") -> tuple[NDArray[np.float32], tuple[float, float]]:
        coarsest = self._slide.levels[-1]
        values = np.zeros((_CANDIDATES, _CANDIDATES), dtype=np.float32)
        for row in range(_CANDIDATES):
            for column in range(_CANDIDATES):
                left = column * coarsest.width_px // _CANDIDATES
                top = row * coarsest.height_px // _CANDIDATES
                grey = _read_grey(self._slide, -1, left, top, _SAMPLE_PX, _SAMPLE_PX)
                whole = [_block_sums(step, *grey.shape) for step in _step_products(grey)]
                values[row, column] = _least_variation(*whole)[0, 0]
        return values, (level.width_px / _CANDIDATES, level.height_px / _CANDIDATES)


def _inside(start: int, side: int, length: int) -> int:
    """Move a window from the edge: shifted, it would reach what level 0 does not have."""
    return max(_MARGIN_PX, min(start, length - side - _MARGIN_PX))


def _step_products(grey: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    down, across = (np.asarray(steps, dtype=np.float32) for steps in np.gradient(grey))
    return [across * across, down * down, across * down]


def _block_sums(values: NDArray[np.float32], tall: int, wide: int) -> NDArray[np.float32]:
    rows, columns = values.shape[0] // tall, values.shape[1] // wide
    blocks = values[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide)
    return np.asarray(blocks.sum(axis=(1, 3)), dtype=np.float32)


def _least_variation(
    across: NDArray[np.float32], down: NDArray[np.float32], mixed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994).

    A straight edge has much texture, but none along itself.
    """
    root = np.sqrt(((across - down) / 2) ** 2 + mixed**2)
    return np.asarray((across + down) / 2 - root, dtype=np.float32)


def _read_grey(
    slide: "Slide", index: int, column: int, row: int, width: int, height: int
) -> NDArray[np.float32]:
    """Read pixels of a level, counted in its own pixels, as the sum of their three colours."""
    index %= len(slide.levels)
    level = slide.levels[index]
    x_px, y_px = round(column * level.downsample_x), round(row * level.downsample_y)
    pixels = slide.read(x_px, y_px, width, height, level=index)
    red, green, blue = (pixels[..., colour].astype(np.float32) for colour in range(3))
    return red + green + blue


def _register(
    slide: "Slide", index: int, finer: int, column: int, row: int, side: int
) -> tuple[float, float] | None:
    """Return by how many level-0 pixels a window lies from where the finer level has it."""
    level = slide.levels[index]
    means = _FinerMeans(slide, index, finer, column, row, side)
    seen = _read_grey(slide, index, column, row, side, side)
    expected = means.at(0, 0)
    if np.ptp(expected) == 0 or np.ptp(seen) == 0:
        return None
    across, down = _whole_shift(expected, seen)
    if across or down:
        column, row = column + across, row + down
        if not (0 <= column <= level.width_px - side and 0 <= row <= level.height_px - side):
            return None
        seen = _read_grey(slide, index, column, row, side, side)
    rest = _fine_shift(means, seen)
    if rest is None:
        return None
    return (across - rest[0]) * level.downsample_x, (down - rest[1]) * level.downsample_y


class _FinerMeans:
    """A window as the finer level has it: means over the areas of the coarser one's pixels."""

    def __init__(
        self, slide: "Slide", index: int, finer: int, column: int, row: int, side: int
    ) -> None:
        level, source = slide.levels[index], slide.levels[finer]
        self._side = side
        self._scale = (
            level.downsample_x / source.downsample_x,
            level.downsample_y / source.downsample_y,
        )
        self._left = math.floor((column - _MARGIN_PX) * self._scale[0])
        self._top = math.floor((row - _MARGIN_PX) * self._scale[1])
        width = math.ceil((column + side + _MARGIN_PX) * self._scale[0]) - self._left
        height = math.ceil((row + side + _MARGIN_PX) * self._scale[1]) - self._top
        self._grey = _read_grey(slide, finer, self._left, self._top, width, height)
        self._corner = (column, row)

    def at(self, x: float, y: float) -> NDArray[np.float32]:
        """Return the window shifted by less than two pixels of the coarser level."""
        left = (self._corner[0] + x) * self._scale[0] - self._left
        top = (self._corner[1] + y) * self._scale[1] - self._top
        box = (left, top, left + self._side * self._scale[0], top + self._side * self._scale[1])
        return area_means(self._grey, box, self._side, self._side)


def _whole_shift(expected: NDArray[np.float32], seen: NDArray[np.float32]) -> tuple[int, int]:
    from skimage.registration import phase_cross_correlation  # slow to import, rarely needed

    taper = np.hanning(len(seen) + 2)[1:-1]
    window = np.outer(taper, taper)
    shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        (expected - expected.mean()) * window, (seen - seen.mean()) * window, normalization=None
    )
    return -round(shift[1]), -round(shift[0])


def _fine_shift(means: _FinerMeans, seen: NDArray[np.float32]) -> tuple[float, float] | None:
    """Return the shift ``(x, y)`` of the finer level's means that gives what was seen, in pixels.

    Gauss-Newton, with brightness and contrast left free.
    """
    x = y = 0.0
    step = 0.25  # of the differences that stand for derivatives
    for _ in range(_STEPS):
        expected = means.at(x, y)
        columns = [
            (means.at(x + step, y) - means.at(x - step, y)) / (2 * step),
            (means.at(x, y + step) - means.at(x, y - step)) / (2 * step),
            expected,
            np.ones_like(expected),
        ]
        matrix = np.stack([column.ravel() for column in columns], axis=1).astype(np.float64)
        target = (seen - expected).ravel().astype(np.float64)
        squares = matrix.T @ matrix
        if np.linalg.matrix_rank(squares, hermitian=True) < 4:
            return None
        solution = np.linalg.solve(squares, matrix.T @ target)
        x, y = x + float(solution[0]), y + float(solution[1])
        if max(abs(x), abs(y)) > 1.5:
            return None
        if np.abs(solution[:2]).max() < 1e-3:
            break
    residual = target - matrix @ solution
    variance = residual @ residual / (len(residual) - 4)
    error = np.sqrt(variance * np.linalg.inv(squares).diagonal()[:2].max())
    correlation = np.corrcoef(expected.ravel(), seen.ravel())[0, 1]
    if error > _LARGEST_ERROR_PX or not correlation >= _SMALLEST_CORRELATION:
        return None
    return x, y
