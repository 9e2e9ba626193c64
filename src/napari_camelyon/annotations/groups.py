"""Groups that lie in groups: their tree, putting one elsewhere, deleting one, copying into one.

The groups of a file may name parents that it does not define, and may lie in each other in a
circle. Nothing here trusts them not to.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from napari_camelyon.annotations.meaning import group_colour
from napari_camelyon.annotations.model import (
    ASAP_DEFAULT_COLOUR,
    Annotation,
    AnnotationSet,
    Group,
    make_annotation,
    with_groups,
)
from napari_camelyon.errors import AnnotationError

__all__ = [
    "GroupRow",
    "copies_for_group",
    "group_deleted",
    "group_moved",
    "group_names",
    "group_tree",
    "possible_parents",
    "with_subgroups",
]

DEEPEST = 12
"""Groups are shown no deeper than this: a file may nest thousands, which no window survives."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group as a row of a tree.

    Attributes
    ----------
    name : str or None
        None stands for the annotations without a group.
    under : str or None
        The row it is shown under; None at the outermost level.
    regions : int
        How many annotations belong to it, those of its sub-groups not counted.
    has_subgroups : bool
        Whether other groups name it as their parent.
    """

    name: str | None
    under: str | None
    regions: int
    has_subgroups: bool


def group_names(annotation_set: AnnotationSet) -> list[str | None]:
    """Return every group that is spoken of, each once.

    First those that are defined, in the order of the file; then those that annotations or other
    groups name without a definition; None, last, if there are annotations without a group.
    """
    defined = [group.name for group in annotation_set.groups]
    used = dict.fromkeys(annotation.group for annotation in annotation_set)
    named = [*used, *(group.parent for group in annotation_set.groups)]
    names = dict.fromkeys([*defined, *(name for name in named if name is not None)])
    return [*names, *([None] if None in used else [])]


def group_tree(annotation_set: AnnotationSet) -> list[GroupRow]:
    """Return the groups as rows of a tree, each parent before what lies in it.

    Of groups that lie in each other in a circle the first one is shown at the outermost level.
    """
    names = group_names(annotation_set)
    parents = _without_circles(names, annotation_set.groups)
    children: dict[str | None, list[str | None]] = {}
    for name in names:
        children.setdefault(parents.get(name), []).append(name)
    counts = Counter(annotation.group for annotation in annotation_set)
    has_subgroups = {group.parent for group in annotation_set.groups}
    rows: list[GroupRow] = []
    waiting: list[tuple[str | None, str | None, int]] = [
        (name, None, 0) for name in reversed(children.get(None, []))
    ]
    while waiting:
        name, under, depth = waiting.pop()
        rows.append(GroupRow(name, under, counts[name], name is not None and name in has_subgroups))
        if name is None:
            continue
        inner = (name, depth + 1) if depth < DEEPEST else (under, depth)
        waiting += [(child, *inner) for child in reversed(children.get(name, []))]
    return rows


def with_subgroups(names: Iterable[str | None], groups: Collection[Group]) -> set[str | None]:
    """Return groups together with everything that lies in them, at any depth."""
    children: dict[str | None, list[str]] = {}
    for group in groups:
        children.setdefault(group.parent, []).append(group.name)
    found: set[str | None] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name is not None:
            waiting += children.get(name, [])
    return found


def possible_parents(annotation_set: AnnotationSet, name: str) -> list[str]:
    """Return the groups that a group can be put under: all but itself and what lies in it."""
    inside = with_subgroups([name], annotation_set.groups)
    return [
        other for other in group_names(annotation_set) if other is not None and other not in inside
    ]


def group_moved(annotation_set: AnnotationSet, name: str, parent: str | None) -> AnnotationSet:
    """Return the set with a group under another one, or under none.

    Both are defined if they were not.

    Raises
    ------
    AnnotationError
        The parent is the group itself or lies in it.
    """
    if parent is not None and parent in with_subgroups([name], annotation_set.groups):
        raise AnnotationError(
            f'"{name}" cannot be put under "{parent}", which lies in it. Choose another group.'
        )
    defined = {group.name for group in annotation_set.groups}
    new = [Group(other) for other in (parent, name) if other is not None and other not in defined]
    return with_groups(
        annotation_set,
        (
            replace(group, parent=parent) if group.name == name else group
            for group in (*annotation_set.groups, *new)
        ),
    )


def group_deleted(annotation_set: AnnotationSet, name: str) -> AnnotationSet:
    """Return the set without the definition of an empty group.

    Raises
    ------
    AnnotationError
        Annotations or other groups belong to it.
    """
    members = sum(annotation.group == name for annotation in annotation_set)
    if members:
        these = "1 region belongs" if members == 1 else f"{members:,} regions belong"
        raise AnnotationError(
            f'{these} to "{name}". Put them into another group or delete them first.'
        )
    if any(group.parent == name for group in annotation_set.groups):
        raise AnnotationError(f'Other groups lie in "{name}". Put them elsewhere first.')
    return with_groups(
        annotation_set, (group for group in annotation_set.groups if group.name != name)
    )


def copies_for_group(
    annotation_set: AnnotationSet, ids: Collection[str], group: str | None
) -> list[Annotation]:
    """Return copies of annotations that belong to another group, or to the same one.

    A copy has an id of its own, the colour of its group and the points of the original bit for
    bit; what else the file says of the original (a verdict, an odd type) is not true of it. Its
    name is that of the original with the next free number: "Annotation 8" where the set has
    "Annotation 0" to "Annotation 7", "metastasis 2" where it has one "metastasis". What has no
    name stays without.

    Parameters
    ----------
    annotation_set : AnnotationSet
    ids : collection of str
        Which annotations; the copies are in the order of the set.
    group : str or None
    """
    colour = None
    if group is not None:
        colour = group_colour(group, annotation_set.groups) or ASAP_DEFAULT_COLOUR
    highest: dict[str, int] = {}
    for annotation in annotation_set:
        stem, number = _numbered(annotation.name)
        highest[stem] = max(number, highest.get(stem, 0))
    copies = []
    for annotation in annotation_set:
        if annotation.id not in ids:
            continue
        name = annotation.name
        if name:
            stem, _ = _numbered(name)
            highest[stem] += 1
            name = f"{stem}{highest[stem]}"
        copies.append(
            make_annotation(
                annotation.kind,
                annotation.points,
                name=name,
                group=group,
                colour=colour,
                holes=annotation.holes,
                more_parts=annotation.more_parts,
            )
        )
    return copies


def _numbered(name: str) -> tuple[str, int]:
    """Return what stands before the number at the end of a name, and the number, at least 1."""
    match = re.fullmatch(r"(.*?)([0-9]{1,9})", name, re.DOTALL)
    if match is None:
        return f"{name} ", 1
    return match[1], int(match[2])


def _without_circles(
    names: Collection[str | None], groups: Collection[Group]
) -> dict[str | None, str | None]:
    """Return the parents of groups; where they lie in each other, the first one has none."""
    parents: dict[str | None, str | None] = {group.name: group.parent for group in groups}
    order = {name: place for place, name in enumerate(names)}
    told: set[str | None] = {None}
    for name in names:
        way: dict[str | None, None] = {}
        at = name
        while at not in told and at not in way:
            way[at] = None
            at = parents.get(at)
        if at in way:
            passed = list(way)
            parents[min(passed[passed.index(at) :], key=order.__getitem__)] = None
        told.update(way)
    return parents
