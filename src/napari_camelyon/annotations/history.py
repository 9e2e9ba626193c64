"""Undo and redo: what changed between two sets, and a list of such changes.

A set is frozen and shares what did not change, so a change is found by identity in a fraction of a
millisecond and holds nothing but the annotations that differ. There is no limit: a thousand moved
vertices of a 45,000-point outline take as much memory as their thousand rings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from napari_camelyon.annotations.model import Annotation, AnnotationSet, Group

__all__ = [
    "Change",
    "History",
    "apply_change",
    "change_between",
    "do",
    "inverse",
    "is_saved",
    "mark_saved",
    "redo",
    "undo",
]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What leads from one set to another, and back.

    Attributes
    ----------
    label : str
        What the person did, as in "Undo move vertex".
    taken : tuple of (int, Annotation)
        What left, with its place in the set before, places increasing.
    put : tuple of (int, Annotation)
        What came, with its place in the set after, places increasing.
    groups : tuple of (tuple of Group, tuple of Group) or None
        The defined groups before and after; None if they stayed.
    """

    label: str
    taken: tuple[tuple[int, Annotation], ...] = ()
    put: tuple[tuple[int, Annotation], ...] = ()
    groups: tuple[tuple[Group, ...], tuple[Group, ...]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it leads nowhere."""
        return not self.taken and not self.put and self.groups is None

    @property
    def ids(self) -> tuple[str, ...]:
        """The annotations that it concerns, each once."""
        return tuple(dict.fromkeys(a.id for _, a in (*self.put, *self.taken)))


@dataclass(slots=True)
class History:
    """A set as it is now, and how it became so.

    Attributes
    ----------
    now : AnnotationSet
    done : list of Change
        Oldest first.
    undone : list of Change
        What `redo` would do again, next one last.
    saved : AnnotationSet or None
        What is in the file; None while there is no file.
    """

    now: AnnotationSet
    done: list[Change] = field(default_factory=list)
    undone: list[Change] = field(default_factory=list)
    saved: AnnotationSet | None = None


def change_between(before: AnnotationSet, after: AnnotationSet, label: str) -> Change:
    """Return what leads from one set to another.

    Annotations are the same only if they are the same objects. What keeps its place among the
    others costs nothing; where the order changed, everything between is taken and put again.
    """
    old, new = before.annotations, after.annotations
    start = _common_start(old, new)
    end = _common_start(old[start:][::-1], new[start:][::-1])
    old_middle, new_middle = old[start : len(old) - end], new[start : len(new) - end]
    kept = {id(a) for a in old_middle} & {id(a) for a in new_middle}
    if [id(a) for a in old_middle if id(a) in kept] != [id(a) for a in new_middle if id(a) in kept]:
        kept = set()
    groups = None if before.groups == after.groups else (before.groups, after.groups)
    return Change(
        label,
        tuple((start + k, a) for k, a in enumerate(old_middle) if id(a) not in kept),
        tuple((start + k, a) for k, a in enumerate(new_middle) if id(a) not in kept),
        groups,
    )


def apply_change(annotation_set: AnnotationSet, change: Change) -> AnnotationSet:
    """Return the set after a change that began at it; raises ValueError if it did not."""
    annotations = list(annotation_set.annotations)
    for place, annotation in reversed(change.taken):
        if place >= len(annotations) or annotations[place].id != annotation.id:
            raise ValueError(f'"{change.label}" does not begin at this set.')
        del annotations[place]
    for place, annotation in change.put:
        if place > len(annotations):
            raise ValueError(f'"{change.label}" does not begin at this set.')
        annotations.insert(place, annotation)
    groups = annotation_set.groups if change.groups is None else change.groups[1]
    return replace(annotation_set, annotations=tuple(annotations), groups=groups)


def inverse(change: Change) -> Change:
    """Return the change that leads back."""
    groups = None if change.groups is None else (change.groups[1], change.groups[0])
    return Change(change.label, change.put, change.taken, groups)


def do(history: History, after: AnnotationSet, label: str) -> Change:
    """Take over a new set and remember how to come back; what was undone before is forgotten.

    Returns
    -------
    Change
        Empty if the set is what it was; nothing is remembered then.
    """
    change = change_between(history.now, after, label)
    if not change.is_empty:
        history.now = after
        history.done.append(change)
        history.undone.clear()
    return change


def undo(history: History) -> Change | None:
    """Take the last change back; return what was done for that, None if there was nothing."""
    if not history.done:
        return None
    change = history.done.pop()
    back = inverse(change)
    history.now = apply_change(history.now, back)
    history.undone.append(change)
    return back


def redo(history: History) -> Change | None:
    """Do again what was undone last; return it, None if there is nothing."""
    if not history.undone:
        return None
    change = history.undone.pop()
    history.now = apply_change(history.now, change)
    history.done.append(change)
    return change


def mark_saved(history: History) -> None:
    """Remember that the file holds the set as it is now."""
    history.saved = history.now


def is_saved(history: History) -> bool:
    """Whether the file holds the set as it is now; undoing a change makes that true again."""
    saved = history.saved
    if saved is None:
        return False
    return change_between(saved, history.now, "").is_empty


def _common_start(first: Sequence[Annotation], second: Sequence[Annotation]) -> int:
    for count, (one, other) in enumerate(zip(first, second, strict=False)):
        if one is not other:
            return count
    return min(len(first), len(second))
