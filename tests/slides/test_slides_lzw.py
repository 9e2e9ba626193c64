"""LZW against the encoder of imagecodecs, which is not libtiff's."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_camelyon.slides.lzw import decode_lzw

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 70), st.sampled_from([1, 3, 4]))


@given(hnp.arrays(np.uint8, SHAPES), st.booleans())
def test_what_was_encoded_comes_back(pixels, predicted):
    stored = imagecodecs.delta_encode(pixels, axis=1) if predicted else pixels
    data = imagecodecs.lzw_encode(stored.tobytes())
    np.testing.assert_array_equal(decode_lzw(data, pixels.shape, predicted=predicted), pixels)


@pytest.mark.parametrize("kept", [0, 1, 100, -10])
def test_too_few_data_are_an_error(kept):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = imagecodecs.lzw_encode(pixels.tobytes())
    with pytest.raises(RuntimeError):
        decode_lzw(data[:kept], pixels.shape)
