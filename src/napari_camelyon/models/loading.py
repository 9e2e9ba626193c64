"""Loading networks: the bundled one, torchvision ResNet state dicts, WSInfer folders.

Nothing here executes code from a file: state dicts are read as tensors only
(``weights_only=True`` or safetensors), and TorchScript runs in its own interpreter.
"""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_camelyon.errors import ModelError
from napari_camelyon.files import file_sha256
from napari_camelyon.models.networks import MARGIN_PX, STRIDE_PX, TissueNet
from napari_camelyon.models.triton_import import import_triton_apart
from napari_camelyon.models.wsinfer import read_wsinfer_spec
from napari_camelyon.specs import ModelSpec, read_model_spec

__all__ = ["Model", "load_model", "load_tissue_net"]

StateDict = dict[str, Tensor]
ModelKind = Literal["torch", "torchscript", "exported", "onnx"]

REFERENCE_SPEC = ModelSpec(
    name="ResNet",
    patch_px=224,
    # Level 2 of a slide scanned at 0.243 µm/px, as in the CAMELYON17 reference pipeline.
    patch_mpp=0.972,
    description=(
        "A state dict without a specification, taken for a model of the CAMELYON17 reference "
        "pipeline: 224 px at 0.972 µm/px, ImageNet normalisation."
    ),
)

_WRAPPER_PREFIXES = ("module.", "model.", "net.", "backbone.", "_orig_mod.")
_CONTAINER_KEYS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class Model:
    """A network that is ready to predict.

    Attributes
    ----------
    spec : ModelSpec
        What it expects and what its outputs mean.
    module : torch.nn.Module
        In evaluation mode on the CPU; maps float32 (batch, 3, px, px) to (batch, outputs).
    path : Path
        Where the weights came from.
    sha256 : str
        Of the weights' file.
    dense_stride_px : int or None
        Input pixels from one output of the network's method ``dense`` to the next; None when it
        only takes patches.
    dense_margin_px : int
        Input pixels around a place that ``dense`` takes into account, rounded up to whole outputs.
    kind : {"torch", "torchscript", "exported", "onnx"}
        What the module is: layers of Python, a TorchScript program, a program of ``torch.export``,
        or one that calls ONNX Runtime (on the CPU, whatever device it is moved to).
    has_dropout : bool
        Whether it has dropout that can be switched on, as MC dropout needs.
    """

    spec: ModelSpec
    module: nn.Module
    path: Path
    sha256: str
    dense_stride_px: int | None = None
    dense_margin_px: int = 0
    kind: ModelKind = "torch"

    @property
    def has_dropout(self) -> bool:
        """Whether it has dropout with a probability above 0 that can be switched on."""
        return self.kind in {"torch", "torchscript"} and any(map(_drops, self.module.modules()))


def load_model(
    path: Path | str | None = None,
    *,
    spec: ModelSpec | None = None,
    tumour_class: str | None = None,
) -> Model:
    """Load a model.

    Parameters
    ----------
    path : path-like, optional
        None: the bundled demonstration model. A file ``.safetensors``, ``.pt`` or ``.pth`` with a
        state dict of a torchvision ResNet-18, -34 or -50; beside it a specification of the same
        name ending ``.json`` may lie. Or a folder in the layout of WSInfer
        (``torchscript_model.pt`` and ``config.json``).
    spec : ModelSpec, optional
        Takes the place of the specification that lies beside the weights.
    tumour_class : str, optional
        Name of the class that is tumour, where the names do not tell.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        The file is missing, damaged, of an unknown kind, or does not fit its network.
    """
    if path is None:
        with as_file(files("napari_camelyon.models") / "bundled") as folder:
            return load_tissue_net(folder)
    path = Path(path)
    if path.is_dir():
        return _load_wsinfer(path, spec, tumour_class)
    if not path.exists():
        raise ModelError(
            f"There is no model at {path}. Give a state dict (.safetensors, .pt, .pth) or a "
            "WSInfer folder."
        )
    state = _strip_wrapping(_read_state_dict(path))
    module, outputs = _resnet_for(state, path)
    found = spec or _spec_beside(path) or replace(REFERENCE_SPEC, name=path.stem)
    found = _fit_spec(found, outputs, tumour_class, path)
    _load_into(module, state, path)
    return Model(found, module.eval(), path, file_sha256(path))


