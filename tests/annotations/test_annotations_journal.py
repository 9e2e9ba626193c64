"""Edits outlive the program that made them, and saving outlives mistakes."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon import annotations
from napari_camelyon.annotations import (
    AnnotationSet,
    Group,
    Part,
    add_annotations,
    make_annotation,
    remove_annotations,
    replace_annotation,
    same_annotation,
    with_groups,
)
from napari_camelyon.annotations.history import History, do, is_saved, undo
from napari_camelyon.annotations.journal import (
    Journal,
    discard_journal,
    end_journal,
    find_unsaved,
    note_saved,
    record,
    recover,
    resume_journal,
)
from napari_camelyon.annotations.saving import KEPT_VERSIONS, can_be_saved, save, versions
from napari_camelyon.errors import AnnotationError, FileChangedError, FileWriteError

RING = [(0.1, 0.2), (10.3, 0.4), (10.5, 10.6), (0.7, 10.8)]
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6)


def same_set(first: AnnotationSet, second: AnnotationSet) -> bool:
    return (
        len(first) == len(second)
        and first.groups == second.groups
        and all(map(same_annotation, first, second))
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.xml"
    made = [make_annotation("polygon", RING, name=f"a {k}", group="Tumor") for k in range(3)]
    annotations.write(with_groups(AnnotationSet(tuple(made)), [Group("Tumor")]), path)
    return path


def begun(path: Path) -> tuple[History, Journal]:
    opened = annotations.read(path)
    return History(opened, saved=opened), Journal(path, opened)


def edit(history: History, journal: Journal, after: AnnotationSet, label: str = "edit") -> None:
    record(journal, do(history, after, label))


def moved(history: History, place: int, by: float) -> AnnotationSet:
    old = history.now.annotations[place]
    points = np.array(old.points)
    points[1] += by
    return replace_annotation(history.now, replace(old, points=points))


def test_edits_come_back_bit_for_bit_with_their_undo_steps(file):
    history, journal = begun(file)
    edit(history, journal, moved(history, 1, 1 / 3), "move vertex")
    drawn = make_annotation(
        "polygon", RING, holes=[RING[:3]], more_parts=[Part(RING), Part(RING, (RING[1:],))]
    )
    edit(history, journal, add_annotations(history.now, [drawn]), "draw polygon")
    edit(history, journal, with_groups(history.now, [Group("x", "y", "#000000", {"a": "b"})]))
    edit(history, journal, remove_annotations(history.now, {"0"}), "delete")
    record(journal, undo(history))
    end_journal(journal, keep=True)

    found = find_unsaved(file)
    assert found.labels == ("move vertex", "draw polygon", "edit", "delete", "delete")
    assert not found.file_changed
    assert not found.in_use
    _, back = recover(file)
    assert same_set(back.now, history.now)
    assert not is_saved(back)
    for _ in found.labels:
        undo(back)
    assert same_set(back.now, annotations.read(file))
    assert is_saved(back)


@given(RINGS, RINGS, RINGS)
def test_any_numbers_survive(tmp_path_factory, first, second, hole):
    file = tmp_path_factory.mktemp("any") / "any.xml"
    history, journal = History(AnnotationSet()), Journal(file, AnnotationSet())
    one = make_annotation("polygon", first, name="\n<é𝄞\x00", holes=[hole])
    edit(history, journal, add_annotations(history.now, [one]))
    edit(history, journal, replace_annotation(history.now, replace(one, points=second)))
    end_journal(journal, keep=True)
    back = recover(file)[1].now.annotations[0]
    for ring, wanted in [(back.points, second), (back.holes[0], hole)]:
        assert ring.tobytes() == np.array(wanted, float).reshape(-1, 2).tobytes()
    discard_journal(file)


def test_no_journal_lies_about_before_the_first_edit_and_after_the_end(file):
    history, journal = begun(file)
    assert find_unsaved(file) is None
    assert list(file.parent.iterdir()) == [file]
    edit(history, journal, moved(history, 0, 1.0))
    assert len(list(file.parent.iterdir())) == 3
    end_journal(journal, keep=False)
    assert list(file.parent.iterdir()) == [file]


def test_what_was_saved_is_not_offered_again_and_what_came_after_is(file):
    history, journal = begun(file)
    edit(history, journal, moved(history, 0, 1.0))
    raw = save(history.now, file, expected=history.now.source.raw)
    note_saved(journal, raw)
    assert find_unsaved(file) is None
    edit(history, journal, moved(history, 2, 2.0), "the one after")
    end_journal(journal, keep=True)
    assert find_unsaved(file).labels == ("the one after",)
    assert not find_unsaved(file).file_changed
    _, back = recover(file)
    assert same_set(back.now, history.now)
    undo(back)
    assert is_saved(back)
    assert same_set(back.now, annotations.read(file))


def test_a_file_that_somebody_else_wrote_meanwhile_is_told(file):
    history, journal = begun(file)
    edit(history, journal, moved(history, 0, 1.0))
    end_journal(journal, keep=True)
    file.write_bytes(file.read_bytes() + b"\n")
    assert find_unsaved(file).file_changed
    assert same_set(recover(file)[1].now, history.now)  # from the copy of what it was


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_torn_last_line_costs_the_last_edit_alone(file, cut):
    history, journal = begun(file)
    edit(history, journal, moved(history, 0, 1.0))
    first = history.now
    edit(history, journal, moved(history, 1, 1.0))
    end_journal(journal, keep=True)
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    assert same_set(recover(file)[1].now, first)


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"[]\n", b'{"schema_version":1}\n'])
def test_what_is_no_journal_is_said(file, content):
    file.with_name(".node.xml.journal").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"\.node\.xml\.journal"):
        find_unsaved(file)


def test_damage_in_the_middle_and_a_lost_copy_are_said(file):
    history, journal = begun(file)
    for k in range(3):
        edit(history, journal, moved(history, k, 1.0))
    end_journal(journal, keep=True)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join([*lines[:2], *lines[3:]]).replace(b'"start":1', b'"start":9'))
    with pytest.raises(AnnotationError, match="beyond line 2"):
        recover(file)
    file.with_name(".node.xml.before").unlink()
    with pytest.raises(AnnotationError, match=r"\.node\.xml\.before.*is missing"):
        recover(file)


def test_killing_the_program_in_the_middle_of_editing_loses_nothing(file):
    program = textwrap.dedent(
        f"""
        import sys
        from dataclasses import replace
        from pathlib import Path
        from napari_camelyon import annotations
        from napari_camelyon.annotations import replace_annotation
        from napari_camelyon.annotations.history import History, do
        from napari_camelyon.annotations.journal import Journal, record

        opened = annotations.read({str(file)!r})
        history, journal = History(opened), Journal(Path({str(file)!r}), opened)
        for number in range(10**9):
            old = history.now.annotations[1]
            after = replace_annotation(history.now, replace(old, points=old.points + 0.25))
            record(journal, do(history, after, f"edit {{number}}"))
            print(number, flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as editor:
        assert editor.stdout is not None
        while int(editor.stdout.readline()) < 20:
            pass
        assert find_unsaved(file).in_use
        editor.kill()  # SIGKILL, or TerminateProcess: nothing can be tidied up
        told = [20, *map(int, editor.stdout.read().split())]

    found = find_unsaved(file)
    assert not found.in_use
    assert found.edits >= told[-1] + 1
    back = recover(file)[1].now.annotations[1]
    assert np.array_equal(back.points, np.array(RING) + 0.25 * found.edits)


def test_editing_goes_on_in_the_journal_that_was_recovered(file):
    history, journal = begun(file)
    edit(history, journal, moved(history, 0, 1.0), "before the crash")
    end_journal(journal, keep=True)
    journal.path.write_bytes(journal.path.read_bytes() + b'{"label":"torn')
    opened, back = recover(file)
    resumed = resume_journal(file, opened)
    edit(back, resumed, moved(back, 1, 2.0), "after it")
    end_journal(resumed, keep=True)
    assert find_unsaved(file).labels == ("before the crash", "after it")
    assert same_set(recover(file)[1].now, back.now)


def test_a_second_window_is_told_that_the_file_is_being_edited(file):
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from napari_camelyon import annotations
        from napari_camelyon.annotations import History, Journal, do, record, remove_annotations

        opened = annotations.read({str(file)!r})
        history = History(opened)
        journal = Journal(Path({str(file)!r}), opened)
        record(journal, do(history, remove_annotations(opened, {{"0"}}), "delete"))
        print("ready", flush=True)
        input()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        history, journal = begun(file)
        with pytest.raises(FileWriteError, match="being edited in another window"):
            edit(history, journal, moved(history, 0, 1.0))
        other.communicate("\n")
    assert len(recover(file)[1].now) == 2


# --- saving ------------------------------------------------------------------------------------


def test_twenty_older_versions_are_kept_newest_first(file):
    history, _ = begun(file)
    contents = [file.read_bytes()]
    for k in range(KEPT_VERSIONS + 3):
        do(history, moved(history, k % 3, 1.0), "move")
        contents.append(save(history.now, file, expected=contents[-1]))
    assert file.read_bytes() == contents[-1]
    kept = [version.path.read_bytes() for version in versions(file)]
    assert kept == contents[-2 : -2 - KEPT_VERSIONS : -1]
    assert same_set(
        annotations.read(versions(file)[0].path), annotations.read(versions(file)[0].path)
    )


def test_saving_what_did_not_change_makes_no_version(file):
    history, _ = begun(file)
    save(history.now, file, expected=file.read_bytes())
    assert versions(file) == []


def test_a_file_that_another_program_changed_is_not_overwritten_unasked(file):
    history, _ = begun(file)
    opened = file.read_bytes()
    do(history, moved(history, 0, 1.0), "move")
    file.write_bytes(b"theirs")
    with pytest.raises(FileChangedError, match="changed by another program"):
        save(history.now, file, expected=opened)
    assert file.read_bytes() == b"theirs"
    save(history.now, file, expected=opened, anyway=True)
    assert same_set(annotations.read(file), replace(history.now))
    assert versions(file)[0].path.read_bytes() == b"theirs"
    file.unlink()
    with pytest.raises(FileChangedError, match="was deleted"):
        save(history.now, file, expected=opened)


def test_a_new_file_that_turns_out_to_exist_is_not_overwritten_unasked(file):
    with pytest.raises(FileChangedError):
        save(AnnotationSet(), file, expected=None)
    save(AnnotationSet(), file.with_name("new.xml"), expected=None)
    assert len(annotations.read(file.with_name("new.xml"))) == 0


@pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="folders are not write-protected for this user",
)
def test_a_folder_that_cannot_be_written_is_told_before_work_is_lost(file):
    history, journal = begun(file)
    assert can_be_saved(file) == ""
    file.parent.chmod(0o500)
    try:
        assert "cannot be written" in can_be_saved(file)
        with pytest.raises(FileWriteError):
            edit(history, journal, moved(history, 0, 1.0))
        with pytest.raises(FileWriteError):
            save(history.now, file, expected=file.read_bytes())
    finally:
        file.parent.chmod(0o700)


