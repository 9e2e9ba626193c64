"""The numeric path of a run: which device, engine and precision, and the predictor on it."""

import platform
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.calibrated import expected_rate, known_calibration
from napari_camelyon.inference.compiling import (
    can_compile,
    compile_ahead,
    compiled_engine,
    expected_compile_s,
    is_compiled,
)
from napari_camelyon.inference.int8 import int8_program
from napari_camelyon.inference.numeric_path import NumericPath
from napari_camelyon.inference.openvino_engine import (
    converted,
    has_bf16,
    is_converted,
    is_installed,
    openvino_engine,
    require_openvino,
)
from napari_camelyon.inference.predicted import (
    OutOfMemoryError,
    Pending,
    Predicted,
    check_outputs,
    explained,
    probabilities,
)
from napari_camelyon.inference.stain_on_device import transfer_tensor
from napari_camelyon.inference.torch_engine import Change, Engine, torch_engine
from napari_camelyon.models import Model, choose_device
from napari_camelyon.stain import StainTransfer

__all__ = [
    "NumericPath",
    "OutOfMemoryError",
    "Pending",
    "Predicted",
    "Predictor",
    "choose_numeric_path",
    "compiling_pays_later",
    "prepare",
]

ENGINES = ("torch", "compiled", "openvino", "onnxruntime")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")

_PAYS_COMPILING = 100_000
"""Patches from which compiling beforehand pays where no rate was measured: it takes a minute or
two, and each patch gains a millisecond."""

_COMPILED_SAVES = 0.13
"""Share of a run's time that compiling saves at least: the least that was measured with a ResNet-18
is 1.15 times as fast as torch, the most 1.4."""

_LOADING_S = 3.0
"""What loading a compiled network takes, once a process: torch imports its compiler for it."""

_LATER_RUNS = 10
"""Runs as long as this one that are taken to follow: the slides of two patients of CAMELYON17."""

_PAYS_CONVERTED = 500
_PAYS_UNCONVERTED = 2000
"""Patches from which OpenVINO pays: compiling takes a second or two, converting some more, and each
patch gains 2 ms or more."""


def choose_numeric_path(
    model: Model,
    *,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    expected_patches: int | None = None,
) -> NumericPath:
    """Return the fastest path that is exact enough, or the one that is asked for.

    What is asked for is taken or refused, never replaced; what is left to ``auto`` follows.

    Parameters
    ----------
    model : Model
    device : str
        ``auto`` (CUDA, then MPS, then CPU) or a device's name.
    engine : str
        ``auto``: OpenVINO on a CPU where it is installed, takes the model, and the run is long
        enough to pay for setting it up; else a compiled network where there is one or the run is
        long enough to pay for it; else torch. Or ``torch``, ``compiled``, ``openvino``, and for
        ONNX models ``onnxruntime``, which is what torch stands for there.
    precision : str
        ``auto``: bf16 where the device computes in it, else fp32; never int8. Or ``fp32``,
        ``bf16``, ``fp16``, and ``int8`` for models with a proof (`prove_int8`).
    expected_patches : int, optional
        How many patches the whole run predicts, those of an interrupted one included. None: many.

    Returns
    -------
    NumericPath

    Raises
    ------
    ModelError
        What is asked for is not available here.
    """
    target = choose_device(device)
    if engine not in ("auto", *ENGINES):
        raise ModelError(f"The engine {engine!r} is not known. Choose one of: {_words(ENGINES)}.")
    if precision not in ("auto", *PRECISIONS):
        raise ModelError(
            f"The precision {precision!r} is not known. Choose one of: {_words(PRECISIONS)}."
        )
    if engine == "onnxruntime" and model.kind != "onnx":
        raise ModelError(
            f"ONNX Runtime runs ONNX models; {model.path} is none. Choose the engine torch or "
            "openvino."
        )
    if engine == "compiled":
        return _compiled_path(model, target, precision, "")
    if engine == "openvino" or (precision == "int8" and engine == "auto"):
        return _openvino_path(model, target, precision)
    if engine in ("torch", "onnxruntime") or target.type != "cpu":
        return _torch_path(model, target, precision, "")
    because = _why_not_openvino(model, precision, expected_patches)
    if because and _compiled_is_taken(model, target, precision, expected_patches):
        return _compiled_path(model, target, precision, because)
    if because:
        return _torch_path(model, target, precision, because)
    return _openvino_path(model, target, precision)


