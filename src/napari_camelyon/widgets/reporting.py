"""Writing the report of a case; runs in a thread, touches no widget."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from napari_camelyon.report import gather_case, write_html, write_pdf

__all__ = ["report_of"]


def report_of(folder: Path, notes: Sequence[str]) -> tuple[Path, ...]:
    """Write ``report.html``, and ``report.pdf`` where ReportLab is there, into a folder of results.

    Raises
    ------
    CamelyonError
        A result cannot be read, or the folder not be written.
    """
    case = gather_case(folder, notes=notes)
    page = folder / "report.html"
    write_html(case, page)
    if find_spec("reportlab") is None:
        return (page,)
    write_pdf(case, page.with_suffix(".pdf"))
    return page, page.with_suffix(".pdf")
