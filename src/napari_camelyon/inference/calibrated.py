"""What was measured of models on numeric paths on this machine."""

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.files import cache_folder, read_json_result, write_json
from napari_camelyon.inference.numeric_path import NumericPath
from napari_camelyon.inference.openvino_engine import network_key
from napari_camelyon.models import Model

__all__ = [
    "SCHEMA_VERSION",
    "Calibration",
    "calibration_file",
    "circumstances",
    "expected_rate",
    "keep_run_rate",
    "known_calibration",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured of a model on a numeric path.

    Attributes
    ----------
    batch_size : int
        The smallest that is about as fast as any.
    patches_per_s : float
        At that size, with patches already in memory.
    """

    batch_size: int
    patches_per_s: float


def known_calibration(model: Model, path: NumericPath) -> Calibration | None:
    """Return what was measured before of a model on a path on this machine, or None."""
    try:
        entries = read_json_result(calibration_file(model, path), newest_schema=SCHEMA_VERSION)
        return Calibration(int(entries["batch_size"]), float(entries["patches_per_s"]))
    except (ResultError, FileWriteError, KeyError, TypeError, ValueError):
        return None  # not measured, or by a version of ours that kept it in another way


def expected_rate(model: Model, path: NumericPath, *, dense: bool = False) -> float | None:
    """Return the patches a second to expect of a model on a path, None where nothing was measured.

    What the last run reached counts more than the calibration, which has its patches in memory.

    Parameters
    ----------
    model : Model
    path : NumericPath
    dense : bool
        Whether the run goes over whole blocks, which no calibration measures.
    """
    try:
        entries = read_json_result(_run_rate_file(model, path, dense), newest_schema=SCHEMA_VERSION)
        return float(entries["patches_per_s"])
    except (ResultError, FileWriteError, KeyError, TypeError, ValueError):
        known = None if dense else known_calibration(model, path)
    return None if known is None else known.patches_per_s


def keep_run_rate(
    model: Model, path: NumericPath, patches_per_s: float, *, dense: bool = False
) -> None:
    """Keep how fast a run was, for the next one to be foretold. Raises `FileWriteError`."""
    entries = {"schema_version": SCHEMA_VERSION, "patches_per_s": patches_per_s, "dense": dense}
    write_json({**entries, "of": circumstances(model, path)}, _run_rate_file(model, path, dense))


def _run_rate_file(model: Model, path: NumericPath, dense: bool) -> Path:
    return calibration_file(model, path).with_suffix(".dense.json" if dense else ".run.json")


def calibration_file(model: Model, path: NumericPath) -> Path:
    """Return where the measurement of a model on a path lies, or would."""
    text = json.dumps(circumstances(model, path), sort_keys=True)
    return cache_folder() / "calibration" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def circumstances(model: Model, path: NumericPath) -> dict[str, object]:
    """Return what a measurement depends on."""
    device = torch.device(path.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "network": network_key(model),
        "path": path.describe(),
        "device": name or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
