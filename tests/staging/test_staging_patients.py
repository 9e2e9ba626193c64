"""The pN rule against a slow, literal reading of its definitions, and its bounds and reasons."""

import csv
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import StagingError
from napari_camelyon.staging import (
    NODE_CLASSES,
    STAGES,
    NodeResult,
    classify_node,
    stage_of_counts,
    stage_patient,
)

classes = st.sampled_from(NODE_CLASSES)


def literal_stage(nodes: list[str]) -> str:
    """CAMELYON17's definitions, sentence by sentence, written without the code under test.

    pN0: no micro-metastases or macro-metastases or ITCs found.
    pN0(i+): only ITCs found.
    pN1mi: micro-metastases found, but no macro-metastases found.
    pN1: metastases found in 1–3 lymph nodes, of which at least one is a macro-metastasis.
    pN2: metastases found in 4–9 lymph nodes, of which at least one is a macro-metastasis.
    """
    found_macro = False
    found_micro = False
    found_itc = False
    nodes_with_metastases = 0
    for node in nodes:
        if node == "macro":
            found_macro = True
            nodes_with_metastases = nodes_with_metastases + 1
        if node == "micro":
            found_micro = True
            nodes_with_metastases = nodes_with_metastases + 1
        if node == "itc":
            found_itc = True
    fitting = []
    if not found_micro and not found_macro and not found_itc:
        fitting.append("pN0")
    if found_itc and not found_micro and not found_macro:
        fitting.append("pN0(i+)")
    if found_micro and not found_macro:
        fitting.append("pN1mi")
    if nodes_with_metastases in (1, 2, 3) and found_macro:
        fitting.append("pN1")
    if nodes_with_metastases in (4, 5, 6, 7, 8, 9) and found_macro:
        fitting.append("pN2")
    (stage,) = fitting
    return stage


ALL_PATIENTS = list(itertools.product(NODE_CLASSES, repeat=5))


def test_all_combinations_of_five_nodes_follow_the_definitions():
    assert len(ALL_PATIENTS) == 4**5
    for nodes in ALL_PATIENTS:
        result = stage_patient(nodes)
        assert result.stage == literal_stage(list(nodes)), nodes
        assert result.is_certain
        assert result.statement == result.stage


@given(st.lists(classes, min_size=1, max_size=9))
def test_any_number_of_nodes_follows_the_definitions(nodes):
    assert stage_patient(nodes, expected_nodes=None).stage == literal_stage(nodes)


@given(st.lists(classes, min_size=1, max_size=12), classes)
def test_one_more_node_never_lowers_the_stage(nodes, more):
    before = stage_patient(nodes, expected_nodes=None).stage
    after = stage_patient([*nodes, more], expected_nodes=None).stage
    assert STAGES.index(after) >= STAGES.index(before)
    if more == "negative":
        assert after == before


@given(st.lists(classes, min_size=1, max_size=8), st.data())
def test_a_worse_node_never_lowers_the_stage(nodes, data):
    place = data.draw(st.integers(0, len(nodes) - 1))
    worse = data.draw(st.sampled_from(NODE_CLASSES[NODE_CLASSES.index(nodes[place]) :]))
    changed = [*nodes[:place], worse, *nodes[place + 1 :]]
    before, after = (
        STAGES.index(stage_patient(many, expected_nodes=None).stage) for many in (nodes, changed)
    )
    assert after >= before


@given(st.permutations(["macro", "micro", "itc", "negative", "negative"]))
def test_the_order_of_nodes_does_not_matter(nodes):
    assert stage_patient(nodes).stage == "pN1"


def test_ten_positive_nodes_stay_on_the_scale_and_say_so():
    result = stage_patient(["macro"] * 10)
    assert result.stage == stage_of_counts(0, 0, 10) == "pN2"
    assert any("pN3a" in reason for reason in result.reasons)


def test_official_labels(shared_data):
    """Every patient of the official table has the stage that its nodes give."""
    stages, nodes = {}, {}
    with (shared_data / "tables" / "camelyon17_stages_patients_000-019.csv").open() as file:
        for row in csv.DictReader(file):
            name = row["patient"]
            if name.endswith(".zip"):
                stages[name[:-4]] = row["stage"]
            else:
                nodes.setdefault(name[:11], []).append(row["stage"])
    assert len(stages) == len(nodes) == 20
    for patient, stage in stages.items():
        assert stage_patient(nodes[patient]).stage == stage


# -- what is missing -------------------------------------------------------------------------------


