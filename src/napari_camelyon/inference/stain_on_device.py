"""Stain transfer on the device where the model runs, with the figures of `stain.log_steps`."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d

from napari_camelyon.stain import StainTransfer, log_steps

__all__ = ["transfer_tensor"]


def transfer_tensor(pixels: Tensor, stain: StainTransfer) -> Tensor:
    """Return pixels as if they had been stained like the target; `stain.transfer` for tensors.

    Parameters
    ----------
    pixels : Tensor of float32, shape (n, 3, height, width)
        RGB, 0–255, on any device; channels-last is the fastest layout and is kept.
    stain : StainTransfer

    Returns
    -------
    Tensor of float32, shape (n, 3, height, width)
        0–255, not rounded: within half a grey level of what `stain.transfer` gives.
    """
    steps = log_steps(stain)
    # Mixtures in bfloat16 or half would be off by several grey levels.
    with torch.autocast(pixels.device.type, enabled=False):
        mixed = pixels + steps.offset
        if not np.array_equal(steps.into, np.eye(3)):
            mixed = _mix(mixed, steps.into)
        logs = mixed.clamp_(min=steps.floor).log_()
        light = _mix(logs, steps.between, steps.bias).exp_()
        if not np.array_equal(steps.out, np.eye(3)):
            light = _mix(light, steps.out)
        return light.sub_(steps.offset).clamp_(0, 255)


def _mix(
    pixels: Tensor, matrix: NDArray[np.float64], bias: NDArray[np.float64] | None = None
) -> Tensor:
    """Multiply the three channels of every pixel with a matrix."""
    weights = torch.as_tensor(matrix, dtype=torch.float32, device=pixels.device)
    added = torch.as_tensor(
        np.zeros(3) if bias is None else bias, dtype=torch.float32, device=pixels.device
    )
    if pixels.device.type == "cpu" and pixels.is_contiguous(memory_format=torch.channels_last):
        kernel = weights[:, :, None, None].contiguous(memory_format=torch.channels_last)
        return conv2d(pixels, kernel, added)
    # Not a convolution on a GPU: there it may be computed with ten bits (TF32).
    return (pixels.movedim(1, -1) @ weights.T + added).movedim(-1, 1)
