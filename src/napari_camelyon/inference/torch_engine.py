"""Running a network with torch: on the CPU, or on a GPU with copies that overlap the computing."""

import copy
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_camelyon.models import Model
from napari_camelyon.models.folding import folded, folded_program

__all__ = [
    "DTYPES",
    "Change",
    "Engine",
    "normalise_rows",
    "on_device",
    "scale_and_offset",
    "torch_engine",
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Change = Callable[[Tensor], Tensor]
"""What is done to pixels, float32 (n, 3, px, px) from 0 to 255, before they are normalised."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes batches.

    Attributes
    ----------
    start : callable
        Takes uint8 patches (n, px, px, 3), which must not change until the result is fetched;
        returns a function that waits and gives the network's outputs (n, k).
    stop : callable
        Frees what it holds.
    depth : int
        Batches in flight that keep it busy.
    """

    start: Callable[[NDArray[np.uint8]], Callable[[], object]]
    stop: Callable[[], object]
    depth: int


def torch_engine(
    model: Model, device: str, precision: str, *, change: Change | None = None
) -> Engine:
    """Return the engine that runs a model with torch.

    Parameters
    ----------
    model : Model
    device : str
        Name of an available device.
    precision : {"fp32", "bf16", "fp16"}
    change : callable, optional
        Done to the pixels on the device before normalisation.

    Returns
    -------
    Engine
        Works in one thread of its own, so that the next batch is put together meanwhile.
    """
    target = torch.device(device)
    network = on_device(model, target, precision)
    forward = _forward(network, model, target, DTYPES[precision], change)
    worker = ThreadPoolExecutor(1, thread_name_prefix="predict")
    if target.type == "cuda":
        # TF32 keeps ten bits of the mantissa: not what fp32 promises.
        start = _starting_on_cuda(forward, target, worker, tf32=precision != "fp32")
    else:
        start = _starting(forward, target, worker)
    return Engine(start, lambda: worker.shutdown(cancel_futures=True), depth=2)


def on_device(model: Model, device: torch.device, precision: str) -> nn.Module:
    """Return a copy of the model's network for a device: folded, channels-last, of a precision."""
    if model.kind == "onnx":
        return model.module  # ONNX Runtime holds it
    if isinstance(model.module, torch.jit.ScriptModule):
        return _program_on_device(model, model.module, device, precision)
    network = (
        folded(model.module, model.spec.patch_px)
        if model.kind == "torch"
        else copy.deepcopy(model.module)
    )
    return network.to(device, dtype=DTYPES[precision]).to(memory_format=torch.channels_last)


def _program_on_device(
    model: Model, program: torch.jit.ScriptModule, device: torch.device, precision: str
) -> nn.Module:
    with warnings.catch_warnings():
        # TorchScript is on its way out of torch, but it is what the zoo is made of.
        warnings.simplefilter("ignore")
        network = folded_program(program, model.spec.patch_px)
        network = network.to(device, DTYPES[precision])
        return network.to(memory_format=torch.channels_last)


def normalise_rows(
    pixels: Tensor, scale: Tensor, offset: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return ``pixels * scale + offset`` as the channels-last input of a network.

    Written over whole rows of pixels: their constants repeat every three values, and long rows
    are what vector units like. Some 15 times as fast on a CPU as broadcasting over the channels
    (0.06 ms a patch of 224 px), and exact, so that nothing is gained by folding it into the first
    layer, where the mean would be wrong beside the padding.

    Parameters
    ----------
    pixels : Tensor of uint8 or float32, shape (n, height, width, 3), contiguous
    scale, offset : Tensor of float32, shape (3,)
        On the same device.
    dtype : torch.dtype

    Returns
    -------
    Tensor of dtype, shape (n, 3, height, width)
    """
    n, height, width, channels = pixels.shape
    rows = pixels.reshape(n, height, width * channels)
    rows = rows.float().mul(scale.repeat(width)).add_(offset.repeat(width)).to(dtype)
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


def scale_and_offset(model: Model, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what a byte is multiplied with and what is then added, for each channel."""
    mean = torch.tensor(model.spec.mean, device=device)
    std = torch.tensor(model.spec.std, device=device)
    return 1 / (255 * std), -mean / std


def _forward(
    network: nn.Module,
    model: Model,
    device: torch.device,
    dtype: torch.dtype,
    change: Change | None,
) -> Callable[[Tensor], object]:
    scale, offset = scale_and_offset(model, device)

    def forward(pixels: Tensor) -> object:
        if change is not None:
            changed = change(pixels.permute(0, 3, 1, 2).float())
            pixels = changed.permute(0, 2, 3, 1).contiguous()
        outputs = network(normalise_rows(pixels, scale, offset, dtype))
        return outputs.float() if isinstance(outputs, Tensor) else outputs

    return forward


def _starting(
    forward: Callable[[Tensor], object], device: torch.device, worker: ThreadPoolExecutor
) -> Callable[[NDArray[np.uint8]], Callable[[], object]]:
    def run(patches: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            outputs = forward(torch.from_numpy(patches).to(device))
            return outputs.cpu() if isinstance(outputs, Tensor) else outputs

    def start(patches: NDArray[np.uint8]) -> Callable[[], object]:
        return worker.submit(run, patches).result

    return start


def _starting_on_cuda(
    forward: Callable[[Tensor], object],
    device: torch.device,
    worker: ThreadPoolExecutor,
    *,
    tf32: bool,
) -> Callable[[NDArray[np.uint8]], Callable[[], object]]:
    """Copy a batch over while the one before is computed: pinned memory, and a stream for copies.

    The worker only queues work on the device; the thread that fetches a result waits for it.
    """
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    computing = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    torch.cuda.synchronize(device)  # the weights were moved and cast on another stream

    def run(patches: NDArray[np.uint8]) -> Callable[[], object]:
        precise = torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32)
        with torch.inference_mode(), torch.cuda.device(device), precise:
            pinned = torch.from_numpy(patches).pin_memory()
            with torch.cuda.stream(copying):
                pixels = pinned.to(device, non_blocking=True)
            with torch.cuda.stream(computing):
                computing.wait_stream(copying)
                # Its memory may be given to the next batch only after this one was computed.
                pixels.record_stream(computing)
                outputs = forward(pixels)
                if not isinstance(outputs, Tensor):
                    return lambda: outputs
                fetched = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=True)
                fetched.copy_(outputs, non_blocking=True)
                done = torch.cuda.Event()  # type: ignore[no-untyped-call]
                done.record(computing)

        def wait() -> object:
            done.synchronize()
            return fetched

        return wait

    def start(patches: NDArray[np.uint8]) -> Callable[[], object]:
        begun = worker.submit(run, patches)

        def fetch() -> object:
            return begun.result()()

        return fetch

    return start
