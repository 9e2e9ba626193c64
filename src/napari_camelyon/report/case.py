"""What a report says, gathered from the files of a case."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_camelyon import __version__
from napari_camelyon.errors import SlideError
from napari_camelyon.files import read_json_result
from napari_camelyon.geometry import slide_to_level
from napari_camelyon.slides import open_slide
from napari_camelyon.staging import (
    Lesion,
    NodeResult,
    Override,
    read_lesions,
    read_node,
    read_patient,
)

__all__ = [
    "CLASS_NAMES",
    "DISCLAIMER",
    "CaseNode",
    "CaseReport",
    "facts_of_runs",
    "gather_case",
    "size_of",
    "to_limits",
]

DISCLAIMER = "Research software, not a medical device. Not for diagnosis."

_RUN_FACTS = (
    ("Model", "model_name"),
    ("SHA-256 of the model", "model_sha256"),
    ("Fingerprint of the slide", "slide_fingerprint"),
    ("Finished", "finished"),
    ("Parameters", "parameters"),
    ("Stain", "stain"),
    ("Numeric path", "numeric_path"),
    ("Versions", "versions"),
)
CLASS_NAMES = {"negative": "negative", "itc": "ITC", "micro": "micro", "macro": "macro"}
"""As they are shown to people."""

_THUMBNAIL_PX = 360
_MOST_LESIONS = 5
_OUTLINE, _DIAMETER = (200, 0, 60), (20, 60, 200)
_SCHEMES = {"camelyon17": "CAMELYON17", "ajcc8": "AJCC/UICC, 8th edition"}
RUN_SCHEMA = 3
"""The newest schema of ``run.json`` that is read here: that of the room which writes it."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseNode:
    """One node of a case.

    Attributes
    ----------
    name : str
    node_class : str or None
        What counts, a person's word included; None: no result.
    result : NodeResult or None
        What the program found.
    lesions : tuple of Lesion
        The largest ones, the largest first.
    picture : ndarray of uint8, shape (height, width, 3), or None
        The slide with its lesions outlined and the deciding diameter drawn.
    picture_note : str
        Why there is none; else empty.
    run : mapping
        What ``run.json`` says; empty where there is none.
    """

    name: str
    node_class: str | None
    result: NodeResult | None
    lesions: tuple[Lesion, ...]
    picture: NDArray[np.uint8] | None
    picture_note: str
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class CaseReport:
    """What a report says.

    Attributes
    ----------
    name, statement, scheme : str
        The patient, the stage as one may say it, and by which rule.
    reasons : tuple of str
    nodes : tuple of CaseNode
    overrides : tuple of str
        What persons said of nodes, with initials, time and reason, in the order of time.
    written : str
        When, UTC.
    program : str
        Name and version.
    notes : tuple of str
        Anything else to be said, such as how sure the stage is.
    """

    name: str
    statement: str
    scheme: str
    reasons: tuple[str, ...]
    nodes: tuple[CaseNode, ...]
    overrides: tuple[str, ...]
    written: str
    program: str
    notes: tuple[str, ...] = ()


