"""Undo and redo lead exactly to where one was, whatever was done."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.annotations import (
    AnnotationSet,
    Group,
    add_annotations,
    make_annotation,
    remove_annotations,
    replace_annotation,
    with_groups,
)
from napari_camelyon.annotations.history import (
    History,
    apply_change,
    change_between,
    do,
    inverse,
    is_saved,
    mark_saved,
    redo,
    undo,
)


def _square(name: str = "", x: float = 0.0):
    return make_annotation("polygon", [(x, 0), (x + 1, 0), (x + 1, 1)], name=name)


POOL = [_square(str(k), k) for k in range(8)]
SETS = st.lists(st.sampled_from(range(8)), unique=True, max_size=8).map(
    lambda places: AnnotationSet(tuple(POOL[k] for k in places))
)
GROUPS = st.lists(st.sampled_from("abc"), unique=True).map(lambda names: tuple(map(Group, names)))


@given(SETS, SETS, GROUPS, GROUPS)
def test_a_change_leads_from_one_set_to_the_other_and_back(before, after, groups, other_groups):
    before, after = with_groups(before, groups), with_groups(after, other_groups)
    change = change_between(before, after, "shuffle")
    there = apply_change(before, change)
    assert (there.annotations, there.groups) == (after.annotations, after.groups)
    back = apply_change(after, inverse(change))
    assert (back.annotations, back.groups) == (before.annotations, before.groups)
    assert change.is_empty == (
        before.annotations == after.annotations and before.groups == after.groups
    )


@given(st.lists(SETS, max_size=12), st.lists(st.sampled_from(["undo", "redo"]), max_size=30))
def test_undo_and_redo_walk_along_what_was_done(sets, walk):
    history = History(AnnotationSet())
    path = [history.now.annotations]
    for number, wanted in enumerate(sets):
        if not do(history, wanted, f"step {number}").is_empty:
            path.append(wanted.annotations)
    place = len(path) - 1
    for step in walk:
        if step == "undo":
            assert (undo(history) is None) == (place == 0)
            place = max(0, place - 1)
        else:
            assert (redo(history) is None) == (place == len(path) - 1)
            place = min(len(path) - 1, place + 1)
        assert history.now.annotations == path[place]


def test_one_replaced_annotation_of_many_is_all_that_a_change_holds():
    many = AnnotationSet(tuple(_square(str(k)) for k in range(1000)))
    moved = replace(many.annotations[500], points=[(5, 5), (6, 5), (6, 6)])
    change = change_between(many, replace_annotation(many, moved), "move")
    assert change.taken == ((500, many.annotations[500]),)
    assert change.put == ((500, moved),)
    assert change.ids == (moved.id,)


def test_a_new_edit_after_undo_forgets_what_was_undone():
    history = History(AnnotationSet())
    do(history, add_annotations(history.now, [_square("a")]), "draw")
    undo(history)
    do(history, add_annotations(history.now, [_square("b")]), "draw")
    assert redo(history) is None
    assert [a.name for a in history.now] == ["b"]


def test_the_file_is_up_to_date_again_when_the_edits_since_are_undone():
    history = History(AnnotationSet((_square("a"),)))
    assert not is_saved(history)  # there is no file yet
    mark_saved(history)
    do(history, remove_annotations(history.now, {history.now.annotations[0].id}), "delete")
    assert not is_saved(history)
    undo(history)
    assert is_saved(history)


def test_doing_nothing_is_not_remembered():
    history = History(AnnotationSet((_square("a"),)))
    do(history, AnnotationSet(history.now.annotations), "nothing")
    assert undo(history) is None


def test_a_change_is_refused_where_it_does_not_begin():
    one, other = AnnotationSet((_square("a"),)), AnnotationSet((_square("b"),))
    change = change_between(one, AnnotationSet(), "delete")
    with pytest.raises(ValueError, match="does not begin"):
        apply_change(other, change)
    with pytest.raises(ValueError, match="does not begin"):
        apply_change(AnnotationSet(), change)
