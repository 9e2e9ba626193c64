"""Choosing on generated patches and fields: predictions, and the threshold of a model."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn
from torch.nn.functional import avg_pool2d

from napari_camelyon.models.networks import STRIDE_PX, TissueNet
from napari_camelyon.specs import ModelSpec
from napari_camelyon.training.fit import normalised

__all__ = ["choose_threshold", "false_deposits", "field_values", "predict"]


@torch.inference_mode()
def predict(
    network: nn.Module, pixels: NDArray[np.uint8], spec: ModelSpec, batch: int = 32
) -> NDArray[np.float32]:
    """Return the probability of tumour of patches (n, height, width, 3)."""
    parts = []
    for start in range(0, len(pixels), batch):
        pictures = torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2)
        parts.append(network(normalised(pictures.float() / 255, spec))[:, 0].sigmoid())
    return np.asarray(torch.cat(parts).numpy(), np.float32)


@torch.inference_mode()
def field_values(
    network: TissueNet, field: NDArray[np.uint8], spec: ModelSpec, stride_px: int
) -> NDArray[np.float32]:
    """Return the values of all patches of a field (side, side, 3), predicted as on a slide."""
    picture = torch.from_numpy(field).permute(2, 0, 1)[None].float() / 255
    shares = network.dense(normalised(picture, spec)).sigmoid()
    values = avg_pool2d(shares, spec.patch_px // STRIDE_PX, stride_px // STRIDE_PX)
    return np.asarray(values[0, 0].numpy(), np.float32)


def false_deposits(values: NDArray[np.float32], threshold: float, min_patches: int = 2) -> int:
    """Count the groups of touching patches at or above a threshold in tissue without tumour.

    A group of fewer than `min_patches` is ignored, as staging ignores it.
    """
    labels, count = ndimage.label(values >= threshold, np.ones((3, 3), int))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return int((sizes >= min_patches).sum())


def choose_threshold(
    fields: list[NDArray[np.float32]], *, lowest: float = 0.3, share: float = 0.1
) -> float:
    """Choose a threshold from the values of fields without tumour.

    Parameters
    ----------
    fields : list of ndarray of float32
        Values as on a slide.
    lowest : float
        Where to begin: below, deposits run into each other.
    share : float
        In how many of the fields a false deposit is put up with. Fields are counted, not
        deposits: one deposit makes a node positive, and an odd patient has many. Half of the
        fields are as full of what is mistaken for tumour as a node can be.

    Returns
    -------
    float
        The lowest multiple of 0.05 that keeps to it; at most 0.95.
    """
    for step in range(round(lowest * 20), 19):
        threshold = step / 20
        mistaken = sum(false_deposits(values, threshold) > 0 for values in fields)
        if mistaken <= share * len(fields):
            return threshold
    return 0.95
