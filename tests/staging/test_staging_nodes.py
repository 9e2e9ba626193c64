"""The node's class by size, with reasons, limits and what is not certain."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import StagingError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import NODE_CLASSES, Lesion, classify_node, parse_node_class


def lesion(diameter_mm, *, number=1, margin_mm=0.0):
    outline = shapely.Point(5, 5).buffer(4)
    return Lesion(
        id=number,
        diameter_mm=diameter_mm,
        margin_mm=margin_mm,
        diameter_ends_px=((1.0, 5.0), (9.0, 5.0)),
        area_mm2=0.1,
        mean_probability=0.8,
        max_probability=0.9,
        patches=12,
        bounds_px=outline.bounds,
        outline=outline,
    )


@pytest.mark.parametrize(
    ("diameter_mm", "expected"),
    [
        (0.0, "itc"),
        (0.2, "itc"),
        (0.2001, "micro"),
        (2.0, "micro"),
        (2.0001, "macro"),
        (30.0, "macro"),
    ],
)
def test_the_limits_belong_to_the_lower_class(diameter_mm, expected):
    node = classify_node([lesion(diameter_mm)])
    assert node.node_class == expected
    assert node.possible_classes == (expected,)
    assert node.beyond_itc_limit_mm == pytest.approx(diameter_mm - 0.2)
    assert node.beyond_micro_limit_mm == pytest.approx(diameter_mm - 2.0)


def test_a_node_without_lesions_is_negative():
    node = classify_node([], name="n")
    assert (node.name, node.node_class, node.lesions) == ("n", "negative", 0)
    assert node.diameter_mm is node.margin_mm is node.deciding_lesion is None
    assert node.beyond_itc_limit_mm is node.beyond_micro_limit_mm is None
    assert node.complete
    assert node.reasons == ("No lesion was found.",)


def test_the_largest_lesion_decides_in_whatever_order():
    lesions = [lesion(0.1, number=3), lesion(2.4, number=1), lesion(0.9, number=2)]
    node = classify_node(lesions)
    assert node.deciding_lesion is lesions[1]
    assert (node.diameter_mm, node.lesions) == (2.4, 3)
    assert "number 1) measures 2.40 ± 0.00 mm" in node.reasons[0]
    assert "more than 2.0 mm: macrometastasis" in node.reasons[0]


def test_sizes_near_a_limit_say_what_else_is_possible():
    node = classify_node([lesion(1.97, margin_mm=0.06)])
    assert node.node_class == "micro"
    assert node.possible_classes == ("micro", "macro")
    assert "macro is possible" in node.reasons[1]
    wide = classify_node([lesion(1.0, margin_mm=1.2)])
    assert wide.possible_classes == ("itc", "micro", "macro")
    assert "itc or macro is possible" in wide.reasons[1]


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 10))
def test_another_lesion_never_lowers_the_class(diameters, more):
    before = classify_node([lesion(size) for size in diameters])
    after = classify_node([lesion(size) for size in [*diameters, more]])
    order = NODE_CLASSES.index
    assert order(after.node_class) >= order(before.node_class)
    assert after.node_class in after.possible_classes


def test_what_is_not_computed_to_the_end_is_a_lower_bound():
    values = np.full((4, 5), np.nan, dtype=np.float32)
    values[0] = 0.1
    heatmap = Heatmap(
        Grid(4, 5, 0, 0, 9, 9, 9, 9), values, (1.0, 1.0), planned_cells=10, slide_name="s"
    )
    half = classify_node([], heatmap=heatmap)
    assert (half.name, half.computed_share, half.complete) == ("s", 0.5, False)
    assert "Only 50% of the planned patches" in half.reasons[-1]

    planned = np.zeros((4, 5), dtype=bool)
    planned[0, :4] = True
    whole = classify_node([], heatmap=heatmap, planned=planned)
    assert (whole.computed_share, whole.complete) == (1.0, True)
    planned[1] = True
    assert classify_node([], heatmap=heatmap, planned=planned).computed_share == 4 / 9
    nothing = classify_node([], heatmap=heatmap, planned=np.zeros((4, 5), dtype=bool))
    assert nothing.complete


def test_classes_are_read_in_capitals_and_never_guessed():
    assert parse_node_class(" ITC ", "n") == "itc"
    for word in ("", "metastasis", "pN1", "macr", None, 3):
        with pytest.raises(StagingError, match="node_7 has the class"):
            parse_node_class(word, "node_7")
