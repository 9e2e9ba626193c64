"""The tissue as a person left it, kept beside the slide and read by every run from then on.

It goes to ``<name of the slide file>.tissue.geojson`` (`slides.kept_files` says where else), which
QuPath opens: polygons with holes in slide points, classified as `choice.GROUPS`. What GeoJSON does
not know stands in its member ``napari_camelyon``. A file is used only for the slide whose
fingerprint it bears.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_camelyon.annotations.geojson import from_geojson, to_geojson
from napari_camelyon.annotations.model import with_groups
from napari_camelyon.errors import AnnotationError, ResultError
from napari_camelyon.files import atomic_file
from napari_camelyon.slides import Slide
from napari_camelyon.slides.kept_files import KeptPlace, forget_files, keep_file, kept_files
from napari_camelyon.tissue.choice import (
    GROUPS,
    MIN_TISSUE_FRACTION,
    TissueChoice,
    TissueOutlines,
    choice_of,
    with_quality,
)
from napari_camelyon.tissue.mask import tissue_mask
from napari_camelyon.tissue.pieces import find_pieces
from napari_camelyon.tissue.quality import SPOILT_KINDS, find_quality

__all__ = ["KeptTissue", "find_kept_tissue", "forget_tissue", "keep_tissue", "tissue_choice"]

_SCHEMA_VERSION = 1
_PLACE = KeptPlace(".tissue.geojson", "tissue", ".geojson")
_OURS = "napari_camelyon"


@dataclass(frozen=True, slots=True, eq=False)
class KeptTissue:
    """What was kept of a slide's tissue.

    Attributes
    ----------
    path : Path
        The file.
    outlines : TissueOutlines or None
        None where the file cannot be used.
    ignored : str
        Why not, in a sentence; else empty.
    """

    path: Path
    outlines: TissueOutlines | None
    ignored: str = ""


def keep_tissue(slide: Slide, outlines: TissueOutlines) -> Path:
    """Keep the tissue of a slide as a person left it.

    Returns
    -------
    Path
        The file that holds it: beside the slide, or in the cache folder.

    Raises
    ------
    FileWriteError
        It can be written to neither place.
    ResultError
        The file beside the slide was written by a newer napari-camelyon.
    SlideError
        The slide is gone.
    """
    content = _content(slide, outlines)
    _refuse_newer(_PLACE.beside(slide.path))
    return keep_file(
        _PLACE, slide.path, lambda: slide.fingerprint, lambda path: _write(content, path)
    )


def forget_tissue(slide: Slide) -> bool:
    """Remove what was kept of a slide's tissue, at both places, and say whether anything was.

    Raises
    ------
    FileWriteError
        It cannot be removed.
    ResultError
        The file beside the slide was written by a newer napari-camelyon.
    """
    _refuse_newer(_PLACE.beside(slide.path))
    return forget_files(_PLACE, slide.path, lambda: slide.fingerprint)


def find_kept_tissue(slide: Slide) -> KeptTissue | None:
    """Return what was kept of a slide's tissue; None where nothing was.

    What cannot be used is said (`KeptTissue.ignored`), not raised.

    Raises
    ------
    SlideError
        The slide is gone.
    """
    unusable = None
    for path in kept_files(_PLACE, slide.path, lambda: slide.fingerprint):
        found = _read(path, slide.fingerprint)
        if found.outlines is not None:
            return found
        unusable = unusable or found
    return unusable


def tissue_choice(
    slide: Slide,
    *,
    leave_out: Sequence[str] = (),
    min_tissue_fraction: float | None = None,
    use_kept: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> TissueChoice:
    """Return where a run is to look for tumour on a slide: as a person left it, else as found.

    Parameters
    ----------
    slide : Slide
        Needs to know its mpp.
    leave_out : sequence of str
        Kinds of spoilt areas to leave out besides those that the person chose. What was not looked
        for yet is looked for.
    min_tissue_fraction : float, optional
        Default: what was kept, else 0.40.
    use_kept : bool
        False does as if nothing were kept.
    progress : callable, optional
        As of `find_quality`, where that is needed.

    Raises
    ------
    MissingMppError, SlideError
        As of `find_quality`.
    """
    kept = find_kept_tissue(slide) if use_kept else None
    if kept is not None and kept.outlines is not None:
        choice = choice_of(slide, kept.outlines, kept_in=str(kept.path))
        choice = replace(choice, leave_out=_in_order({*choice.leave_out, *leave_out}))
    else:
        mask = tissue_mask(slide)
        found = find_pieces(mask, slide.require_mpp())
        choice = TissueChoice(
            mask,
            _in_order(leave_out),
            pieces=len(found.pieces),
            found=found,
            note="" if kept is None else kept.ignored,
        )
    known = set() if choice.quality is None else set(choice.quality.masks)
    if missing := [kind for kind in choice.leave_out if kind not in known]:
        quality = find_quality(slide, choice.mask, kinds=missing, progress=progress)
        choice = with_quality(choice, quality, choice.leave_out)
    if min_tissue_fraction is not None:
        choice = replace(choice, min_tissue_fraction=min_tissue_fraction)
    return choice


def _in_order(kinds: Sequence[str] | set[str]) -> tuple[str, ...]:
    if unknown := set(kinds) - set(SPOILT_KINDS):
        raise ValueError(f"These are no kinds of spoilt areas: {', '.join(sorted(unknown))}.")
    return tuple(kind for kind in SPOILT_KINDS if kind in kinds)


def _content(slide: Slide, outlines: TissueOutlines) -> bytes:
    entries: dict[str, Any] = {
        "schema_version": _SCHEMA_VERSION,
        "what": "tissue as a person left it",
        "slide": slide.name,
        "fingerprint": slide.fingerprint,
        "kept": datetime.now(UTC).isoformat(timespec="seconds"),
        "looked_for": list(outlines.looked_for),
        "leave_out": list(outlines.leave_out),
        "min_tissue_fraction": outlines.min_tissue_fraction,
    }
    collection = to_geojson(outlines.annotations)
    whole = {"type": collection.pop("type"), _OURS: entries, **collection}
    text = json.dumps(whole, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def _write(content: bytes, path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _read(path: Path, fingerprint: str) -> KeptTissue:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ours = data[_OURS]
        version, owner = int(ours["schema_version"]), ours["fingerprint"]
        if version > _SCHEMA_VERSION:
            return _ignored(path, "it was written by a newer napari-camelyon")
        if owner != fingerprint:
            return _ignored(path, "it was written for another slide")
        fraction = float(ours.get("min_tissue_fraction", MIN_TISSUE_FRACTION))
        found = from_geojson(data)
        outlines = TissueOutlines(
            with_groups(found, GROUPS),
            tuple(kind for kind in SPOILT_KINDS if kind in ours["looked_for"]),
            tuple(kind for kind in SPOILT_KINDS if kind in ours["leave_out"]),
            min(1.0, max(0.0, fraction)),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AnnotationError) as error:
        return _ignored(path, f"it cannot be read ({type(error).__name__}: {error})")
    return KeptTissue(path, outlines)


def _ignored(path: Path, reason: str) -> KeptTissue:
    return KeptTissue(path, None, f"{path.name} is ignored, for {reason}")


def _refuse_newer(path: Path) -> None:
    """Do not destroy what a newer version may have written besides."""
    try:
        version = int(json.loads(path.read_text(encoding="utf-8"))[_OURS]["schema_version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if version > _SCHEMA_VERSION:
        raise ResultError(
            f"{path} was written by a newer napari-camelyon (schema {version}; this one knows up "
            f"to {_SCHEMA_VERSION}). Update napari-camelyon to change it."
        )
