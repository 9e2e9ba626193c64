"""Running a network with OpenVINO on the CPU: several batches at once, each on cores of its own."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import FileWriteError, ModelError
from napari_camelyon.files import atomic_folder, cache_folder
from napari_camelyon.inference.torch_engine import Engine
from napari_camelyon.models import Model
from napari_camelyon.models.wrappers import FixedBatch, LogProbabilities

if TYPE_CHECKING:
    import openvino

__all__ = [
    "converted",
    "has_bf16",
    "is_converted",
    "is_installed",
    "network_key",
    "openvino_engine",
    "require_openvino",
]

_MOST_STREAMS = 8
"""Batches at once on a large machine; more only lengthen the wait when a run is cancelled."""


def is_installed() -> bool:
    """Tell whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def require_openvino(*, quantising: bool = False) -> None:
    """Raise ModelError where OpenVINO, or NNCF to quantise with, is not installed."""
    if not is_installed() or (quantising and find_spec("nncf") is None):
        raise ModelError(
            "The engine 'openvino' is not installed. Install it with: "
            "pip install 'napari-camelyon[fast-cpu]'."
        )


def has_bf16() -> bool:
    """Tell whether OpenVINO computes in bfloat16 on this CPU."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def network_key(model: Model) -> str:
    """Identify a network by its file, its layers and its weights: 32 hexadecimal digits."""
    digest = hashlib.sha256(f"{model.sha256} {model.spec.patch_px} {model.module}".encode())
    for name, tensor in model.module.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(name.encode())
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(values.numpy().data)
    return digest.hexdigest()[:32]


def is_converted(model: Model) -> bool:
    """Tell whether `converted` would find its result in the cache."""
    return (_converted_folder(model) / "model.xml").exists()


def converted(model: Model) -> Path:
    """Return the file of the network in OpenVINO's format, in float32; kept for the next run.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Path
        Of ``model.xml``, with its weights beside it in ``model.bin``.

    Raises
    ------
    ModelError
        OpenVINO is missing or cannot convert this network.
    FileWriteError
        The cache cannot be written.
    """
    require_openvino()
    folder = _converted_folder(model)
    if not (folder / "model.xml").exists():
        import openvino

        program = _convert(model)
        with atomic_folder(folder) as fresh:
            try:
                openvino.save_model(program, fresh / "model.xml", compress_to_fp16=False)
            except RuntimeError as error:  # what it makes of a full disk, among others
                raise FileWriteError(
                    f"OpenVINO could not write its form of {model.path.name} into the cache folder "
                    f"{folder.parent}. The disk is full, or writing is not permitted there: free "
                    "some space, or choose the engine torch."
                ) from error
    return folder / "model.xml"


def openvino_engine(
    model: Model,
    program: Path,
    precision: str,
    batch_size: int,
    *,
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Engine:
    """Return the engine that runs a model with OpenVINO.

    Parameters
    ----------
    model : Model
    program : Path
        From `converted`, or a quantised one.
    precision : {"fp32", "bf16", "int8"}
        With ``int8``, layers that were not quantised compute in bf16 where the CPU does.
    batch_size : int
        Smaller batches are filled up to it, so that there is one compiled form, and the values of
        a patch do not change with the number of patches beside it.
    change : callable, optional
        What is done to pixels, float32 (n, 3, px, px) from 0 to 255, before normalisation.

    Returns
    -------
    Engine

    Raises
    ------
    ModelError
        OpenVINO cannot compile the program for batches of this size.
    """
    import openvino

    threads = torch.get_num_threads()
    streams = min(threads, _MOST_STREAMS)
    in_bf16 = precision == "bf16" or (precision == "int8" and has_bf16())
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "CACHE_DIR": str(cache_folder() / "openvino" / "compiled"),
    }
    with explained_by_openvino(model):
        core = openvino.Core()
        wired = _with_normalisation(core.read_model(program), model, batch_size, change is None)
        compiled = core.compile_model(wired, "CPU", hints)
        requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            requests.put(compiled.create_infer_request())
    workers = ThreadPoolExecutor(streams, thread_name_prefix="predict")

    def run(patches: NDArray[np.uint8]) -> object:
        if len(patches) > batch_size:
            parts = [
                run(patches[start : start + batch_size])
                for start in range(0, len(patches), batch_size)
            ]
            return np.concatenate(parts)  # type: ignore[arg-type]
        pixels = _filled(_changed(patches, change), batch_size)
        request = requests.get()
        try:
            request.infer([pixels], share_inputs=True)
            return request.get_output_tensor(0).data[: len(patches)].astype(np.float32)
        finally:
            requests.put(request)

    def start(patches: NDArray[np.uint8]) -> Callable[[], object]:
        return workers.submit(run, patches).result

    # One more than is computed at once waits its turn, so that a core whose batch is done goes on
    # while the values are taken care of. What waits is not lost when a run is killed.
    return Engine(start, lambda: workers.shutdown(cancel_futures=True), depth=streams + 1)


def _changed(
    patches: NDArray[np.uint8], change: Callable[[torch.Tensor], torch.Tensor] | None
) -> NDArray[Any]:
    if change is None:
        return patches
    with torch.inference_mode():
        changed = change(torch.from_numpy(patches).permute(0, 3, 1, 2).float())
        return np.asarray(changed.permute(0, 2, 3, 1).contiguous().numpy())


def _filled(pixels: NDArray[Any], batch_size: int) -> NDArray[Any]:
    missing = batch_size - len(pixels)
    if missing == 0:
        return pixels
    return np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])


def _with_normalisation(
    program: "openvino.Model", model: Model, batch_size: int, from_bytes: bool
) -> "openvino.Model":
    """Return the program with pixels (n, px, px, 3) as its input, normalised as specified."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    px = model.spec.patch_px
    program.reshape([batch_size, 3, px, px])
    processor = PrePostProcessor(program)
    pixels = processor.input()
    pixels.tensor().set_element_type(openvino.Type.u8 if from_bytes else openvino.Type.f32)
    pixels.tensor().set_layout(openvino.Layout("NHWC"))
    pixels.model().set_layout(openvino.Layout("NCHW"))
    steps = pixels.preprocess().convert_element_type(openvino.Type.f32)
    steps.mean([255 * value for value in model.spec.mean])
    steps.scale([255 * value for value in model.spec.std])
    return processor.build()


