"""Stage tables of CAMELYON17: the labels that come with the data, and the submission.

A CSV with the columns ``patient,stage``: rows ending in ``.zip`` are patients with their pN
stage, rows ending in ``.tif`` are nodes with their class. The newer table of the public bucket
has a third column, ``center``.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.cohort.naming import is_camelyon17_patient, node_names, patient_of_node
from napari_camelyon.errors import StagingError
from napari_camelyon.files import atomic_file
from napari_camelyon.staging import (
    STAGES,
    NodeClass,
    PatientResult,
    Stage,
    parse_node_class,
)

__all__ = ["StageTable", "read_stage_table", "write_stage_table", "write_submission"]


@dataclass(frozen=True, slots=True)
class StageTable:
    """Stages and node classes of a table.

    Attributes
    ----------
    stages : mapping of str to str
        pN stage of each patient that has a row of its own.
    nodes : mapping of str to mapping of str to str
        For each patient with nodes, the class of each node by name (without ``.tif``).
    centres : mapping of str to int
        Centre of each patient, where the table has the column.
    """

    stages: Mapping[str, Stage]
    nodes: Mapping[str, Mapping[str, NodeClass]]
    centres: Mapping[str, int]


def read_stage_table(path: Path | str) -> StageTable:
    """Read a stage table, old or new.

    Nodes named ``patient_PPP_node_N`` belong to that patient; all others to one patient that is
    named after the file.

    Raises
    ------
    StagingError
        The file is missing or no such table; a label is unknown or does not fit its row; a
        patient or node is there twice. Names the row.
    """
    path = Path(path)
    stages: dict[str, Stage] = {}
    nodes: dict[str, dict[str, NodeClass]] = {}
    centres: dict[str, int] = {}
    for where, row in _rows(path):
        name, label = row["patient"], row["stage"]
        bare = name.removesuffix(".zip").removesuffix(".tif")
        if name.endswith(".zip") or (label in STAGES and not name.endswith(".tif")):
            patient = bare
            _refuse_second(where, name, stages)
            stages[bare] = _parse_stage(label, name, where)
        else:
            patient = patient_of_node(bare) or path.stem
            members = nodes.setdefault(patient, {})
            _refuse_second(where, bare, members)
            members[bare] = parse_node_class(label, f"{where}: {name}")
        if row.get("center"):
            centres[patient] = _centre(row["center"], where)
    return StageTable(stages=stages, nodes=nodes, centres=centres)


def write_stage_table(patients: Iterable[PatientResult], path: Path | str) -> None:
    """Write the stages of patients and the classes of their nodes, with whatever gaps there are.

    The columns are ``patient,stage`` as in CAMELYON17, and ``statement``: "at least pN1mi" for a
    stage that a missing node may raise. Nodes without a class have no row.

    Parameters
    ----------
    patients : iterable of PatientResult
        With any names.
    path : path-like
        The CSV, replaced as a whole.

    Raises
    ------
    FileWriteError
        The file cannot be written.
    """
    rows: list[tuple[str, str, str]] = [("patient", "stage", "statement")]
    for patient in patients:
        rows.append((f"{patient.name}.zip", patient.stage, patient.statement))
        rows += [
            (f"{name}.tif", node_class, "")
            for name, node_class in patient.nodes.items()
            if node_class is not None
        ]
    _write_rows(rows, path)


def write_submission(patients: Iterable[PatientResult], path: Path | str) -> None:
    """Write a CAMELYON17 submission: for each patient its stage, then its five nodes.

    Parameters
    ----------
    patients : iterable of PatientResult
        Named ``patient_PPP``, each with a class for its nodes ``patient_PPP_node_0`` … ``_4``.
    path : path-like
        The CSV, replaced as a whole.

    Raises
    ------
    StagingError
        A patient or node is named otherwise, is there twice, has no class, or was staged by
        another rule: the challenge takes no gaps, and its own stages only.
    FileWriteError
        The file cannot be written.
    """
    rows: list[tuple[str, str]] = [("patient", "stage")]
    seen: set[str] = set()
    for patient in patients:
        if not is_camelyon17_patient(patient.name):
            raise StagingError(
                f"A submission holds patients named patient_PPP, not {patient.name!r}."
            )
        if patient.scheme != "camelyon17":
            raise StagingError(
                f"{patient.name} was staged by {patient.scheme}; a submission holds the stages of "
                "CAMELYON17. Stage it by that rule."
            )
        if patient.name in seen:
            raise StagingError(f"{patient.name} is there twice; a submission has each once.")
        seen.add(patient.name)
        strangers = sorted(set(patient.nodes) - set(node_names(patient.name)))
        if strangers:
            raise StagingError(
                f"{', '.join(strangers)} is none of the five nodes of {patient.name}."
            )
        rows.append((f"{patient.name}.zip", patient.stage))
        for node in node_names(patient.name):
            node_class = patient.nodes.get(node)
            if node_class is None:
                raise StagingError(f"{node} has no class; a submission needs all five nodes.")
            rows.append((f"{node}.tif", node_class))
    _write_rows(rows, path)


def _write_rows(rows: Iterable[Sequence[str]], path: Path | str) -> None:
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each row that is not empty stands, and its cells by column."""
    try:
        # Spreadsheets put a byte-order mark before the header.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise StagingError(f"There is no stage table {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StagingError(f"The stage table {path} cannot be read: {error}.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip().lower() for cell in next(reader, [])]
    if not {"patient", "stage"} <= set(header):
        raise StagingError(
            f"{path} is no stage table: its first line should name the columns patient,stage "
            f"(and perhaps center), but is {','.join(header)!r}."
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"Line {reader.line_num} of {path}"
        if len(cells) != len(header):
            raise StagingError(
                f"{where} has {len(cells)} cells, but there are {len(header)} columns."
            )
        yield where, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _refuse_second(where: str, name: str, known: Mapping[str, str]) -> None:
    if name.removesuffix(".zip") in known:
        raise StagingError(f"{where}: {name} is there a second time; which label holds?")


def _parse_stage(label: str, name: str, where: str) -> Stage:
    for stage in STAGES:
        if label == stage:
            return stage
    raise StagingError(f"{where}: {name} has the stage {label!r}, not one of {', '.join(STAGES)}.")


def _centre(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise StagingError(f"{where}: the center {text!r} is no whole number.") from error
