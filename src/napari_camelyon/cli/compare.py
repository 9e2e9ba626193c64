"""``napari-camelyon compare``: where two annotators of one slide agree, and where not."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned
from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari_camelyon.annotations import (
        AnnotationSet,
        ComparedRegion,
        Comparison,
        GroupProfile,
        Match,
    )
    from napari_camelyon.geometry import Mpp

__all__ = ["compare"]

SCHEMA_VERSION = 1
"""Of the file that --json writes."""

COLUMNS = (
    "kind", "x_px", "y_px", "a", "b", "a_group", "b_group", "a_mm2", "b_mm2", "dice", "iou",
    "hausdorff_um", "mean_distance_um",
)  # fmt: skip
"""Of the file that --csv writes."""

_MOST_ROWS = 40
_PATH = click.Path(path_type=Path)


@click.command(short_help="Compare two annotators' files of one slide.")
@click.argument("first", type=_PATH, metavar="A")
@click.argument("second", type=_PATH, metavar="B")
@click.option("--slide", type=_PATH, metavar="SLIDE", help="The slide; it says the pixel size.")
@click.option("--mpp", "given", metavar="X[,Y]", help="Size of a pixel, µm/px, without --slide.")
@click.option(
    "--tumour",
    multiple=True,
    metavar="GROUP",
    help="A group that is tumour; may be repeated. Default: those of CAMELYON16 and 17.",
)
@click.option(
    "--cut-out",
    multiple=True,
    metavar="GROUP",
    help="With --tumour: a group that is cut out of it; may be repeated.",
)
@click.option("--json", "json_path", type=_PATH, metavar="OUT", help="Write all of it as JSON.")
@click.option("--csv", "csv_path", type=_PATH, metavar="OUT", help="Write a row for each place.")
def compare(
    first: Path,
    second: Path,
    slide: Path | None,
    given: str | None,
    tumour: tuple[str, ...],
    cut_out: tuple[str, ...],
    json_path: Path | None,
    csv_path: Path | None,
) -> None:
    """Compare the outlines of two annotators, A and B, of one slide.

    Prints how well the tumour regions and the single outlines agree, and every place where they
    differ, worst first. The window's Compare dock goes through these places one by one.
    """
    from napari_camelyon import annotations
    from napari_camelyon.files import write_json

    mpp = _pixel_size(slide, given)
    if cut_out and not tumour:
        raise click.UsageError("--cut-out goes with --tumour.")
    profile = (
        annotations.GroupProfile("given", frozenset(tumour), frozenset(cut_out)) if tumour else None
    )
    ours, theirs = annotations.read(first), annotations.read(second)
    _refuse_unknown((ours, theirs), profile)
    comparison = annotations.compare(ours, theirs, mpp, profile=profile)
    places = _places(comparison)
    click.echo("\n".join(_lines((first, second), comparison, places)))
    if json_path is not None:
        write_json(_json((first, second), comparison, places), json_path)
    if csv_path is not None:
        _write_csv(places, csv_path)


def _pixel_size(slide: Path | None, given: str | None) -> "Mpp":
    from napari_camelyon.slides import open_slide
    from napari_camelyon.slides.mpp import PLAUSIBLE_MPP, is_plausible

    if (slide is None) == (given is None):
        raise click.UsageError(
            "Say how large a pixel is, for distances and areas: give --slide or --mpp."
        )
    if slide is not None:
        with open_slide(slide) as opened:
            if opened.mpp is None:
                raise CamelyonError(
                    f"{slide} does not say how large its pixels are: give --mpp instead."
                )
            mpp: Mpp = opened.mpp
            return mpp
    try:
        numbers = [float(part) for part in str(given).split(",")]
    except ValueError:
        numbers = []
    mpp = (numbers[0], numbers[-1]) if len(numbers) in {1, 2} else (0.0, 0.0)
    if not is_plausible(mpp):
        low, high = PLAUSIBLE_MPP
        raise click.BadParameter(
            f"{given!r} is no pixel size: give micrometres per pixel between {low:g} and {high:g}, "
            "two with a comma between them where pixels are not square, for instance 0.25.",
            param_hint="--mpp",
        )
    return mpp


def _refuse_unknown(sets: "tuple[AnnotationSet, ...]", profile: "GroupProfile | None") -> None:
    """Refuse groups that neither file has: a slip of the pen would make everything no tumour."""
    if profile is None:
        return
    known = {group.name for one in sets for group in one.groups}
    known |= {annotation.group for one in sets for annotation in one if annotation.group}
    for name in sorted((profile.tumour | profile.cut_out) - known):
        raise CamelyonError(
            f"Neither file has a group {name!r}; they have {', '.join(sorted(known)) or 'none'}."
        )


def _places(comparison: "Comparison") -> list[dict[str, Any]]:
    """Return a row for everything that differs, worst first, and then what both agree on."""
    from napari_camelyon.annotations import differences

    rows = [_row(one.kind, one.first, one.second, one.match) for one in differences(comparison)]
    return rows + [_row("agree", pair.first, pair.second, pair) for pair in comparison.agreeing]


def _row(
    kind: str,
    first: "tuple[ComparedRegion, ...]",
    second: "tuple[ComparedRegion, ...]",
    match: "Match | None",
) -> dict[str, Any]:
    corners = [region.shape.bounds for region in (*first, *second)]
    left, top = (min(bounds[k] for bounds in corners) for k in (0, 1))
    right, bottom = (max(bounds[k] for bounds in corners) for k in (2, 3))
    row = {
        "kind": kind,
        "x_px": round((left + right) / 2, 1),
        "y_px": round((top + bottom) / 2, 1),
        "a": "; ".join(region.name for region in first),
        "b": "; ".join(region.name for region in second),
        "a_group": "; ".join(dict.fromkeys(region.group or "" for region in first)),
        "b_group": "; ".join(dict.fromkeys(region.group or "" for region in second)),
        "a_mm2": sum(region.area_mm2 for region in first),
        "b_mm2": sum(region.area_mm2 for region in second),
        "dice": None if match is None else match.dice,
        "iou": None if match is None else match.iou,
        "hausdorff_um": None if match is None else match.hausdorff_um,
        "mean_distance_um": None if match is None else match.mean_distance_um,
    }
    return {column: row[column] for column in COLUMNS}


# --- for people --------------------------------------------------------------------------------


def _lines(
    paths: tuple[Path, Path], comparison: "Comparison", places: list[dict[str, Any]]
) -> list[str]:
    counts = (comparison.first_count, comparison.second_count)
    left_out = (comparison.first_left_out, comparison.second_left_out)
    areas = (comparison.first_tumour_mm2, comparison.second_tumour_mm2)
    names = _told_apart(paths)
    files = [
        (letter, name, str(count), str(marks), _mm2(area))
        for letter, name, count, marks, area in zip(
            "AB", names, counts, left_out, areas, strict=True
        )
    ]
    lines = aligned(
        ("", "file", "regions", "not compared", "tumour mm²"),
        files,
        right=("regions", "not compared", "tumour mm²"),
    )
    lines += ["", _tumour_line(comparison), _regions_line(comparison)]
    differing = [place for place in places if place["kind"] != "agree"]
    if not differing:
        return [*lines, "", DISCLAIMER]
    rows = [
        (
            str(number),
            place["kind"],
            place["a_group"] or "–",
            place["b_group"] or "–",
            _mm2(place["a_mm2"]) if place["a_mm2"] else "–",
            _mm2(place["b_mm2"]) if place["b_mm2"] else "–",
            "–" if place["dice"] is None else f"{place['dice']:.3f}",
            "–" if place["hausdorff_um"] is None else f"{place['hausdorff_um']:.0f}",
            f"{place['x_px']:.0f}",
            f"{place['y_px']:.0f}",
        )
        for number, place in enumerate(differing[:_MOST_ROWS], start=1)
    ]
    header = ("", "differs", "A", "B", "A mm²", "B mm²", "Dice", "µm apart", "x px", "y px")
    table = aligned(header, rows, right=("", *header[4:]))
    if len(differing) > _MOST_ROWS:
        table.append(f"… and {len(differing) - _MOST_ROWS:,} more: --csv writes them all.")
    return [*lines, "", *table, "", DISCLAIMER]


def _tumour_line(comparison: "Comparison") -> str:
    if comparison.tumour_dice is None or comparison.tumour_iou is None:
        hint = "" if comparison.profile.tumour else f" {comparison.profile_reason} (--tumour)"
        return f"Tumour: none in either file.{hint}"
    return (
        f"Tumour: Dice {comparison.tumour_dice:.3f}, IoU {comparison.tumour_iou:.3f}, "
        f"{_mm2(comparison.common_tumour_mm2)} mm² in common."
    )


def _regions_line(comparison: "Comparison") -> str:
    parts = [
        f"{len(comparison.agreeing)} agree (Dice {comparison.agree_dice:g} or more)",
        f"{len(comparison.single_pairs) - len(comparison.agreeing)} differ in outline or group",
        f"{len(comparison.regroupings)} drawn as one and as several",
        f"{len(comparison.only_in_first)} only in A",
        f"{len(comparison.only_in_second)} only in B",
    ]
    return f"Regions: {', '.join(parts)}."


def _told_apart(paths: tuple[Path, Path]) -> tuple[str, str]:
    """Return the names of two files; with their folders where they have one name."""
    if paths[0].name == paths[1].name:
        return str(paths[0]), str(paths[1])
    return paths[0].name, paths[1].name


def _mm2(area: float) -> str:
    return f"{area:.4f}" if area < 0.1 else f"{area:.2f}"


# --- for programs ------------------------------------------------------------------------------


def _json(
    paths: tuple[Path, Path], comparison: "Comparison", places: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "a": str(paths[0]),
        "b": str(paths[1]),
        "mpp": list(comparison.mpp),
        "min_iou": comparison.min_iou,
        "agree_dice": comparison.agree_dice,
        "tumour_groups": sorted(comparison.profile.tumour),
        "cut_out_groups": sorted(comparison.profile.cut_out),
        "tumour_dice": comparison.tumour_dice,
        "tumour_iou": comparison.tumour_iou,
        "a_tumour_mm2": comparison.first_tumour_mm2,
        "b_tumour_mm2": comparison.second_tumour_mm2,
        "common_tumour_mm2": comparison.common_tumour_mm2,
        "a_regions": comparison.first_count,
        "b_regions": comparison.second_count,
        "a_not_compared": comparison.first_left_out,
        "b_not_compared": comparison.second_left_out,
        "places": places,
    }


def _write_csv(places: list[dict[str, Any]], path: Path) -> None:
    from napari_camelyon.files import atomic_file

    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(places)
