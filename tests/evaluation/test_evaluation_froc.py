"""FROC against a slow version that follows the published definition step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from napari_camelyon.errors import EvaluationError
from napari_camelyon.evaluation import (
    FALSE_POSITIVE_RATES,
    SlideTruth,
    froc,
    judge_slide,
    truth_of_mask,
)

SIDE = 120
PIXEL_UM = 0.243 * 32


def literal_froc(slides):
    """The challenge's way over plain lists: one slide after the other, one threshold at a time.

    `slides` are pairs of a mask (None for a normal slide) and detections (probability, x, y).
    """
    false_positives, true_positives, tumours = [], [], 0
    for mask, detections in slides:
        if mask is None:
            false_positives += [probability for probability, _, _ in detections]
            continue
        distance = ndimage.distance_transform_edt(np.logical_not(mask))
        grown = distance < 75 / (0.243 * 2**5 * 2)
        labels = measure.label(ndimage.binary_fill_holes(grown), connectivity=2)
        cells = [
            region.label
            for region in measure.regionprops(labels)
            if region.axis_major_length < 275 / (0.243 * 2**5)
        ]
        best = [np.float32(0)] * labels.max()
        for probability, x, y in detections:
            hit = labels[int(y) // 32, int(x) // 32]
            if hit == 0:
                false_positives.append(probability)
            elif hit not in cells and probability > best[hit - 1]:
                best[hit - 1] = np.float32(probability)
        true_positives += best
        tumours += labels.max() - len(cells)
    rates, shares = [], []
    for threshold in sorted({*map(float, false_positives), *map(float, true_positives)})[1:]:
        rates.append(sum(p >= threshold for p in false_positives) / len(slides))
        shares.append(sum(p >= threshold for p in true_positives) / tumours)
    rates.append(0)
    shares.append(0)
    read = np.interp([1 / 4, 1 / 2, 1, 2, 4, 8], rates[::-1], shares[::-1])
    return rates, shares, read, read.mean()


def disc(row, column, radius):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


places = st.tuples(
    st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.sampled_from([1, 6, 14, 16, 17, 18, 25])
)
detections = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
        st.integers(0, 32 * SIDE - 1),
        st.integers(0, 32 * SIDE - 1),
    ),
    max_size=12,
)
masks = st.none() | st.lists(places, min_size=1, max_size=4).map(
    lambda found: np.logical_or.reduce([disc(*place) for place in found])
)


@settings(max_examples=60)
@given(st.lists(st.tuples(masks, detections), min_size=1, max_size=5), st.randoms())
def test_froc_equals_the_literal_way(slides, random):
    # Detections rarely hit by chance: some are put on tumour.
    slides = [
        (
            mask,
            [
                *found,
                *(
                    (random.choice([0.2, 0.6, 0.8]), 32 * column + 5, 32 * row + 31)
                    for row, column in random.sample(np.argwhere(mask).tolist(), 2)
                ),
            ]
            if mask is not None and mask.sum() > 1
            else found,
        )
        for mask, found in slides
    ]
    hits = [
        judge_slide(
            SlideTruth(str(n), None) if mask is None else truth_of_mask(str(n), mask), found
        )
        for n, (mask, found) in enumerate(slides)
    ]
    if sum(one.counted for one in hits) == 0:
        with pytest.raises(EvaluationError, match="No tumour counts"):
            froc(hits)
        return
    rates, shares, read, score = literal_froc(slides)
    ours = froc(hits)
    assert [point.false_positives_per_slide for point in ours.points] == pytest.approx(rates)
    assert [point.sensitivity for point in ours.points] == pytest.approx(shares)
    assert ours.sensitivities == pytest.approx(read)
    assert ours.score == pytest.approx(score)


def test_what_becomes_of_each_detection():
    mask = disc(40, 40, 25) | disc(100, 100, 3)
    truth = truth_of_mask("s", mask)
    assert (truth.tumours, truth.counted) == (2, 1)
    found = [
        (0.4, 40 * 32, 40 * 32),
        (0.9, 41 * 32, 40 * 32),
        (0.9, 42 * 32, 40 * 32),
        (0.8, 100 * 32, 100 * 32),
        (0.7, 5, 5),
    ]
    hits = judge_slide(truth, found)
    assert [one.fate for one in hits.detections] == [
        "repeat",
        "hit",
        "repeat",
        "itc",
        "false positive",
    ]
    (lesion,) = hits.lesions
    assert lesion.probability == pytest.approx(0.9)
    assert (lesion.x_px, lesion.y_px) == pytest.approx((40.5 * 32, 40.5 * 32))
    curve = froc([hits])
    assert curve.tumours == 1
    assert curve.points[-1].sensitivity == 0
    assert len(curve.sensitivities) == len(FALSE_POSITIVE_RATES)


def test_deposits_nearer_than_75_um_are_one_and_holes_are_filled():
    apart = disc(40, 30, 10) | disc(40, 30 + 20 + 13, 10)  # 12 pixels of 7.8 µm between them
    near = disc(40, 30, 10) | disc(40, 30 + 20 + 8, 10)
    assert truth_of_mask("s", apart).tumours == 2
    assert truth_of_mask("s", near).tumours == 1
    hole = disc(60, 60, 30) & ~disc(60, 60, 15)
    assert truth_of_mask("s", hole).labels[60, 60] == 1


def test_isolated_tumour_cells_are_those_with_a_major_axis_below_275_um():
    for half in range(5, 25):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[50:54, 60 - half : 60 + half] = True
        truth = truth_of_mask("s", mask)
        (region,) = measure.regionprops(truth.labels)
        assert (truth.counted == 0) == (region.axis_major_length * PIXEL_UM < 275)


def test_bad_detections_and_masks_are_named():
    truth = truth_of_mask("s", disc(40, 40, 25))
    with pytest.raises(EvaluationError, match=r"Detection 2 on s has the probability nan"):
        judge_slide(truth, [(0.5, 1, 1), (float("nan"), 1, 1)])
    with pytest.raises(EvaluationError, match="lies outside of the slide's mask"):
        judge_slide(truth, [(0.5, 32 * SIDE, 1)])
    with pytest.raises(EvaluationError, match="has no place"):
        judge_slide(truth, [(0.5, float("nan"), 1)])
    with pytest.raises(EvaluationError, match="holds no tumour"):
        truth_of_mask("s", np.zeros((5, 5), bool))
    with pytest.raises(EvaluationError, match="s is there twice"):
        froc([judge_slide(truth, []), judge_slide(truth, [])])
