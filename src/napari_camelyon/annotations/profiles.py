"""A person's own map of groups: which are tumour, which are cut out."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from napari_camelyon.annotations.meaning import GroupProfile
from napari_camelyon.errors import AnnotationError

__all__ = ["group_profile", "read_profile"]

_KEYS = ("tumour", "cut_out")
_EXAMPLE = '{"tumour": ["Tumor"], "cut_out": ["Necrosis"]}'


def group_profile(
    tumour: Iterable[str], cut_out: Iterable[str] = (), *, name: str = "your own groups"
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
