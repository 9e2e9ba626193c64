"""A calibration of nodes and patients as a JSON file."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ResultError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging.certainty import NodeCalibration
from napari_camelyon.staging.patients import SCHEMES

__all__ = ["read_calibration", "write_calibration"]

_NEWEST_SCHEMA = 1


def write_calibration(
    calibration: NodeCalibration, path: Path | str, *, scores: dict[str, float] | None = None
) -> None:
    """Write a calibration, and what else was measured with it. Raises `FileWriteError`."""
    entries = asdict(calibration)
    for name in ("node_quantile", "patient_quantile"):  # JSON knows no infinity
        if entries[name] is not None and math.isinf(entries[name]):
            entries[name] = "infinite"
    write_json(
        {
            "schema_version": _NEWEST_SCHEMA,
            **entries,
            "scores": scores or {},
            "note": "Holds for cases like those it was made of. Research software.",
        },
        path,
    )


def read_calibration(path: Path | str) -> NodeCalibration:
    """Read a calibration.

    Raises
    ------
    ResultError
        It is missing, damaged, or follows a newer schema.
    """
    path = Path(path)
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    try:
        scheme = next(one for one in SCHEMES if one == entries["scheme"])
        quantile = entries["patient_quantile"]
        return NodeCalibration(
            coverage=_within(entries["coverage"], 0, 1),
            temperature=_within(entries["temperature"], 0, math.inf),
            node_quantile=_quantile(entries["node_quantile"]),
            patient_quantile=None if quantile is None else _quantile(quantile),
            nodes=int(entries["nodes"]),
            patients=int(entries["patients"]),
            model_sha256=str(entries["model_sha256"]),
            scheme=scheme,
        )
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ResultError(f"{path} is damaged ({error}). Make the calibration again.") from error


def _quantile(value: Any) -> float:
    return math.inf if value == "infinite" else _within(value, -1e-9, 1 + 1e-9)


def _within(value: Any, low: float, high: float) -> float:
    number = float(value)
    if not low < number < high:
        raise ValueError(f"{value!r} is not between {low:g} and {high:g}")
    return number
