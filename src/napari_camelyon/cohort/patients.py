"""Staging the patients of a folder or a table, and ``patient.json``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_camelyon.cohort.naming import node_names, patient_of_node
from napari_camelyon.cohort.results import find_result_folders
from napari_camelyon.cohort.tables import read_stage_table
from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging import (
    STAGES,
    NodeResult,
    PatientResult,
    parse_node_class,
    read_node,
    stage_patient,
)

__all__ = [
    "PATIENT_FILE",
    "read_patient",
    "stage_nodes",
    "stage_source",
    "write_patient",
]

PATIENT_FILE = "patient.json"
"""Name of the file in the folder that holds the result folders of a patient's slides."""

_NEWEST_SCHEMA = 1


def stage_source(source: Path | str, *, expected_nodes: int | None = None) -> list[PatientResult]:
    """Stage every patient in a folder of results or in a table.

    Parameters
    ----------
    source : path-like
        A folder with result folders of slides in it, or a CSV ``patient,stage`` with the classes
        of nodes.
    expected_nodes : int or None
        How many nodes a patient has. None: five where slides are named as in CAMELYON17
        (``patient_PPP_node_N``; missing ones are named), otherwise those there are.

    Returns
    -------
    list of PatientResult
        By name. Slides that are not named as in CAMELYON17 are one patient, named after the
        folder or table.

    Raises
    ------
    ResultError
        There is no result, or one cannot be read.
    StagingError
        A node is there twice, a class is unknown, or a patient has no node with a class.
    """
    source = Path(source)
    if not source.exists():
        raise ResultError(f"There is no folder of results and no table at {source}.")
    if source.is_dir():
        folders = find_result_folders(source)
        return stage_nodes(
            [read_node(folder) for folder in folders],
            other_patient=source.resolve().name,
            expected_nodes=expected_nodes,
        )
    table = read_stage_table(source)
    if not table.nodes:
        raise StagingError(f"{source} has no node with a class, so there is no stage to derive.")
    return [
        _stage(patient, nodes, expected_nodes) for patient, nodes in sorted(table.nodes.items())
    ]


def stage_nodes(
    nodes: Iterable[NodeResult], *, other_patient: str, expected_nodes: int | None = None
) -> list[PatientResult]:
    """Group nodes by patient and stage each.

    Parameters
    ----------
    nodes : iterable of NodeResult
        In any order.
    other_patient : str
        Name of the one patient to whom nodes belong that are not named as in CAMELYON17.
    expected_nodes : int or None
        As in `stage_source`.

    Raises
    ------
    StagingError
        A node is there twice.
    """
    patients: dict[str, dict[str, NodeResult]] = {}
    for node in nodes:
        members = patients.setdefault(patient_of_node(node.name) or other_patient, {})
        if node.name in members:
            raise StagingError(
                f"There are two results of the node {node.name}; a patient has each node once."
            )
        members[node.name] = node
    return [
        _stage(patient, members, expected_nodes) for patient, members in sorted(patients.items())
    ]


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
        return PatientResult(
            name=str(entries["name"]),
            stage=_known_stage(entries["stage"]),
            lowest=_known_stage(entries["lowest"]),
            highest=_known_stage(entries["highest"]),
            possible_stages=tuple(map(_known_stage, entries["possible_stages"])),
            nodes={
                name: None if word is None else parse_node_class(word, name)
                for name, word in entries["nodes"].items()
            },
            unfinished=tuple(map(str, entries["unfinished"])),
            absent=int(entries["absent"]),
            reasons=tuple(map(str, entries["reasons"])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path} is damaged ({error}). Derive the stage again.") from error


def _stage(patient: str, nodes: Mapping[str, Any], expected_nodes: int | None) -> PatientResult:
    if patient_of_node(next(iter(nodes))) is None or expected_nodes is not None:
        return stage_patient(nodes, name=patient, expected_nodes=expected_nodes)
    # What is missing of a CAMELYON17 patient has a name.
    complete = {name: nodes.get(name) for name in (*node_names(patient), *nodes)}
    return stage_patient(complete, name=patient, expected_nodes=len(complete))


def _known_stage(word: Any) -> Any:
    if word not in STAGES:
        raise ValueError(f"{word!r} is none of {', '.join(STAGES)}")
    return word
