"""Building the network that a state dict belongs to: by its name, or by its tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from napari_camelyon.errors import ModelError
from napari_camelyon.models.networks import TissueNet
from napari_camelyon.models.triton_import import import_triton_apart

__all__ = ["build_network", "recognise_network"]

Builder = Callable[[int], nn.Module]

_ODD_OUTPUTS = 7
"""A width that no layer of these networks has, so that it shows which tensors are the head."""

_FAMILIES = {
    "layer4.0.conv1.weight": (
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
        "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
    ),
    "features.denseblock1.denselayer1.conv1.weight": (
        "densenet121", "densenet161", "densenet169", "densenet201",
    ),
    "features.0.0.weight": (
        "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0",
        "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
        "efficientnet_v2_s", "efficientnet_v2_m", "convnext_tiny", "convnext_small",
        "convnext_base", "swin_t", "swin_s", "swin_b",
    ),
    "features.0.weight": ("alexnet", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn",
                          "vgg19", "vgg19_bn"),
    "conv_proj.weight": ("vit_b_16", "vit_b_32", "vit_l_16"),
}  # fmt: skip
"""A tensor that shows a family of torchvision, and the family's networks, common ones first."""

_SAME_IN_TIMM = frozenset(
    {
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
        "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    }
)  # fmt: skip
"""Networks that timm and torchvision compute alike from the same tensors (a test compares)."""


def recognise_network(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the network that tensors are most like; None: of no known family.

    Parameters
    ----------
    state : mapping
        Names with tensors.
    """
    if "features.0.conv.weight" in state and "head.weight" in state:
        return "TissueNet"
    names = next((found for marker, found in _FAMILIES.items() if marker in state), ())
    best, most = None, 0.0
    for name in names:
        expected = _shapes(_torchvision(name))
        common = sum(
            key in state and (state[key].shape == shape or _ODD_OUTPUTS in shape)
            for key, shape in expected.items()
        )
        if common == len(expected) == len(state):
            return name
        # Of two that are equally alike the smaller one was first.
        if common / len(expected) > most:
            best, most = name, common / len(expected)
    return best


def build_network(
    architecture: str, state: Mapping[str, Tensor], arguments: Mapping[str, Any], where: str
) -> tuple[nn.Module, int]:
    """Build an untrained network with as many outputs as its tensors have.

    Parameters
    ----------
    architecture : str
        A name of torchvision or timm, or ``TissueNet``; ``timm:`` before it means timm.
    state : mapping
        The tensors that it is for.
    arguments : mapping
        What else timm builds it with.
    where : str
        For messages: where the tensors come from.

    Returns
    -------
    network : torch.nn.Module
    outputs : int

    Raises
    ------
    ModelError
        There is no such network, timm is needed and not installed, or the tensors have no head.
    """
    if architecture == "TissueNet":
        return TissueNet(), 1
    build = _builder(architecture, state, arguments, where)
    shapes = _shapes(build)
    heads = [key for key, shape in shapes.items() if len(shape) > 1 and shape[0] == _ODD_OUTPUTS]
    if len(heads) != 1:
        raise ModelError(f"The network {architecture} of {where} has no single classifier.")
    head = state.get(heads[0])
    if head is None or head.ndim < 2:
        raise ModelError(
            f"The {architecture} in {where} has no linear classifier named "
            f"{heads[0].removesuffix('.weight')}; a backbone alone cannot tell tumour from normal."
        )
    outputs = int(head.shape[0])
    return build(outputs), outputs


def _builder(
    architecture: str, state: Mapping[str, Tensor], arguments: Mapping[str, Any], where: str
) -> Builder:
    import_triton_apart()
    from torchvision.models import list_models

    name = architecture.removeprefix("timm:").removeprefix("torchvision:").partition(".")[0]
    in_torchvision = name in list_models(module=None)
    if architecture.startswith("timm:"):
        if name in _SAME_IN_TIMM and not arguments:
            return _torchvision(name)
        return _timm(name, arguments, where)
    if in_torchvision:
        build = _torchvision(name)
        # Some networks have one name in both, but other tensors.
        if architecture.startswith("torchvision:") or set(_shapes(build)) & set(state):
            return build
    return _timm(name, arguments, where)


def _torchvision(name: str) -> Builder:
    import_triton_apart()
    from torchvision.models import get_model

    def build(outputs: int) -> nn.Module:
        network: nn.Module = get_model(name, weights=None, num_classes=outputs)
        return network

    return build


def _timm(name: str, arguments: Mapping[str, Any], where: str) -> Builder:
    import_triton_apart()
    try:
        import timm
    except ImportError as error:
        raise ModelError(
            f"The network {name} of {where} is one of timm. Type: pip install "
            "'napari-camelyon[timm]'"
        ) from error
    if not timm.is_model(name):
        raise ModelError(
            f"Neither torchvision nor timm {timm.__version__} knows the network {name!r} of "
            f"{where}. Check the architecture in its specification."
        )

    def build(outputs: int) -> nn.Module:
        try:
            network: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=outputs, **arguments
            )
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"timm cannot build the network {name} of {where} with {dict(arguments)} ({error})."
            ) from error
        return network

    return build


def _shapes(build: Builder) -> dict[str, torch.Size]:
    # On the meta device nothing is allocated and nothing is drawn at random.
    with torch.device("meta"):
        return {key: value.shape for key, value in build(_ODD_OUTPUTS).state_dict().items()}
