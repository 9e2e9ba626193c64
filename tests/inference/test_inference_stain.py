"""Stain transfer of tensors equals that of arrays, in any layout."""

import numpy as np
import pytest
import torch

from napari_camelyon.inference import transfer_tensor
from napari_camelyon.stain import (
    ColourFit,
    StainFit,
    make_transfer,
    target_stain,
    transfer,
)

MACENKO = StainFit((0.60, 0.75, 0.25), (0.25, 0.91, 0.32), (2.2, 1.1))
REINHARD = ColourFit((8.3, -0.36, 0.03), (0.45, 0.15, 0.016))
STAINS = {
    "macenko": make_transfer(MACENKO),
    "macenko to a model's": make_transfer(
        MACENKO, target_stain(((0.7, 0.7, 0.3), (0.1, 0.9, 0.4)))
    ),
    "reinhard": make_transfer(REINHARD),
}


def pixels() -> np.ndarray:
    """Every colour in steps of 5, black and white included, as two patches."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    red, green, blue = np.meshgrid(steps, steps, steps, indexing="ij")
    return np.stack([red, green, blue], axis=-1).reshape(2, 52, -1, 3)


@pytest.mark.parametrize("layout", ["channels last", "channels first", "every second row"])
@pytest.mark.parametrize("name", STAINS)
def test_a_tensor_is_transferred_like_an_array(name, layout):
    patches = pixels()
    tensor = torch.from_numpy(patches).permute(0, 3, 1, 2).float()
    if layout == "channels first":
        tensor = tensor.contiguous()
    if layout == "every second row":
        patches, tensor = patches[:, ::2], tensor[:, :, ::2]
    before = tensor.clone()
    result = transfer_tensor(tensor, STAINS[name])
    assert result.shape == tensor.shape
    assert result.dtype == torch.float32
    assert torch.equal(tensor, before)  # the patch that was given is left alone
    difference = result.permute(0, 2, 3, 1).numpy() - transfer(patches, STAINS[name])
    assert np.abs(difference).max() <= 0.51


def test_channels_stay_last():
    tensor = torch.from_numpy(pixels()).permute(0, 3, 1, 2).float()
    for stain in STAINS.values():
        result = transfer_tensor(tensor, stain)
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_around_it_changes_nothing():
    tensor = torch.from_numpy(pixels()).permute(0, 3, 1, 2).float()
    for stain in STAINS.values():
        exact = transfer_tensor(tensor, stain)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(transfer_tensor(tensor, stain), exact)


def test_one_colour_of_every_kind_of_damage_is_a_number():
    colours = torch.tensor([[0.0, 0, 0], [255, 255, 255], [255, 0, 255]])[:, :, None, None]
    for stain in STAINS.values():
        result = transfer_tensor(colours, stain)
        assert torch.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 255
