"""Loading networks as they lie on the disk, and bringing them to one form.

Nothing here executes code from a file unless that was allowed: state dicts are read as tensors
only, and programs are looked into before they are opened (`napari_camelyon.models.inspecting`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_camelyon.errors import ModelError
from napari_camelyon.models.layouts import find_layout
from napari_camelyon.models.networks import MARGIN_PX, STRIDE_PX, TissueNet
from napari_camelyon.models.networks_by_name import build_network, recognise_network
from napari_camelyon.models.programs import ModelKind, open_program, program_kind
from napari_camelyon.models.registry import find_model
from napari_camelyon.models.state_dicts import first_line, load_into, read_weights
from napari_camelyon.models.tumour_class import tumour_index
from napari_camelyon.models.weight_files import weights_sha256
from napari_camelyon.models.wrappers import LogProbabilities
from napari_camelyon.specs import ModelSpec

__all__ = ["Model", "ModelKind", "load_model", "load_tissue_net", "open_model"]

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

_REFERENCE_NETWORKS = {"resnet18", "resnet34", "resnet50"}

_PROGRAM_ERRORS = (
    RuntimeError, ValueError, TypeError, AssertionError, AttributeError, IndexError, KeyError,
    NotImplementedError,
)  # fmt: skip
"""What programs of others raise on input that they do not take."""


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
    path_or_name: Path | str | None = None,
    *,
    spec: ModelSpec | None = None,
    tumour_class: str | None = None,
    allow_pickle: bool = False,
) -> Model:
    """Load a model from where it lies or by its name. The network is never asked.

    Parameters
    ----------
    path_or_name : path-like, optional
        None: the bundled demonstration model. A file with a state dict (``.safetensors``, ``.pt``,
        ``.pth``), a TorchScript program (``.pt``), a program of ``torch.export`` (``.pt2``) or an
        ONNX model; beside it a specification of the same name ending ``.json`` may lie. A folder
        as WSInfer, timm or the hub lay them out. Or a name that `list_models` shows, or
        ``hf-hub:owner/name`` of a model that was fetched before.
    spec : ModelSpec, optional
        Takes the place of the specification that is found.
    tumour_class : str, optional
        Name of the class that is tumour, where the names do not tell.
    allow_pickle : bool
        Also load pickled Python objects and unusual exported programs. **They can run any code**:
        only for files of people that you trust.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        There is no such model, or it is damaged, changed since it was added, of an unknown kind,
        could run code, or does not fit its specification.
    TumourClassError
        Which class is tumour has to be said.
    """
    found = None if path_or_name is None else find_model(path_or_name)
    if found is None:
        return _bundled(spec, tumour_class)
    return open_model(
        found.path,
        spec=spec or found.spec,
        tumour_class=tumour_class,
        allow_pickle=allow_pickle or found.code_allowed,
        expected_sha256=found.sha256,
    )


def open_model(
    path: Path,
    *,
    spec: ModelSpec | None = None,
    tumour_class: str | None = None,
    patch_mpp: float | None = None,
    allow_pickle: bool = False,
    expected_sha256: str | None = None,
) -> Model:
    """Open the model that lies at a path; as `load_model`, without the registry.

    Parameters
    ----------
    path : Path
    spec, tumour_class, allow_pickle
        As in `load_model`.
    patch_mpp : float, optional
        µm per pixel of the input, where nothing says so.
    expected_sha256 : str, optional
        Of the weights; anything else is refused.
    """
    layout = find_layout(path, spec=spec, tumour_class=tumour_class, patch_mpp=patch_mpp)
    weights, found = layout.weights, layout.spec
    sha256 = weights_sha256(weights)
    if expected_sha256 not in {None, sha256}:
        raise ModelError(
            f"The weights {weights} are not those that were added (SHA-256 {sha256[:16]}… instead "
            f"of {(expected_sha256 or '')[:16]}…). Remove the model and add it again: "
            "napari-camelyon models --help"
        )
    kind = program_kind(weights)
    if kind == "torch":
        module, outputs, found = _open_weights(
            weights, found, layout.arguments, patch_mpp, allow_pickle
        )
    else:
        found = _require_spec(found, weights)
        module = open_program(weights, kind, allow_pickle=allow_pickle)
        outputs = None
    _refuse_non_finite(module, weights)
    if outputs is None:
        outputs = _try_out(module, found, weights)
    found = _fit_spec(found, outputs, tumour_class, weights)
    module, found = _to_logits(module, found, outputs)
    if isinstance(module, TissueNet):
        return Model(found, module.eval(), weights, sha256, STRIDE_PX, MARGIN_PX)
    return Model(found, module.eval(), weights, sha256, kind=kind)


def load_tissue_net(folder: Path) -> Model:
    """Load a `TissueNet` from a folder as ``scripts/train_bundled_model.py`` writes it.

    Raises `ModelError` where weights or specification are missing or damaged.
    """
    return open_model(folder)


def _bundled(spec: ModelSpec | None, tumour_class: str | None) -> Model:
    with as_file(files("napari_camelyon.models") / "bundled") as folder:
        return open_model(folder, spec=spec, tumour_class=tumour_class)


def _open_weights(
    path: Path,
    spec: ModelSpec | None,
    arguments: Mapping[str, Any],
    patch_mpp: float | None,
    allow_pickle: bool,
) -> tuple[nn.Module, int | None, ModelSpec]:
    """Return the network, its number of outputs (None: to be tried) and its specification."""
    state = read_weights(path, allow_pickle=allow_pickle)
    if isinstance(state, nn.Module):
        return state.eval(), None, _require_spec(spec, path)
    said = spec.architecture if spec is not None else ""
    architecture = said or recognise_network(state)
    if architecture is None:
        raise ModelError(
            f"The tensors in {path} are not those of a torchvision ResNet or another network that "
            f"shows in them (first names: {', '.join(list(state)[:3])}). Name the network of "
            f"torchvision or timm as architecture in a specification beside it: "
            f"{path.with_suffix('.json').name}."
        )
    if spec is None:
        if architecture not in _REFERENCE_NETWORKS:
            _require_spec(spec, path)
        spec = replace(REFERENCE_SPEC, name=path.stem)
        if patch_mpp is not None:
            spec = replace(spec, patch_mpp=patch_mpp)
    module, outputs = build_network(architecture, state, arguments, str(path))
    load_into(module, state, path)
    return module.eval(), outputs, spec


def _require_spec(spec: ModelSpec | None, path: Path) -> ModelSpec:
    if spec is None:
        raise ModelError(
            f"Nothing says what {path} expects: put a specification beside it, "
            f"{path.with_suffix('.json').name}, with at least name, patch_px and patch_mpp."
        )
    return spec


def _refuse_non_finite(module: nn.Module, path: Path) -> None:
    for name, values in module.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise ModelError(
                f"The weights {path} hold values that are no numbers (in {name}). The training "
                "diverged or the file is damaged; use another checkpoint."
            )


def _try_out(module: nn.Module, spec: ModelSpec, path: Path) -> int:
    """Predict two pictures of noise; return the number of outputs."""
    noise = torch.rand(
        (2, 3, spec.patch_px, spec.patch_px), generator=torch.Generator().manual_seed(0)
    )
    pixels = (noise - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    try:
        with torch.inference_mode():
            outputs = module(pixels)
    except ModelError:
        raise
    except _PROGRAM_ERRORS as error:
        raise ModelError(
            f"The model {path} cannot predict patches of {spec.patch_px} px ({first_line(error)}). "
            "Check patch_px in its specification, and that it takes any number of patches."
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim not in {1, 2} or len(outputs) != 2:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            f"The model {path} returns {shape} for two patches; expected one row of outputs each."
        )
    if not bool(torch.isfinite(outputs).all()):
        raise ModelError(f"The model {path} returns values that are no numbers for plain noise.")
    if spec.activation == "softmax" and _are_shares(outputs):
        raise ModelError(
            f"The outputs of {path} are probabilities already: a softmax of them would be wrong. "
            'Say so in its specification: "activation": "none".'
        )
    return 1 if outputs.ndim == 1 else int(outputs.shape[1])


def _are_shares(outputs: Tensor) -> bool:
    if outputs.ndim == 1 or outputs.shape[1] < 2:
        return False
    sums = outputs.float().sum(dim=1)
    return bool((outputs >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())


def _fit_spec(spec: ModelSpec, outputs: int, tumour_class: str | None, path: Path) -> ModelSpec:
    """Make activation and tumour class agree with the number of outputs."""
    if outputs == 1 and spec.activation == "softmax":
        spec = replace(spec, activation="sigmoid")
    expected = 2 if outputs == 1 else outputs
    if len(spec.class_names) != expected:
        raise ModelError(
            f"The model {path} has {outputs} outputs, but its specification names "
            f"{len(spec.class_names)} classes ({', '.join(spec.class_names)}). Put a specification "
            f"with {expected} class names beside it: {path.with_suffix('.json').name}."
        )
    if tumour_class is not None:
        index = tumour_index(spec.class_names, tumour_class, str(path))
        spec = replace(spec, tumour_class=index)
    return spec


def _to_logits(module: nn.Module, spec: ModelSpec, outputs: int) -> tuple[nn.Module, ModelSpec]:
    if spec.activation != "none":
        return module, spec
    single = outputs == 1
    wrapped = LogProbabilities(module, single=single)
    return wrapped, replace(spec, activation="sigmoid" if single else "softmax")


def _drops(module: nn.Module) -> bool:
    # In TorchScript a layer remembers what it was. Scripted dropout shows its probability; traced
    # dropout does not, and it is off for good.
    name = getattr(module, "original_name", type(module).__name__)
    return "Dropout" in name and getattr(module, "p", 0) > 0
