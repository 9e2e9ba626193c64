"""Networks compiled for this machine, once and for all runs to come.

What torch compiles is kept as a package in the cache folder, so that a run only loads it: no
compiler is needed then, and the first patch does not wait for one.
"""

import hashlib
import logging
import platform
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_camelyon.errors import ModelError
from napari_camelyon.files import atomic_file, cache_folder
from napari_camelyon.inference.openvino_engine import network_key
from napari_camelyon.inference.torch_engine import (
    DTYPES,
    Change,
    Engine,
    normalise_rows,
    on_device,
    scale_and_offset,
)
from napari_camelyon.models import Model

__all__ = ["COMPILED_BATCH", "COMPILERS", "compile_ahead", "compiled_engine", "is_compiled"]

COMPILED_BATCH = 16
"""The one size of batch that is compiled; smaller ones are filled up."""

COMPILERS = ("g++", "clang++", "cl")
"""One of them has to be there to compile; not to run what was compiled."""

_CONFIGURATION = {
    "freezing": True,  # weights are laid out beforehand as the kernels want them
    "cpp.dynamic_threads": True,  # as many threads as the run has, not as the compiler had
}


def is_compiled(model: Model, precision: str) -> bool:
    """Tell whether `compile_ahead` would find its result in the cache."""
    return _package(model, precision).exists()


def compile_ahead(model: Model, precision: str) -> Path:
    """Compile a network for this CPU, or find it in the cache. Takes a minute or two.

    Parameters
    ----------
    model : Model
        Of kind ``torch``.
    precision : {"fp32", "bf16"}

    Returns
    -------
    Path
        Of the package.

    Raises
    ------
    ModelError
        There is no C++ compiler, or torch cannot compile this network.
    FileWriteError
        The cache cannot be written.
    """
    package = _package(model, precision)
    if package.exists():
        return package
    if model.kind != "torch":
        raise ModelError(
            f"The model {model.path} is a program ({model.kind}) and cannot be compiled here. "
            "Choose the engine torch or openvino."
        )
    if not any(map(shutil.which, COMPILERS)):
        raise ModelError(
            "Compiling a network needs a C++ compiler, and none was found. Install g++ (Linux), "
            "Xcode's tools (macOS) or Visual Studio's (Windows), or choose the engine torch."
        )
    network = on_device(model, torch.device("cpu"), precision)
    px = model.spec.patch_px
    pictures = torch.zeros(COMPILED_BATCH, 3, px, px, dtype=DTYPES[precision])
    pictures = pictures.to(memory_format=torch.channels_last)
    from torch._inductor import aoti_compile_and_package

    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), atomic_file(package) as temporary:
            warnings.simplefilter("ignore")  # of torch about itself
            program = torch.export.export(network, (pictures,))
            aoti_compile_and_package(
                program, package_path=str(temporary), inductor_configs=_CONFIGURATION
            )
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"torch cannot compile the model {model.path} ({reason}). Choose the engine torch."
        ) from error
    finally:
        log.setLevel(level)
    return package


def compiled_engine(
    model: Model, package: Path, precision: str, *, change: Change | None = None
) -> Engine:
    """Return the engine that runs a compiled network; as `torch_engine`.

    Raises
    ------
    ModelError
        The package cannot be loaded.
    """
    from torch._inductor import aoti_load_package

    try:
        network = aoti_load_package(str(package))
    except (RuntimeError, OSError) as error:
        raise ModelError(
            f"The compiled network {package} cannot be loaded ({error}). Delete it; it is then "
            "made again."
        ) from error
    scale, offset = scale_and_offset(model, torch.device("cpu"))
    worker = ThreadPoolExecutor(1, thread_name_prefix="predict")

    def predict(pixels: Tensor) -> Tensor:
        missing = COMPILED_BATCH - len(pixels)
        if missing:
            pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
        if change is not None:
            changed = change(pixels.permute(0, 3, 1, 2).float())
            pixels = changed.permute(0, 2, 3, 1)
        inputs = normalise_rows(pixels.contiguous(), scale, offset, DTYPES[precision])
        outputs: Tensor = network(inputs)
        return outputs.float()[: COMPILED_BATCH - missing]

    def run(patches: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(patches), COMPILED_BATCH)
            return torch.cat([predict(part) for part in parts])

    def start(patches: NDArray[np.uint8]) -> Callable[[], object]:
        return worker.submit(run, patches).result

    return Engine(start, lambda: worker.shutdown(cancel_futures=True), depth=2)


def _package(model: Model, precision: str) -> Path:
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {platform.system()}"
    text = f"{network_key(model)} {precision} {COMPILED_BATCH} {torch.__version__} {machine}"
    return cache_folder() / "compiled" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pt2"