def load_tissue_net(folder: Path) -> Model:
    """Load a `TissueNet` from a folder as ``scripts/train_bundled_model.py`` writes it.

    Raises `ModelError` where weights or specification are missing or damaged.
    """
    weights = folder / "model.safetensors"
    module = TissueNet()
    _load_into(module, _read_state_dict(weights), weights)
    return Model(
        read_model_spec(folder / "spec.json"),
        module.eval(),
        weights,
        file_sha256(weights),
        dense_stride_px=STRIDE_PX,
        dense_margin_px=MARGIN_PX,
    )


def _load_wsinfer(folder: Path, spec: ModelSpec | None, tumour_class: str | None) -> Model:
    weights = folder / "torchscript_model.pt"
    config = folder / "config.json"
    if not weights.exists() or not config.exists():
        raise ModelError(
            f"The folder {folder} is no WSInfer model: it should hold torchscript_model.pt and "
            "config.json."
        )
    found = spec or read_wsinfer_spec(config, tumour_class)
    try:
        with warnings.catch_warnings():
            # TorchScript is on its way out of torch, but it is what the zoo is made of.
            warnings.simplefilter("ignore", FutureWarning)
            module = torch.jit.load(weights, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{weights} is no readable TorchScript program ({_first_line(error)}). "
            "Download the model again."
        ) from error
    return Model(found, module.eval(), weights, file_sha256(weights), kind="torchscript")


def _drops(module: nn.Module) -> bool:
    # In TorchScript a layer remembers what it was. Scripted dropout shows its probability; traced
    # dropout does not, and it is off for good.
    name = getattr(module, "original_name", type(module).__name__)
    return "Dropout" in name and getattr(module, "p", 0) > 0


def _read_state_dict(path: Path) -> StateDict:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error) or "global" not in str(error).lower():
            raise _unreadable(path, error) from error
        raise ModelError(
            f"{path} holds Python objects besides tensors, which could run code and are not "
            "loaded. Save the state dict alone: torch.save(model.state_dict(), path)."
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    for key in _CONTAINER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(
            f"{path} is no state dict (names with tensors). Save it with "
            "torch.save(model.state_dict(), path)."
        )
    return dict(content)


def _strip_wrapping(state: StateDict) -> StateDict:
    for prefix in _WRAPPER_PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _resnet_for(state: StateDict, path: Path) -> tuple[nn.Module, int]:
    """Return the network that the tensors belong to, and its number of outputs."""
    if "conv1.weight" not in state or "layer4.0.conv1.weight" not in state:
        raise ModelError(
            f"The tensors in {path} are not those of a torchvision ResNet (first names: "
            f"{', '.join(list(state)[:3])}). Supported: ResNet-18, -34, -50 state dicts and "
            "WSInfer folders."
        )
    head = state.get("fc.weight")
    if head is None or head.ndim != 2:
        raise ModelError(
            f"The ResNet in {path} has no linear classifier named fc; a backbone alone cannot "
            "tell tumour from normal."
        )
    import_triton_apart()
    from torchvision.models import resnet18, resnet34, resnet50

    if "layer1.0.conv3.weight" in state:
        build = resnet50
    elif "layer1.2.conv1.weight" in state:
        build = resnet34
    else:
        build = resnet18
    outputs = int(head.shape[0])
    return build(weights=None, num_classes=outputs), outputs


def _load_into(module: nn.Module, state: StateDict, path: Path) -> None:
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


def _spec_beside(path: Path) -> ModelSpec | None:
    beside = path.with_suffix(".json")
    return read_model_spec(beside) if beside.exists() else None


def _fit_spec(spec: ModelSpec, outputs: int, tumour_class: str | None, path: Path) -> ModelSpec:
    """Make activation and tumour class agree with the number of outputs."""
    if outputs == 1:
        spec = replace(spec, activation="sigmoid")
    expected = 2 if outputs == 1 else outputs
    if len(spec.class_names) != expected:
        raise ModelError(
            f"The model {path} has {outputs} outputs, but its specification names "
            f"{len(spec.class_names)} classes ({', '.join(spec.class_names)}). Put a specification "
            f"with {expected} class names beside it: {path.with_suffix('.json').name}."
        )
    if tumour_class is not None:
        if tumour_class not in spec.class_names:
            raise ModelError(
                f"The model {path} has no class {tumour_class!r}; it has "
                f"{', '.join(spec.class_names)}."
            )
        spec = replace(spec, tumour_class=spec.class_names.index(tumour_class))
    return spec


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"The model file {path} cannot be read ({_first_line(error)}). It may be damaged or no "
        "state dict."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
