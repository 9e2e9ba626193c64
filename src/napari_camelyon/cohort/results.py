"""The result folder of a slide: what a person keeps, in open formats.

``heatmap.zarr``, ``patches.parquet``, ``lesions.geojson``, ``node.json`` and ``run.json`` in
``DIR/<slide name>/``. Each is replaced as a whole; ``run.json``, which says how the others came
about, is written last.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_camelyon import __version__
from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.heatmaps import (
    Heatmap,
    maps_of,
    read_heatmap,
    read_patches,
    write_heatmap,
    write_patches,
)
from napari_camelyon.staging import Lesion, NodeResult, write_lesions, write_node
from napari_camelyon.tissue import PatchGrid

__all__ = [
    "RUN_FILE",
    "RunFacts",
    "RunRecord",
    "find_result_folders",
    "read_prediction",
    "read_run",
    "write_slide_results",
]

RUN_FILE = "run.json"
"""Name of the file inside the result folder of a slide."""

_NEWEST_SCHEMA = 3
"""2 added `damaged_patches`, 3 what `RunFacts` holds."""
_PACKAGES = (
    "numpy", "scipy", "shapely", "zarr", "openslide-bin", "imagecodecs", "torch", "torchvision",
    "timm", "openvino", "nncf", "onnxruntime", "distributed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run tells of itself; everything is a JSON value, and empty where nobody said.

    Attributes
    ----------
    request_key : str
        SHA-256 over all that the values depend on: model, slide, pixel size, grid, tissue, stain,
        sampling. Not over the threshold, nor over the numeric path.
    numeric_path : mapping
        ``device``, ``engine``, ``precision``, ``batch_size`` and, in words, ``path``.
    stain : mapping
        ``method``, ``key`` and what was fitted; of a run without normalisation, ``method`` alone.
    tissue : mapping
        Which tissue was chosen, and in ``left_out`` how many patches were left out for what.
    sampling : mapping
        How uncertainty was estimated.
    findings : tuple of mapping
        What was found odd: ``kind``, ``sentence``, ``measured``.
    progress : mapping
        ``planned``, ``computed`` (now), ``known`` (from earlier runs), ``damaged``, ``seconds``,
        ``patches_per_s``, in ``problem`` why something could not be kept on the way, and in
        ``batch_size`` how many patches were predicted at once by the end: fewer than the numeric
        path says where the device had no room for them.
    """

    request_key: str = ""
    numeric_path: Mapping[str, Any] = field(default_factory=dict)
    stain: Mapping[str, Any] = field(default_factory=dict)
    tissue: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Mapping[str, Any]] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How the results in a folder came about.

    Attributes
    ----------
    slide_name, slide_path, slide_fingerprint : str
        The slide; the path is where it lay at the time, empty when unknown.
    model_name, model_sha256 : str
        The model.
    parameters : mapping
        What was chosen for the run: JSON values by name.
    versions : mapping of str to str
        Of this program, Python, the system, and the packages that results depend on.
    finished : str
        Time in UTC, ISO 8601.
    damaged_patches : int
        Planned patches that were not computed because the slide is damaged there.
    facts : RunFacts
        What the run told of itself; empty in records of the first two schemas. In the file its
        entries stand beside the others.
    """

    slide_name: str
    slide_path: str
    slide_fingerprint: str
    model_name: str
    model_sha256: str
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    finished: str
    damaged_patches: int = 0
    facts: RunFacts = field(default_factory=RunFacts)


def write_slide_results(
    out: Path | str,
    heatmap: Heatmap,
    lesions: Sequence[Lesion],
    node: NodeResult,
    *,
    slide_path: Path | str = "",
    planned: ArrayLike | None = None,
    tissue_fraction: ArrayLike | None = None,
    extra: Mapping[str, ArrayLike] | None = None,
    parameters: Mapping[str, Any] | None = None,
    facts: RunFacts | None = None,
) -> Path:
    """Write everything that is known of a slide into ``out/<slide name>/``.

    Parameters
    ----------
    out : path-like
        The folder that holds the result folders of slides, created if needed.
    heatmap : Heatmap
        With the name of its slide.
    lesions : sequence of Lesion
        Found in it.
    node : NodeResult
        The node's class.
    slide_path : path-like
        Where the slide lies.
    planned, tissue_fraction, extra
        As in `write_patches`.
    parameters : mapping or None
        What was chosen for the run, as JSON values; by default what the heatmap knows.
    facts : RunFacts or None
        What the run told of itself.

    Returns
    -------
    Path
        The slide's result folder.

    Raises
    ------
    FileWriteError
        The folder cannot be written, the disk is full, or the folder holds results of another
        slide of the same name.
    """
    if not heatmap.slide_name:
        raise ValueError("Results need the name of their slide.")
    where = str(Path(slide_path).resolve()) if slide_path else ""
    folder = Path(out) / heatmap.slide_name
    _refuse_another_slide(folder, where, heatmap.slide_fingerprint)
    write_heatmap(heatmap, folder)
    # An older record must not vouch for what is new.
    (folder / RUN_FILE).unlink(missing_ok=True)
    write_patches(heatmap, folder, planned=planned, tissue_fraction=tissue_fraction, extra=extra)
    write_lesions(
        lesions,
        folder,
        slide_name=heatmap.slide_name,
        slide_fingerprint=heatmap.slide_fingerprint,
        threshold=heatmap.threshold,
    )
    write_node(node, folder)
    run = RunRecord(
        slide_name=heatmap.slide_name,
        slide_path=where,
        slide_fingerprint=heatmap.slide_fingerprint,
        model_name=heatmap.model_name,
        model_sha256=heatmap.model_sha256,
        parameters={
            "threshold": heatmap.threshold,
            "value_meaning": heatmap.value_meaning,
            "method": heatmap.method,
            **(parameters or {}),
        },
        versions=_versions(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        damaged_patches=heatmap.damaged_cells,
        facts=facts or RunFacts(),
    )
    entries = asdict(run)
    told = entries.pop("facts")
    write_json({"schema_version": _NEWEST_SCHEMA, **entries, **told}, folder / RUN_FILE)
    return folder


def read_run(path: Path | str) -> RunRecord:
    """Read ``run.json``, given itself or the result folder that holds it.

    Raises
    ------
    ResultError
        It is missing, damaged, or follows a newer schema.
    """
    path = Path(path)
    path = path / RUN_FILE if path.is_dir() else path
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    entries.pop("schema_version")
    told = {item.name: entries.pop(item.name) for item in fields(RunFacts) if item.name in entries}
    try:
        return RunRecord(**entries, facts=RunFacts(**told))
    except TypeError as error:
        raise ResultError(f"{path} is damaged ({error}). Compute the result again.") from error


def read_prediction(folder: Path | str) -> tuple[Heatmap, PatchGrid]:
    """Read back what a run predicted, so that it can be shown and written again without loss.

    Parameters
    ----------
    folder : path-like
        The slide's result folder.

    Returns
    -------
    heatmap : Heatmap
        As it was written.
    patch_grid : PatchGrid
        Which patches were planned, and their share of tissue (NaN for all others).

    Raises
    ------
    ResultError
        The heatmap or the table of patches is missing, damaged, of a newer schema, or the two do
        not belong together.
    """
    heatmap = read_heatmap(folder)
    table = read_patches(folder)
    corners = np.stack([table.columns["x_px"], table.columns["y_px"]], axis=-1)
    patch = (heatmap.grid.patch_width_px, heatmap.grid.patch_height_px)
    cells = np.rint(heatmap.grid.cells_at(corners + np.array(patch) / 2)).astype(np.int64)
    if (cells < 0).any() or (cells >= heatmap.grid.shape).any():
        raise ResultError(
            f"The table of patches in {folder} is not of the heatmap beside it. Compute it again."
        )
    rows, columns = cells[:, 0], cells[:, 1]
    tissue_fraction = np.full(heatmap.grid.shape, np.nan, dtype=np.float32)
    tissue_fraction[rows, columns] = table.columns["tissue_fraction"]
    selected = np.zeros(heatmap.grid.shape, dtype=np.bool_)
    selected[rows, columns] = True
    heatmap.maps.update(maps_of(table, cells, heatmap.grid))
    return heatmap, PatchGrid(heatmap.grid, tissue_fraction, selected)


def find_result_folders(source: Path | str) -> list[Path]:
    """Return the result folders at or below a folder: those that hold a ``node.json``.

    Raises
    ------
    ResultError
        The folder does not exist or holds no result.
    """
    source = Path(source)
    if not source.is_dir():
        raise ResultError(f"There is no folder {source}.")
    found = []
    for name, folders, files in os.walk(source):
        # Hidden folders are half-written ones; a Zarr store holds nothing but thousands of files.
        folders[:] = sorted(
            folder for folder in folders if not folder.startswith(".") and ".zarr" not in folder
        )
        if "node.json" in files:
            found.append(Path(name))
    if not found:
        raise ResultError(
            f"{source} holds no results (no node.json in it or below). Run predict first."
        )
    return found


def _refuse_another_slide(folder: Path, slide_path: str, fingerprint: str) -> None:
    """Slides of different folders may share a name; their results must not replace each other."""
    if not (folder / RUN_FILE).is_file():
        return
    try:
        there = read_run(folder)
    except ResultError:
        return  # damaged, or of an unknown schema: replacing it is the way out
    if there.slide_fingerprint != fingerprint and there.slide_path != slide_path:
        raise FileWriteError(
            f"{folder} holds the results of another slide of the same name ({there.slide_path}). "
            "Choose another output folder."
        )


def _versions() -> dict[str, str]:
    versions = {
        "napari-camelyon": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