def _torch_path(model: Model, device: torch.device, precision: str, because: str) -> NumericPath:
    if model.kind == "onnx":
        if device.type != "cpu" or precision not in ("auto", "fp32"):
            raise ModelError(
                f"The ONNX model {model.path} runs on the CPU in fp32, or with the engine openvino."
            )
        return NumericPath("cpu", "onnxruntime", "fp32", because)
    if precision == "int8":
        raise ModelError("The engine torch has no int8 here. Choose the engine openvino.")
    if precision == "auto":
        # An exported program has its types written into it.
        fixed = model.kind == "exported"
        gains = _gains_from_bf16(device) and not fixed
        if gains and _can_be_cast(model, device) and not _was_slower(model, device):
            precision = "bf16"
        else:
            precision = "fp32"
    if model.kind == "exported" and precision != "fp32":
        raise ModelError(
            f"The exported program {model.path} computes in the precision it was exported with. "
            "Choose fp32, or the engine openvino."
        )
    if device.type == "cpu" and precision == "fp16":
        raise ModelError("Half precision (fp16) needs a GPU. Choose bf16 or fp32 on the CPU.")
    return NumericPath(str(device), "torch", precision, because)


def _compiled_path(model: Model, device: torch.device, precision: str, because: str) -> NumericPath:
    if device.type != "cpu":
        raise ModelError(
            f"Compiled networks run on the CPU here, not on {device}. Choose the engine torch."
        )
    precision = _torch_path(model, device, precision, "").precision
    compile_ahead(model, precision)
    return NumericPath("cpu", "compiled", precision, because)


def _compiled_is_taken(
    model: Model, device: torch.device, precision: str, expected_patches: int | None
) -> bool:
    """Tell whether there is a compiled network, or making one pays within this run."""
    if model.kind != "torch" or precision in ("fp16", "int8"):
        return False
    path = _torch_path(model, device, precision, "")
    there = is_compiled(model, path.precision)
    if expected_patches is None or not (there or can_compile(model)):
        return there
    saved_s = _saved_s(model, path, expected_patches)
    if there:
        return saved_s is None or saved_s >= _LOADING_S
    if saved_s is None:
        return expected_patches >= _PAYS_COMPILING
    return saved_s >= expected_compile_s(model, path.precision)


def compiling_pays_later(model: Model, path: NumericPath, expected_patches: int) -> bool:
    """Tell whether a compiled network, which a run did without, would pay for the runs to come.

    Ten runs of the same length are taken to follow. The rate is what was measured of the model on
    the run's path, else what makes 100,000 patches worth compiling for.

    Parameters
    ----------
    model : Model
    path : NumericPath
        Of the run, chosen with the engine left to ``auto``.
    expected_patches : int
        Of the whole run.
    """
    if (path.engine, path.device) != ("torch", "cpu") or path.precision not in ("fp32", "bf16"):
        return False
    # Where OpenVINO takes the model, longer runs take OpenVINO, and this one was too short for it.
    if is_installed() and (not path.because or _is_too_short(model, expected_patches)):
        return False
    if not can_compile(model) or is_compiled(model, path.precision):
        return False
    saved_s = _saved_s(model, path, expected_patches)
    if saved_s is None:
        return _LATER_RUNS * expected_patches >= _PAYS_COMPILING
    return _LATER_RUNS * saved_s >= expected_compile_s(model, path.precision)


def _saved_s(model: Model, path: NumericPath, patches: int) -> float | None:
    """Return what a run saves with a compiled network; None where no rate was measured."""
    rate = expected_rate(model, path)
    return None if not rate else _COMPILED_SAVES * patches / rate


