"""What persons say of nodes: it holds, it is told, and it can be taken back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import StagingError
from napari_camelyon.staging import (
    NODE_CLASSES,
    apply_overrides,
    classify_node,
    override_node,
    overrides_in_force,
    stage_patient,
    undo_override,
)

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def set_by(history, node, node_class, computed="itc", reason="two clusters", initials="AB"):
    return override_node(
        history, node, node_class, computed=computed, reason=reason, initials=initials, now=NOON
    )


def test_an_override_holds_and_is_told():
    history = set_by((), "b", "micro")
    patient = stage_patient({"a": "negative", "b": "itc"}, expected_nodes=2, overrides=history)
    assert patient.stage == "pN1mi"
    assert patient.nodes == {"a": "negative", "b": "micro"}
    assert (
        "b was set to micro by AB (2026-05-04 12:00 UTC): two clusters. The program found itc."
        in patient.describe()
    )
    assert patient.overrides == history


def test_what_the_program_says_otherwise_by_now_is_told():
    history = set_by((), "b", "micro", computed="itc")
    patient = stage_patient({"b": "macro"}, expected_nodes=1, overrides=history)
    assert patient.stage == "pN1mi"
    assert "The program finds macro for b now: look at it again." in patient.describe()


def test_a_result_keeps_its_size_and_becomes_certain():
    result = classify_node([], name="n")
    node = apply_overrides({"n": result}, set_by((), "n", "macro", computed="negative"))["n"]
    assert node.node_class == "macro"
    assert node.possible_classes == ("macro",)
    assert node.complete
    assert "was set to macro by AB" in node.reasons[0]


def test_a_missing_node_takes_the_class_and_the_bounds_go():
    history = set_by((), "b", "negative", computed=None)
    patient = stage_patient({"a": "micro", "b": None}, expected_nodes=2, overrides=history)
    assert patient.is_certain
    assert "The program had no result." in patient.describe()


def test_an_override_of_a_node_that_is_not_here_is_told_and_unused():
    patient = stage_patient(["itc"], expected_nodes=1, overrides=set_by((), "z", "macro"))
    assert patient.stage == "pN0(i+)"
    assert "none of the nodes here" in patient.describe()


def test_undo_goes_back_one_override_after_the_other_and_forgets_nothing():
    once = set_by((), "b", "micro")
    twice = set_by(once, "b", "macro")
    assert twice[-1].previous == "micro"
    back = undo_override(twice, "b", computed="itc", initials="CD", now=NOON)
    assert overrides_in_force(back)["b"].node_class == "micro"
    again = undo_override(back, "b", computed="itc", initials="CD", now=NOON)
    assert overrides_in_force(again) == {}
    assert again[:2] == twice
    assert len(again) == 4
    assert again[-1].node_class is None
    with pytest.raises(StagingError, match="Nobody has set b"):
        undo_override(again, "b", computed="itc", initials="CD")


@pytest.mark.parametrize(("reason", "initials"), [(" ", "AB"), ("why", ""), ("why", "  ")])
def test_an_override_without_reason_or_initials_is_refused(reason, initials):
    with pytest.raises(StagingError, match=r"Say why|Give your initials"):
        set_by((), "b", "micro", reason=reason, initials=initials)


def test_a_class_that_is_none_is_refused():
    with pytest.raises(StagingError, match="b has the class 'large'"):
        set_by((), "b", "large")


@given(st.lists(st.sampled_from([*NODE_CLASSES, "undo"]), max_size=12))
def test_the_history_is_a_stack_for_each_node(steps):
    history, stack = (), []
    for step in steps:
        if step != "undo":
            history = set_by(history, "n", step)
            stack.append(step)
        elif stack:
            history = undo_override(history, "n", computed="itc", initials="AB", now=NOON)
            stack.pop()
    held = overrides_in_force(history).get("n")
    assert (held.node_class if held else None) == (stack[-1] if stack else None)
    (node,) = apply_overrides({"n": "itc"}, history).values()
    assert node == (stack[-1] if stack else "itc")
