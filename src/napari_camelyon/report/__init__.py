"""The report of a case: what was found, by what, and who said otherwise. HTML and PDF."""

from napari_camelyon.report.case import CaseNode, CaseReport, gather_case
from napari_camelyon.report.html import write_html
from napari_camelyon.report.pdf import write_pdf

__all__ = ["CaseNode", "CaseReport", "gather_case", "write_html", "write_pdf"]
