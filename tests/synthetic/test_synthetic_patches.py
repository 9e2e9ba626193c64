"""Training patches: seeded, with true masks, and not cheap to solve."""

import numpy as np
import pytest

from napari_camelyon.synthetic.patches import (
    NORMAL_KINDS,
    draw_normal_field,
    draw_patches,
)
from napari_camelyon.training.baselines import BASELINES, separation
from napari_camelyon.training.dataset import draw_patients


@pytest.fixture(scope="module")
def drawn():
    # Many patients and few patches of each: patients differ more than patches.
    return draw_patients(range(500, 548), 16, workers=2)


def test_a_seed_repeats_its_patches():
    first, again = draw_patches(7, 4, copies=2), draw_patches(7, 4, copies=2)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.tumour, again.tumour)
    assert first.kinds == again.kinds
    assert (draw_patches(8, 4, copies=2).pixels != first.pixels).any()


def test_masks_belong_to_tumour_patches_only(drawn):
    with_tumour = np.array([kind.startswith("tumour") for kind in drawn.kinds])
    assert ((drawn.coverage > 0) == with_tumour).all()
    assert drawn.tumour.min() >= 0
    assert drawn.tumour.max() <= 1
    assert 0.4 < with_tumour.mean() < 0.6
    normal = {kind for kind in drawn.kinds if not kind.startswith("tumour")}
    assert normal <= set(NORMAL_KINDS)
    assert len(normal) >= 8


@pytest.mark.parametrize("name", BASELINES)
def test_plain_statistics_do_not_tell_tumour_from_normal(drawn, name):
    clear = (drawn.coverage == 0) | (drawn.coverage >= 0.25)
    score = BASELINES[name](drawn.pixels[clear])
    assert separation(score, drawn.coverage[clear] > 0) <= 0.65


def test_nor_does_the_number_of_nuclei(drawn):
    clear = (drawn.coverage == 0) | (drawn.coverage >= 0.25)
    assert separation(drawn.nuclei[clear], drawn.coverage[clear] > 0) <= 0.75


def test_without_tumour_there_is_none():
    patches = draw_patches(3, 6, tumour_share=0.0, copies=2)
    assert patches.coverage.max() == 0


def test_fields_are_larger_windows_of_normal_tissue():
    field = draw_normal_field(4, side_px=512, copies=2)
    assert field.shape == (512, 512, 3)
    assert field.dtype == np.uint8
    assert field.std() > 10
