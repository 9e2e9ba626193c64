"""Opening networks that come as programs: TorchScript, ``torch.export`` and ONNX."""

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import torch
from torch import nn

from napari_camelyon.errors import ModelError
from napari_camelyon.models.inspecting import check_exported, check_torchscript, is_torchscript
from napari_camelyon.models.onnx_module import OnnxModule
from napari_camelyon.models.state_dicts import first_line
from napari_camelyon.models.triton_import import import_triton_apart
from napari_camelyon.models.wrappers import Exported, FixedBatch

__all__ = ["ModelKind", "open_program", "program_kind"]

ModelKind = Literal["torch", "torchscript", "exported", "onnx"]

_EXPORT_ERRORS = (
    RuntimeError, ValueError, AssertionError, KeyError, AttributeError, TypeError, EOFError,
    BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


def program_kind(path: Path) -> ModelKind:
    """Return which kind of program a file is; ``torch``: none, but tensors."""
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".pt2":
        return "exported"
    # By its content: state dicts and TorchScript are both called .pt. The name of WSInfer's
    # stands for what it should be even where it is damaged.
    scripted = path.name == "torchscript_model.pt" or is_torchscript(path)
    return "torchscript" if scripted else "torch"


def open_program(path: Path, kind: ModelKind, *, allow_pickle: bool = False) -> nn.Module:
    """Open a program as a module in evaluation mode on the CPU.

    Parameters
    ----------
    path : Path
    kind : {"torchscript", "exported", "onnx"}
    allow_pickle : bool
        Do not look into an exported program first: what it holds may run code.

    Raises
    ------
    ModelError
        It is damaged, reads or writes files, or could run code and that was not allowed.
    """
    if kind == "torchscript":
        check_torchscript(path)
        return _torchscript(path)
    if kind == "exported":
        if not allow_pickle:
            check_exported(path)
        return _exported(path)
    program = OnnxModule(path)
    if program.only_batch is not None:
        return FixedBatch(program, program.only_batch).eval()
    return program.eval()


def _torchscript(path: Path) -> nn.Module:
    import_triton_apart()
    # It registers operators that programs of torchvision's networks may call.
    import torchvision  # noqa: F401

    try:
        with warnings.catch_warnings():
            # TorchScript is on its way out of torch, but it is what the zoo is made of.
            warnings.simplefilter("ignore", FutureWarning)
            module: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is no readable TorchScript program ({first_line(error)}). "
            "Download the model again."
        ) from error
    return module.eval()


def _exported(path: Path) -> nn.Module:
    try:
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module: nn.Module = program.module()
    except _EXPORT_ERRORS as error:
        raise ModelError(
            f"{path} is no readable program of torch.export ({first_line(error)}). It may be "
            "damaged, or of a newer torch. Export the model again."
        ) from error
    pictures = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    if len(pictures) != 1 or getattr(pictures[0], "ndim", 0) != 4:
        raise ModelError(
            f"The exported program {path} takes {len(pictures)} inputs; expected one, pictures "
            "(n, 3, height, width)."
        )
    size = pictures[0].shape[0]
    wrapped = Exported(module)
    return (FixedBatch(wrapped, size) if isinstance(size, int) else wrapped).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch logs of a file that it cannot read from the screen: the error says it."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
