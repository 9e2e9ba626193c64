"""What an OME-Zarr folder says of itself: its axes, its levels, and how large a pixel is.

Versions 0.4 (Zarr v2) and 0.5 (Zarr v3), see https://ngff.openmicroscopy.org/0.4/ and /0.5/.
Only JSON is read here, so that it can be told at once whether a folder is a slide.

Level ``k`` is placed by its scale relative to the first level's. Where a translation tells the two
levels apart it places the centres of their first pixels, as the format's authors mean it
(https://github.com/ome/ngff/issues/89). Where none does, the levels share their corner: programs
that average blocks and write no translation are the rule, although the centres of their first
pixels differ (https://github.com/ome/ome-zarr-py/issues/403).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_camelyon.errors import SlideError
from napari_camelyon.geometry import Mpp

__all__ = [
    "OmeZarrImage",
    "OmeZarrLevel",
    "is_ome_zarr_slide",
    "is_zarr",
    "one_line",
    "read_ome_zarr",
]

_LONGEST_PX = 1 << 22
"""Most pixels a side: a glass slide of 76 mm (ISO 8037-1) at 0.05 µm/px has a third of them."""

_LARGEST_DOCUMENT_BYTES = 1 << 26
"""A document with the metadata of a thousand arrays inside has a hundredth of it."""

_PREFIXES = {
    "": 1e6,
    "deci": 1e5,
    "centi": 1e4,
    "milli": 1e3,
    "micro": 1.0,
    "nano": 1e-3,
    "pico": 1e-6,
    "kilo": 1e9,
}
_UM_PER_UNIT = {
    **{f"{prefix}{metre}": um for prefix, um in _PREFIXES.items() for metre in ("meter", "metre")},
    "angstrom": 1e-4,
    "inch": 25_400.0,
    # Not in the format's list, but written by some.
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "um": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "nm": 1e-3,
}

_RGB = ("FF0000", "00FF00", "0000FF")


@dataclass(frozen=True, slots=True)
class OmeZarrLevel:
    """One level of an image.

    Attributes
    ----------
    path : str
        Of its array, below the folder that was opened.
    document : Path
        The file that describes the array.
    width_px, height_px : int
        Size as stored.
    downsample_x, downsample_y : float
        Level-0 pixels that one pixel covers, as the metadata state it.
    """

    path: str
    document: Path
    width_px: int
    height_px: int
    downsample_x: float
    downsample_y: float


@dataclass(frozen=True, slots=True)
class OmeZarrImage:
    """An image that can be shown as a slide.

    Attributes
    ----------
    zarr_format : int
        2 or 3.
    axes : tuple of str
        Names of the arrays' axes, in their order; "x", "y" and perhaps "c" among them. All others
        have length one.
    channels : int
        1 (grey), 3 (RGB) or 4 (RGB and alpha).
    mpp : tuple of float or None
        Micrometres per level-0 pixel ``(x, y)``; None without units of length.
    levels : tuple of OmeZarrLevel
        Finest first.
    left_out : tuple of str
        Paths of levels that do not begin at the corner of the first one or do not cover it.
    entries : mapping
        The image's entry of ``multiscales``.
    """

    zarr_format: int
    version: str
    axes: tuple[str, ...]
    channels: int
    mpp: Mpp | None
    levels: tuple[OmeZarrLevel, ...]
    left_out: tuple[str, ...]
    entries: Mapping[str, Any]


def is_zarr(folder: Path) -> bool:
    """Tell whether a folder is a Zarr group or array. Never raises."""
    names = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
    try:
        return any((folder / name).is_file() for name in names)
    except OSError:  # a folder that may not be looked into
        return False


def is_ome_zarr_slide(folder: Path) -> bool:
    """Tell quickly whether a folder is an OME-Zarr image that can be shown as a slide.

    Images of other than 8-bit values or of other channels than grey, RGB and RGBA are none, and
    neither are plates, label images and heatmaps. Never raises.
    """
    try:
        read_ome_zarr(folder)
    except SlideError:
        return False
    return True


def read_ome_zarr(folder: Path) -> OmeZarrImage:
    """Read the description of the image in a folder; of several images, of the first.

    Parameters
    ----------
    folder : Path
        An image, or a collection that bioformats2raw wrote.

    Raises
    ------
    SlideError
        It holds no image, one that is no stained slide, one of an unknown version, or its
        metadata are damaged.
    """
    try:
        attributes, zarr_format, series = _first_image(folder)
        return _image(folder, attributes, zarr_format, series)
    except SlideError:
        raise
    except OSError as error:
        raise SlideError(f"{folder} cannot be read ({error.strerror}).") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SlideError(
            f"The metadata of {folder} are damaged ({one_line(error)}). Compare the "
            "folder with its original or fetch it again."
        ) from error


def one_line(error: Exception) -> str:
    """Return what a library says of an error in one line of at most 200 characters."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(": ")
    return said if len(said) <= 200 else f"{said[:199]}…"


