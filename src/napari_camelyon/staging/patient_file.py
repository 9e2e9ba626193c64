"""``patient.json``: the stage of a patient, and what persons said of the nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging.nodes import parse_node_class
from napari_camelyon.staging.overrides import Override
from napari_camelyon.staging.patients import SCHEMES, PatientResult, stages_of

__all__ = ["PATIENT_FILE", "read_patient", "write_patient"]

PATIENT_FILE = "patient.json"
"""Name of the file in the folder that holds the result folders of a patient's slides."""

_NEWEST_SCHEMA = 2
"""2 added the scheme, (sn) and the overrides."""


def write_patient(patient: PatientResult, folder: Path | str) -> Path:
    """Write ``patient.json`` into a folder, created if needed. Raises `FileWriteError`."""
    path = Path(folder) / PATIENT_FILE
    entries = {
        "schema_version": _NEWEST_SCHEMA,
        "name": patient.name,
        "stage": patient.stage,
        "statement": patient.statement,
        "lowest": patient.lowest,
        "highest": patient.highest,
        "possible_stages": patient.possible_stages,
        "nodes": dict(patient.nodes),
        "unfinished": patient.unfinished,
        "absent": patient.absent,
        "reasons": patient.reasons,
        "scheme": patient.scheme,
        "sentinel": patient.sentinel,
        "overrides": [asdict(override) for override in patient.overrides],
        "note": "Research software, not a medical device.",
    }
    write_json(entries, path)
    return path


def read_patient(path: Path | str) -> PatientResult:
    """Read ``patient.json``, given itself or the folder that holds it.

    Raises
    ------
    ResultError
        It is missing, damaged, or follows a newer schema.
    """
    path = Path(path)
    path = path / PATIENT_FILE if path.is_dir() else path
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    try:
        scheme = _known(entries.get("scheme", "camelyon17"), SCHEMES)
        stages = stages_of(scheme)
        return PatientResult(
            name=str(entries["name"]),
            stage=_known(entries["stage"], stages),
            lowest=_known(entries["lowest"], stages),
            highest=_known(entries["highest"], stages),
            possible_stages=tuple(_known(word, stages) for word in entries["possible_stages"]),
            nodes={
                name: None if word is None else parse_node_class(word, name)
                for name, word in entries["nodes"].items()
            },
            unfinished=tuple(map(str, entries["unfinished"])),
            absent=int(entries["absent"]),
            reasons=tuple(map(str, entries["reasons"])),
            scheme=scheme,
            sentinel=bool(entries.get("sentinel", False)),
            overrides=tuple(_override(entry) for entry in entries.get("overrides", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError, StagingError) as error:
        raise ResultError(f"{path} is damaged ({error}). Derive the stage again.") from error


def _override(entry: Mapping[str, Any]) -> Override:
    node = str(entry["node"])

    def known_class(word: Any) -> Any:
        return None if word is None else parse_node_class(word, node)

    return Override(
        action=_known(entry["action"], ("set", "undo")),
        node=node,
        node_class=known_class(entry["node_class"]),
        previous=known_class(entry["previous"]),
        computed=known_class(entry["computed"]),
        reason=str(entry["reason"]),
        initials=str(entry["initials"]),
        time_utc=str(entry["time_utc"]),
    )


def _known(word: Any, words: Iterable[str]) -> Any:
    if word not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return word
