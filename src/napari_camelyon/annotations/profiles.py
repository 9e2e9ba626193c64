"""A person's own map of groups: which are tumour, which are cut out."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from napari_camelyon.annotations.groups import group_names
from napari_camelyon.annotations.meaning import GroupProfile, Meaning, ProfileChoice, choose_profile
from napari_camelyon.annotations.model import AnnotationSet
from napari_camelyon.errors import AnnotationError
from napari_camelyon.files import write_json

__all__ = [
    "group_profile",
    "profile_for",
    "read_profile",
    "renamed_in_profile",
    "with_meaning",
    "write_profile",
]

OWN = "your own groups"
_KEYS = ("tumour", "cut_out")
_EXAMPLE = '{"tumour": ["Tumor"], "cut_out": ["Necrosis"]}'


def group_profile(
    tumour: Iterable[str], cut_out: Iterable[str] = (), *, name: str = OWN
) -> GroupProfile:
    """Return a profile of the groups given.

    Parameters
    ----------
    tumour, cut_out : iterables of str
        Names of groups.
    name : str
        Of the profile, for people.

    Raises
    ------
    AnnotationError
        No group is tumour, or one is both.
    """
    tumour, cut_out = frozenset(tumour), frozenset(cut_out)
    if not tumour:
        raise AnnotationError(f"In {name} no group is tumour: name at least one.")
    if both := sorted(tumour & cut_out):
        raise AnnotationError(
            f"In {name} {', '.join(both)} is tumour and cut out at once: decide for one."
        )
    return GroupProfile(name, tumour, cut_out)


def read_profile(path: str | os.PathLike[str]) -> GroupProfile:
    """Read a profile from a JSON file such as ``{"tumour": ["Tumor"], "cut_out": ["Necrosis"]}``.

    Raises
    ------
    AnnotationError
        The file is missing or says something else.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise AnnotationError(
            f"{path} cannot be read ({error.strerror or error}). Check the name and the permission."
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(
            f"{path} is no JSON file ({error}). Write for instance {_EXAMPLE}."
        ) from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{path} should hold one JSON object, for instance {_EXAMPLE}.")
    if unknown := sorted(set(content) - set(_KEYS)):
        raise AnnotationError(
            f'{path} has the entry "{unknown[0]}", which means nothing here: there are "tumour" '
            f'and "cut_out", for instance {_EXAMPLE}.'
        )
    for key in _KEYS:
        names = content.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise AnnotationError(
                f'In {path} "{key}" should be a list of names of groups, for instance {_EXAMPLE}.'
            )
    return group_profile(content.get("tumour", []), content.get("cut_out", []), name=str(path))


def write_profile(profile: GroupProfile, path: str | os.PathLike[str]) -> None:
    """Write a profile as `read_profile` reads it; its name, which is for people, is not kept.

    Raises
    ------
    AnnotationError
        No group is tumour: the file would be refused when it is read.
    FileWriteError
        It cannot be written; what stood there before is untouched.
    """
    if not profile.tumour:
        raise AnnotationError("No group means tumour yet. Say which ones do, then save the map.")
    write_json({"tumour": sorted(profile.tumour), "cut_out": sorted(profile.cut_out)}, Path(path))


def profile_for(annotation_set: AnnotationSet, own: GroupProfile | None) -> ProfileChoice:
    """Return the profile that counts: a person's own if there is one, else by the names."""
    if own is None:
        return choose_profile(annotation_set)
    return ProfileChoice(own, f"What the groups mean was said by hand ({own.name}).")


def with_meaning(
    annotation_set: AnnotationSet, own: GroupProfile | None, group: str, meaning: Meaning
) -> GroupProfile:
    """Return a person's own profile in which a group means something else.

    Parameters
    ----------
    annotation_set : AnnotationSet
        The groups that there are. Without an own profile it begins with what `choose_profile`
        says of them, and names no others.
    own : GroupProfile or None
        The person's own profile so far.
    group : str
    meaning : Meaning
        The empty string takes the group's own meaning away, so that it has that of the group it
        lies in.
    """
    before = own
    if before is None:
        by_name, known = choose_profile(annotation_set).profile, set(group_names(annotation_set))
        before = GroupProfile(OWN, by_name.tumour & known, by_name.cut_out & known)
    tumour, cut_out = before.tumour - {group}, before.cut_out - {group}
    if meaning == "tumour":
        tumour |= {group}
    elif meaning == "cut-out":
        cut_out |= {group}
    return GroupProfile(OWN, tumour, cut_out)


def renamed_in_profile(profile: GroupProfile, old: str, new: str) -> GroupProfile:
    """Return the profile with a group under another name."""
    tumour, cut_out = (
        frozenset(new if name == old else name for name in names)
        for names in (profile.tumour, profile.cut_out)
    )
    return GroupProfile(profile.name, tumour, cut_out)
