"""What a stage hangs on, against trying everything."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import StagingError
from napari_camelyon.staging import (
    NODE_CLASSES,
    SCHEMES,
    classify_node,
    override_node,
    range_at,
    stage_patient,
    stages_over_thresholds,
    what_would_change,
)
from napari_camelyon.staging.nodes import node_class_of_size


def node(name, diameter_mm):
    empty = classify_node([], name=name)
    if diameter_mm is None:
        return empty
    node_class = node_class_of_size(diameter_mm)
    return replace(
        empty,
        node_class=node_class,
        diameter_mm=diameter_mm,
        margin_mm=0.0,
        lesions=1,
        possible_classes=(node_class,),
    )


def patient_of(sizes_mm, **options):
    results = {f"n{place}": node(f"n{place}", size) for place, size in enumerate(sizes_mm)}
    return stage_patient(results, expected_nodes=None, **options), results


def test_ranges_of_thresholds_are_found_to_the_tolerance():
    def stage_at(threshold):
        return "pN2" if threshold < 0.347 else "pN1" if threshold < 0.8213 else "pN0"

    grid = [place / 20 for place in range(1, 20)]
    ranges = stages_over_thresholds(stage_at, grid, tolerance=0.001)
    assert [one.stage for one in ranges] == ["pN2", "pN1", "pN0"]
    assert ranges[0].low == 0.05
    assert ranges[-1].high == 0.95
    for before, after, change in zip(ranges, ranges[1:], (0.347, 0.8213), strict=False):
        assert before.high < change <= after.low
        assert after.low - before.high <= 0.001 * 1.001
    assert range_at(ranges, 0.5).describe() == "pN1 from 0.35 to 0.82"


def test_a_stage_may_come_back_at_another_threshold():
    def stage_at(threshold):
        return "pN1" if 0.3 <= threshold < 0.4 else "pN0"

    ranges = stages_over_thresholds(stage_at, [0.1, 0.35, 0.9])
    assert [one.stage for one in ranges] == ["pN0", "pN1", "pN0"]


def test_thresholds_that_do_not_rise_are_refused():
    with pytest.raises(StagingError, match="rise"):
        stages_over_thresholds(lambda _threshold: "pN0", [0.5, 0.4])


def test_sizes_near_a_limit_come_first_with_their_distance():
    patient, results = patient_of([1.94, 0.1, None])
    first, second, *_ = what_would_change(patient, results)
    # An ITC that grows by 0.1 mm changes nothing here: pN1mi stays.
    assert first.sentence == (
        "If the largest deposit of n0 (1.94 mm) were more than 0.06 mm larger, the stage would be "
        "pN1."
    )
    assert first.amount == pytest.approx(0.06)
    assert (second.node, second.stage, second.value) == ("n0", "pN0(i+)", 0.2)


def test_the_next_largest_deposit_holds_a_node_up():
    class Sized:
        def __init__(self, diameter_mm):
            self.diameter_mm = diameter_mm

    patient, results = patient_of([2.02])
    alone = what_would_change(patient, results)
    assert {change.stage for change in alone} == {"pN1mi", "pN0(i+)", "pN0"}
    held = what_would_change(patient, results, lesions={"n0": [Sized(2.02), Sized(0.5)]})
    assert {change.stage for change in held} == {"pN1mi"}


def test_thresholds_missing_nodes_and_overrides():
    patient, results = patient_of([2.5, None])
    ranges = stages_over_thresholds(
        lambda threshold: "pN1" if threshold < 0.6 else "pN0", [0.1, 0.5, 0.9]
    )
    (change,) = [
        one
        for one in what_would_change(patient, results, ranges=ranges, threshold=0.5)
        if one.kind == "threshold"
    ]
    assert change.stage == "pN0"
    assert change.amount == pytest.approx(0.1, abs=0.02)

    unknown = stage_patient({"a": "macro", "b": None}, expected_nodes=None)
    assert what_would_change(unknown, {}) == ()
    four = stage_patient({**dict.fromkeys("abc", "macro"), "d": None}, expected_nodes=None)
    (change,) = what_would_change(four, {})
    assert (change.kind, change.node, change.stage) == ("class", "d", "pN2")

    history = override_node((), "n0", "macro", computed="macro", reason="seen", initials="AB")
    held, results = patient_of([2.01], overrides=history)
    assert what_would_change(held, results) == ()


sizes = st.lists(st.none() | st.floats(0.01, 4.0), min_size=1, max_size=6)


@given(sizes, st.sampled_from(SCHEMES))
def test_size_changes_are_the_smallest_that_change_the_stage(sizes_mm, scheme):
    patient, results = patient_of(sizes_mm, scheme=scheme)
    changes = [one for one in what_would_change(patient, results) if one.kind == "size"]
    tried = {}
    for place, size in enumerate(sizes_mm):
        if size is None:
            continue
        for other in NODE_CLASSES:
            if other == node_class_of_size(size):
                continue
            limit = {"negative": 0.0, "itc": 0.2, "micro": 2.0, "macro": 2.0}[other]
            if other == "micro" and size <= 0.2:
                limit = 0.2
            classes = [result.node_class for result in results.values()]
            classes[place] = other
            stage = stage_patient(classes, expected_nodes=None, scheme=scheme).stage
            if stage != patient.stage:
                key = f"n{place}", stage
                tried[key] = min(tried.get(key, 9.0), abs(limit - size))
    assert {(one.node, one.stage): abs(one.amount) for one in changes} == pytest.approx(tried)
    amounts = [abs(one.amount) for one in changes]
    assert amounts == sorted(amounts)
