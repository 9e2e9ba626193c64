"""``node.json``: the class of a node in its result folder."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging.lesion_file import LESIONS_FILE, read_lesions
from napari_camelyon.staging.lesions import Lesion
from napari_camelyon.staging.nodes import NodeResult, parse_node_class

__all__ = ["NODE_FILE", "read_node", "write_node"]

NODE_FILE = "node.json"
"""Name of the file inside the result folder of a slide."""

_NEWEST_SCHEMA = 2
"""2 added the method."""


def write_node(node: NodeResult, folder: Path | str) -> Path:
    """Write ``node.json`` into a result folder, created if needed. Raises `FileWriteError`."""
    path = Path(folder) / NODE_FILE
    entries = {field.name: getattr(node, field.name) for field in fields(node)}
    entries["deciding_lesion"] = node.deciding_lesion and node.deciding_lesion.id
    limits = {
        "beyond_itc_limit_mm": node.beyond_itc_limit_mm,
        "beyond_micro_limit_mm": node.beyond_micro_limit_mm,
        "complete": node.complete,
    }
    write_json({"schema_version": _NEWEST_SCHEMA, **entries, **limits}, path)
    return path


def read_node(path: Path | str) -> NodeResult:
    """Read ``node.json``, given itself or the result folder that holds it.

    The deciding lesion is taken from ``lesions.geojson`` beside it, where there is one.

    Raises
    ------
    ResultError
        A file is missing, damaged, or follows a newer schema.
    """
    path = Path(path)
    path = path / NODE_FILE if path.is_dir() else path
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    try:
        return NodeResult(
            name=_text(entries["name"]),
            node_class=parse_node_class(entries["node_class"], entries["name"]),
            diameter_mm=_number(entries["diameter_mm"]),
            margin_mm=_number(entries["margin_mm"]),
            deciding_lesion=_deciding_lesion(entries["deciding_lesion"], path.parent),
            lesions=int(entries["lesions"]),
            possible_classes=tuple(
                parse_node_class(word, entries["name"]) for word in entries["possible_classes"]
            ),
            computed_share=_number(entries["computed_share"]),
            reasons=tuple(_text(sentence) for sentence in entries["reasons"]),
            method=_text(entries.get("method", "size")),
        )
    except (KeyError, TypeError, ValueError, StagingError) as error:
        raise ResultError(f"{path} is damaged ({error}). Compute the result again.") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} should be text")
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _deciding_lesion(number: Any, folder: Path) -> Lesion | None:
    if number is None or not (folder / LESIONS_FILE).is_file():
        return None
    return next((lesion for lesion in read_lesions(folder) if lesion.id == number), None)