def _first_image(folder: Path) -> tuple[Mapping[str, Any], int, str]:
    """Return the attributes of the first image, the Zarr format, and the path of the image."""
    attributes, zarr_format = _ome_attributes(folder)
    if "bioformats2raw.layout" not in attributes or "multiscales" in attributes:
        return attributes, zarr_format, ""
    collection = folder / "OME"
    series = ["0"]
    if is_zarr(collection):
        series = _ome_attributes(collection)[0].get("series", series)
    first = _inside(series[0])
    if not is_zarr(folder / first):
        raise SlideError(
            f"{folder} is a collection of images, but its first one ({first}) is missing: fetch "
            "the whole folder again."
        )
    return *_ome_attributes(folder / first), first


def _ome_attributes(folder: Path) -> tuple[dict[str, Any], int]:
    """Return what OME-Zarr keeps in the attributes of a group, and the Zarr format."""
    if (folder / "zarr.json").is_file():
        document = _document(folder / "zarr.json")
        if document.get("node_type") != "group":
            raise SlideError(
                f"{folder} is a single array: open the folder above it, which describes the image."
            )
        return document.get("attributes", {}).get("ome", {}), 3
    if (folder / ".zgroup").is_file() and (folder / ".zattrs").is_file():
        return _document(folder / ".zattrs"), 2
    if (folder / ".zarray").is_file():
        raise SlideError(
            f"{folder} is a single array: open the folder above it, which describes the image."
        )
    raise SlideError(f"{folder} is no OME-Zarr image: it lacks the metadata of one.")


