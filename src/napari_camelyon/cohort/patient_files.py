"""Which patients lie in a folder: their slides, kept results, and what is missing of them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_camelyon.cohort.beside import found_beside
from napari_camelyon.cohort.naming import node_names, patient_of_node
from napari_camelyon.cohort.results import read_run
from napari_camelyon.errors import ResultError
from napari_camelyon.slides import find_slides, natural_order, slide_name
from napari_camelyon.staging import PATIENT_FILE, read_node, read_patient

__all__ = ["FoundPatients", "PatientFiles", "find_patients"]

_NODE_FILE = "node.json"
_DEEPEST = 4
"""CAMELYON17 has ``training/center_0/patient_000/patient_000_node_0.tif``; deeper lies something
else, and a home folder that was chosen by mistake must not be walked for minutes."""


@dataclass(frozen=True, slots=True)
class PatientFiles:
    """The files of one patient.

    Attributes
    ----------
    name : str
    slides : mapping of str to Path
        By slide name, as people sort them.
    results : mapping of str to Path
        The newest result folder of each node that has one, by slide name.
    missing : tuple of str
        Nodes that a CAMELYON17 patient has, of which there is neither slide nor result.
    patient_file : Path or None
        The ``patient.json`` in which overrides of this patient were kept.
    """

    name: str
    slides: Mapping[str, Path] = field(default_factory=dict)
    results: Mapping[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    patient_file: Path | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node that is known of, as people sort them."""
        names = {*self.slides, *self.results, *self.missing}
        return tuple(sorted(names, key=lambda name: natural_order(Path(name))))


@dataclass(frozen=True, slots=True)
class FoundPatients:
    """What a folder holds.

    Attributes
    ----------
    patients : tuple of PatientFiles
        As people sort their names.
    notes : tuple of str
        Sentences about what was passed over.
    """

    patients: tuple[PatientFiles, ...]
    notes: tuple[str, ...] = ()


def find_patients(folder: Path | str) -> FoundPatients:
    """Find the patients whose slides or results lie in a folder or a few folders below it.

    Slides and results that are named as in CAMELYON17 (``patient_PPP_node_N``) go to their
    patient. All other slides of one folder are one patient, named after it; other results go to
    the patient that has their slide. Results are also looked for where `found_beside` does.

    Parameters
    ----------
    folder : path-like

    Raises
    ------
    ResultError
        The folder does not exist, or there is neither a slide nor a result in it.
    """
    top = Path(folder).expanduser().absolute()
    if not top.is_dir():
        raise ResultError(f"There is no folder {top}.")
    slides: dict[str, dict[str, Path]] = {}
    results: list[tuple[str, Path]] = []
    records: list[Path] = []
    notes: list[str] = []
    for place in _folders(top):
        if (place / _NODE_FILE).is_file():
            try:
                results.append((read_node(place).name or place.name, place))
            except ResultError as error:
                notes.append(str(error))
            continue
        if (place / PATIENT_FILE).is_file():
            records.append(place / PATIENT_FILE)
        for path in find_slides(place):
            name = slide_name(path)
            members = slides.setdefault(patient_of_node(name) or place.name, {})
            if name in members:
                notes.append(
                    f"There are two slides {name}; {members[name]} is opened, {path} is left out."
                )
            else:
                members[name] = path
    kept = _newest_results(results, slides, top.name, notes)
    if not slides and not kept:
        reason = f" {notes[0]}" if notes else ""
        raise ResultError(
            f"There is neither a slide nor a result in {top} or {_DEEPEST - 1} folders below."
            + reason
        )
    patients = [
        _patient(name, slides.get(name, {}), kept.get(name, {}), records)
        for name in sorted({*slides, *kept}, key=lambda name: natural_order(Path(name)))
    ]
    return FoundPatients(tuple(patients), tuple(notes))


def _folders(top: Path) -> Iterator[Path]:
    for place, below, _ in os.walk(top):
        here = Path(place)
        yield here
        depth = len(here.relative_to(top).parts)
        if depth >= _DEEPEST or (here / _NODE_FILE).is_file():
            below.clear()
        # Hidden folders are half-written ones; a Zarr store holds nothing but thousands of files.
        below[:] = sorted(name for name in below if name[0] != "." and ".zarr" not in name)


def _newest_results(
    results: list[tuple[str, Path]],
    slides: Mapping[str, Mapping[str, Path]],
    other_patient: str,
    notes: list[str],
) -> dict[str, dict[str, Path]]:
    kept: dict[str, dict[str, Path]] = {}
    for name, place in results:
        patient = patient_of_node(name) or _owner(name, place, slides) or other_patient
        members = kept.setdefault(patient, {})
        before = members.get(name)
        if before is None:
            members[name] = place
            continue
        newer, older = sorted((before, place), key=_finished, reverse=True)
        notes.append(f"{name} has two results; the newer in {newer} are shown, not {older}.")
        members[name] = newer
    return kept


def _owner(name: str, place: Path, slides: Mapping[str, Mapping[str, Path]]) -> str | None:
    """Return the patient whose slide of this name lies nearest to a result folder."""
    owners = [patient for patient, members in slides.items() if name in members]
    return max(
        owners,
        key=lambda patient: len(os.path.commonpath([slides[patient][name], place])),
        default=None,
    )


def _finished(place: Path) -> str:
    """Return when a result was computed, as text that sorts; empty where nobody knows."""
    try:
        return read_run(place).finished
    except ResultError:
        return ""


def _patient(
    name: str, slides: dict[str, Path], results: dict[str, Path], records: list[Path]
) -> PatientFiles:
    for node, path in slides.items():
        if node not in results:
            beside = [found for found in found_beside(path).results if found.has_heatmap]
            if beside:
                results[node] = beside[0].folder
    nodes = {*slides, *results}
    expected = node_names(name) if any(patient_of_node(node) == name for node in nodes) else []
    return PatientFiles(
        name=name,
        slides=dict(sorted(slides.items(), key=lambda item: natural_order(item[1]))),
        results=results,
        missing=tuple(node for node in expected if node not in nodes),
        patient_file=next((path for path in records if _is_of(path, name, nodes)), None),
    )


def _is_of(path: Path, patient: str, nodes: set[str]) -> bool:
    try:
        record = read_patient(path)
    except ResultError:
        return False
    # Several patients may be kept in folders of their own, with nodes of the same names.
    return record.name in ("", patient) and not nodes.isdisjoint(record.nodes)
