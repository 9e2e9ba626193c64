"""Running a model over a slide: read, batch, predict, and hand the values out as they come.

Importing the room is cheap, so that a window can hold the reins of a run before torch is there:
what needs torch is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_camelyon.inference.control import RunControl

if TYPE_CHECKING:
    from napari_camelyon.inference.calibrated import (
        Calibration,
        expected_rate,
        keep_run_rate,
        known_calibration,
    )
    from napari_camelyon.inference.calibration import calibrate
    from napari_camelyon.inference.checkpoint import (
        Checkpoint,
        CheckpointInUseError,
        Interrupted,
        find_interrupted,
        forget_checkpoints,
        open_checkpoint,
    )
    from napari_camelyon.inference.compiling_beside import (
        CompilingBeside,
        compile_beside,
        end_compiling,
        is_compiling,
        wait_for_compiling,
    )
    from napari_camelyon.inference.engine import (
        Update,
        new_heatmap,
        predict_patches,
        run,
        run_method,
    )
    from napari_camelyon.inference.guards import (
        Finding,
        Watch,
        check_before,
        check_probe,
        findings,
        look_first,
        new_watch,
        watch_batch,
        watch_picture,
    )
    from napari_camelyon.inference.int8 import Int8Comparison, prove_int8, read_proof
    from napari_camelyon.inference.looking import PatchView, grid_around, look_closer
    from napari_camelyon.inference.numeric import (
        NumericPath,
        OutOfMemoryError,
        Pending,
        Predicted,
        Predictor,
        choose_numeric_path,
        compiling_pays_later,
        prepare,
    )
    from napari_camelyon.inference.patches import read_patch
    from napari_camelyon.inference.sampling import cost_factor
    from napari_camelyon.inference.stain_on_device import transfer_tensor
    from napari_camelyon.inference.uncertainty import SamplingPredictor, sampling_predictor

__all__ = [
    "Calibration",
    "Checkpoint",
    "CheckpointInUseError",
    "CompilingBeside",
    "Finding",
    "Int8Comparison",
    "Interrupted",
    "NumericPath",
    "OutOfMemoryError",
    "PatchView",
    "Pending",
    "Predicted",
    "Predictor",
    "RunControl",
    "SamplingPredictor",
    "Update",
    "Watch",
    "calibrate",
    "check_before",
    "check_probe",
    "choose_numeric_path",
    "compile_beside",
    "compiling_pays_later",
    "cost_factor",
    "end_compiling",
    "expected_rate",
    "find_interrupted",
    "findings",
    "forget_checkpoints",
    "grid_around",
    "is_compiling",
    "keep_run_rate",
    "known_calibration",
    "look_closer",
    "look_first",
    "new_heatmap",
    "new_watch",
    "open_checkpoint",
    "predict_patches",
    "prepare",
    "prove_int8",
    "read_patch",
    "read_proof",
    "run",
    "run_method",
    "sampling_predictor",
    "transfer_tensor",
    "wait_for_compiling",
    "watch_batch",
    "watch_picture",
]

_MODULE_OF = {
    "Int8Comparison": "int8",
    "prove_int8": "int8",
    "read_proof": "int8",
    "Calibration": "calibrated",
    "calibrate": "calibration",
    "expected_rate": "calibrated",
    "keep_run_rate": "calibrated",
    "known_calibration": "calibrated",
    "Checkpoint": "checkpoint",
    "CheckpointInUseError": "checkpoint",
    "CompilingBeside": "compiling_beside",
    "compile_beside": "compiling_beside",
    "compiling_pays_later": "numeric",
    "end_compiling": "compiling_beside",
    "is_compiling": "compiling_beside",
    "wait_for_compiling": "compiling_beside",
    "Finding": "guards",
    "Interrupted": "checkpoint",
    "NumericPath": "numeric",
    "OutOfMemoryError": "numeric",
    "PatchView": "looking",
    "Pending": "numeric",
    "Predicted": "numeric",
    "Predictor": "numeric",
    "SamplingPredictor": "uncertainty",
    "Update": "engine",
    "Watch": "guards",
    "check_before": "guards",
    "check_probe": "guards",
    "choose_numeric_path": "numeric",
    "cost_factor": "sampling",
    "find_interrupted": "checkpoint",
    "findings": "guards",
    "forget_checkpoints": "checkpoint",
    "grid_around": "looking",
    "look_closer": "looking",
    "look_first": "guards",
    "new_heatmap": "engine",
    "new_watch": "guards",
    "open_checkpoint": "checkpoint",
    "predict_patches": "engine",
    "prepare": "numeric",
    "read_patch": "patches",
    "run": "engine",
    "run_method": "engine",
    "sampling_predictor": "uncertainty",
    "transfer_tensor": "stain_on_device",
    "watch_batch": "guards",
    "watch_picture": "guards",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found
