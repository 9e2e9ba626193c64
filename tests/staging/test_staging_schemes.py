"""AJCC/UICC 8 against a literal reading, and what must hold of every rule."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import StagingError
from napari_camelyon.staging import NODE_CLASSES, SCHEMES, stage_patient, stages_of

classes = st.sampled_from(NODE_CLASSES)
schemes = st.sampled_from(SCHEMES)


def literal_ajcc(nodes: list[str]) -> str:
    """Pathological N of the 8th edition, breast, for axillary nodes, sentence by sentence.

    pN0: no regional lymph node metastasis identified. pN0(i+): ITCs only.
    pN1mi: micrometastases, none larger than 2.0 mm.
    pN1a: metastases in 1-3 axillary nodes, at least one larger than 2.0 mm.
    pN2a: metastases in 4-9, at least one deposit larger than 2.0 mm.
    pN3a: metastases in 10 or more, at least one deposit larger than 2.0 mm.
    Nodes with ITCs only are not counted as positive.
    """
    counted = [node for node in nodes if node in ("micro", "macro")]
    if not counted:
        return "pN0(i+)" if "itc" in nodes else "pN0"
    if "macro" not in nodes:
        return "pN1mi"
    if len(counted) in range(1, 4):
        return "pN1a"
    if len(counted) in range(4, 10):
        return "pN2a"
    return "pN3a"


@given(st.lists(classes, min_size=1, max_size=14))
def test_ajcc_equals_its_literal_reading(nodes):
    assert stage_patient(nodes, expected_nodes=None, scheme="ajcc8").stage == literal_ajcc(nodes)


@given(st.lists(classes, min_size=1, max_size=12), classes, schemes)
def test_one_more_node_never_lowers_the_stage(nodes, another, scheme):
    order = stages_of(scheme).index
    before = stage_patient(nodes, expected_nodes=None, scheme=scheme).stage
    after = stage_patient([*nodes, another], expected_nodes=None, scheme=scheme).stage
    assert order(after) >= order(before)


@given(st.lists(classes, min_size=1, max_size=12), st.data(), schemes)
def test_a_higher_class_never_lowers_the_stage(nodes, data, scheme):
    place = data.draw(st.integers(0, len(nodes) - 1))
    higher = data.draw(st.sampled_from(NODE_CLASSES[NODE_CLASSES.index(nodes[place]) :]))
    order = stages_of(scheme).index
    before = stage_patient(nodes, expected_nodes=None, scheme=scheme).stage
    changed = [*nodes[:place], higher, *nodes[place + 1 :]]
    after = stage_patient(changed, expected_nodes=None, scheme=scheme).stage
    assert order(after) >= order(before)


@given(st.permutations(["negative", "itc", "micro", "macro", "macro"]), schemes)
def test_the_order_of_nodes_is_nothing(nodes, scheme):
    assert stage_patient(nodes, scheme=scheme).stage == stages_of(scheme)[3]


@given(st.lists(st.none() | classes, min_size=1, max_size=4), schemes)
def test_missing_nodes_bound_the_stage_as_trying_everything_does(nodes, scheme):
    if all(node is None for node in nodes):
        return
    tried = set()
    for filling in itertools.product(NODE_CLASSES, repeat=nodes.count(None)):
        missing = iter(filling)
        full = [next(missing) if node is None else node for node in nodes]
        tried.add(stage_patient(full, expected_nodes=None, scheme=scheme).stage)
    found = stage_patient(
        {str(place): node for place, node in enumerate(nodes)}, expected_nodes=None, scheme=scheme
    )
    assert set(found.possible_stages) == tried
    assert (found.lowest, found.highest) == (found.possible_stages[0], found.possible_stages[-1])


def test_sentinel_nodes_give_the_suffix_up_to_five_nodes():
    five = stage_patient(["itc"] * 5, scheme="ajcc8", sentinel_only=True)
    assert five.statement == "pN0(i+)(sn)"
    six = stage_patient(["macro"] * 6, scheme="ajcc8", sentinel_only=True)
    assert six.statement == "pN2a"
    assert "(sn) is not used with 6 or more" in six.describe()
    assert stage_patient(["macro"], scheme="ajcc8", expected_nodes=1).statement == "pN1a"
    plain = stage_patient(["macro"], expected_nodes=1, sentinel_only=True)
    assert plain.statement == "pN1"
    assert "CAMELYON17 knows no (sn)" in plain.describe()
    some = stage_patient({"a": "macro", "b": None}, scheme="ajcc8", sentinel_only=True)
    assert some.statement == "at least pN1a(sn)"


def test_a_scheme_that_is_none_is_named():
    with pytest.raises(StagingError, match="no scheme 'ajcc9'; choose one of camelyon17, ajcc8"):
        stage_patient(["itc"], scheme="ajcc9")
