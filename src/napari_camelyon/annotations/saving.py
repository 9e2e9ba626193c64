"""Saving without regret: what others wrote is noticed, and older versions can be brought back."""

import uuid
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from napari_camelyon.annotations.formats import file_content
from napari_camelyon.annotations.model import Annotation, AnnotationSet
from napari_camelyon.errors import AnnotationError, FileChangedError, FileWriteError
from napari_camelyon.files import atomic_file

__all__ = ["KEPT_VERSIONS", "Version", "brought_back", "can_be_saved", "save", "versions"]

KEPT_VERSIONS = 20
_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Version:
    """An older version of an annotation file.

    Attributes
    ----------
    path : Path
        To be read with `annotations.read`.
    replaced : datetime
        When it was replaced by the next one, UTC.
    """

    path: Path
    replaced: datetime


def save(
    annotation_set: AnnotationSet, path: Path, *, expected: bytes | None, anyway: bool = False
) -> bytes:
    """Write a set over its file, and keep what stood there among the last twenty versions.

    They lie beside the file in the folder ``.NAME.xml.versions``.

    Parameters
    ----------
    annotation_set : AnnotationSet
        Written as `annotations.write` does, in the format of the extension.
    path : Path
        The file.
    expected : bytes or None
        Its content when it was opened or saved last; None if there was no file.
    anyway : bool
        Write even if the file has other content now; that becomes a version too.

    Returns
    -------
    bytes
        The new content.

    Raises
    ------
    FileChangedError
        The file has other content than expected, and is left alone.
    AnnotationError
        The extension is of no format that can be written.
    FileWriteError
        The folder is read-only or the disk full; the file and its versions are untouched.
    """
    content = file_content(annotation_set, path)
    try:
        present = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise AnnotationError(
            f"{path} cannot be read to see whether somebody changed it ({error.strerror or error})."
        ) from error
    if present != expected and not anyway:
        what = "was deleted" if present is None else "was changed by another program"
        raise FileChangedError(
            f"{path} {what} since it was opened here. Save under another name, or overwrite it: "
            "what stands there now is then kept among its older versions."
        )
    if content == present:
        return content
    if present is not None:
        _keep(path, present)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return content


def versions(path: Path) -> list[Version]:
    """Return the older versions of an annotation file, the newest first."""
    found = []
    for kept in _folder(path).glob(f"*{path.suffix}"):
        with suppress(ValueError):  # somebody else's file
            when = datetime.strptime(kept.stem, _TIME).replace(tzinfo=UTC)
            found.append(Version(kept, when))
    return sorted(found, key=lambda version: version.replaced, reverse=True)


def can_be_saved(path: Path) -> str:
    """Return why a file could not be written, in a sentence, or an empty string.

    Asked before a person begins to edit: a read-only folder should not come as a surprise after
    an hour of work.
    """
    probe = path.with_name(f".{path.name}.probe")
    try:
        with atomic_file(probe):
            pass
        probe.unlink()
        if path.exists():
            path.open("r+b").close()
    except FileWriteError:
        return f"Nothing can be saved in {path.parent}: the folder cannot be written."
    except OSError:
        return f"{path} is write-protected: edits cannot be saved there."
    return ""


def brought_back(old: AnnotationSet, now: AnnotationSet) -> AnnotationSet:
    """Return what an older version held, as an edit of the set of now.

    Annotations that are the same in both, or in the file that the set of now came from, stay the
    same objects: undoing and saving touch only what differs.
    """
    known: dict[Hashable, list[Annotation]] = {}
    in_file = () if now.source is None else now.source.annotations
    for annotation in (*in_file, *now):  # those of now are taken first
        known.setdefault(_content(annotation), []).append(annotation)
    taken: set[str] = set()
    annotations = []
    for annotation in old:
        same = known.get(_content(annotation), [])
        while same and same[-1].id in taken:
            same.pop()
        found = same.pop() if same else replace(annotation, id=str(uuid.uuid4()))
        taken.add(found.id)
        annotations.append(found)
    return replace(now, annotations=tuple(annotations), groups=old.groups)


def _content(annotation: Annotation) -> Hashable:
    return (
        annotation.kind,
        annotation.name,
        annotation.group,
        annotation.colour,
        repr(sorted(annotation.extra.items())),
        tuple(len(part.holes) for part in annotation.parts),
        tuple(ring.tobytes() for ring in annotation.rings),
    )


def _keep(path: Path, content: bytes) -> None:
    folder = _folder(path)
    version = folder / f"{datetime.now(UTC).strftime(_TIME)}{path.suffix}"
    with atomic_file(version) as temporary:
        temporary.write_bytes(content)
    for old in versions(path)[KEPT_VERSIONS:]:
        with suppress(OSError):
            old.path.unlink()


def _folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.versions")
