"""A case report as one HTML file that needs nothing beside it."""

import base64
import io
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_camelyon.files import atomic_file
from napari_camelyon.report.case import DISCLAIMER, CaseNode, CaseReport, size_of, to_limits

__all__ = ["CLASS_COLOURS", "write_html"]

CLASS_COLOURS = {
    "negative": "#3f7d58",
    "itc": "#8a6d1f",
    "micro": "#b3541e",
    "macro": "#a4243b",
    None: "#6b7280",
}

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: #1f2430; background: #fff; max-width: 960px; margin: 2rem auto; padding: 0 1.25rem; }
header { display: flex; gap: 1.25rem; align-items: center; border-bottom: 2px solid #e4e7ec;
  padding-bottom: 1rem; }
.stage { font-size: 1.7rem; font-weight: 700; color: #fff; background: #2f4a7d;
  border-radius: .5rem; padding: .3rem .9rem; white-space: nowrap; }
h1 { font-size: 1.35rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p.sub, .small { color: #5b6270; font-size: .88rem; margin: .1rem 0; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; margin: .4rem 0; }
section.node { display: grid; grid-template-columns: 200px 1fr; gap: 1.1rem; padding: 1rem 0;
  border-top: 1px solid #e4e7ec; break-inside: avoid; }
section.node img { width: 200px; height: auto; border: 1px solid #d5d9e0; border-radius: .3rem; }
section.node h3 { margin: 0 0 .3rem; font-size: 1rem; overflow-wrap: anywhere; }
.chip { color: #fff; border-radius: .8rem; padding: .1rem .65rem; font-size: .82rem;
  font-weight: 600; margin-right: .5rem; }
table { border-collapse: collapse; font-size: .88rem; margin: .5rem 0; }
th, td { text-align: left; padding: .18rem .8rem .18rem 0; vertical-align: top;
  overflow-wrap: anywhere; }
th { color: #5b6270; font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.nothing { width: 200px; min-height: 80px; display: flex; align-items: center;
  justify-content: center; text-align: center; background: #f3f4f6; border-radius: .3rem;
  color: #5b6270; font-size: .82rem; padding: .5rem; box-sizing: border-box; }
footer { margin-top: 2rem; border-top: 2px solid #e4e7ec; padding-top: .8rem; font-weight: 600; }
@media print { body { margin: 0; max-width: none; } }
@media (max-width: 600px) { section.node { grid-template-columns: 1fr; }
  header { flex-direction: column; align-items: flex-start; } }
"""


def write_html(case: CaseReport, path: Path | str) -> None:
    """Write a report as one HTML file, with its pictures in it and nothing to be fetched.

    Parameters
    ----------
    case : CaseReport
    path : path-like
        Replaced as a whole.

    Raises
    ------
    FileWriteError
        The file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(_page(case), encoding="utf-8")


def _page(case: CaseReport) -> str:
    by = f"Staged by {case.scheme}. Written {case.written} by {case.program}."
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(case.name)}: {escape(case.statement)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f'<header><div class="stage">{escape(case.statement)}</div>',
        f"<div><h1>{escape(case.name)}</h1>",
        f'<p class="sub">{escape(by)}</p>',
        f'<p class="sub"><strong>{DISCLAIMER}</strong></p></div></header>',
        "<h2>Why</h2>",
        _list(case.reasons),
    ]
    if case.notes:
        parts += ["<h2>How sure</h2>", _list(case.notes)]
    parts.append("<h2>Nodes</h2>")
    parts += [_node(node) for node in case.nodes]
    if case.overrides:
        parts += ["<h2>What persons said</h2>", _list(case.overrides)]
    parts += ["<h2>How it was computed</h2>", *map(_run, case.nodes)]
    parts.append(f"<footer>{DISCLAIMER}</footer></body></html>")
    return "\n".join(parts)


def _node(node: CaseNode) -> str:
    colour = CLASS_COLOURS.get(node.node_class, CLASS_COLOURS[None])
    result = node.result
    parts = ['<section class="node">', _figure(node), "<div>", f"<h3>{escape(node.name)}</h3>"]
    said = escape(node.node_class or "no result")
    parts.append(f'<p><span class="chip" style="background:{colour}">{said}</span>')
    parts.append(f"{escape(size_of(node))}</p>")
    if result is not None:
        if result.node_class != node.node_class:
            parts.append(f'<p class="small">The program found {escape(result.node_class)}.</p>')
        if to_limits(node):
            parts.append(f'<p class="small">{escape(to_limits(node))}</p>')
        parts.append(_list(result.reasons))
        parts.append(_lesions(node))
    return "\n".join([*parts, "</div></section>"])


def _figure(node: CaseNode) -> str:
    if node.picture is None:
        return f'<div class="nothing">{escape(node.picture_note)}</div>'
    data = base64.b64encode(_png(node.picture)).decode("ascii")
    return (
        f'<img alt="{escape(node.name)} with its lesions outlined" '
        f'src="data:image/png;base64,{data}">'
    )


def _lesions(node: CaseNode) -> str:
    if not node.lesions or node.result is None:
        return ""
    rows = [
        f'<tr><td class="number">{lesion.id}</td>'
        f'<td class="number">{lesion.diameter_mm:.2f} ± {lesion.margin_mm:.2f}</td>'
        f'<td class="number">{lesion.area_mm2:.3f}</td>'
        f'<td class="number">{lesion.mean_probability:.2f} / {lesion.max_probability:.2f}</td>'
        f'<td class="number">{lesion.patches}</td></tr>'
        for lesion in node.lesions
    ]
    more = node.result.lesions - len(node.lesions)
    rest = f'<p class="small">and {more} smaller</p>' if more > 0 else ""
    names = ("lesion", "diameter mm", "area mm²", "probability mean / greatest", "patches")
    header = "".join(f'<th class="number">{name}</th>' for name in names)
    return f"<table><tr>{header}</tr>{''.join(rows)}</table>{rest}"


def _run(node: CaseNode) -> str:
    if not node.run:
        return ""
    rows = [
        ("model", node.run.get("model_name")),
        ("SHA-256 of the model", node.run.get("model_sha256")),
        ("fingerprint of the slide", node.run.get("slide_fingerprint")),
        ("finished", node.run.get("finished")),
        ("parameters", node.run.get("parameters")),
        ("stain", node.run.get("stain")),
        ("numbers", node.run.get("numeric_path")),
        ("versions", node.run.get("versions")),
    ]
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(in_words(value))}</td></tr>"
        for name, value in rows
        if value
    )
    return f"<h3>{escape(node.name)}</h3><table>{cells}</table>"


def in_words(value: Any) -> str:
    """Return a JSON value as a line of text."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {in_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(in_words(one) for one in value)
    return value if isinstance(value, str) else json.dumps(value)


def _list(sentences: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in sentences)}</ul>"


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()
