"""Groups in groups, also as no file should have them; copies; and what a person says they mean."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, GroupProfile, Part, make_annotation
from napari_camelyon.annotations.groups import DEEPEST
from napari_camelyon.annotations.meaning import lineage
from napari_camelyon.errors import AnnotationError

SQUARE = np.array([(0, 0), (100, 0), (100, 100), (0, 100)], float)
NAMES = st.sampled_from("abcdefg")
GROUPS = st.dictionaries(NAMES, st.one_of(st.none(), NAMES)).map(
    lambda parents: tuple(Group(name, parent) for name, parent in parents.items())
)
"""Any parents: unknown ones, circles, groups that lie in themselves."""


def outline(group=None, name="", points=SQUARE):
    return make_annotation("polygon", points, name=name, group=group)


def sets(groups, used=()):
    return AnnotationSet(tuple(outline(group) for group in used), groups)


# --- the tree ------------------------------------------------------------------------------------


def test_a_tree_is_in_the_order_of_the_file_each_parent_before_what_lies_in_it():
    groups = (Group("a", "b"), Group("b"), Group("c"), Group("d", "b"), Group("e", "d"))
    rows = annotations.group_tree(sets(groups, ["d", "d", None, "new"]))
    assert [(row.name, row.under) for row in rows] == [
        ("b", None),
        ("a", "b"),
        ("d", "b"),
        ("e", "d"),
        ("c", None),
        ("new", None),
        (None, None),
    ]
    assert [row.regions for row in rows] == [0, 0, 2, 0, 0, 1, 1]
    assert [row.name for row in rows if row.has_subgroups] == ["b", "d"]


def test_a_parent_that_no_file_defines_is_a_row_of_its_own():
    rows = annotations.group_tree(sets((Group("a", "nowhere"),)))
    assert [(row.name, row.under) for row in rows] == [("nowhere", None), ("a", "nowhere")]


def test_the_first_of_a_circle_is_outermost():
    groups = (Group("in", "x"), Group("x", "y"), Group("y", "z"), Group("z", "x"), Group("s", "s"))
    rows = annotations.group_tree(sets(groups))
    assert [(row.name, row.under) for row in rows] == [
        ("x", None),
        ("in", "x"),
        ("z", "x"),
        ("y", "z"),
        ("s", None),
    ]


@given(GROUPS, st.lists(st.one_of(st.none(), NAMES)))
def test_every_group_is_in_the_tree_once_whatever_the_parents(groups, used):
    made = sets(groups, used)
    rows = annotations.group_tree(made)
    names = [row.name for row in rows]
    assert sorted(map(str, names)) == sorted(map(str, annotations.group_names(made)))
    assert sum(row.regions for row in rows) == len(used)
    parents = {group.name: group.parent for group in groups}
    for place, row in enumerate(rows):
        if row.under is not None:
            assert row.under in names[:place]
            assert row.under == parents[row.name]
        elif parents.get(row.name) is not None:
            assert parents[lineage(row.name, groups)[-1]] is not None  # only a circle is opened


def test_thousands_of_groups_in_each_other_are_shown_at_a_bounded_depth_at_once():
    groups = tuple(Group(str(k), str(k + 1)) for k in range(5000))
    start = time.perf_counter()
    rows = annotations.group_tree(sets(groups))
    assert time.perf_counter() - start < 2  # 0.03 s; by walking up from each it takes many
    depth = {None: -1}
    for row in rows:
        depth[row.name] = depth[row.under] + 1
    assert len(rows) == 5001
    assert max(depth.values()) == DEEPEST


@given(GROUPS, st.sets(NAMES))
def test_what_lies_in_groups_is_what_has_one_of_them_in_its_lineage(groups, names):
    found = annotations.with_subgroups(names, groups)
    inside = {group.name for group in groups if names & set(lineage(group.name, groups))}
    assert found == inside | names


# --- putting elsewhere, deleting -----------------------------------------------------------------


@given(GROUPS, NAMES, st.one_of(st.none(), NAMES))
def test_a_group_can_be_put_anywhere_but_into_itself(groups, name, parent):
    made = sets(groups, list("abcdefg"))
    if parent is not None and parent not in annotations.possible_parents(made, name):
        with pytest.raises(AnnotationError, match="lies in it"):
            annotations.group_moved(made, name, parent)
        return
    moved = annotations.group_moved(made, name, parent)
    known = {group.name: group for group in moved.groups}
    assert known[name].parent == parent
    assert parent is None or parent in known
    assert name not in lineage(parent, moved.groups)
    assert moved.annotations is made.annotations
    assert {g for g in made.groups if g.name != name} <= set(moved.groups)


def test_only_an_empty_group_is_deleted():
    groups = (Group("full"), Group("parent"), Group("child", "parent"))
    made = sets(groups, ["full", "full"])
    with pytest.raises(AnnotationError, match="2 regions belong"):
        annotations.group_deleted(made, "full")
    with pytest.raises(AnnotationError, match="Other groups lie in"):
        annotations.group_deleted(made, "parent")
    left = annotations.group_deleted(made, "child")
    assert [group.name for group in left.groups] == ["full", "parent"]


# --- copies --------------------------------------------------------------------------------------


def test_copies_have_ids_and_names_of_their_own_and_the_points_of_the_original():
    hole = SQUARE / 4 + 0.1
    first = make_annotation(
        "spline",
        SQUARE / 3,
        name="Annotation 3",
        group="a",
        colour="#123456",
        holes=[hole],
        more_parts=[Part(SQUARE + 500, (hole + 500,))],
    )
    others = [outline("a", name) for name in ("Annotation 7", "large", "large", "", "x 2")]
    made = AnnotationSet(
        (first, *others), (Group("a"), Group("b", "top"), Group("top", None, "#ff0000"))
    )
    ids = [annotation.id for annotation in made]
    copies = annotations.copies_for_group(made, [*ids, "gone"], "b")
    assert [copy.name for copy in copies] == [
        "Annotation 8", "Annotation 9", "large 2", "large 3", "", "x 3",
    ]  # fmt: skip
    assert len({*ids, *(copy.id for copy in copies)}) == 12
    assert {(copy.group, copy.colour) for copy in copies} == {("b", "#ff0000")}
    assert copies[0].kind == "spline"
    for ring, copied in zip(first.rings, copies[0].rings, strict=True):
        assert_array_equal(ring, copied)


def test_the_verdict_on_an_original_is_not_one_on_its_copy():
    judged = annotations.verified(outline("a"), "agreed", "sure")
    (copy,) = annotations.copies_for_group(AnnotationSet((judged,)), [judged.id], None)
    assert annotations.status_of(copy) == "unchecked"
    assert copy.group is None
    assert copy.colour is None


# --- what groups mean, said by hand ---------------------------------------------------------------


def test_an_own_map_begins_with_what_the_names_say_and_names_no_other_groups():
    made = sets((Group("Tumor"), Group("Stroma"), Group("mine", "Tumor")), ["Tumor", "Stroma"])
    own = annotations.with_meaning(made, None, "Stroma", "cut-out")
    assert (own.tumour, own.cut_out) == ({"Tumor"}, {"Stroma"})
    own = annotations.with_meaning(made, own, "Tumor", "")
    assert (own.tumour, own.cut_out) == (frozenset(), {"Stroma"})
    own = annotations.with_meaning(made, own, "Stroma", "tumour")
    assert (own.tumour, own.cut_out) == ({"Stroma"}, frozenset())
    assert annotations.renamed_in_profile(own, "Stroma", "new").tumour == {"new"}


def test_an_own_map_counts_before_the_names():
    made = sets((), ["Tumor"])
    assert annotations.profile_for(made, None) == annotations.choose_profile(made)
    own = GroupProfile("mine", frozenset({"x"}), frozenset())
    assert annotations.profile_for(made, own).profile is own


def test_a_map_is_read_as_it_was_written(tmp_path):
    own = annotations.group_profile(["Tümor", "b"], ["c"])
    annotations.write_profile(own, tmp_path / "map.json")
    read = annotations.read_profile(tmp_path / "map.json")
    assert (read.tumour, read.cut_out) == (own.tumour, own.cut_out)


def test_a_map_that_could_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "map.json"
    path.write_text("before")
    with pytest.raises(AnnotationError, match="No group means tumour"):
        annotations.write_profile(GroupProfile("", frozenset(), frozenset({"c"})), path)
    assert path.read_text() == "before"
