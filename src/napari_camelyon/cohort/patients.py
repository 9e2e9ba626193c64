"""Staging the patients of a folder or a table, and ``patient.json``."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_camelyon.cohort.naming import node_names, patient_of_node
from napari_camelyon.cohort.results import find_result_folders
from napari_camelyon.cohort.tables import read_stage_table
from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.heatmaps import read_heatmap
from napari_camelyon.staging import (
    SCHEMES,
    LesionRules,
    NodeForest,
    NodeResult,
    Override,
    PatchRule,
    PatientResult,
    Scheme,
    call_node,
    parse_node_class,
    read_node,
    stage_patient,
    stages_of,
)

__all__ = [
    "PATIENT_FILE",
    "NodeCall",
    "called_node",
    "kept_overrides",
    "read_patient",
    "stage_nodes",
    "stage_source",
    "write_patient",
    "write_patients",
]

PATIENT_FILE = "patient.json"
"""Name of the file in the folder that holds the result folders of a patient's slides."""

_NEWEST_SCHEMA = 2
"""2 added the scheme, (sn) and the overrides."""


@dataclass(frozen=True, slots=True)
class NodeCall:
    """How nodes are called from their heatmaps; the fields are those of `staging.call_node`."""

    rules: LesionRules = field(default_factory=LesionRules)
    method: str = "size"
    patch_rule: PatchRule = field(default_factory=PatchRule)
    forest: NodeForest | None = None


def stage_source(
    source: Path | str,
    *,
    expected_nodes: int | None = None,
    scheme: Scheme = "camelyon17",
    sentinel_only: bool = False,
    call: NodeCall | None = None,
) -> list[PatientResult]:
    """Stage every patient in a folder of results or in a table.

    Parameters
    ----------
    source : path-like
        A folder with result folders of slides in it, or a CSV ``patient,stage`` with the classes
        of nodes.
    expected_nodes : int or None
        How many nodes a patient has. None: five where slides are named as in CAMELYON17
        (``patient_PPP_node_N``; missing ones are named), otherwise those there are.
    scheme, sentinel_only
        As in `napari_camelyon.staging.stage_patient`.
    call : NodeCall, optional
        Call the nodes anew from their heatmaps in this way, in place of what their files say.

    Returns
    -------
    list of PatientResult
        By name. Slides that are not named as in CAMELYON17 are one patient, named after the
        folder or table. What persons said of nodes, as kept in the folder's ``patient.json`` or
        that of a patient's own folder in it, holds.

    Raises
    ------
    ResultError
        There is no result, or one cannot be read.
    StagingError
        A node is there twice, a class is unknown, or a patient has no node with a class.
    """
    source = Path(source)
    if call is not None and source.is_file():
        raise StagingError(f"{source} is a table of classes, which no method can call anew.")
    if not source.exists():
        raise ResultError(f"There is no folder of results and no table at {source}.")
    if source.is_dir():
        folders = find_result_folders(source)
        return stage_nodes(
            [
                read_node(folder) if call is None else called_node(folder, call)
                for folder in folders
            ],
            other_patient=source.resolve().name,
            expected_nodes=expected_nodes,
            scheme=scheme,
            sentinel_only=sentinel_only,
            overrides=kept_overrides(source),
        )
    table = read_stage_table(source)
    if not table.nodes:
        raise StagingError(f"{source} has no node with a class, so there is no stage to derive.")
    return [
        _stage(patient, nodes, expected_nodes, scheme, sentinel_only)
        for patient, nodes in sorted(table.nodes.items())
    ]


def called_node(folder: Path, call: NodeCall) -> NodeResult:
    """Call the node of a result folder anew.

    Raises
    ------
    ResultError
        A file is missing or damaged.
    StagingError
        The rules do not fit, or the forest is for another model.
    """
    kept, heatmap = read_node(folder), read_heatmap(folder)
    own = call.forest.model_sha256 if call.forest is not None else ""
    if own and heatmap.model_sha256 and own != heatmap.model_sha256:
        raise StagingError(
            f"The classifier was made for heatmaps of another model than that of {folder}."
        )
    node = call_node(
        heatmap,
        call.rules,
        method=call.method,
        patch_rule=call.patch_rule,
        forest=call.forest,
        name=kept.name,
    )
    return replace(node, computed_share=kept.computed_share)


def stage_nodes(
    nodes: Iterable[NodeResult],
    *,
    other_patient: str,
    expected_nodes: int | None = None,
    scheme: Scheme = "camelyon17",
    sentinel_only: bool = False,
    overrides: Mapping[str, tuple[Override, ...]] | None = None,
) -> list[PatientResult]:
    """Group nodes by patient and stage each.

    Parameters
    ----------
    nodes : iterable of NodeResult
        In any order.
    other_patient : str
        Name of the one patient to whom nodes belong that are not named as in CAMELYON17.
    expected_nodes, scheme, sentinel_only
        As in `stage_source`.
    overrides : mapping of str to tuple of Override, optional
        What persons said, by patient.

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
        _stage(
            patient,
            members,
            expected_nodes,
            scheme,
            sentinel_only,
            (overrides or {}).get(patient, ()),
        )
        for patient, members in sorted(patients.items())
    ]


def kept_overrides(folder: Path | str) -> dict[str, tuple[Override, ...]]:
    """Return what persons said of nodes, by patient, from the ``patient.json`` of a folder.

    It is looked for in the folder and in the folders in it. Raises `ResultError` where one is
    damaged: what a person decided is not passed over.
    """
    found: dict[str, tuple[Override, ...]] = {}
    for path in [Path(folder) / PATIENT_FILE, *sorted(Path(folder).glob(f"*/{PATIENT_FILE}"))]:
        if path.is_file():
            patient = read_patient(path)
            found[patient.name] = patient.overrides
    return found


def write_patients(patients: Iterable[PatientResult], folder: Path | str) -> list[Path]:
    """Write ``patient.json`` for each patient; of several, each into a folder of its own name.

    Raises
    ------
    FileWriteError
        The folder cannot be written.
    """
    patients = list(patients)
    if len(patients) == 1:
        return [write_patient(patients[0], folder)]
    return [write_patient(patient, Path(folder) / patient.name) for patient in patients]


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


def _stage(
    patient: str,
    nodes: Mapping[str, Any],
    expected_nodes: int | None,
    scheme: Scheme,
    sentinel_only: bool,
    overrides: tuple[Override, ...] = (),
) -> PatientResult:
    if patient_of_node(next(iter(nodes))) is not None and expected_nodes is None:
        # What is missing of a CAMELYON17 patient has a name.
        nodes = {name: nodes.get(name) for name in (*node_names(patient), *nodes)}
        expected_nodes = len(nodes)
    return stage_patient(
        nodes,
        name=patient,
        expected_nodes=expected_nodes,
        scheme=scheme,
        sentinel_only=sentinel_only,
        overrides=overrides,
    )


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
