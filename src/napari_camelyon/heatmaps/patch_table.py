"""``patches.parquet``: one row a patch, for other programs and for looking things up."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_camelyon.errors import ResultError
from napari_camelyon.files import atomic_file, check_schema_version
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps.heatmap import Heatmap

if TYPE_CHECKING:
    import pyarrow

__all__ = ["PATCHES_FILE", "PatchTable", "maps_of", "read_patches", "write_patches"]

PATCHES_FILE = "patches.parquet"
"""Name of the table inside the result folder of a slide."""

Values = NDArray[np.float32]
_OURS = b"napari_camelyon"
_NEWEST_SCHEMA = 1
_REQUIRED = ("x_px", "y_px", "width_px", "height_px", "tissue_fraction", "probability")


@dataclass(frozen=True, eq=False, slots=True)
class PatchTable:
    """The rows of a ``patches.parquet``.

    Attributes
    ----------
    columns : mapping of str to ndarray, shape (patches,)
        ``x_px, y_px`` (level-0 top-left corner), ``width_px, height_px`` (level 0),
        ``tissue_fraction`` and ``probability`` (of tumour; NaN where unknown), and whatever
        else was computed for each patch, such as ``p_<class>``.
    metadata : mapping
        ``schema_version``, ``grid``, ``mpp``, ``slide`` and ``model``, as in the heatmap.
    """

    columns: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.columns["x_px"])


def write_patches(
    heatmap: Heatmap,
    folder: Path | str,
    *,
    planned: ArrayLike | None = None,
    tissue_fraction: ArrayLike | None = None,
    extra: Mapping[str, ArrayLike] | None = None,
) -> Path:
    """Write ``patches.parquet`` into the result folder of a slide.

    Parameters
    ----------
    heatmap : Heatmap
        Gives the places, the probabilities, and a column for each of its `maps`.
    folder : path-like
        The slide's result folder, created if needed.
    planned : array_like of bool, shape (rows, columns), or None
        Which cells become rows; a planned cell without a value has the probability NaN. None:
        the cells that hold a value.
    tissue_fraction : array_like, shape (rows, columns), or None
        Share of each patch that is tissue, 0–1; None: NaN in every row.
    extra : mapping of str to array_like, shape (rows, columns), or None
        Further columns.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    FileWriteError
        The folder cannot be written or the disk is full; an old table is untouched.
    ValueError
        An array does not fit the grid, or an extra column has the name of another.
    """
    import pyarrow
    from pyarrow import parquet

    chosen = ~np.isnan(heatmap.values) if planned is None else _on_grid(heatmap, planned, "planned")
    cells = np.argwhere(chosen)
    corners = heatmap.grid.corners(cells)
    fraction = np.nan if tissue_fraction is None else tissue_fraction
    columns: dict[str, NDArray[Any]] = {
        "x_px": corners[:, 0],
        "y_px": corners[:, 1],
        "width_px": np.full(len(cells), heatmap.grid.patch_width_px, dtype=np.int32),
        "height_px": np.full(len(cells), heatmap.grid.patch_height_px, dtype=np.int32),
        "tissue_fraction": _on_grid(heatmap, fraction, "tissue_fraction")[chosen].astype("f4"),
        "probability": heatmap.values[chosen],
    }
    for name, values in [*heatmap.maps.items(), *(extra or {}).items()]:
        if name in columns:
            raise ValueError(f"patches.parquet has a column {name!r} already.")
        columns[name] = _on_grid(heatmap, values, name)[chosen]

    table = pyarrow.table(
        [_to_arrow(column) for column in columns.values()],
        names=list(columns),
        metadata={_OURS: json.dumps(_metadata(heatmap))},
    )
    path = Path(folder) / PATCHES_FILE
    with atomic_file(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return path


def read_patches(path: Path | str) -> PatchTable:
    """Read ``patches.parquet``.

    Parameters
    ----------
    path : path-like
        The table, or the result folder of a slide with ``patches.parquet`` in it.

    Raises
    ------
    ResultError
        There is none, it is damaged, lacks a column, or follows a newer schema.
    """
    import pyarrow
    from pyarrow import parquet

    path = Path(path)
    path = path / PATCHES_FILE if path.is_dir() else path
    if not path.is_file():
        raise ResultError(f"There is no table of patches at {path}.")
    try:
        table = parquet.read_table(path, memory_map=False)
        metadata = json.loads((table.schema.metadata or {}).get(_OURS, b"{}"))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ResultError(f"{path} is damaged ({error}). Compute it again.") from error
    check_schema_version(metadata, path, newest_schema=_NEWEST_SCHEMA)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise ResultError(f"{path} lacks the columns {', '.join(missing)}. Compute it again.")
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return PatchTable(columns=columns, metadata=metadata)


def maps_of(table: PatchTable, cells: NDArray[np.int64], grid: Grid) -> dict[str, Values]:
    """Return the further columns of a table as `Heatmap.maps`.

    Parameters
    ----------
    table : PatchTable
    cells : ndarray of int64, shape (patches, 2)
        ``(row, column)`` of each row of the table.
    grid : Grid
        Of the heatmap.

    Returns
    -------
    dict of str to ndarray of float32, shape grid.shape
        NaN where the table has no row. Columns that hold something else than 32-bit floats are no
        maps.
    """
    maps = {}
    for name, column in table.columns.items():
        if name in _REQUIRED or column.dtype != np.float32:
            continue
        maps[name] = np.full(grid.shape, np.nan, dtype=np.float32)
        maps[name][cells[:, 0], cells[:, 1]] = column
    return maps


def _to_arrow(column: NDArray[Any]) -> "pyarrow.Array":
    """Return a column without pandas, which takes most of a second to be imported.

    Arrow's own way imports it, where it is, to ask whether an array is one of its series.
    """
    import pyarrow

    if column.dtype.kind not in "iuf":
        return pyarrow.array(column)
    values = pyarrow.py_buffer(np.ascontiguousarray(column))
    kind = pyarrow.from_numpy_dtype(column.dtype)
    return pyarrow.Array.from_buffers(kind, len(column), [None, values])


def _on_grid(heatmap: Heatmap, values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim == 0:
        return np.broadcast_to(array, heatmap.grid.shape)
    if array.shape != heatmap.grid.shape:
        raise ValueError(
            f"{name} should have the shape {heatmap.grid.shape} of the grid, not {array.shape}."
        )
    return array


def _metadata(heatmap: Heatmap) -> dict[str, Any]:
    return {
        "schema_version": _NEWEST_SCHEMA,
        "grid": asdict(heatmap.grid),
        "mpp": list(heatmap.mpp),
        "slide": {"name": heatmap.slide_name, "fingerprint": heatmap.slide_fingerprint},
        "model": {"name": heatmap.model_name, "sha256": heatmap.model_sha256},
    }
