"""``convert``, ``check`` and ``repair``: annotation files without a window."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.options import plausible_pair
from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari_camelyon.annotations import AnnotationSet, FileFormat, GroupProfile, Problem
    from napari_camelyon.geometry import Mpp
    from napari_camelyon.slides import Slide

__all__ = ["check", "convert", "repair"]

_PATH = click.Path(path_type=Path)
_EXTENSIONS = ".xml, .geojson, .json, .csv, .tif, .tiff, .ome.tif"


_slide_option = click.option(
    "--slide",
    "slide_path",
    type=_PATH,
    metavar="SLIDE",
    help="The slide that the annotations belong to: for masks, for NDPA, and to find what lies "
    "outside it.",
)


@click.command(short_help="Convert annotations to other formats, masks or a table.")
@click.argument("source", type=_PATH, metavar="IN")
@click.argument("target", type=_PATH, metavar="OUT")
@_slide_option
@click.option(
    "--mpp",
    metavar="X[,Y]",
    callback=plausible_pair,
    help="Size of a pixel, µm/px, for millimetres in a table, masks and ImageScope. Default: the "
    "slide's.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["asap", "imagescope"]),
    help="Which XML to write. Default: asap.",
)
@click.option("--tumour", multiple=True, metavar="GROUP", help="A group that is tumour; repeat.")
@click.option(
    "--cut-out", multiple=True, metavar="GROUP", help="A group that is cut out of it; repeat."
)
@click.option(
    "--profile",
    type=_PATH,
    metavar="JSON",
    help='The same from a file: {"tumour": [...], "cut_out": [...]}.',
)
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="GROUP=N",
    help="Value of a group in a mask, 1 to 255; repeat, later ones lie on top. Default: tumour 1.",
)
@click.option(
    "--downsample",
    type=click.FloatRange(1, 4096),
    default=1,
    show_default=True,
    metavar="N",
    help="Pixels of the slide per pixel of a mask.",
)
def convert(
    source: Path,
    target: Path,
    slide_path: Path | None,
    mpp: "Mpp | None",
    file_format: str | None,
    tumour: Sequence[str],
    cut_out: Sequence[str],
    profile: Path | None,
    values: Sequence[str],
    downsample: float,
) -> None:
    """Convert annotations from IN to OUT, in the format that the extension of OUT says.

    IN is ASAP XML, Aperio ImageScope XML, GeoJSON of QuPath or Hamamatsu NDPA; its content
    decides. OUT ends in .xml, .geojson or .json, in .csv for a table of the outlines, in .tif or
    .ome.tif for a mask. What OUT cannot keep is said.
    """
    from napari_camelyon import annotations

    kind = target.suffix.lower()
    if kind not in {*annotations.FORMATS, ".csv", *annotations.MASK_EXTENSIONS}:
        raise CamelyonError(
            f'{target} has the extension "{target.suffix}", which says no format that is written: '
            f"choose one of {_EXTENSIONS}."
        )
    _refuse_unused(kind, file_format, values, downsample)
    chosen = _profile(tumour, cut_out, profile)
    groups = _values(values)
    with _opened(slide_path, mpp) as slide:
        found = _read(source, slide)
        size_um = mpp if slide is None else slide.mpp
        size_px = None if slide is None else (slide.width_px, slide.height_px)
        _tell_count(found)
        if kind == ".csv":
            annotations.write_summary(
                found, target, mpp=size_um, profile=chosen, slide_size_px=size_px
            )
            if size_um is None:
                click.echo(
                    "The columns in millimetres are empty: give the slide with --slide or the "
                    "size of a pixel with --mpp."
                )
        elif kind in annotations.MASK_EXTENSIONS:
            if size_px is None:
                raise CamelyonError("A mask has the size of its slide: give it with --slide.")
            if size_um is None:
                click.echo("The mask states no pixel size: the slide has none, and no --mpp.")
            with _progress() as tell:
                annotations.write_mask(
                    found,
                    target,
                    size_px,
                    mpp=size_um,
                    downsample=downsample,
                    values=groups,
                    profile=chosen,
                    progress=tell,
                )
        else:
            _write_annotations(found, target, file_format, size_um)
    click.echo(f"{target} is written.")


@click.command(short_help="Say what is wrong with an annotation file.")
@click.argument("file", type=_PATH)
@_slide_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def check(ctx: click.Context, file: Path, slide_path: Path | None, as_json: bool) -> None:
    """Say what is wrong with the annotations in FILE, where, and what repair would do about it.

    The exit status is 1 where there are errors or warnings, and 0 where there are none or notes
    alone.
    """
    from napari_camelyon import annotations

    with _opened(slide_path, None) as slide:
        found = _read(file, slide)
        size_px = None if slide is None else (slide.width_px, slide.height_px)
    problems = _problems(found, size_px)
    if as_json:
        entries = [_entry(problem, found) for problem in problems]
        click.echo(json.dumps({"file": str(file), "problems": entries}, indent=2))
    else:
        for problem in problems:
            place = "" if problem.at_xy is None else f" at ({_place(problem)})"
            click.echo(f"{problem.severity}: {problem.code}{place}: {problem.message}")
            sentence = annotations.repairs_for(problem)
            if sentence is not None:
                click.echo(f"  repair: {sentence}")
        click.echo(_counted(problems))
    if any(problem.severity != "note" for problem in problems):
        ctx.exit(1)


@click.command(short_help="Mend what check finds in an annotation file.")
@click.argument("source", type=_PATH, metavar="IN")
@click.argument("target", type=_PATH, metavar="OUT")
@_slide_option
@click.option(
    "--only",
    "codes",
    multiple=True,
    metavar="CODE",
    help="Mend this kind of problem alone, such as self-crossing; repeat.",
)
def repair(source: Path, target: Path, slide_path: Path | None, codes: Sequence[str]) -> None:
    """Mend the annotations in IN and write them to OUT; say what was done.

    check says beforehand what would be done. What no problem concerns stays as it stands in the
    file.
    """
    from napari_camelyon import annotations

    for code in codes:
        if code not in annotations.REPAIRS:
            known = ", ".join(annotations.REPAIRS)
            raise CamelyonError(f"There is no repair of {code!r}. Choose from: {known}.")
    with _opened(slide_path, None) as slide:
        found = _read(source, slide)
        size_px = None if slide is None else (slide.width_px, slide.height_px)
        mended, done = annotations.repair_all(found, codes or None, size_px)
    for problem in done:
        click.echo(f"{problem.code}: {problem.message}")
        click.echo(f"  done: {annotations.repairs_for(problem)}")
    same = source.suffix.lower() == target.suffix.lower()
    origin = found.source.format if found.source is not None else "asap"
    keep = "imagescope" if same and origin == "imagescope" else None
    _write_annotations(mended, target, keep, None)
    left = f" What is left: {_counted(mended.problems)}" if mended.problems else ""
    click.echo(f"{target} is written, with {len(done):,} repaired.{left}")


# --- reading and writing -------------------------------------------------------------------------


def _opened(slide_path: Path | None, mpp: "Mpp | None") -> Any:
    if slide_path is None:
        return nullcontext()
    from napari_camelyon.slides import open_slide

    return open_slide(slide_path, mpp=mpp)


def _read(path: Path, slide: "Slide | None") -> "AnnotationSet":
    from napari_camelyon import annotations
    from napari_camelyon.cohort import read_annotations

    return annotations.read(path) if slide is None else read_annotations(path, slide)


def _write_annotations(
    found: "AnnotationSet", target: Path, file_format: str | None, mpp: "Mpp | None"
) -> None:
    from napari_camelyon import annotations

    is_xml = target.suffix.lower() == ".xml"
    chosen: FileFormat = "geojson" if not is_xml else "asap"
    if is_xml and file_format == "imagescope":
        chosen = "imagescope"
    for sentence in annotations.losses(found, chosen):
        click.echo(sentence)
    annotations.write(found, target, file_format=chosen, mpp=mpp)


def _profile(
    tumour: Sequence[str], cut_out: Sequence[str], path: Path | None
) -> "GroupProfile | None":
    from napari_camelyon.annotations import group_profile, read_profile

    if path is not None:
        if tumour or cut_out:
            raise click.UsageError("Give --profile, or --tumour and --cut-out, not both.")
        return read_profile(path)
    if cut_out and not tumour:
        raise click.UsageError("--cut-out goes with --tumour: what is it cut out of?")
    return group_profile(tumour, cut_out) if tumour else None


def _values(texts: Sequence[str]) -> dict[str, int] | None:
    values = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not number.isdecimal() or not 1 <= int(number) <= 255:
            raise click.UsageError(
                f"--value {text} is no group and its value: give for instance Tumor=1, with a "
                "number from 1 to 255."
            )
        values[name] = int(number)
    return values or None


def _refuse_unused(
    kind: str, file_format: str | None, values: Sequence[str], downsample: float
) -> None:
    # An option without effect is a misunderstanding: better said than ignored.
    if file_format is not None and kind != ".xml":
        raise click.UsageError(f"--format says which XML to write, and OUT ends in {kind}.")
    if (values or downsample != 1) and kind not in {".tif", ".tiff"}:
        raise click.UsageError(f"--value and --downsample are for masks, and OUT ends in {kind}.")


# --- what is said --------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Count percents in one line of a terminal, and be silent where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if percent != shown:
            shown = percent
            click.echo(f"\r{percent:3} % of the mask", nl=False, err=True)

    try:
        yield tell
    finally:
        click.echo(err=True)


def _problems(found: "AnnotationSet", size_px: tuple[int, int] | None) -> "tuple[Problem, ...]":
    from napari_camelyon import annotations

    now = annotations.check(found, size_px)
    return (*(problem for problem in found.problems if problem not in now), *now)


def _entry(problem: "Problem", found: "AnnotationSet") -> dict[str, Any]:
    from napari_camelyon import annotations

    x_px, y_px = problem.at_xy or (None, None)
    owner = problem.annotation_id
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "annotation_id": owner,
        "annotation_name": None if owner is None else found[owner].name,
        "x_px": x_px,
        "y_px": y_px,
        "repair": annotations.repairs_for(problem),
    }


def _place(problem: "Problem") -> str:
    x_px, y_px = problem.at_xy or (0.0, 0.0)
    return f"{x_px:.0f}, {y_px:.0f}"


def _tell_count(found: "AnnotationSet") -> None:
    wrong = sum(problem.severity != "note" for problem in found.problems)
    advice = f"; {wrong} to look at, type check" if wrong else ""
    click.echo(f"{len(found):,} annotation{'' if len(found) == 1 else 's'}{advice}.")


def _counted(problems: "Sequence[Problem]") -> str:
    if not problems:
        return "Nothing is wrong."
    counts = {
        severity: sum(problem.severity == severity for problem in problems)
        for severity in ("error", "warning", "note")
    }
    said = [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
    return ", ".join(said) + "."