def gather_case(
    patient_file: Path | str,
    *,
    results: Path | str | None = None,
    slides: Path | str | None = None,
    notes: Sequence[str] = (),
    now: datetime | None = None,
) -> CaseReport:
    """Gather what a report says from the files of a case.

    Parameters
    ----------
    patient_file : path-like
        ``patient.json``, or the folder that holds it.
    results : path-like, optional
        Where the result folders of the nodes lie; the patient's folder unless given.
    slides : path-like, optional
        A folder with the slides; unless given they are looked for where they lay when they were
        predicted. A slide that is not there leaves its picture out, and the report says so.
    notes : sequence of str
        Sentences to be added.
    now : datetime, optional
        With a time zone; None: this moment.

    Raises
    ------
    ResultError
        A file is missing, damaged, or of a newer schema.
    """
    path = Path(patient_file)
    patient = read_patient(path)
    folder = (path if path.is_dir() else path.parent) if results is None else Path(results)
    return CaseReport(
        name=patient.name,
        statement=patient.statement,
        scheme=_SCHEMES[patient.scheme],
        reasons=patient.reasons,
        nodes=tuple(
            _node(name, node_class, folder / name, None if slides is None else Path(slides))
            for name, node_class in patient.nodes.items()
        ),
        overrides=tuple(map(_override_sentence, patient.overrides)),
        written=(now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        program=f"napari-camelyon {__version__}",
        notes=tuple(notes),
    )


def size_of(node: CaseNode) -> str:
    """Return the size of the deciding lesion in words: "1.94 ± 0.03 mm"; empty without one."""
    if node.result is None or node.result.diameter_mm is None:
        return ""
    return f"{node.result.diameter_mm:.2f} ± {node.result.margin_mm or 0:.2f} mm"


def to_limits(node: CaseNode) -> str:
    """Return how far the size is from the limits: "0.06 mm under 2.0 mm"; empty without one."""
    if node.result is None or node.result.diameter_mm is None:
        return ""
    said = []
    for beyond, limit in (
        (node.result.beyond_itc_limit_mm, "0.2 mm"),
        (node.result.beyond_micro_limit_mm, "2.0 mm"),
    ):
        if beyond is not None:
            said.append(f"{abs(beyond):.2f} mm {'over' if beyond > 0 else 'under'} {limit}")
    return ", ".join(said)


def facts_of_runs(case: CaseReport) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return how the results were computed: what all nodes share first, then each node's own.

    Returns
    -------
    list of (title, list of (name, words))
    """
    told = {
        node.name: {name: in_words(node.run.get(key)) for name, key in _RUN_FACTS}
        for node in case.nodes
        if node.run
    }
    shared = {
        name
        for name, _ in _RUN_FACTS
        if len(told) > 1 and len({facts[name] for facts in told.values()}) == 1
    }
    first = next(iter(told.values()), {})
    groups = [("All nodes", [(name, first[name]) for name, _ in _RUN_FACTS if name in shared])]
    groups += [
        (node, [(name, words) for name, words in facts.items() if name not in shared])
        for node, facts in told.items()
    ]
    return [
        (title, [(name, words) for name, words in rows if words])
        for title, rows in groups
        if any(words for _, words in rows)
    ]


def in_words(value: Any) -> str:
    """Return a JSON value as a line of text; what is empty or unknown is left out."""
    if isinstance(value, dict):
        parts = {name: in_words(one) for name, one in value.items()}
        return "; ".join(f"{name}: {words}" for name, words in parts.items() if words)
    if isinstance(value, list):
        return ", ".join(words for one in value if (words := in_words(one)))
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def _node(name: str, node_class: str | None, folder: Path, slides: Path | None) -> CaseNode:
    if not (folder / "node.json").is_file():
        return CaseNode(name, node_class, None, (), None, "There is no result.", {})
    result = read_node(folder)
    lesions = read_lesions(folder) if (folder / "lesions.geojson").is_file() else []
    run: Mapping[str, Any] = {}
    if (folder / "run.json").is_file():
        run = read_json_result(folder / "run.json", newest_schema=RUN_SCHEMA)
    picture, note = _picture(name, run, slides, lesions)
    return CaseNode(name, node_class, result, tuple(lesions[:_MOST_LESIONS]), picture, note, run)


def _picture(
    name: str, run: Mapping[str, Any], slides: Path | None, lesions: Sequence[Lesion]
) -> tuple[NDArray[np.uint8] | None, str]:
    kept = str(run.get("slide_path", ""))
    if slides is not None:
        found = sorted(path for path in slides.iterdir() if path.stem == name)
        path = found[0] if found else None
    else:
        path = Path(kept) if kept else None
    if path is None or not path.exists():
        where = f"in {slides}" if slides is not None else f"at {kept}" if kept else "known"
        return None, f"No picture: the slide is not {where}."
    try:
        with open_slide(path) as slide:
            if run.get("slide_fingerprint") not in ("", None, slide.fingerprint):
                return None, f"No picture: {path.name} is another slide than was predicted."
            pixels = slide.thumbnail(_THUMBNAIL_PX)
            shrink = (slide.width_px / pixels.shape[1], slide.height_px / pixels.shape[0])
    except SlideError as error:
        return None, f"No picture: {error}"
    return _drawn(pixels, shrink, lesions), ""


def _drawn(
    pixels: NDArray[np.uint8], shrink: tuple[float, float], lesions: Sequence[Lesion]
) -> NDArray[np.uint8]:
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for lesion in lesions:
        for polygon in shapely.get_parts(lesion.outline):
            for ring in shapely.get_rings(polygon):
                points = slide_to_level(shapely.get_coordinates(ring), shrink)
                pen.line([tuple(point) for point in points.tolist()], fill=_OUTLINE, width=2)
    if lesions:
        ends = slide_to_level(np.array(lesions[0].diameter_ends_px), shrink).tolist()
        pen.line([tuple(end) for end in ends], fill=_DIAMETER, width=2)
    return np.asarray(picture)


def _override_sentence(override: Override) -> str:
    when = override.time_utc[:16].replace("T", " ")
    if override.action == "undo":
        return f"{when} UTC, {override.initials}: what was said of {override.node} is taken back."
    before = override.previous or "no result"
    return (
        f"{when} UTC, {override.initials}: {override.node} set from {before} to "
        f"{override.node_class}. {override.reason}"
    )