def test_a_folder_that_is_no_folder_is_told_before_work_is_lost(file):
    # For every user, root included, whom no permission stops.
    impossible = file / "inside.xml"
    assert "cannot be written" in can_be_saved(impossible)
    journal = Journal(impossible, AnnotationSet())
    with pytest.raises(FileWriteError):
        edit(History(AnnotationSet()), journal, AnnotationSet((make_annotation("dot", [(1, 1)]),)))


def test_a_journal_of_new_annotations_tells_what_they_began_with(tmp_path):
    slide, imported = tmp_path / "a.ndpi", tmp_path / "a.ndpi.ndpa"
    path = annotations.place_for_new(slide, imported)
    assert path == tmp_path / "a.xml"
    group = annotations.Group("Tumour", colour="#ff0000")
    outline = annotations.make_annotation("polygon", [(0, 0), (9, 0), (0, 9)], group="Tumour")
    first = annotations.AnnotationSet((outline,), (group,))
    journal = annotations.Journal(path, annotations.AnnotationSet())
    for change in annotations.first_changes(first, imported):
        annotations.record(journal, change)
    _, history = annotations.recover(path)
    assert history.now.groups == (group,)
    assert (history.now.annotations[0].points == outline.points).all()
    assert not annotations.is_saved(history)
    assert annotations.first_changes(annotations.AnnotationSet(), None) == ()

    # This work is brought back with the same file, and never taken for another one's.
    assert annotations.place_for_new(slide, imported) == path
    assert annotations.place_for_new(slide, None) == path
    assert annotations.place_for_new(slide, tmp_path / "other.ndpa") is None
    annotations.discard_journal(path)
    assert annotations.place_for_new(slide, tmp_path / "other.ndpa") == path
    path.write_text("")
    assert annotations.place_for_new(slide, imported) is None
