"""Staging the patients of a folder or a table."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_camelyon.cohort.naming import node_names, patient_of_node
from napari_camelyon.cohort.results import find_result_folders
from napari_camelyon.cohort.tables import read_stage_table
from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.heatmaps import HEATMAP_FOLDER, read_heatmap
from napari_camelyon.staging import (
    PATIENT_FILE,
    LesionRules,
    NodeForest,
    NodeResult,
    Override,
    PatchRule,
    PatientResult,
    Scheme,
    call_node,
    check_comparable,
    read_node,
    read_patient,
    stage_patient,
    write_patient,
)

__all__ = [
    "NodeCall",
    "called_node",
    "kept_overrides",
    "stage_nodes",
    "stage_source",
    "write_patients",
]


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
        nodes = [read_node(one) if call is None else called_node(one, call) for one in folders]
        folder_of = {node.name: folder for node, folder in zip(nodes, folders, strict=True)}
        return stage_nodes(
            nodes,
            other_patient=source.resolve().name,
            expected_nodes=expected_nodes,
            scheme=scheme,
            sentinel_only=sentinel_only,
            overrides=kept_overrides(source),
            remarks_on=partial(_remarks, folder_of),
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
    remarks_on: Callable[[Collection[str]], tuple[str, ...]] | None = None,
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
    remarks_on : callable, optional
        Given the names of a patient's nodes, gives sentences that are added to the reasons.

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
            () if remarks_on is None else remarks_on(members),
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


def _stage(
    patient: str,
    nodes: Mapping[str, Any],
    expected_nodes: int | None,
    scheme: Scheme,
    sentinel_only: bool,
    overrides: tuple[Override, ...] = (),
    remarks: tuple[str, ...] = (),
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
        remarks=remarks,
    )


def _remarks(folder_of: Mapping[str, Path], names: Collection[str]) -> tuple[str, ...]:
    """Say what is odd of the heatmaps of a patient: no more are in memory at once."""
    heatmaps, damaged = {}, []
    for name in names:
        if (folder_of[name] / HEATMAP_FOLDER).is_dir():
            try:
                heatmaps[name] = read_heatmap(folder_of[name])
            except ResultError as error:  # its class stands in another file
                damaged.append(str(error))
    return (*check_comparable(heatmaps), *damaged)
