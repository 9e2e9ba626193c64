"""Which file is of which format."""

import os
from pathlib import Path

from napari_camelyon.annotations.asap import read_asap
from napari_camelyon.annotations.asap_write import asap_bytes
from napari_camelyon.annotations.geojson import geojson_bytes, read_geojson
from napari_camelyon.annotations.model import AnnotationSet
from napari_camelyon.errors import AnnotationError
from napari_camelyon.files import atomic_file

__all__ = ["FORMATS", "MAX_BYTES", "file_content", "parse", "read", "write"]

FORMATS = {".xml": "ASAP XML", ".geojson": "GeoJSON (QuPath)", ".json": "GeoJSON (QuPath)"}
"""File name extensions that are read and written."""

MAX_BYTES = 1 << 30
"""Larger files are refused: a gigabyte is some ten million points."""

_SUPPORTED = "ASAP XML (.xml) and QuPath GeoJSON (.geojson, .json)"


def read(path: str | os.PathLike[str]) -> AnnotationSet:
    """Read the annotations of one slide from a file.

    The content decides between XML and JSON, so that a wrong extension does no harm.

    Parameters
    ----------
    path : path-like
        ASAP XML or GeoJSON as QuPath writes it.

    Returns
    -------
    AnnotationSet
        With ``problems`` for what is odd in the file and ``source`` for saving without loss.

    Raises
    ------
    AnnotationError
        The file is missing, cut off, damaged, unsafe, too large or of another format.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise AnnotationError(
                f"{path} has {size / 1e6:,.0f} MB, more than the {MAX_BYTES / 1e6:,.0f} MB that "
                "can be opened; split it into several files."
            )
        raw = path.read_bytes()
    except OSError as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(
            f"{path} cannot be read ({error.strerror or error}). Check the name and the permission."
        ) from error
    return parse(raw, path)


def parse(raw: bytes, path: Path) -> AnnotationSet:
    """Read annotations from the content of a file; `path` is for messages. Raises as `read`."""
    content = raw[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")
    if content.startswith(b"<") or (path.suffix.lower() == ".xml" and content[:1] not in b"{["):
        return read_asap(path, raw)
    if content.startswith((b"{", b"[")):
        return read_geojson(path, raw)
    if not content:
        raise AnnotationError(f"{path} is empty: fetch or export it again.")
    raise AnnotationError(f"{path} is no annotation file that can be read: choose {_SUPPORTED}.")


def write(annotation_set: AnnotationSet, path: str | os.PathLike[str]) -> None:
    """Write a set to a file, in the format of its extension.

    A set written in the format it was read in keeps every byte that does not belong to a change.
    The file is replaced in one step: it is the old one or the new one, never half of either.

    Parameters
    ----------
    annotation_set : AnnotationSet
        What to write.
    path : path-like
        Ends in ``.xml`` (ASAP) or ``.geojson`` / ``.json`` (QuPath).

    Raises
    ------
    AnnotationError
        The extension is of no format that can be written.
    FileWriteError
        The disk is full or the folder read-only; the old file is untouched.
    """
    path = Path(path)
    content = file_content(annotation_set, path)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def file_content(annotation_set: AnnotationSet, path: Path) -> bytes:
    """Return what `write` would write; raises `AnnotationError` for an unknown extension."""
    if path.suffix.lower() not in FORMATS:
        raise AnnotationError(
            f'{path} has the extension "{path.suffix}", which says no format: choose {_SUPPORTED}.'
        )
    to_bytes = asap_bytes if FORMATS[path.suffix.lower()] == "ASAP XML" else geojson_bytes
    return to_bytes(annotation_set)
