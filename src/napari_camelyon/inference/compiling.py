"""Networks compiled for this machine, once and for all runs to come.

What torch compiles is kept as a package in the cache folder, so that a run only loads it: no
compiler is needed then, and the first patch does not wait for one.
"""

import hashlib
import logging
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_camelyon.errors import ModelError, ResultError
from napari_camelyon.files import (
    atomic_file,
    cache_folder,
    locked,
    read_json_result,
    write_json,
)
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

__all__ = [
    "COMPILED_BATCH",
    "COMPILERS",
    "can_compile",
    "compile_ahead",
    "compiled_engine",
    "expected_compile_s",
    "is_compiled",
    "package_path",
]

COMPILED_BATCH = 16
"""The one size of batch that is compiled; smaller ones are filled up."""

COMPILERS = ("g++", "clang++", "cl")
"""One of them has to be there to compile; not to run what was compiled."""

_ASSUMED_COMPILE_S = 120.0
"""Of a network of which nothing was measured; it was 12 s for the bundled one."""

_CONFIGURATION = {
    "freezing": True,  # weights are laid out beforehand as the kernels want them
    "cpp.dynamic_threads": True,  # as many threads as the run has, not as the compiler had
}


def is_compiled(model: Model, precision: str) -> bool:
    """Tell whether `compile_ahead` would find its result in the cache."""
    return package_path(model, precision).exists()


def can_compile(model: Model) -> bool:
    """Tell whether the model is made of layers and there is a C++ compiler to compile them."""
    return model.kind == "torch" and any(map(shutil.which, COMPILERS))


def expected_compile_s(model: Model, precision: str) -> float:
    """Return how long compiling takes: as long as last time for such layers, else two minutes."""
    try:
        entries = read_json_result(_seconds_file(model, precision), newest_schema=1)
        return float(entries["seconds"])
    except (ResultError, KeyError, TypeError, ValueError):
        return _ASSUMED_COMPILE_S


def compile_ahead(model: Model, precision: str, *, wait: bool = True) -> Path:
    """Compile a network for this CPU, or find it in the cache. Takes a minute or two.

    Parameters
    ----------
    model : Model
        Of kind ``torch``.
    precision : {"fp32", "bf16"}
    wait : bool
        For another process that compiles it at this moment; else it is left to that one, and the
        package is not there yet.

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
    package = package_path(model, precision)
    if package.exists():
        return package
    if model.kind != "torch":
        raise ModelError(
            f"The model {model.path} is a program ({model.kind}) and cannot be compiled here. "
            "Choose the engine torch or openvino."
        )
    if not can_compile(model):
        raise ModelError(
            "Compiling a network needs a C++ compiler, and none was found. Install g++ (Linux), "
            "Xcode's tools (macOS) or Visual Studio's (Windows), or choose the engine torch."
        )
    with locked(package.with_suffix(".lock"), wait=wait) as held:
        if held and not package.exists():  # or somebody else has made it meanwhile
            began_s = _spent_s()
            _compile(model, precision, package)
            seconds = round(_spent_s() - began_s, 1)
            write_json({"schema_version": 1, "seconds": seconds}, _seconds_file(model, precision))
    return package


def _compile(model: Model, precision: str, package: Path) -> None:
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


def package_path(model: Model, precision: str) -> Path:
    """Return where the compiled network lies, or would: its name says of what and for which CPU."""
    machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {platform.system()}"
    text = f"{network_key(model)} {precision} {COMPILED_BATCH} {torch.__version__} {machine}"
    return cache_folder() / "compiled" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pt2"


def _seconds_file(model: Model, precision: str) -> Path:
    # Of the layers alone: other weights take as long.
    text = f"{model.module} {model.spec.patch_px} {precision}"
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return cache_folder() / "compiled" / f"{name}.seconds.json"


def _spent_s() -> float:
    """Return seconds of computing, the compiler's included: a busy machine does not count."""
    if platform.system() == "Windows":  # it does not tell what the compiler took
        return time.perf_counter()
    return sum(os.times()[:4])
