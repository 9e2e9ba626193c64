"""``napari-camelyon measure``: how large outlined tumour is, and what class that makes the node."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.options import plausible_pair
from napari_camelyon.cli.text import DISCLAIMER, aligned
from napari_camelyon.errors import StagingError

if TYPE_CHECKING:
    from napari_camelyon.geometry import Mpp

__all__ = ["measure"]

_PATH = click.Path(path_type=Path)


@click.command(short_help="Measure outlined tumour, and say what class it makes the node.")
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="ANNOTATIONS...")
@click.option(
    "--mpp",
    callback=plausible_pair,
    metavar="µM/PX",
    help="Size of a pixel at level 0, one number or two with a comma between them.",
)
@click.option(
    "--slide",
    "slide_path",
    type=_PATH,
    metavar="SLIDE",
    help="Take the size of a pixel from this slide. Default: --mpp.",
)
@click.option(
    "--tumour",
    "tumour_groups",
    multiple=True,
    metavar="GROUP",
    help="A group whose outlines are tumour; may be given again. Default: those of CAMELYON.",
)
@click.option(
    "--join-um",
    type=click.FloatRange(min=0),
    default=37.5,
    show_default=True,
    help="Also say how large the largest deposit is when those are joined that touch, grown by "
    "this. The class is that of the largest outline alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def measure(
    files: tuple[Path, ...],
    mpp: "Mpp | None",
    slide_path: Path | None,
    tumour_groups: tuple[str, ...],
    join_um: float,
    as_json: bool,
) -> None:
    """Print each tumour region's area and greatest diameter, and the node class they imply.

    ANNOTATIONS are XML of ASAP or ImageScope, or GeoJSON. The node is classed by its largest
    outline: macro above 2.0 mm, micro above 0.2 mm, ITC otherwise.
    """
    size = mpp or _size_of(slide_path)
    measured = [_measured(path, size, tumour_groups, join_um) for path in files]
    if as_json:
        click.echo(json.dumps(measured, indent=2))
        return
    for entry in measured:
        _print(entry, join_um)
    click.echo(DISCLAIMER)


def _size_of(slide_path: Path | None) -> "Mpp":
    if slide_path is None:
        raise StagingError(
            "Annotations do not say how large a pixel is. Give it with --mpp (0.243 for most of "
            "CAMELYON), or the slide with --slide."
        )
    from napari_camelyon.slides import open_slide

    with open_slide(slide_path) as slide:
        if slide.mpp is None:
            raise StagingError(
                f"{slide_path} does not say how large a pixel is. Give it with --mpp."
            )
        return slide.mpp


def _measured(
    path: Path, mpp: "Mpp", tumour_groups: tuple[str, ...], join_um: float
) -> dict[str, Any]:
    from napari_camelyon.annotations.meaning import GroupProfile
    from napari_camelyon.cohort import read_annotations
    from napari_camelyon.staging import (
        measure_lesions,
        measure_regions,
        node_class_of_regions,
        node_class_of_size,
    )

    found = read_annotations(path, None)
    profile = GroupProfile("chosen", frozenset(tumour_groups), frozenset())
    chosen = profile if tumour_groups else None
    try:
        regions = measure_regions(found, mpp, chosen)
        lesions = measure_lesions(found, mpp, join_dilation_um=join_um, profile=chosen)
    except StagingError as error:
        raise StagingError(f"{path}: {error} On the command line: --tumour GROUP.") from error
    joined = lesions[0].diameter_mm if lesions else None
    return {
        "file": str(path),
        "mpp": list(mpp),
        "regions": [asdict(region) for region in regions],
        "node_class": node_class_of_regions(regions),
        "joined": {
            "dilation_um": join_um,
            "lesions": len(lesions),
            "diameter_mm": joined,
            "node_class": "negative" if joined is None else node_class_of_size(joined),
        },
    }


def _print(entry: dict[str, Any], join_um: float) -> None:
    click.echo(f"{entry['file']}: {entry['node_class']}")
    regions = entry["regions"]
    if not regions:
        click.echo("  No tumour is outlined.\n")
        return
    rows = [
        (
            region["name"] or "–",
            region["group"] or "–",
            f"{region['area_mm2']:.4f}",
            f"{region['diameter_mm']:.3f}",
        )
        for region in regions
    ]
    header = ("region", "group", "area mm²", "diameter mm")
    for line in aligned(header, rows, right=header[2:]):
        click.echo(f"  {line}")
    joined = entry["joined"]
    if join_um and joined["diameter_mm"] is not None:
        same = joined["node_class"] == entry["node_class"]
        click.echo(
            f"  Joined where outlines grown by {join_um:g} µm touch: {joined['lesions']} "
            f"{'lesion' if joined['lesions'] == 1 else 'lesions'}, the largest "
            f"{joined['diameter_mm']:.3f} mm{'' if same else ': ' + joined['node_class']}."
        )
    click.echo()
