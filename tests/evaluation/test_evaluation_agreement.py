"""Kappa, confusion, AUC and intervals against slow literal versions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import EvaluationError
from napari_camelyon.evaluation import (
    area_under_roc,
    bootstrap_interval,
    compare_labels,
    compare_per_centre,
    quadratic_kappa,
)

ORDER = ("pN0", "pN0(i+)", "pN1mi", "pN1", "pN2")
labels = st.sampled_from(ORDER)


def literal_kappa(true, predicted):
    """Cohen's weighted kappa over all pairs of cases, without a table."""
    place = {label: number for number, label in enumerate(ORDER)}
    count = len(true)
    disagreement = sum((place[a] - place[b]) ** 2 for a, b in zip(true, predicted, strict=True))
    by_chance = sum((place[a] - place[b]) ** 2 for a, b in itertools.product(true, predicted))
    return 1 - (disagreement / count) / (by_chance / count**2)


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=30))
def test_kappa_equals_its_literal_reading(pairs):
    true, predicted = zip(*pairs, strict=True)
    names = [f"patient_{number:03}" for number in range(len(pairs))]
    found = compare_labels(
        dict(zip(names, predicted, strict=True)), dict(zip(names, true, strict=True)), ORDER
    )
    if len({*true, *predicted}) == 1:
        assert found.kappa is None
    else:
        assert found.kappa == pytest.approx(literal_kappa(true, predicted))
    assert found.accuracy == np.mean([a == b for a, b in pairs])
    assert found.count == len(pairs)
    for (a, b), cases in found.confusion.cases.items():
        assert found.confusion.counts[ORDER.index(a), ORDER.index(b)] == len(cases)
        assert all((true[names.index(n)], predicted[names.index(n)]) == (a, b) for n in cases)


def test_kappa_of_known_tables():
    assert quadratic_kappa(np.diag([3, 1, 2])) == 1
    # Worked by hand: observed 0.5 · 1; by chance 0.5.
    assert quadratic_kappa([[1, 1], [1, 1]]) == 0
    assert quadratic_kappa([[0, 2], [2, 0]]) == -1
    assert quadratic_kappa([[4, 0], [0, 0]]) is None


def test_what_does_not_fit_is_named():
    with pytest.raises(EvaluationError, match="b has a true label but no prediction"):
        compare_labels({"a": "pN0"}, {"a": "pN0", "b": "pN1"}, ORDER)
    with pytest.raises(EvaluationError, match="a, c, d, e, f and 1 more have a prediction but no"):
        compare_labels(dict.fromkeys("abcdefg", "pN0"), {"b": "pN0"}, ORDER)
    with pytest.raises(EvaluationError, match="true label 'pN7' of a"):
        compare_labels({"a": "pN0"}, {"a": "pN7"}, ORDER)
    with pytest.raises(EvaluationError, match="no true labels"):
        compare_labels({}, {}, ORDER)


def test_each_centre_is_compared_on_its_own():
    true = {"a": "pN0", "b": "pN2", "c": "pN1"}
    predicted = {"a": "pN0", "b": "pN0", "c": "pN1"}
    found = compare_per_centre(predicted, true, ORDER, {"a": 0, "b": 0, "c": 3})
    assert [(centre, one.count, one.accuracy) for centre, one in found.items()] == [
        (0, 2, 0.5),
        (3, 1, 1.0),
    ]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.booleans()), max_size=25))
def test_auc_is_the_share_of_pairs_in_order(slides):
    scores = {str(n): score for n, (score, _) in enumerate(slides)}
    positive = {str(n): label for n, (_, label) in enumerate(slides)}
    ups = [scores[name] for name, label in positive.items() if label]
    downs = [scores[name] for name, label in positive.items() if not label]
    if not ups or not downs:
        with pytest.raises(EvaluationError, match="with tumour"):
            area_under_roc(scores, positive)
        return
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in ups for b in downs]
    assert area_under_roc(scores, positive) == pytest.approx(np.mean(pairs))


def test_auc_names_what_is_missing():
    with pytest.raises(EvaluationError, match="slide b has no score"):
        area_under_roc({"a": 1.0}, {"a": True, "b": False})
    with pytest.raises(EvaluationError, match="score of b is no number"):
        area_under_roc({"a": 1.0, "b": float("nan")}, {"a": True, "b": False})


def test_an_interval_holds_the_mean_and_is_the_same_for_a_seed():
    rng = np.random.default_rng(2)
    cases = rng.normal(3, 1, 200).tolist()
    found = bootstrap_interval(cases, lambda drawn: float(np.mean(drawn)), draws=2000, seed=5)
    # Of a normal mean: ± 1.96 · s / √n.
    half = 1.96 * np.std(cases) / np.sqrt(200)
    assert found.low == pytest.approx(np.mean(cases) - half, abs=0.02)
    assert found.high == pytest.approx(np.mean(cases) + half, abs=0.02)
    again = bootstrap_interval(cases, lambda drawn: float(np.mean(drawn)), draws=2000, seed=5)
    assert again == found


def test_draws_without_a_score_are_counted_and_none_at_all_is_named():
    found = bootstrap_interval(
        [0, 1], lambda drawn: 1.0 if len(set(drawn)) == 2 else None, draws=100
    )
    assert 0 < found.undefined < 100
    assert found.draws + found.undefined == 100
    with pytest.raises(EvaluationError, match="not defined on any draw"):
        bootstrap_interval([1], lambda drawn: None, draws=3)
    with pytest.raises(EvaluationError, match="nothing to draw"):
        bootstrap_interval([], lambda drawn: 1.0)
