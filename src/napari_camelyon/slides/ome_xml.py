"""What the OME-XML of an OME-TIFF says of its images.

Schema: OME 2016-06 (https://www.openmicroscopy.org/Schemas/OME/2016-06/). The parser is hardened:
text that defines entities is refused before anything is expanded.
"""

import math
from dataclasses import dataclass
from xml.parsers import expat

__all__ = ["OmeImage", "OmeXmlError", "is_ome_xml", "read_ome_xml"]

_UM_A_UNIT = {
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,  # the micro sign; below it the Greek letter, which looks the same
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "Å": 1e-4,
    "pm": 1e-6,
    "in": 25_400.0,
    "ft": 304_800.0,
    "thou": 25.4,
    "mil": 25.4,
    "pt": 25_400.0 / 72,
}


_DEEPEST = 100


class OmeXmlError(ValueError):
    """OME-XML that cannot be used; the message says why, as the end of a sentence."""


@dataclass(slots=True)
class OmeImage:
    """One ``<Image>``.

    Attributes
    ----------
    name : str
    size_z, size_t, size_c : int
        Planes; channels count each colour of RGB.
    mpp : tuple of float or None
        µm per pixel ``(x, y)``.
    objective_power : float or None
        Nominal magnification.
    directory : int
        Position of its first plane in the main chain of directories.
    elsewhere : bool
        Whether its pixels lie in another file.
    """

    name: str = ""
    size_z: int = 1
    size_t: int = 1
    size_c: int = 1
    mpp: tuple[float, float] | None = None
    objective_power: float | None = None
    directory: int = 0
    elsewhere: bool = False


def is_ome_xml(description: str | None) -> bool:
    """Tell whether a TIFF's description looks like OME-XML."""
    if description is None:
        return False
    start = description[:2048]
    return start.lstrip("\ufeff \t\r\n").startswith("<") and ("<OME" in start or ":OME" in start)


def read_ome_xml(text: str) -> list[OmeImage]:
    """Return the images that OME-XML describes, in its order.

    Raises
    ------
    OmeXmlError
        It is not well-formed, no OME-XML, or unsafe to read.
    """
    reading = _Reading()
    try:
        reading.parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise OmeXmlError(f"its OME-XML is damaged in line {error.lineno} ({error})") from error
    for image, objective in zip(reading.images, reading.objective_ids, strict=True):
        image.objective_power = reading.magnifications.get(objective)
    return reading.images


class _Reading:
    """The state of one parse; expat wants methods to call."""

    def __init__(self) -> None:
        self.images: list[OmeImage] = []
        self.objective_ids: list[str] = []
        self.magnifications: dict[str, float] = {}
        self._open: list[str] = []
        self._planes_seen = False
        self._own_uuid: str | None = None
        self._text = ""
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.EntityDeclHandler = self._refuse
        parser.UnparsedEntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add_text

    def _refuse(self, *_: object) -> int:
        raise OmeXmlError("its OME-XML defines XML entities, as attacks do and OME-TIFF never does")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._open:
            if name != "OME":
                raise OmeXmlError(f"its description is XML of another kind (<{name}>)")
            self._own_uuid = attributes.get("UUID")
        if len(self._open) >= _DEEPEST:
            raise OmeXmlError("its OME-XML is nested deeper than the schema allows")
        parents = tuple(self._open)
        self._open.append(name)
        self._text = ""
        if name == "Image" and parents == ("OME",):
            self.images.append(OmeImage(attributes.get("Name", "")))
            self.objective_ids.append("")
            self._planes_seen = False
        elif name == "Objective" and parents[1:] == ("Instrument",):
            power = _positive(attributes.get("NominalMagnification"))
            if power is not None:
                self.magnifications[attributes.get("ID", "")] = power
        elif self.images and parents[1:2] == ("Image",):
            self._within_image(name, attributes)

    def _within_image(self, name: str, attributes: dict[str, str]) -> None:
        image = self.images[-1]
        if name == "ObjectiveSettings":
            self.objective_ids[-1] = attributes.get("ID", "")
        elif name == "Pixels":
            image.size_z, image.size_t, image.size_c = (
                _count(attributes.get(f"Size{axis}")) for axis in "ZTC"
            )
            x_um, y_um = (
                _micrometres(
                    attributes.get(f"PhysicalSize{axis}"),
                    attributes.get(f"PhysicalSize{axis}Unit", "µm"),
                )
                for axis in "XY"
            )
            image.mpp = None if x_um is None or y_um is None else (x_um, y_um)
        elif name == "TiffData" and not self._planes_seen:
            image.directory = _count(attributes.get("IFD"), least=0)
            self._planes_seen = True

    def _add_text(self, text: str) -> None:
        if self._open[-1] == "UUID":
            self._text += text

    def _end(self, _name: str) -> None:
        # Not by the file's name, which people change.
        if self._open.pop() == "UUID" and self.images and self._own_uuid is not None:
            self.images[-1].elsewhere |= self._text.strip() != self._own_uuid


def _micrometres(text: str | None, unit: str) -> float | None:
    length = _positive(text)
    if length is None or unit not in _UM_A_UNIT:
        return None
    return length * _UM_A_UNIT[unit]


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _count(text: str | None, *, least: int = 1) -> int:
    """Return a whole number; what is none counts as the least."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 9:
        return least
    return max(least, int(text))
