"""Temperature, reliability and conformal sets against literal versions and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_camelyon.calibration import (
    apply_temperature,
    brier_score,
    conformal_quantile,
    conformal_sets,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from napari_camelyon.errors import CalibrationError

rows = npst.arrays(
    np.float64, st.tuples(st.integers(1, 20), st.just(4)), elements=st.floats(0.01, 1)
).map(lambda values: values / values.sum(axis=1, keepdims=True))


def drawn(temperature, count=20_000, seed=1):
    """Scores that are too sure by a temperature, and labels that follow the honest ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (honest.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    sharp = np.exp(temperature * logits)
    return sharp / sharp.sum(axis=1, keepdims=True), np.minimum(labels, 2), honest


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_scores_is_found(temperature):
    scores, labels, honest = drawn(temperature)
    found = fit_temperature(scores, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(apply_temperature(scores, found), honest, atol=0.03)


def test_scaling_makes_scores_reliable():
    scores, labels, _ = drawn(3.0)
    after = apply_temperature(scores, fit_temperature(scores, labels))
    assert expected_calibration_error(scores, labels) > 0.1
    assert expected_calibration_error(after, labels) < 0.015
    assert brier_score(after, labels) < brier_score(scores, labels)


@given(rows, st.floats(0.1, 10))
def test_scaling_keeps_the_order_and_sums_to_one(values, temperature):
    scaled = apply_temperature(values, temperature)
    np.testing.assert_allclose(scaled.sum(axis=1), 1)
    for before, after in zip(values, scaled, strict=True):
        assert after[before.argmax()] == pytest.approx(after.max())


def test_one_probability_a_row_is_that_of_tumour():
    probabilities = np.array([0.1, 0.4, 0.4, 0.9])
    labels = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(
        apply_temperature(probabilities, 2.0),
        apply_temperature(np.stack([1 - probabilities, probabilities], axis=1), 2.0)[:, 1],
    )
    assert brier_score(probabilities, labels) == pytest.approx(
        np.mean((probabilities - labels) ** 2)
    )


@given(rows, st.data())
def test_ece_and_brier_equal_their_literal_readings(values, data):
    labels = [data.draw(st.integers(0, 3)) for _ in values]
    bins = [[] for _ in range(10)]
    for row, label in zip(values, labels, strict=True):
        confidence = row.max()
        place = next(k for k in range(10) if confidence <= (k + 1) / 10 + 1e-15 or k == 9)
        bins[place].append((confidence, float(row.argmax() == label)))
    expected = sum(
        len(one) / len(values) * abs(np.mean([r for _, r in one]) - np.mean([c for c, _ in one]))
        for one in bins
        if one
    )
    assert expected_calibration_error(values, labels) == pytest.approx(expected, abs=1e-9)
    squares = [
        sum((p - (place == label)) ** 2 for place, p in enumerate(row))
        for row, label in zip(values, labels, strict=True)
    ]
    assert brier_score(values, labels) == pytest.approx(np.mean(squares))
    assert reliability(values, labels).counts.sum() == len(values)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_quantile_is_the_score_that_was_asked_for(scores, coverage):
    place = math.ceil(round((len(scores) + 1) * coverage, 9))
    found = conformal_quantile(scores, coverage)
    if place > len(scores):
        assert math.isinf(found)
    else:
        assert found == sorted(scores)[place - 1]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_truth_as_often_as_was_asked_for(coverage):
    """Over many calibrations of 60 cases; of scores that are far from honest."""
    scores, labels, _ = drawn(4.0, count=60 * 400 * 2)
    held, size = [], []
    for part in np.split(np.arange(len(labels)), 400):
        fit, test = part[:60], part[60:]
        quantile = conformal_quantile(1 - scores[fit, labels[fit]], coverage)
        sets = conformal_sets(scores[test], quantile)
        held.append(sets[np.arange(len(test)), labels[test]].mean())
        size.append(sets.sum(axis=1).mean())
    assert coverage - 0.01 <= np.mean(held) <= coverage + 0.03
    assert 1 <= np.mean(size) < 3


def test_a_set_is_never_empty_and_with_an_infinite_quantile_is_everything():
    values = [[0.4, 0.3, 0.3]]
    assert conformal_sets(values, 0.1).tolist() == [[True, False, False]]
    assert conformal_sets(values, math.inf).all()


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([], [], "are needed"),
        ([[0.5, 0.6]], [0], "row 1 sum to 1.1"),
        ([0.2, float("nan")], [0, 1], "Row 2 holds"),
        ([0.2, 1.2], [0, 1], "Row 2 holds"),
        ([0.2], [0, 1], "1 rows of probabilities and 2 labels"),
        ([0.2], [2], "none of the 2 classes"),
    ],
)
def test_what_makes_no_sense_is_named(probabilities, labels, message):
    with pytest.raises(CalibrationError, match=message):
        fit_temperature(probabilities, labels)


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(CalibrationError, match="needs scores"):
        conformal_quantile([], 0.9)
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        conformal_quantile([0.1], 1.0)