def _openvino_path(model: Model, device: torch.device, precision: str) -> NumericPath:
    if device.type != "cpu":
        raise ModelError(f"OpenVINO runs on the CPU here, not on {device}. Choose the device cpu.")
    if precision == "fp16":
        raise ModelError("Half precision (fp16) needs a GPU. Choose bf16 or fp32 on the CPU.")
    require_openvino()
    if precision == "int8":
        int8_program(model)  # refuses without a proof
    else:
        converted(model)
    if precision == "auto":
        precision = "bf16" if has_bf16() else "fp32"
    return NumericPath("cpu", "openvino", precision)


def _why_not_openvino(model: Model, precision: str, expected_patches: int | None) -> str:
    if precision == "fp16":
        return "OpenVINO has no fp16 on the CPU"
    try:
        require_openvino()
        if expected_patches is not None and _is_too_short(model, expected_patches):
            return f"setting OpenVINO up pays from {_openvino_pays(model)} patches"
        converted(model)
    except ModelError as error:
        return str(error)
    return ""


def _is_too_short(model: Model, patches: int) -> bool:
    return patches < _openvino_pays(model)


def _openvino_pays(model: Model) -> int:
    return _PAYS_CONVERTED if is_converted(model) else _PAYS_UNCONVERTED


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(("auto", *names))


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
    stain : StainTransfer or None
        What is done to patches before the model sees them.
    """

    def __init__(
        self,
        model: Model,
        path: NumericPath,
        batch_size: int,
        engine: Engine,
        stain: StainTransfer | None = None,
    ) -> None:
        self.model = model
        self.stain = stain
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
    stain: StainTransfer | None = None,
) -> Predictor:
    """Set a model up on a numeric path.

    Parameters
    ----------
    model : Model
    path : NumericPath
        From `choose_numeric_path`.
    batch_size : int, optional
        Default: what was measured (`calibrate`), else what suits such a device.
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
    size = batch_size or _best_batch(model, path)
    change = None if stain is None else partial(transfer_tensor, stain=stain)
    try:
        engine = _engine(model, path, size, change)
    except RuntimeError as error:
        raise explained(error, model, path.device) from error
    return Predictor(model, path, size, engine, stain)


def _engine(model: Model, path: NumericPath, batch_size: int, change: Change | None) -> Engine:
    if path.engine == "openvino":
        program = int8_program(model) if path.precision == "int8" else converted(model)
        return openvino_engine(model, program, path.precision, batch_size, change=change)
    if path.engine == "compiled":
        package = compile_ahead(model, path.precision)
        return compiled_engine(model, package, path.precision, change=change)
    return torch_engine(model, path.device, path.precision, change=change)


def _best_batch(model: Model, path: NumericPath) -> int:
    known = known_calibration(model, path)
    if known is not None:
        return known.batch_size
    # 8-16 is as fast as more on a CPU and keeps cancelling quick.
    return 16 if path.device == "cpu" else 256


def _was_slower(model: Model, device: torch.device) -> bool:
    """Tell whether bfloat16 was measured to be slower than float32 here."""
    # By the calibration alone: rates of whole runs swing with what else the machine does.
    bf16, fp32 = (
        known_calibration(model, NumericPath(str(device), "torch", precision))
        for precision in ("bf16", "fp32")
    )
    return bf16 is not None and fp32 is not None and bf16.patches_per_s < fp32.patches_per_s


def _can_be_cast(model: Model, device: torch.device) -> bool:
    """Tell whether a program computes in bfloat16: some have float32 written into them."""
    if model.kind != "torchscript":
        return True
    px = model.spec.patch_px
    engine = torch_engine(model, str(device), "bf16")
    try:
        check_outputs(engine.start(np.full((1, px, px, 3), 200, np.uint8))(), 1, model)
    except (RuntimeError, ModelError):
        return False
    finally:
        engine.stop()
    return True


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
