"""Random numbers that depend on a place, not on the order in which places are visited.

Every tile of a slide is made on its own, in any process and order, and still fits its
neighbours: each random choice is a hash of a seed and of whole lattice coordinates. The hash is
the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["child_seed", "hashed_uniform", "smooth_noise", "spline_matrix", "uniform_at"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ALL_BITS = 0xFFFFFFFFFFFFFFFF
_S27, _S30, _S31, _S40 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(40)

# Standard deviation of a cubic B-spline surface over independent uniform values, averaged over
# the cell: sqrt(1/12) × (151/315), 151/315 being the mean of the summed squared weights of an axis.
_SPLINE_SD = float(np.sqrt(1 / 12) * 151 / 315)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits ^= bits >> _S30
    bits *= _MIX_1
    bits ^= bits >> _S27
    bits *= _MIX_2
    bits ^= bits >> _S31
    return bits


def _hashed(seed: int, i: ArrayLike, j: ArrayLike) -> NDArray[np.uint64]:
    start = np.uint64(seed & _ALL_BITS)
    rows = np.asarray(i, dtype=np.int64).astype(np.uint64)
    columns = np.asarray(j, dtype=np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        first = _mixed(np.atleast_1d(rows * _GOLDEN + start))
        return _mixed(np.atleast_1d(first + columns * _MIX_1 + _GOLDEN))


def child_seed(seed: int, *names: int) -> int:
    """Derive the seed of one purpose from a seed, so that purposes do not share numbers."""
    state = seed & _ALL_BITS
    for name in names:
        state = _mixed_int((state * int(_GOLDEN) + (name & _ALL_BITS) + int(_MIX_2)) & _ALL_BITS)
    return state


def uniform_at(seed: int, i: int, j: int) -> float:
    """Return the number of `hashed_uniform` for a single lattice point, without numpy's cost."""
    first = _mixed_int((i * int(_GOLDEN) + seed) & _ALL_BITS)
    return (_mixed_int((first + j * int(_MIX_1) + int(_GOLDEN)) & _ALL_BITS) >> 40) * 2.0**-24


def _mixed_int(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * int(_MIX_1)) & _ALL_BITS
    bits = ((bits ^ (bits >> 27)) * int(_MIX_2)) & _ALL_BITS
    return bits ^ (bits >> 31)


def hashed_uniform(seed: int, i: ArrayLike, j: ArrayLike) -> NDArray[np.float32]:
    """Return uniform numbers in [0, 1) for lattice points, float32 of the broadcast shape."""
    return (_hashed(seed, i, j) >> _S40).astype(np.float32) * np.float32(2**-24)


def spline_matrix(
    places: NDArray[np.float64], wavelength: float
) -> tuple[NDArray[np.float32], int]:
    """Return the cubic B-spline matrix from lattice values to places, and its first value."""
    scaled = places / wavelength
    whole = np.floor(scaled).astype(np.int64)
    t = (scaled - whole).astype(np.float32)
    first = int(whole.min()) - 1
    matrix = np.zeros((places.size, int(whole.max()) + 2 - first + 1), np.float32)
    at = np.arange(places.size)
    column = whole - 1 - first
    matrix[at, column] = (1 - t) ** 3 / 6
    matrix[at, column + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    matrix[at, column + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    matrix[at, column + 3] = t**3 / 6
    return matrix, first


def smooth_noise(
    seed: int, x: NDArray[np.float64], y: NDArray[np.float64], wavelength: float
) -> NDArray[np.float32]:
    """Return smooth noise on the grid of two axes.

    Parameters
    ----------
    seed : int
        Another seed, another landscape.
    x, y : ndarray of float64, 1-D
        Where to evaluate, in any unit.
    wavelength : float
        Distance of the independent lattice values, in the same unit.

    Returns
    -------
    ndarray of float32, shape (y.size, x.size)
        Mean 0 and standard deviation about 1; the same at the same place whatever the window.
    """
    across, first_x = spline_matrix(x, wavelength)
    down, first_y = spline_matrix(y, wavelength)
    lattice = hashed_uniform(
        seed,
        np.arange(first_y, first_y + down.shape[1])[:, None],
        np.arange(first_x, first_x + across.shape[1])[None],
    )
    lattice -= np.float32(0.5)
    lattice *= np.float32(1 / _SPLINE_SD)
    # The cheaper order of the two products.
    if down.shape[0] < across.shape[0]:
        return np.asarray((down @ lattice) @ across.T, np.float32)
    return np.asarray(down @ (lattice @ across.T), np.float32)
