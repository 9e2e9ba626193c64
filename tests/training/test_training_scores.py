"""AUC against counting pairs, and what is called a false deposit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.training.baselines import BASELINES, auc, auc_interval, separation
from napari_camelyon.training.choosing import choose_threshold, false_deposits

scored = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


@given(scored)
def test_auc_is_the_share_of_pairs_in_order(pairs):
    scores = np.array([score for score, _ in pairs], float)
    truth = np.array([positive for _, positive in pairs])
    tumour, normal = scores[truth], scores[~truth]
    found = auc(scores, truth)
    if tumour.size == 0 or normal.size == 0:
        assert np.isnan(found)
        return
    difference = tumour[:, None] - normal[None]
    assert found == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())
    assert separation(scores, truth) == pytest.approx(max(found, 1 - found))


def test_the_interval_holds_the_value_and_narrows_with_more_patches():
    rng = np.random.default_rng(0)

    def interval(n):
        truth = np.repeat([True, False], n)
        scores = rng.normal(truth * 1.0, 1)
        low, high = auc_interval(scores, truth, repeats=300)
        assert low <= auc(scores, truth) <= high
        return high - low

    assert interval(400) < interval(25)


@pytest.mark.parametrize("name", BASELINES)
def test_statistics_give_one_number_a_patch(name):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    found = BASELINES[name](pixels)
    assert found.shape == (5,)
    assert np.isfinite(found).all()
    assert np.isfinite(BASELINES[name](np.full((2, 8, 8, 3), 255, np.uint8))).all()


def test_deposits_touch_also_at_corners_and_single_patches_do_not_count():
    values = np.zeros((6, 6), np.float32)
    values[1, 1] = values[2, 2] = 0.6
    values[5, 0] = 0.9
    assert false_deposits(values, 0.6) == 1
    assert false_deposits(values, 0.61) == 0
    assert false_deposits(values, 0.6, min_patches=1) == 2


def test_the_threshold_is_the_lowest_with_false_deposits_in_few_fields():
    quiet = np.full((4, 4), 0.1, np.float32)
    assert choose_threshold([quiet]) == 0.3
    loud = quiet.copy()
    loud[0, :2] = loud[3, 2:] = 0.52
    assert choose_threshold([quiet, loud]) == 0.55
    assert choose_threshold([quiet, loud], share=0.5) == 0.3
    assert choose_threshold([quiet] * 9 + [loud]) == 0.3
    assert choose_threshold([np.ones((3, 3), np.float32)]) == 0.95
