"""ResNets over whole pictures instead of patch by patch, and the choice between the two."""

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from napari_camelyon.errors import ModelError
from napari_camelyon.models.folding import folded
from napari_camelyon.models.loading import Model

__all__ = ["DenseResNet", "Method", "with_method"]

Method = Literal["auto", "patches", "dense"]

_STRIDE_PX = 32
_ALLOWED = {
    "BasicBlock", "BatchNorm2d", "BatchNormAct2d", "Bottleneck", "Conv2d", "Dropout", "Identity",
    "MaxPool2d", "ReLU", "Sequential",
}  # fmt: skip
"""Layers whose outputs depend on a neighbourhood alone; squeeze-and-excitation, for one, sees all
of a picture."""


class DenseResNet(nn.Module):
    """A ResNet with a method ``dense``: logits of the classes every 32 pixels.

    The classifier is linear and follows a mean over space, so the mean of the dense logits inside
    a patch is the patch's logits, but for one thing: along the rim of a patch on its own the
    convolutions see zeros, where here they see the tissue around it.

    Parameters
    ----------
    network : torch.nn.Module
        A ResNet of torchvision or timm, in evaluation mode.
    patch_px : int
        Side of its patches.

    Attributes
    ----------
    margin_px : int
        How far an output sees beyond the first pixel it stands for, rounded up to whole outputs:
        224 for ResNet-18, 480 for ResNet-34.
    pools_logits : bool
        What is averaged inside a patch: its logits, not its probabilities.
    """

    pools_logits = True

    def __init__(self, network: nn.Module, patch_px: int) -> None:
        super().__init__()
        self.network = network
        body = nn.Sequential(*_stages(network))
        reach_px, stride_px = _reach(body)
        if stride_px != _STRIDE_PX:
            raise ValueError(f"an output every {stride_px} px instead of every {_STRIDE_PX}")
        self.margin_px = -(-reach_px // _STRIDE_PX) * _STRIDE_PX
        self.body = folded(copy.deepcopy(body), patch_px)
        self.head = _as_convolution(network.get_submodule("fc"))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return what the network itself does, shape (n, classes)."""
        outputs: Tensor = self.network(pictures)
        return outputs

    def dense(self, pictures: Tensor) -> Tensor:
        """Return logits, shape (n, classes, height / 32, width / 32)."""
        logits: Tensor = self.head(self.body(pictures))
        return logits


def with_method(model: Model, method: Method) -> Model:
    """Return a model that a run predicts in the way a person chose.

    Parameters
    ----------
    model : Model
    method : {"auto", "patches", "dense"}
        ``auto``: as the model was made for; the bundled kind of network is run densely where the
        grid allows, every other one patch by patch, for its dense values differ a little.

    Returns
    -------
    Model
        With `dense_stride_px` set or not, and a network that has ``dense`` or not, accordingly.

    Raises
    ------
    ModelError
        The network has no dense form: the message says why.
    """
    if method == "patches":
        return replace(model, dense_stride_px=None, dense_margin_px=0)
    if method == "auto" or model.dense_stride_px is not None:
        return model
    advice = "Choose the method patches."
    if model.kind != "torch":
        raise ModelError(
            f"The model {model.path} is a program ({model.kind}), whose layers cannot be taken "
            f"apart; dense prediction needs a ResNet's state dict. {advice}"
        )
    if model.spec.patch_px % _STRIDE_PX:
        raise ModelError(
            f"Patches of {model.spec.patch_px} px are no whole number of the outputs that a ResNet "
            f"gives every {_STRIDE_PX} px. {advice}"
        )
    try:
        dense = DenseResNet(copy.deepcopy(model.module), model.spec.patch_px).eval()
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelError(
            f"The network of {model.path} has no dense form ({error}): it is known for ResNets of "
            f"torchvision and timm without attention. {advice}"
        ) from error
    _check(dense, model)
    return replace(model, module=dense, dense_stride_px=_STRIDE_PX, dense_margin_px=dense.margin_px)


def _stages(network: nn.Module) -> list[nn.Module]:
    activation = "act1" if hasattr(network, "act1") else "relu"
    names = ("conv1", "bn1", activation, "maxpool", "layer1", "layer2", "layer3", "layer4")
    stages = [network.get_submodule(name) for name in names]
    for part in nn.Sequential(*stages).modules():
        if type(part).__name__ not in _ALLOWED:
            raise ValueError(f"it holds a layer {type(part).__name__}")
    return stages


def _reach(body: nn.Module) -> tuple[int, int]:
    """Return how far an output sees to the left of its first pixel, and the pixels between outputs.

    Along the longest way; shortcuts see less.
    """
    reach_px, stride_px = 0, 1
    for name, part in body.named_modules():
        if "downsample" in name or not isinstance(part, (nn.Conv2d, nn.MaxPool2d)):
            continue
        padding, stride = _number(part.padding), _number(part.stride)
        reach_px += padding * stride_px
        stride_px *= stride
    return reach_px, stride_px


def _number(value: object) -> int:
    values = set(value) if isinstance(value, tuple) else {value}
    number = values.pop()
    if values or not isinstance(number, int):
        raise ValueError("a layer that is not the same in both directions")
    return number


def _as_convolution(linear: nn.Module) -> nn.Conv2d:
    if not isinstance(linear, nn.Linear):
        raise TypeError("its classifier is not one linear layer")
    head = nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    head.weight = nn.Parameter(linear.weight.detach().clone()[:, :, None, None])
    if linear.bias is not None:
        head.bias = nn.Parameter(linear.bias.detach().clone())
    return head


def _check(dense: DenseResNet, model: Model) -> None:
    """Make sure that on a patch alone, zeros around it, the dense form is the network itself."""
    px = model.spec.patch_px
    pictures = torch.randn(1, 3, px, px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = dense(pictures), dense.dense(pictures).mean(dim=(2, 3))
    if expected.shape != found.shape or not torch.allclose(expected, found, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"The network of {model.path} does more with its features than a mean and a linear "
            "layer, so it has no dense form. Choose the method patches."
        )
