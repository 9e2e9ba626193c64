"""How results look in a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_camelyon.slides import LevelOffset

__all__ = ["DISCLAIMER", "aligned", "alignment_lines", "duration", "pixel_size", "slide_lines"]

DISCLAIMER = "Research software, not a medical device."


def aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table, each column as wide as its widest cell.

    Parameters
    ----------
    header : sequence of str
        Name of each column.
    rows : sequence of sequence of str
        Cells, as many a row as there are columns.
    right : sequence of str
        Names of the columns that are set flush right, as numbers are.
    """
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def duration(seconds: float) -> str:
    """Return a time as one reads it off a clock: ``0:42``, ``12:05``, ``1:02:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def slide_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what `slides.describe` says, for people."""
    size = f"{facts['width_px']} × {facts['height_px']} px"
    if facts["width_mm"] is not None:
        size += f", {facts['width_mm']:.2f} × {facts['height_mm']:.2f} mm"
    power = facts["objective_power"]
    entries = {
        "slide": facts["name"],
        "file": facts["path"],
        "format": facts["vendor"],
        "size": size,
        "read by": facts["backend"],
        "pixel size": pixel_size(facts["mpp"], facts["mpp_note"]),
        "objective": "unknown" if power is None else f"{power:g}×",
        "scanned": _scanned(facts),
        "tiles": f"{facts['tile_px']} px",
        "colours": _colours(facts),
        "other images": ", ".join(facts["associated_images"]) or "none",
        "fingerprint": facts["fingerprint"],
    }
    width = max(map(len, entries))
    lines = [f"{name:{width}}  {text}" for name, text in entries.items()]
    header = ("level", "width px", "height px", "downsample")
    rows = [
        (
            str(index),
            str(level["width_px"]),
            str(level["height_px"]),
            _pair(level["downsample_x"], level["downsample_y"]),
        )
        for index, level in enumerate(facts["levels"])
    ]
    return [*lines, "", *aligned(header, rows, right=header)]


def alignment_lines(offsets: "Sequence[LevelOffset]") -> list[str]:
    """Return what `slides.alignment_error` found, for people: the verdict, and a table."""
    from napari_camelyon.slides import alignment_verdict

    lines = [f"alignment: {alignment_verdict(offsets)}"]
    if not offsets:
        return lines
    header = ("level", "right px", "down px", "spread px", "places")
    rows = [
        (
            str(offset.level),
            *(
                "–" if value is None else f"{value:{sign}.2f}"
                for value, sign in (
                    (offset.x_px, "+"),
                    (offset.y_px, "+"),
                    (offset.spread_px, ""),
                )
            ),
            str(offset.places),
        )
        for offset in offsets
    ]
    return [*lines, "", *aligned(header, rows, right=header)]


def pixel_size(mpp: Sequence[float] | None, note: str) -> str:
    """Return a slide's pixel size and where it comes from, or how to give it."""
    if mpp is None:
        return f"unknown: {note}; open and predict take it as --mpp, and mpp SLIDE --set keeps it"
    return f"{_pair(*mpp)} µm/px, {note}"


def _colours(facts: Mapping[str, Any]) -> str:
    note = f"as stored; {facts['icc_note']}"
    return note if facts["icc_profile"] is None else f"{note}, which is not applied"


def _scanned(facts: Mapping[str, Any]) -> str:
    x, y, width, height = facts["bounds_px"]
    if (x, y, width, height) == (0, 0, facts["width_px"], facts["height_px"]):
        return "all of it"
    return f"{width} × {height} px from x={x}, y={y}"


def _pair(x: float, y: float) -> str:
    first, second = f"{x:.6g}", f"{y:.6g}"
    return first if first == second else f"{first} × {second}"
