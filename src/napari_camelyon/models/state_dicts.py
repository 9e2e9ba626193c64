"""Reading tensors from files without running what else may lie in them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_camelyon.errors import ModelError

__all__ = ["StateDict", "first_line", "load_into", "read_weights"]

StateDict = dict[str, Tensor]

_WRAPPER_PREFIXES = ("module.", "model.", "net.", "backbone.", "_orig_mod.")
_CONTAINER_KEYS = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path, *, allow_pickle: bool = False) -> StateDict | nn.Module:
    """Read a state dict; or, where that was allowed, a whole pickled network.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or what ``torch.save`` wrote.
    allow_pickle : bool
        Also load Python objects. They can run any code while they are loaded.

    Returns
    -------
    dict of str to Tensor, or torch.nn.Module
        Common wrappings are taken off the names.

    Raises
    ------
    ModelError
        The file is damaged, holds no state dict, or holds objects and that was not allowed.
    """
    content = _read(path, allow_pickle)
    if isinstance(content, nn.Module):
        return content
    for key in _CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(
            f"{path} is no state dict (names with tensors). Save it with "
            "torch.save(model.state_dict(), path)."
        )
    state = dict(content)
    for prefix in _WRAPPER_PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_into(module: nn.Module, state: StateDict, path: Path) -> None:
    """Put tensors into their network, all of them and no others.

    Raises
    ------
    ModelError
        Names or shapes differ; it says which.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    wrong = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(set(expected) & set(state))
        if state[key].shape != expected[key].shape
    ]
    if missing or unexpected or wrong:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for what, names in (
                ("missing", missing),
                ("unknown", unexpected),
                ("of the wrong shape", wrong),
            )
            if names
        ]
        raise ModelError(
            f"The tensors in {path} do not fit a {type(module).__name__}: {'; '.join(parts)}. "
            "Use the weights of exactly this network."
        )
    module.load_state_dict(state)


def first_line(error: BaseException) -> str:
    """Return what an error says first, short enough for a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _read(path: Path, allow_pickle: bool) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error) or "global" not in str(error).lower():
            raise _unreadable(path, error) from error
        if not allow_pickle:
            raise ModelError(
                f"{path} holds Python objects besides tensors, which could run code and are not "
                "loaded. Save the state dict alone: torch.save(model.state_dict(), path). Only "
                "where you trust whoever made the file: --allow-code (allow_pickle=True) loads it "
                "all the same."
            ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ModelError(
            f"The objects in {path} cannot be loaded ({first_line(error)}). The code that they "
            "were made with has to be installed here; a state dict needs none."
        ) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"The model file {path} cannot be read ({first_line(error)}). It may be damaged or no "
        "state dict."
    )
