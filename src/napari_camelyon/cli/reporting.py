"""``napari-camelyon report``: a case as HTML, and as PDF."""

from pathlib import Path

import click

__all__ = ["report"]

_PATH = click.Path(path_type=Path)


@click.command(short_help="Write the report of a case.")
@click.argument("results", type=_PATH, metavar="DIR")
@click.option(
    "--out",
    type=_PATH,
    metavar="FILE.html",
    help="Default: report.html beside each patient.json.",
)
@click.option("--pdf", is_flag=True, help="Write a PDF beside it.")
@click.option(
    "--slides",
    type=_PATH,
    metavar="FOLDER",
    help="Where the slides lie now. Default: where they lay when they were predicted.",
)
def report(results: Path, out: Path | None, pdf: bool, slides: Path | None) -> None:
    """Write the report of each patient in DIR: one HTML file with everything in it.

    DIR is what predict wrote to, or where the window saved to. Patients that were not staged yet
    are staged first.
    """
    from napari_camelyon.cohort import stage_source, write_patients
    from napari_camelyon.errors import ResultError
    from napari_camelyon.report import gather_case, write_html, write_pdf

    found = _patient_files(results)
    if not found:
        found = write_patients(stage_source(results), results)
    if out is not None and len(found) > 1:
        raise ResultError(
            f"There are {len(found)} patients in {results}: leave --out away, so that each gets a "
            "report of its own."
        )
    for patient in found:
        case = gather_case(patient, results=results, slides=slides)
        page = out or patient.with_name("report.html")
        write_html(case, page)
        click.echo(f"{case.name}: {case.statement}. Written to {page}.")
        if pdf:
            write_pdf(case, page.with_suffix(".pdf"))
            click.echo(f"  and {page.with_suffix('.pdf')}.")
        for node in case.nodes:
            if node.picture_note:
                click.echo(f"  {node.name}: {node.picture_note}")


def _patient_files(results: Path) -> list[Path]:
    own = results / "patient.json"
    return [own] if own.is_file() else sorted(results.glob("*/patient.json"))