def _converted_folder(model: Model) -> Path:
    import openvino

    version = openvino.__version__.split("-", 1)[0]
    return cache_folder() / "openvino" / f"{network_key(model)}-{version}"


def _convert(model: Model) -> "openvino.Model":
    import openvino

    _refuse_wrapped(model)
    px = model.spec.patch_px
    with explained_by_openvino(model), warnings.catch_warnings():
        # It traces with torch.jit, which torch wants to be rid of.
        warnings.simplefilter("ignore")
        if model.kind == "onnx":
            program = openvino.convert_model(model.path)
        else:
            pictures = torch.zeros(2, 3, px, px)
            program = openvino.convert_model(model.module, example_input=pictures)
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise ModelError(
            f"The model {model.path} has {len(program.inputs)} inputs and {len(program.outputs)} "
            "outputs; OpenVINO is used for one of each. Choose the engine torch."
        )
    return program


def _refuse_wrapped(model: Model) -> None:
    """Refuse a program that needs something around it which OpenVINO would not see."""
    layers = tuple(map(type, model.module.modules()))
    if model.kind == "onnx" and LogProbabilities in layers:
        # The file is converted as it is, without what turns its outputs into logits.
        raise ModelError(
            f"The outputs of {model.path} are probabilities, which OpenVINO would take for logits. "
            "Choose the engine torch."
        )
    if model.kind == "exported" and FixedBatch in layers:
        raise ModelError(
            f"{model.path} was exported for one number of patches, which OpenVINO does not take. "
            "Export it for any number, or choose the engine torch."
        )


@contextmanager
def explained_by_openvino(model: Model) -> Iterator[None]:
    """Say in a sentence that OpenVINO cannot take a model."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # its own derive from nothing narrower
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"OpenVINO cannot run the model {model.path} ({reason}). Choose the engine torch."
        ) from error