def _document(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _LARGEST_DOCUMENT_BYTES:
            raise SlideError(f"{path} is damaged: metadata of {size} bytes are not believable.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SlideError(
            f"{path} is damaged ({one_line(error)}). Compare it with its original or fetch it "
            "again."
        ) from error
    if not isinstance(found, dict):
        raise SlideError(f"{path} is damaged: it should hold one JSON object.")
    return found


def _image(
    folder: Path, attributes: Mapping[str, Any], zarr_format: int, series: str
) -> OmeZarrImage:
    if "plate" in attributes or "well" in attributes:
        raise SlideError(f"{folder} is a plate of many images: open one of the images in it.")
    if "image-label" in attributes:
        raise SlideError(f"{folder} holds labels and no image: open the image they belong to.")
    if not attributes.get("multiscales"):
        raise SlideError(
            f"{folder} is a Zarr folder without an OME-Zarr image: open a folder that describes "
            "one (“multiscales” in its attributes)."
        )
    entries = attributes["multiscales"][0]
    version = _version(folder, attributes if zarr_format == 3 else entries, zarr_format)
    axes, units = _axes(folder, entries["axes"])
    last = _Placement.of(entries.get("coordinateTransformations", []), len(axes), folder)
    levels: list[OmeZarrLevel] = []
    left_out = []
    base: _Placement | None = None
    mpp: Mpp | None = None
    channels = 0
    for dataset in entries["datasets"]:
        path = "/".join(part for part in (series, _inside(dataset["path"])) if part)
        document, shape = _array(folder, path, zarr_format, axes)
        placement = _Placement.of(dataset["coordinateTransformations"], len(axes), folder)
        placement = placement.then(last)
        x, y = axes.index("x"), axes.index("y")
        if base is None:
            base = placement
            channels = _channels(folder, shape[axes.index("c")] if "c" in axes else 1, attributes)
            mpp = _mpp(units[x], units[y], placement.scale[x], placement.scale[y])
        elif "c" in axes and shape[axes.index("c")] != channels:
            raise SlideError(f"The levels of {folder} have different numbers of channels.")
        level = OmeZarrLevel(
            path,
            document,
            shape[x],
            shape[y],
            _near_whole(placement.scale[x] / base.scale[x]),
            _near_whole(placement.scale[y] / base.scale[y]),
        )
        if levels:
            _refuse_finer(folder, levels[-1], level)
        offsets = (placement.offset_px(base, x), placement.offset_px(base, y))
        if levels and not _covers(levels[0], level, offsets):
            left_out.append(path)
        else:
            levels.append(level)
    if not levels:
        raise SlideError(f"{folder} lists no level of its image: fetch it again.")
    return OmeZarrImage(
        zarr_format, version, axes, channels, mpp, tuple(levels), tuple(left_out), entries
    )


def _version(folder: Path, where: Mapping[str, Any], zarr_format: int) -> str:
    expected = "0.5" if zarr_format == 3 else "0.4"
    version = str(where.get("version", expected))
    if version != expected and not version.startswith(f"{expected}."):
        raise SlideError(
            f"{folder} follows version {version} of OME-Zarr in Zarr v{zarr_format}; 0.4 in Zarr "
            "v2 and 0.5 in Zarr v3 can be read. Convert it, for instance with ome-zarr-py."
        )
    return version


def _axes(
    folder: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    names = tuple("c" if axis.get("type") == "channel" else axis["name"] for axis in entries)
    if len(set(names)) != len(names) or not {"x", "y"} <= set(names):
        shown = ", ".join(str(axis["name"]) for axis in entries)
        raise SlideError(
            f"The axes of {folder} are {shown}: a slide needs one named x and one named y."
        )
    return names, tuple(axis.get("unit") for axis in entries)


def _array(
    folder: Path, path: str, zarr_format: int, axes: tuple[str, ...]
) -> tuple[Path, tuple[int, ...]]:
    """Return the document of an array and its shape, after checking what it holds."""
    document = folder / path / ("zarr.json" if zarr_format == 3 else ".zarray")
    if not document.is_file():
        raise SlideError(
            f"{folder} lacks its level “{path}” (there is no {document}): fetch the whole folder "
            "again."
        )
    described = _document(document)
    kind = described["data_type" if zarr_format == 3 else "dtype"]
    if kind not in {"uint8", "|u1", "<u1", ">u1", "u1"}:
        raise SlideError(
            f"{folder} holds values of type {kind}, and a stained slide is 8-bit colour: images "
            "of fluorescence or of measured values cannot be shown as one. Convert it to 8-bit "
            "RGB or open it with another reader."
        )
    shape = tuple(int(length) for length in described["shape"])
    if len(shape) != len(axes):
        raise SlideError(
            f"{document} is damaged: an array of {len(shape)} axes for an image of {len(axes)}."
        )
    sides = dict(zip(axes, shape, strict=True))
    if not (0 < sides["x"] <= _LONGEST_PX and 0 < sides["y"] <= _LONGEST_PX):
        raise SlideError(
            f"{document} claims {sides['x']} × {sides['y']} px, which no slide measures: it is "
            "damaged, or no slide."
        )
    for axis, length in sides.items():
        if axis not in {"c", "x", "y"} and length != 1:
            what = {"t": "points in time", "z": "focal planes"}.get(axis, f"images along {axis!r}")
            raise SlideError(
                f"{folder} holds {length} {what}, and a slide is one image: save one of them as "
                "an image of its own."
            )
    return document, shape


def _channels(folder: Path, channels: int, attributes: Mapping[str, Any]) -> int:
    if channels not in {1, 3, 4}:
        raise SlideError(
            f"{folder} has {channels} channels, and a stained slide has red, green and blue (and "
            "alpha) or grey: fluorescence cannot be shown as one. Open it with another reader."
        )
    listed = attributes.get("omero", {}).get("channels", [])
    colours = tuple(str(entry.get("color", "")).upper().lstrip("#") for entry in listed)
    # Equal colours, and none, are what programs write that do not know them.
    if len(set(colours)) > 1 or channels == 1:
        fine = _is_grey(colours) if channels == 1 else colours[:3] == _RGB
        if not fine:
            names = ", ".join(str(entry.get("label", "?")) for entry in listed)
            raise SlideError(
                f"The channels of {folder} ({names}) are coloured {', '.join(colours)} and not "
                "red, green, blue: fluorescence cannot be shown as a stained slide. Open it with "
                "another reader."
            )
    return channels


def _is_grey(colours: tuple[str, ...]) -> bool:
    return all(colour[:2] == colour[2:4] == colour[4:6] for colour in colours)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where the centres of pixels lie: ``index * scale + translation``, an entry an axis."""

    scale: tuple[float, ...]
    translation: tuple[float, ...]

    @classmethod
    def of(
        cls, transformations: Sequence[Mapping[str, Any]], axes: int, folder: Path
    ) -> "_Placement":
        scale, translation = [1.0] * axes, [0.0] * axes
        for step in transformations:
            kind = step["type"]
            if kind == "identity":
                continue
            if kind not in {"scale", "translation"} or kind not in step:
                raise SlideError(
                    f"{folder} places its levels by a transformation ({kind}) that is not "
                    "supported: only scales and translations written in the metadata are."
                )
            numbers = [float(number) for number in step[kind]]
            if len(numbers) != axes or not all(map(math.isfinite, numbers)):
                raise ValueError(f"{kind} {step[kind]}")
            if kind == "scale":
                if min(numbers) <= 0:
                    raise ValueError(f"{kind} {step[kind]}")
                scale = [old * new for old, new in zip(scale, numbers, strict=True)]
                translation = [old * new for old, new in zip(translation, numbers, strict=True)]
            else:
                translation = [old + new for old, new in zip(translation, numbers, strict=True)]
        return cls(tuple(scale), tuple(translation))

    def then(self, other: "_Placement") -> "_Placement":
        each = zip(self.scale, self.translation, other.scale, other.translation, strict=True)
        pairs = [(s * s2, t * s2 + t2) for s, t, s2, t2 in each]
        return _Placement(tuple(s for s, _ in pairs), tuple(t for _, t in pairs))

    def offset_px(self, base: "_Placement", axis: int) -> float:
        """Return where the corner lies along an axis, in level-0 pixels from level 0's corner."""
        between = (self.translation[axis] - base.translation[axis]) / base.scale[axis]
        downsample = self.scale[axis] / base.scale[axis]
        if abs(between) < 1e-3 * downsample:
            return 0.0
        return between + 0.5 - downsample / 2


def _near_whole(downsample: float) -> float:
    """Take off what division of decimal fractions leaves: 1.9999999999 is 2."""
    whole = round(downsample)
    return float(whole) if math.isclose(whole, downsample, rel_tol=1e-6) else downsample


def _refuse_finer(folder: Path, before: OmeZarrLevel, level: OmeZarrLevel) -> None:
    x, y = level.downsample_x, level.downsample_y
    if (x, y) == (before.downsample_x, before.downsample_y) or (
        x < before.downsample_x or y < before.downsample_y
    ):
        raise SlideError(
            f"The scales of {folder} contradict each other: level “{level.path}” should be "
            f"coarser than “{before.path}”, but covers {x:g} × {y:g} pixels of the first level "
            f"with each of its own, after {before.downsample_x:g} × {before.downsample_y:g}."
        )


def _covers(base: OmeZarrLevel, level: OmeZarrLevel, offsets: tuple[float, float]) -> bool:
    """Tell whether a level begins at level 0's corner and ends less than two pixels before it."""
    sides = (
        (base.width_px, level.width_px, level.downsample_x, offsets[0]),
        (base.height_px, level.height_px, level.downsample_y, offsets[1]),
    )
    return all(
        abs(offset) <= 0.01 * downsample and (length + 2) * downsample > whole
        for whole, length, downsample, offset in sides
    )


def _mpp(unit_x: str | None, unit_y: str | None, scale_x: float, scale_y: float) -> Mpp | None:
    um_x, um_y = _UM_PER_UNIT.get(unit_x or ""), _UM_PER_UNIT.get(unit_y or "")
    if um_x is None or um_y is None:
        return None
    return scale_x * um_x, scale_y * um_y


def _inside(path: str) -> str:
    """Return a path below the folder. Raises ValueError where it leads out of it."""
    parts = path.replace("\\", "/").split("/")
    if ".." in parts or ":" in path or path.startswith(("/", "\\")):
        raise ValueError(f"the path {path!r} leads out of the folder")
    return "/".join(part for part in parts if part not in {"", "."})
