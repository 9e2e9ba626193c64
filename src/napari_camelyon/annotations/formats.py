"""Which file is of which format."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from napari_camelyon.annotations.asap import read_asap
from napari_camelyon.annotations.asap_write import asap_bytes
from napari_camelyon.annotations.geojson import geojson_bytes, read_geojson
from napari_camelyon.annotations.imagescope import read_imagescope
from napari_camelyon.annotations.imagescope_write import imagescope_bytes
from napari_camelyon.annotations.model import AnnotationSet
from napari_camelyon.annotations.ndpa import read_ndpa
from napari_camelyon.annotations.without_collecting import without_collecting
from napari_camelyon.annotations.xml_text import decode, root_of
from napari_camelyon.errors import AnnotationError
from napari_camelyon.files import atomic_file
from napari_camelyon.geometry import GlassFrame, Mpp

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "FileFormat",
    "file_content",
    "losses",
    "parse",
    "read",
    "write",
]

FORMATS = {".xml": "ASAP XML", ".geojson": "GeoJSON (QuPath)", ".json": "GeoJSON (QuPath)"}
"""File name extensions that are read and written, and what they are written as for a new set."""

FileFormat = Literal["asap", "imagescope", "geojson"]

MAX_BYTES = 1 << 29
"""Larger files are refused. This many are some nine million points, and take some 25 s and
1.5 GB of memory to read (ASAP XML; measured: 300 MB in 15 s and 0.8 GB)."""

_READ = (
    "ASAP XML or Aperio ImageScope XML (.xml), GeoJSON of QuPath (.geojson, .json) or "
    "Hamamatsu NDPA (.ndpa)"
)
_WRITTEN = "XML of ASAP or ImageScope (.xml) or GeoJSON of QuPath (.geojson, .json)"


def read(path: str | os.PathLike[str], *, frame: GlassFrame | None = None) -> AnnotationSet:
    """Read the annotations of one slide from a file.

    The content decides between the formats, so that a wrong extension does no harm.

    Parameters
    ----------
    path : path-like
        ASAP XML, Aperio ImageScope XML, GeoJSON as QuPath writes it, or Hamamatsu NDPA.
    frame : GlassFrame, optional
        Where the image lies on its glass (`slides.glass_frame`); only NDPA needs it.

    Returns
    -------
    AnnotationSet
        With ``problems`` for what is odd in the file and ``source`` for saving without loss.

    Raises
    ------
    AnnotationError
        The file is missing, cut off, damaged, unsafe, too large or of another format; or it is
        NDPA and there is no `frame`.
    """
    path = Path(path)
    with without_collecting():
        return parse(_bytes_of(path), path, frame=frame)


def parse(raw: bytes, path: Path, *, frame: GlassFrame | None = None) -> AnnotationSet:
    """Read annotations from the content of a file; `path` is for messages. Raises as `read`."""
    content = raw[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")
    if content.startswith(b"<") or (path.suffix.lower() == ".xml" and content[:1] not in b"{["):
        root = root_of(decode(raw, path), path)
        if root == "Annotations":
            return read_imagescope(path, raw)
        if root == "annotations":
            return read_ndpa(path, raw, frame)
        return read_asap(path, raw)
    if content.startswith((b"{", b"[")):
        return read_geojson(path, raw)
    if not content:
        raise AnnotationError(f"{path} is empty: fetch or export it again.")
    raise AnnotationError(f"{path} is no annotation file that can be read: choose {_READ}.")


def write(
    annotation_set: AnnotationSet,
    path: str | os.PathLike[str],
    *,
    file_format: FileFormat | None = None,
    mpp: Mpp | None = None,
) -> None:
    """Write a set to a file.

    A set written in the format it was read in keeps every byte that does not belong to a change.
    The file is replaced in one step: it is the old one or the new one, never half of either.

    Parameters
    ----------
    annotation_set : AnnotationSet
        What to write; `losses` says what a format cannot keep of it.
    path : path-like
        Ends in ``.xml`` or ``.geojson`` / ``.json`` (QuPath).
    file_format : {"asap", "imagescope", "geojson"}, optional
        By default the extension decides; a set from an ImageScope file stays one in ``.xml``,
        every other becomes ASAP XML.
    mpp : tuple of float, optional
        Micrometres per level-0 pixel, which ImageScope XML states.

    Raises
    ------
    AnnotationError
        The extension is of no format that can be written, or not that of `file_format`.
    FileWriteError
        The disk is full or the folder read-only; the old file is untouched.
    """
    path = Path(path)
    content = file_content(annotation_set, path, file_format=file_format, mpp=mpp)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def file_content(
    annotation_set: AnnotationSet,
    path: Path,
    *,
    file_format: FileFormat | None = None,
    mpp: Mpp | None = None,
) -> bytes:
    """Return what `write` would write; raises `AnnotationError` as it does."""
    chosen = file_format or _format_of(annotation_set, path)
    if path.suffix.lower() not in FORMATS or (chosen == "geojson") == _is_xml(path):
        wanted = ".geojson or .json" if file_format == "geojson" else ".xml"
        advice = f"choose {_WRITTEN}" if file_format is None else f"give a name in {wanted}"
        raise AnnotationError(
            f'{path} has the extension "{path.suffix}", which says no format that is written here: '
            f"{advice}."
        )
    if chosen == "imagescope":
        return imagescope_bytes(annotation_set, mpp)
    return (asap_bytes if chosen == "asap" else geojson_bytes)(annotation_set)


def losses(annotation_set: AnnotationSet, file_format: FileFormat) -> list[str]:
    """Return, in sentences, what a format cannot keep of a set; empty where it keeps everything.

    Saving in the format it was read in loses nothing.
    """
    source = annotation_set.source
    if source is not None and source.format == file_format:
        return []
    return list(_losses(annotation_set, file_format))


def _losses(annotation_set: AnnotationSet, file_format: FileFormat) -> Iterator[str]:
    kinds = [annotation.kind for annotation in annotation_set]
    holes = sum(len(part.holes) for a in annotation_set for part in a.parts)
    parts = sum(len(annotation.more_parts) for annotation in annotation_set)
    if file_format == "asap" and holes:
        yield f"Holes become outlines of a cut-out group, as ASAP has no holes: {holes:,}."
    if file_format != "geojson" and parts:
        yield f"Further polygons of one annotation become annotations of their own: {parts:,}."
    if file_format == "asap" and (lines := kinds.count("polyline")):
        yield f"Open lines are saved without a type, as ASAP has none for them: {lines:,}."
    if file_format == "imagescope":
        if splines := kinds.count("spline"):
            yield f"Splines become the polygons that are seen: {splines:,}."
        if marks := kinds.count("other"):
            yield f"Annotations of unknown type become open lines: {marks:,}."
    if file_format != "asap":
        if nested := sum(group.parent is not None for group in annotation_set.groups):
            yield f"Groups lose the group that they belong to: {nested:,}."
        if any(group.attributes for group in annotation_set.groups):
            yield "The free attributes of groups are left out."
    if file_format == "geojson":
        used = {annotation.group for annotation in annotation_set}
        if unused := sum(group.name not in used for group in annotation_set.groups):
            yield f"Groups without annotations are left out: {unused:,}."
    if file_format != "asap" and _without_numbers(annotation_set):
        yield "Points without numbers are left out."


def _without_numbers(annotation_set: AnnotationSet) -> bool:
    return any(problem.code == "not-a-number" for problem in annotation_set.problems)


def _format_of(annotation_set: AnnotationSet, path: Path) -> FileFormat:
    if not _is_xml(path):
        return "geojson"
    source = annotation_set.source
    return "imagescope" if source is not None and source.format == "imagescope" else "asap"


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _bytes_of(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise AnnotationError(
                f"{path} has {size / 1e6:,.0f} MB, more than the {MAX_BYTES / 1e6:,.0f} MB that "
                "can be opened; split it into several files."
            )
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"{path} cannot be read ({error.strerror or error}). Check the name and the permission."
        ) from error
