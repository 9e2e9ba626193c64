"""A case report as PDF, laid out by ReportLab."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from PIL import Image

from napari_camelyon.errors import ResultError
from napari_camelyon.files import atomic_file
from napari_camelyon.report.case import DISCLAIMER, CaseNode, CaseReport, size_of, to_limits
from napari_camelyon.report.html import CLASS_COLOURS, in_words

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

__all__ = ["write_pdf"]

_PICTURE_MM = 45
_FONT = "Vera"


def write_pdf(case: CaseReport, path: Path | str) -> None:
    """Write a report as PDF, with what the HTML says.

    Parameters
    ----------
    case : CaseReport
    path : path-like
        Replaced as a whole.

    Raises
    ------
    ResultError
        ReportLab, which the extra ``pdf`` brings, is not installed.
    FileWriteError
        The file cannot be written.
    """
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate
    except ImportError as error:
        raise ResultError(
            "A report as PDF needs ReportLab. Install it with: pip install 'napari-camelyon[pdf]', "
            "or write HTML and print it."
        ) from error

    _use_fonts()

    def footer(canvas: Any, document: Any) -> None:
        canvas.setFont(_FONT, 8)
        canvas.setFillGray(0.35)
        canvas.drawString(18 * mm, 10 * mm, DISCLAIMER)
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"Page {document.page}")

    with atomic_file(path) as temporary:
        document = SimpleDocTemplate(
            str(temporary),
            pagesize=A4,
            leftMargin=18 * mm,
            rightMargin=18 * mm,
            topMargin=16 * mm,
            bottomMargin=18 * mm,
            title=f"{case.name}: {case.statement}",
            author=case.program,
            subject=DISCLAIMER,
        )
        document.build(_story(case, document.width), onFirstPage=footer, onLaterPages=footer)


def _use_fonts() -> None:
    """Use fonts that come with ReportLab and are put into the file; its own know no "≤"."""
    from reportlab.lib.fonts import addMapping
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    registerFont(TTFont(_FONT, "Vera.ttf"))
    registerFont(TTFont(f"{_FONT}-Bold", "VeraBd.ttf"))
    for bold in (0, 1):
        addMapping(_FONT, bold, 0, f"{_FONT}-Bold" if bold else _FONT)


def _story(case: CaseReport, width: float) -> "list[Flowable]":
    from reportlab.platypus import HRFlowable, Spacer

    line = HRFlowable(width="100%", thickness=0.6, color="#d5d9e0", spaceBefore=6, spaceAfter=6)
    story: list[Any] = [
        _text(case.statement, "stage"),
        _text(case.name, "title"),
        _text(f"Staged by {case.scheme}. Written {case.written} by {case.program}.", "small"),
        _text(DISCLAIMER, "strong"),
        line,
        _text("Why", "heading"),
        *_list(case.reasons),
    ]
    if case.notes:
        story += [_text("How sure", "heading"), *_list(case.notes)]
    story.append(_text("Nodes", "heading"))
    for node in case.nodes:
        story += [_node(node, width), Spacer(0, 6)]
    if case.overrides:
        story += [_text("What persons said", "heading"), *_list(case.overrides)]
    story.append(_text("How it was computed", "heading"))
    for node in case.nodes:
        story += _run(node)
    return story


def _node(node: CaseNode, width: float) -> "Flowable":
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    colour = CLASS_COLOURS.get(node.node_class, CLASS_COLOURS[None])
    said = escape(node.node_class or "no result")
    chip = f'<font color="{colour}"><b>{said}</b></font> {escape(size_of(node))}'
    words: list[Any] = [_text(node.name, "strong"), _text(chip, "body", is_markup=True)]
    if node.result is not None:
        if node.result.node_class != node.node_class:
            words.append(_text(f"The program found {node.result.node_class}.", "small"))
        if to_limits(node):
            words.append(_text(to_limits(node), "small"))
        words += _list(node.result.reasons)
        words += [
            _text(
                f"Lesion {lesion.id}: {lesion.diameter_mm:.2f} ± {lesion.margin_mm:.2f} mm, "
                f"{lesion.area_mm2:.3f} mm², probability {lesion.mean_probability:.2f} in the mean "
                f"and {lesion.max_probability:.2f} at most, {lesion.patches} patches",
                "small",
            )
            for lesion in node.lesions
        ]
        more = node.result.lesions - len(node.lesions)
        if more > 0:
            words.append(_text(f"and {more} smaller", "small"))
    left = _PICTURE_MM * mm + 10
    table = Table([[_figure(node), words]], colWidths=[left, width - left], splitInRow=1)
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEABOVE", (0, 0), (-1, 0), 0.5, "#d5d9e0"),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
        ]
    )
    return table


def _figure(node: CaseNode) -> "Flowable":
    from reportlab.lib.units import mm
    from reportlab.platypus import Image as Picture

    if node.picture is None:
        return _text(node.picture_note, "small")
    file = io.BytesIO()
    Image.fromarray(node.picture).save(file, "PNG")
    file.seek(0)
    height_px, width_px = node.picture.shape[:2]
    scale = _PICTURE_MM * mm / max(width_px, height_px * 0.75)
    return Picture(file, width=width_px * scale, height=height_px * scale)


def _run(node: CaseNode) -> "list[Flowable]":
    if not node.run:
        return []
    told = [
        ("model", "model_name"),
        ("SHA-256", "model_sha256"),
        ("slide", "slide_fingerprint"),
        ("finished", "finished"),
        ("parameters", "parameters"),
        ("stain", "stain"),
        ("numbers", "numeric_path"),
        ("versions", "versions"),
    ]
    words = [
        f"<b>{name}</b> {escape(in_words(node.run[key]))}"
        for name, key in told
        if node.run.get(key)
    ]
    return [
        _text(node.name, "strong"),
        *(_text(one, "small", is_markup=True) for one in words),
    ]


def _list(sentences: Iterable[str]) -> "list[Flowable]":
    return [_text(f"• {one}", "item") for one in sentences]


def _text(words: str, kind: str, *, is_markup: bool = False) -> "Flowable":
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    size, bold, before, indent, grey = {
        "stage": (22, True, 0, 0, "#2f4a7d"),
        "title": (14, True, 4, 0, "#1f2430"),
        "heading": (12, True, 10, 0, "#1f2430"),
        "strong": (9.5, True, 2, 0, "#1f2430"),
        "body": (9.5, False, 1, 0, "#1f2430"),
        "item": (9.5, False, 1, 9, "#1f2430"),
        "small": (8, False, 1, 0, "#5b6270"),
    }[kind]
    style = ParagraphStyle(
        kind,
        fontName=f"{_FONT}-Bold" if bold else _FONT,
        fontSize=size,
        leading=size * 1.35,
        spaceBefore=before,
        spaceAfter=2 if kind == "heading" else 0,
        leftIndent=indent,
        firstLineIndent=-indent,
        textColor=grey,
        splitLongWords=1,
        wordWrap="LTR",
    )
    return Paragraph(words if is_markup else escape(words), style)
