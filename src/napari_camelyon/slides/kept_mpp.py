"""The pixel size that a person gave, kept beside the slide so that it is asked for once.

It goes to ``<name of the slide file>.camelyon.json`` next to the slide. Where nothing can be
written there it goes to the cache folder, under the slide's fingerprint; such a value is the
person's own and wins over one beside the slide. A value is used only for the slide whose
fingerprint it bears: a file that was replaced by another scan is another slide.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_camelyon.errors import ResultError
from napari_camelyon.files import write_json
from napari_camelyon.geometry import Mpp
from napari_camelyon.slides.kept_files import KeptPlace, forget_files, keep_file, kept_files
from napari_camelyon.slides.mpp import KeptMpp, given_mpp, is_plausible

if TYPE_CHECKING:
    from napari_camelyon.slides.slide import Slide

__all__ = ["find_kept_mpp", "forget_mpp", "keep_mpp"]

_SCHEMA_VERSION = 1
_PLACE = KeptPlace(".camelyon.json", "pixel-sizes", ".json")


def keep_mpp(slide: "Slide", mpp: float | Mpp, *, by: str | None = None) -> Path:
    """Keep the pixel size of a slide; whoever opens it from now on gets it.

    Parameters
    ----------
    slide : Slide
        Its own `mpp` stays as it is: open it again.
    mpp : float or tuple of float
        µm per level-0 pixel, or ``(x, y)`` of it.
    by : str, optional
        Who says so.

    Returns
    -------
    Path
        The file that holds it: beside the slide, or in the cache folder.

    Raises
    ------
    SlideError
        `mpp` cannot be right, or the slide is gone.
    FileWriteError
        It can be written to neither place.
    ResultError
        The file beside the slide was written by a newer napari-camelyon.
    """
    entries: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "mpp": list(given_mpp(mpp, slide.path.name)),
        "fingerprint": slide.fingerprint,
        "given": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if by:
        entries["by"] = by
    _refuse_newer(_PLACE.beside(slide.path))
    return keep_file(
        _PLACE, slide.path, lambda: slide.fingerprint, lambda path: write_json(entries, path)
    )


def forget_mpp(slide: "Slide") -> bool:
    """Forget what a person gave for a slide, at both places.

    Returns
    -------
    bool
        Whether anything was kept.

    Raises
    ------
    FileWriteError
        It cannot be removed.
    ResultError
        The file beside the slide was written by a newer napari-camelyon.
    """
    _refuse_newer(_PLACE.beside(slide.path))
    return forget_files(_PLACE, slide.path, lambda: slide.fingerprint)


def find_kept_mpp(path: Path, fingerprint: Callable[[], str]) -> KeptMpp:
    """Look for the pixel size kept for a slide; what cannot be used is said, not raised.

    Parameters
    ----------
    path : Path
        The slide.
    fingerprint : callable
        Returns the slide's fingerprint. Called only when there is something to compare it with,
        for it costs more than opening a slide.

    Raises
    ------
    SlideError
        The fingerprint was needed and the slide cannot be read.
    """
    beside, ignored = _PLACE.beside(path), []
    for file in kept_files(_PLACE, path, fingerprint):
        found = _read(file, fingerprint())
        if found.mpp is None:
            ignored.append(found.ignored)
            continue
        where = file.name if file == beside else f"{file}, as the slide's folder took no file"
        return KeptMpp(found.mpp, f"{found.note} and kept in {where}", "; ".join(ignored))
    return KeptMpp(ignored="; ".join(ignored))


def _read(path: Path, fingerprint: str) -> KeptMpp:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        version, owner = entries["schema_version"], entries["fingerprint"]
        if version > _SCHEMA_VERSION:
            return _ignored(path, "it was written by a newer napari-camelyon")
        if owner != fingerprint:
            return _ignored(path, "it was written for another slide")
        x, y = (float(value) for value in entries["mpp"])
        by, day = str(entries.get("by", "a person")), str(entries["given"])[:10]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return _ignored(path, f"it cannot be read ({type(error).__name__}: {error})")
    if not is_plausible((x, y)):
        return _ignored(path, f"{x:g} × {y:g} µm/px cannot be right")
    return KeptMpp((x, y), f"given by {by} on {day}")


def _ignored(path: Path, reason: str) -> KeptMpp:
    return KeptMpp(ignored=f"{path.name} is ignored, for {reason}")


def _refuse_newer(path: Path) -> None:
    """Do not destroy what a newer version may have written besides."""
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["schema_version"]
        newer = version > _SCHEMA_VERSION
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if newer:
        raise ResultError(
            f"{path} was written by a newer napari-camelyon (schema {version}; this one knows up "
            f"to {_SCHEMA_VERSION}). Update napari-camelyon to change it."
        )
