"""Which class of a model is tumour: said by a person, told by the names, or asked."""

import re

from napari_camelyon.errors import ModelError, TumourClassError

__all__ = ["tumour_index"]

_TUMOUR_NAME = re.compile(
    r"tumou?r|metasta|cancer|carcinoma|malignan|neoplas|(?<![a-z])tum(?![a-z])", re.IGNORECASE
)
_NEGATED = re.compile(r"^(no|non|not|without)[-_ ]|[-_ ](free|negative)$", re.IGNORECASE)


def tumour_index(names: tuple[str, ...], wanted: str | None, model: str) -> int:
    """Return the index of the class that is tumour.

    Parameters
    ----------
    names : tuple of str
        The model's classes.
    wanted : str or None
        What a person said.
    model : str
        For messages: what the classes belong to.

    Raises
    ------
    ModelError
        There is no class of the wanted name.
    TumourClassError
        Nobody said, and not exactly one name speaks of tumour.
    """
    if wanted is not None:
        if wanted not in names:
            raise ModelError(f"The model {model} has no class {wanted!r}; it has {_listed(names)}.")
        return names.index(wanted)
    matches = [
        index
        for index, name in enumerate(names)
        if _TUMOUR_NAME.search(name) and not _NEGATED.search(name)
    ]
    if len(matches) != 1:
        raise TumourClassError(
            f"Which class of {model} is tumour? Its classes are {_listed(names)}; name one with "
            "--tumour-class.",
            names,
        )
    return matches[0]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
