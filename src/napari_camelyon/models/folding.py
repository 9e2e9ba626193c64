"""Batch normalisation folded into the convolutions before it, and checked to change nothing."""

import copy

import torch
from torch import Tensor, fx, nn

__all__ = ["folded", "folded_program"]

_TOLERANCE = 1e-3
"""Largest difference allowed, as a share of the largest output: float32 rounding over 50 layers
stays under 1e-4."""


def folded(module: nn.Module, patch_px: int) -> nn.Module:
    """Return a copy of a network in evaluation mode, with batch normalisation folded in.

    What cannot be traced symbolically, and what would compute something else when folded, is
    returned as a plain copy: slower, never different.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, in float32; it is left as it is.
    patch_px : int
        Side of the input it is checked with.

    Returns
    -------
    torch.nn.Module
    """
    plain = copy.deepcopy(module).eval().requires_grad_(False)
    if not any(isinstance(part, nn.BatchNorm2d) for part in plain.modules()):
        return plain
    from torch.fx.experimental.optimization import fuse

    try:
        fused = fuse(plain)
        return fused if _same(plain, fused, patch_px) else plain
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError):
        return plain  # its flow depends on its input: not to be traced


def folded_program(program: torch.jit.ScriptModule, patch_px: int) -> torch.jit.ScriptModule:
    """Return a copy of a TorchScript program with batch normalisation folded in.

    Its weights stay parameters, so that it can be moved and cast afterwards; folding after a cast
    would round twice. What cannot be folded is returned as a plain copy, as by `folded`.

    Parameters
    ----------
    program : torch.jit.ScriptModule
        On the CPU, in float32 and evaluation mode; it is left as it is.
    patch_px : int
        Side of the input it is checked with.

    Returns
    -------
    torch.jit.ScriptModule
    """
    plain: torch.jit.ScriptModule = copy.deepcopy(program).eval()
    try:
        from torch.ao.quantization import fuse_conv_bn_jit

        fused: torch.jit.ScriptModule = fuse_conv_bn_jit(  # type: ignore[no-untyped-call]
            copy.deepcopy(plain)
        )
        return fused if _same(plain, fused, patch_px) else plain
    except (ImportError, RuntimeError, ValueError, TypeError, AttributeError):
        return plain  # traced or frozen in a way that leaves nothing to fold, or torch without it


def _same(plain: nn.Module, fused: nn.Module, patch_px: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, patch_px, patch_px, generator=generator)
    with torch.inference_mode():
        expected, found = plain(pictures), fused(pictures)
    if not (isinstance(expected, Tensor) and isinstance(found, Tensor)):
        return False
    largest = expected.abs().max().clamp(min=1.0)
    return bool(((expected - found).abs().max() / largest) < _TOLERANCE)
