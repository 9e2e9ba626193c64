"""Heatmaps on disk: one OME-Zarr image a slide.

The folder ``heatmap.zarr`` is an OME-Zarr 0.5 image (Zarr v3) of one scale, axes ``y, x`` in
micrometres, so that any viewer for the format puts it in place. What the format cannot say stands
in the attribute ``napari_camelyon`` beside the attribute ``ome``.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from napari_camelyon.errors import ResultError
from napari_camelyon.files import atomic_folder, check_schema_version
from napari_camelyon.geometry import Grid, slide_to_um
from napari_camelyon.heatmaps.heatmap import Heatmap

__all__ = ["HEATMAP_FOLDER", "read_heatmap", "write_heatmap"]

HEATMAP_FOLDER = "heatmap.zarr"
"""Name of the store inside the result folder of a slide."""

_OURS = "napari_camelyon"
_NEWEST_SCHEMA = 1
_CHUNK_CELLS = 512
_RULE = (
    "A cell stands for the centre of its patch. The scale is the stride of the grid; the "
    "translation is the slide point of the centre of the first patch, measured from the corner "
    "of the image. NaN: not computed."
)


def write_heatmap(heatmap: Heatmap, folder: Path | str) -> Path:
    """Write a heatmap as ``heatmap.zarr`` into the result folder of its slide.

    The new store takes the place of an old one as a whole.

    Parameters
    ----------
    heatmap : Heatmap
        What to write; NaN is kept.
    folder : path-like
        The slide's result folder, created if needed.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    FileWriteError
        The folder cannot be written or the disk is full; an old store is untouched.
    """
    import zarr

    store = Path(folder) / HEATMAP_FOLDER
    rows, columns = heatmap.grid.shape
    with atomic_folder(store) as temporary:
        group = zarr.create_group(temporary, zarr_format=3, overwrite=True)
        group.create_array(
            "0",
            data=heatmap.values,
            chunks=(min(rows, _CHUNK_CELLS), min(columns, _CHUNK_CELLS)),
            fill_value=np.float32(np.nan),
            dimension_names=("y", "x"),
        )
        # Last, so that a store without attributes is one whose writing was cut off.
        group.attrs.update({"ome": _ome_attributes(heatmap), _OURS: _our_attributes(heatmap)})
    return store


def read_heatmap(path: Path | str) -> Heatmap:
    """Read a heatmap.

    Parameters
    ----------
    path : path-like
        The store, or the result folder of a slide with ``heatmap.zarr`` in it.

    Raises
    ------
    ResultError
        There is none, it is damaged, is no heatmap of ours, or follows a newer schema.
    """
    import zarr

    path = Path(path)
    store = path / HEATMAP_FOLDER if (path / HEATMAP_FOLDER).is_dir() else path
    if not (store / "zarr.json").is_file():
        raise ResultError(f"There is no heatmap at {path} (no {HEATMAP_FOLDER} with a zarr.json).")
    try:
        group = zarr.open_group(store, mode="r", zarr_format=3)
        ours = group.attrs.asdict().get(_OURS)
        array = group["0"]
        values = np.asarray(array[...] if isinstance(array, zarr.Array) else None)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        # What zarr raises depends on which of its files is damaged, and on its version.
        raise _damaged(store, str(error)) from error
    if not isinstance(ours, dict):
        raise ResultError(f"{store} is an OME-Zarr image, but no heatmap of napari-camelyon.")
    check_schema_version(ours, store, newest_schema=_NEWEST_SCHEMA)
    try:
        heatmap = _heatmap(values, ours)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(store, str(error)) from error
    # A chunk that is gone reads as "not computed"; only the count tells.
    if heatmap.computed_cells != ours.get("computed_cells"):
        raise _damaged(store, "it holds fewer values than were written")
    return heatmap


def _damaged(store: Path, reason: str) -> ResultError:
    return ResultError(f"The heatmap {store} is damaged ({reason}). Compute it again.")


def _ome_attributes(heatmap: Heatmap) -> dict[str, Any]:
    """Return the metadata that the format wants (https://ngff.openmicroscopy.org/0.5/)."""
    width_um, height_um = heatmap.grid.cell_size_um(heatmap.mpp)
    x_um, y_um = slide_to_um(heatmap.grid.centres((0, 0)), heatmap.mpp).tolist()
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": heatmap.slide_name or "heatmap",
                "axes": [
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [height_um, width_um]},
                            {"type": "translation", "translation": [y_um, x_um]},
                        ],
                    }
                ],
                "type": "none",
                "metadata": {"description": "One scale: a value a patch, not resampled."},
            }
        ],
    }


def _our_attributes(heatmap: Heatmap) -> dict[str, Any]:
    return {
        "schema_version": _NEWEST_SCHEMA,
        "rule": _RULE,
        "grid": asdict(heatmap.grid),
        "mpp": list(heatmap.mpp),
        "threshold": heatmap.threshold,
        "value_meaning": heatmap.value_meaning,
        "centre_um": heatmap.centre_um,
        "planned_cells": heatmap.planned_cells,
        "computed_cells": heatmap.computed_cells,
        "damaged_cells": heatmap.damaged_cells,
        "slide": {"name": heatmap.slide_name, "fingerprint": heatmap.slide_fingerprint},
        "model": {"name": heatmap.model_name, "sha256": heatmap.model_sha256},
        "method": heatmap.method,
        "stain": heatmap.stain,
    }


def _heatmap(values: np.ndarray[Any, Any], ours: dict[str, Any]) -> Heatmap:
    mpp_x, mpp_y = ours["mpp"]
    return Heatmap(
        grid=Grid(**ours["grid"]),
        values=values,
        mpp=(float(mpp_x), float(mpp_y)),
        threshold=float(ours["threshold"]),
        value_meaning=ours["value_meaning"],
        centre_um=ours["centre_um"],
        planned_cells=ours["planned_cells"],
        slide_name=ours["slide"]["name"],
        slide_fingerprint=ours["slide"]["fingerprint"],
        model_name=ours["model"]["name"],
        model_sha256=ours["model"]["sha256"],
        method=ours.get("method", "patches"),
        damaged_cells=ours.get("damaged_cells", 0),
        stain=ours.get("stain"),  # older ones do not tell
    )