@given(st.lists(classes, min_size=1, max_size=4), st.integers(0, 3))
def test_bounds_are_those_of_everything_that_missing_nodes_can_be(nodes, failed):
    given_nodes = [*nodes, *[None] * failed]
    missing = max(5, len(given_nodes)) - len(nodes)
    possible = {
        literal_stage([*nodes, *rest]) for rest in itertools.product(NODE_CLASSES, repeat=missing)
    }
    result = stage_patient(given_nodes)
    assert set(result.possible_stages) == possible
    assert list(result.possible_stages) == sorted(possible, key=STAGES.index)
    assert (result.lowest, result.highest) == (
        result.possible_stages[0],
        result.possible_stages[-1],
    )
    assert result.stage == result.lowest
    assert result.absent == missing - failed
    assert result.is_certain == (len(possible) == 1)


def test_a_failed_node_is_named_and_bounds_the_answer():
    result = stage_patient(
        {"a": "micro", "b": None, "c": "negative", "d": "itc", "e": "negative"}, name="p"
    )
    assert result.stage == "pN1mi"
    assert result.statement == "at least pN1mi"
    assert result.nodes["b"] is None
    assert "b has no result." in result.reasons
    assert result.describe().startswith("at least pN1mi. 1 of 4 nodes with a result is positive")
    assert result.reasons[-1] == "So the stage is at least pN1mi and may be up to pN1."
    assert result.counts == {"negative": 2, "itc": 1, "micro": 1, "macro": 0}


def test_nodes_that_are_not_there_bound_the_answer_as_far_as_they_are_expected():
    two = ["macro", "negative"]
    assert stage_patient(two).statement == "at least pN1"
    assert stage_patient(two).highest == "pN2"
    assert "3 of the 5 expected nodes are not there." in stage_patient(two).reasons
    assert stage_patient(two, expected_nodes=2).is_certain
    assert stage_patient(two, expected_nodes=None).is_certain


def test_what_cannot_change_the_stage_is_said():
    result = stage_patient({"a": "macro", "b": "macro", "c": "macro", "d": "micro", "e": None})
    assert result.is_certain
    assert result.statement == "pN2"
    assert result.reasons[-1] == "That cannot change the stage."


def node(name, node_class, **entries) -> NodeResult:
    sizes = {"negative": None, "itc": 0.1, "micro": 1.0, "macro": 5.0}
    return replace(
        classify_node([], name=name),
        node_class=node_class,
        diameter_mm=sizes[node_class],
        margin_mm=None if node_class == "negative" else 0.05,
        possible_classes=(node_class,),
        **entries,
    )


def test_an_unfinished_node_can_only_get_worse():
    results = [node(f"n{i}", "negative") for i in range(4)]
    result = stage_patient([*results, node("n4", "micro", computed_share=0.4)])
    assert result.unfinished == ("n4",)
    assert result.possible_stages == ("pN1mi", "pN1")
    assert "n4 is not computed to the end." in result.reasons


def test_a_size_near_a_limit_says_what_it_would_change():
    near = replace(
        node("n4", "micro"),
        diameter_mm=1.98,
        margin_mm=0.06,
        possible_classes=("micro", "macro"),
    )
    result = stage_patient([*(node(f"n{i}", "negative") for i in range(4)), near])
    assert "n4 measures 1.98 ± 0.06 mm: were it macro, the stage would be pN1." in result.reasons
    macros = [node(f"n{i}", "macro") for i in range(4)]
    assert not any("were it" in reason for reason in stage_patient([*macros, near]).reasons)


# -- input -----------------------------------------------------------------------------------------


def test_results_plain_classes_and_mappings_are_the_same_to_it():
    as_results = stage_patient([node("a", "macro"), node("b", "itc")], expected_nodes=2)
    as_mapping = stage_patient({"a": "Macro", "b": node("other", "itc")}, expected_nodes=2)
    assert as_results.nodes == as_mapping.nodes == {"a": "macro", "b": "itc"}
    plain = stage_patient(["macro", "itc"], expected_nodes=2)
    assert plain.nodes == {"node 1": "macro", "node 2": "itc"}
    assert plain.stage == as_results.stage == as_mapping.stage == "pN1"
    assert stage_patient(iter(["macro", "itc"]), expected_nodes=2) == plain


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "No node of p was given"),
        ({}, "No node of p was given"),
        ([None, None], "None of the nodes of p has a result: node 1, node 2"),
        (["macro", "large"], "node 2 has the class 'large'"),
        ({"x": "pN1"}, "x has the class 'pN1'"),
        ([7], "node 1 has the class 7"),
        ("macro", "the word 'macro'"),
        ([node("twin", "itc"), node("twin", "macro")], "twin is given twice"),
    ],
)
def test_what_cannot_be_staged_is_named(nodes, message):
    with pytest.raises(StagingError, match=message):
        stage_patient(nodes, name="p")
