"""The numeric path of a run: which device, engine and precision, and the predictor on it."""

import platform
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.predicted import (
    OutOfMemoryError,
    Pending,
    Predicted,
    check_outputs,
    explained,
    probabilities,
)
from napari_camelyon.inference.torch_engine import DTYPES, Engine, torch_engine
from napari_camelyon.models import Model, choose_device

__all__ = [
    "NumericPath",
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "Predictor",
    "choose_numeric_path",
    "prepare",
]

Precision = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class NumericPath:
    """How the numbers of a run come about; one run keeps to one.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda:0``, ``mps``.
    engine : str
        ``torch``.
    precision : str
        ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    device: str
    engine: str
    precision: str

    def describe(self) -> str:
        """Return the path as people read it, such as ``torch bf16 on cpu``."""
        return f"{self.engine} {self.precision} on {self.device}"


def choose_numeric_path(
    model: Model,  # noqa: ARG001
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    expected_patches: int | None = None,  # noqa: ARG001
) -> NumericPath:
    """Return the fastest path that is exact enough, or the one that is asked for.

    Parameters
    ----------
    model : Model
    device : str
        ``auto`` (CUDA, then MPS, then CPU) or a device's name.
    engine : str
        ``auto`` or ``torch``.
    precision : str
        ``auto``: bf16 where the device computes in it, else fp32. Or ``fp32``, ``bf16``, ``fp16``.
    expected_patches : int, optional
        How many patches the run is about to predict.

    Returns
    -------
    NumericPath

    Raises
    ------
    ModelError
        What is asked for is not available here; never replaced silently by something else.
    """
    target = str(choose_device(device))
    if engine not in ("auto", "torch"):
        raise ModelError(f"The engine {engine!r} is not known. Choose one of: auto, torch.")
    if precision == "auto":
        precision = "bf16" if _gains_from_bf16(torch.device(target)) else "fp32"
    if precision not in DTYPES:
        raise ModelError(
            f"The precision {precision!r} is not known. Choose one of: auto, {', '.join(DTYPES)}."
        )
    return NumericPath(target, "torch", precision)


class Predictor:
    """A model on its numeric path, ready for batches; from `prepare`.

    Attributes
    ----------
    model : Model
    path : NumericPath
    batch_size : int
        Patches a batch for which it was set up.
    depth : int
        Batches in flight that keep it busy; more only cost memory.
    """

    def __init__(self, model: Model, path: NumericPath, batch_size: int, engine: Engine) -> None:
        self.model = model
        self.path = path
        self.batch_size = batch_size
        self._engine = engine

    @property
    def depth(self) -> int:
        """Batches in flight that keep it busy."""
        return self._engine.depth

    def submit(self, patches: NDArray[np.uint8]) -> Pending:
        """Begin to predict a batch.

        Parameters
        ----------
        patches : ndarray of uint8, shape (n, px, px, 3)
            RGB at the model's spacing; not to be changed before the result is fetched.

        Returns
        -------
        Pending
            Its ``result`` depends on this batch alone, to the bit.

        Raises
        ------
        ModelError
            The model or its device failed.
        """
        wait = self._engine.start(np.ascontiguousarray(patches))

        def result() -> Predicted:
            try:
                outputs = wait()
            except Exception as error:
                raise explained(error, self.model, self.path.device) from error
            checked = check_outputs(outputs, len(patches), self.model)
            return Predicted(probabilities(checked, self.model))

        return Pending(result)

    def close(self) -> None:
        """Free what it holds; it cannot be used any more."""
        self._engine.stop()


def prepare(
    model: Model,
    path: NumericPath,
    *,
    batch_size: int | None = None,
    stain: None = None,  # noqa: ARG001
) -> Predictor:
    """Set a model up on a numeric path.

    Parameters
    ----------
    model : Model
    path : NumericPath
        From `choose_numeric_path`.
    batch_size : int, optional
        Default: what suits the device.
    stain : StainTransfer, optional
        Stain normalisation, applied on the device.

    Returns
    -------
    Predictor

    Raises
    ------
    ModelError
        The model cannot run on this path.
    """
    try:
        engine = torch_engine(model, path.device, path.precision)
    except RuntimeError as error:
        raise explained(error, model, path.device) from error
    return Predictor(model, path, batch_size or _usual_batch(path), engine)


def _usual_batch(path: NumericPath) -> int:
    # 8-16 is as fast as more on a CPU and keeps cancelling quick.
    return 16 if path.device == "cpu" else 256


def _gains_from_bf16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16; without instructions for it, it is slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        # torch's own test of oneDNN says yes to every AVX-512, where bf16 is emulated.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
