"""``lesions.geojson``: the lesions of a slide, as QuPath and others read them.

A GeoJSON FeatureCollection with level-0 pixels from the corner of the image as coordinates, the
convention of QuPath. Its importer (QuPath 0.4 or newer, ``QuPathTypeAdapters``) takes ``id`` (a
UUID), ``objectType``, ``name``, ``classification``, ``measurements`` (numbers by name) and
``isLocked``; the rest of a lesion stands under ``napari_camelyon``, which it passes over.
"""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon

from napari_camelyon.errors import ResultError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging.lesions import Lesion

__all__ = ["LESIONS_FILE", "read_lesions", "write_lesions"]

LESIONS_FILE = "lesions.geojson"
"""Name of the file inside the result folder of a slide."""

_NEWEST_SCHEMA = 1
# Stands for this program, so that a lesion of a slide has the same UUID each time.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "napari-camelyon/lesion")
_CLASSIFICATION = {"name": "Tumor", "color": [200, 0, 0]}  # QuPath's own class and colour


def write_lesions(
    lesions: Sequence[Lesion],
    folder: Path | str,
    *,
    slide_name: str = "",
    slide_fingerprint: str = "",
    threshold: float | None = None,
) -> Path:
    """Write ``lesions.geojson`` into a result folder, created if needed.

    Parameters
    ----------
    lesions : sequence of Lesion
        What to write; none gives an empty collection.
    folder : path-like
        The slide's result folder.
    slide_name, slide_fingerprint : str
        The slide they are on.
    threshold : float or None
        Probability from which a cell counted as tumour.

    Raises
    ------
    FileWriteError
        The folder cannot be written or the disk is full; an old file is untouched.
    """
    path = Path(folder) / LESIONS_FILE
    collection = {
        "type": "FeatureCollection",
        "schema_version": _NEWEST_SCHEMA,
        "napari_camelyon": {
            "slide": {"name": slide_name, "fingerprint": slide_fingerprint},
            "threshold": threshold,
            "coordinates": "level-0 pixels (x, y) from the corner of the image",
        },
        "features": [_feature(lesion, slide_fingerprint or slide_name) for lesion in lesions],
    }
    write_json(collection, path)
    return path


def read_lesions(path: Path | str) -> list[Lesion]:
    """Read ``lesions.geojson``, given itself or the result folder that holds it.

    Raises
    ------
    ResultError
        It is missing, damaged, or follows a newer schema.
    """
    path = Path(path)
    path = path / LESIONS_FILE if path.is_dir() else path
    collection = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    try:
        return [_lesion(feature) for feature in collection["features"]]
    except (KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
        raise ResultError(f"{path} is damaged ({error}). Compute the result again.") from error


def _feature(lesion: Lesion, slide: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{slide}/{lesion.id}")),
        "geometry": json.loads(shapely.to_geojson(lesion.outline)),
        "properties": {
            "objectType": "annotation",
            "name": f"Lesion {lesion.id}",
            "classification": _CLASSIFICATION,
            "isLocked": True,
            "measurements": {
                "Greatest diameter (mm)": lesion.diameter_mm,
                "Uncertainty of the diameter (mm)": lesion.margin_mm,
                "Area (mm²)": lesion.area_mm2,
                "Mean probability": lesion.mean_probability,
                "Greatest probability": lesion.max_probability,
                "Patches": lesion.patches,
            },
            "napari_camelyon": {
                "id": lesion.id,
                "diameter_mm": lesion.diameter_mm,
                "margin_mm": lesion.margin_mm,
                "diameter_ends_px": lesion.diameter_ends_px,
                "area_mm2": lesion.area_mm2,
                "mean_probability": lesion.mean_probability,
                "max_probability": lesion.max_probability,
                "patches": lesion.patches,
                "bounds_px": lesion.bounds_px,
            },
        },
    }


def _lesion(feature: dict[str, Any]) -> Lesion:
    ours = feature["properties"]["napari_camelyon"]
    (x0, y0), (x1, y1) = ours["diameter_ends_px"]
    left, top, right, bottom = map(float, ours["bounds_px"])
    outline = shapely.from_geojson(json.dumps(feature["geometry"]))
    if not isinstance(outline, Polygon | MultiPolygon):
        raise TypeError("the outline of a lesion is no polygon")
    return Lesion(
        id=int(ours["id"]),
        diameter_mm=float(ours["diameter_mm"]),
        margin_mm=float(ours["margin_mm"]),
        diameter_ends_px=((float(x0), float(y0)), (float(x1), float(y1))),
        area_mm2=float(ours["area_mm2"]),
        mean_probability=float(ours["mean_probability"]),
        max_probability=float(ours["max_probability"]),
        patches=int(ours["patches"]),
        bounds_px=(left, top, right, bottom),
        outline=outline,
    )
