"""Numbers that depend on a place alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.synthetic.noise import (
    child_seed,
    hashed_uniform,
    smooth_noise,
    uniform_at,
)

seeds = st.integers(-(2**63), 2**64 - 1)
places = st.integers(-(2**40), 2**40)


@given(seed=seeds, i=places, j=places)
def test_single_numbers_are_those_of_the_arrays(seed, i, j):
    key = child_seed(seed, 3)
    assert hashed_uniform(key, i, j)[0] == np.float32(uniform_at(key, i, j))


@given(seed=seeds, left=st.floats(-1e5, 1e5), wavelength=st.floats(0.5, 500))
def test_smooth_noise_does_not_depend_on_the_window(seed, left, wavelength):
    axis = left + np.arange(40) * 1.7
    key = child_seed(seed, 1)
    whole = smooth_noise(key, axis, axis, wavelength)
    part = smooth_noise(key, axis[11:23], axis[5:17], wavelength)
    np.testing.assert_allclose(part, whole[5:17, 11:23], atol=2e-5)


def test_numbers_are_uniform_and_independent_of_neighbours():
    numbers = hashed_uniform(5, np.arange(300)[:, None], np.arange(300)[None])
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    # χ² with 19 degrees of freedom: 43.8 is its 99.9 % point.
    assert ((counts - 4500) ** 2 / 4500).sum() < 43.8
    for other in (numbers[1:] * numbers[:-1], numbers[:, 1:] * numbers[:, :-1]):
        assert other.mean() == pytest.approx(0.25, abs=0.005)


def test_smooth_noise_is_about_standard():
    axis = np.arange(600) * 1.0
    noise = smooth_noise(7, axis, axis, 9.0)
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(noise, axis=1)).max() < 0.6


def test_purposes_do_not_share_numbers():
    assert len({child_seed(seed, name) for seed in range(50) for name in range(50)}) == 2500
