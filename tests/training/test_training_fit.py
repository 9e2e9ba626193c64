"""The network, what is done to a batch, and that fitting fits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_camelyon.models.networks import TissueNet, fold_normalisation
from napari_camelyon.specs import ModelSpec
from napari_camelyon.training.augment import change_colours, change_texture, crop, turn
from napari_camelyon.training.choosing import field_values, predict
from napari_camelyon.training.fit import FitSettings, fit_tissue_net, normalised, tumour_loss

SPEC = ModelSpec(name="test", patch_px=64, patch_mpp=0.5, activation="sigmoid")


def discs(count, seed=0):
    """Pictures with a dark disc anywhere or none, and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    pixels = rng.integers(150, 250, (count, 64, 64, 3)).astype(np.uint8)
    masks = np.zeros((count, 8, 8), np.float32)
    for n in range(0, count, 2):
        cx, cy = rng.uniform(8, 56, 2)
        disc = np.hypot(x - cx, y - cy) < 20
        pixels[n][disc] //= 3
        masks[n] = disc.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    return torch.from_numpy(pixels), torch.from_numpy(masks)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(2, 20), width=st.integers(2, 20))
def test_any_size_goes_and_the_value_is_the_mean_share(height, width):
    network = TissueNet().eval()
    pictures = torch.randn(2, 3, 8 * height, 8 * width)
    with torch.inference_mode():
        dense, value = network.dense(pictures), network(pictures)
    assert dense.shape == (2, 1, height, width)
    assert value.shape == (2, 1)
    torch.testing.assert_close(value.sigmoid()[:, 0], dense.sigmoid().mean(dim=(1, 2, 3)))


def test_folding_the_normalisation_changes_nothing():
    torch.manual_seed(0)
    trained = TissueNet(normalise=True)
    with torch.no_grad():
        for _ in range(3):  # statistics that are not the first ones
            trained(torch.randn(4, 3, 64, 64) * 2 + 1)
    trained.eval()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            fold_normalisation(trained)(pictures), trained(pictures), rtol=1e-4, atol=1e-4
        )


def test_a_network_without_normalisation_cannot_be_folded():
    with pytest.raises(TypeError, match="no normalisation"):
        fold_normalisation(TissueNet())


@pytest.mark.parametrize("seed", range(8))
def test_masks_turn_with_their_pictures(seed):
    pixels, masks = discs(6)
    pictures = pixels.permute(0, 3, 1, 2).float()
    turned, turned_masks = turn(pictures, masks[:, None], torch.Generator().manual_seed(seed))
    blocks = turned.mean(1).reshape(6, 8, 8, 8, 8).mean(dim=(2, 4))
    # Blocks are dark where, and only where, the turned mask says so.
    for n in range(0, 6, 2):
        assert blocks[n][turned_masks[n, 0] > 0.9].max() < blocks[n][turned_masks[n, 0] == 0].min()


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_cut_with_their_pictures(seed):
    masks = torch.rand(2, 1, 8, 8)
    pictures = masks.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(2, 3, 64, 64)
    part, cut = crop(pictures, masks, 5, torch.Generator().manual_seed(seed))
    assert part.shape == (2, 3, 40, 40)
    torch.testing.assert_close(part[:, :1, 4::8, 4::8], cut)


def test_colours_change_but_stay_colours():
    pixels, _ = discs(16)
    pictures = pixels.permute(0, 3, 1, 2).float() / 255
    first = change_colours(pictures, torch.Generator().manual_seed(1))
    again = change_colours(pictures, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first, again)
    assert first.shape == pictures.shape
    assert first.min() > 0
    assert first.max() <= 1
    assert (first - pictures).abs().mean() > 0.02


def test_texture_changes_but_neither_place_nor_brightness():
    pixels, _ = discs(16)
    pictures = pixels.permute(0, 3, 1, 2).float() / 255
    first = change_texture(pictures, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first, change_texture(pictures, torch.Generator().manual_seed(1)))
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first - pictures).abs().mean() > 0.005
    blocks = (first - pictures).unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(1, 4, 5))
    assert blocks.abs().mean() < 0.02


def test_the_loss_is_least_where_the_truth_is():
    truth = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    right = torch.where(truth > 0.5, 6.0, -6.0)
    assert tumour_loss(right, truth) < tumour_loss(torch.zeros_like(truth), truth)
    assert tumour_loss(torch.zeros_like(truth), truth) < tumour_loss(-right, truth)


def test_fitting_finds_the_discs_and_repeats_with_its_seed():
    pixels, masks = discs(256)
    steps = []
    settings_ = FitSettings(epochs=6, batch=32, averaging=0.8)
    network = fit_tissue_net(pixels, masks, SPEC, settings_, lambda *step: steps.append(step))
    assert [step[0] for step in steps] == list(range(1, 49))
    assert {step[1] for step in steps} == {48}
    unseen, truth = discs(64, seed=1)
    values = predict(network, unseen.numpy(), SPEC)
    assert values[::2].min() > values[1::2].max()
    assert np.abs(values - truth.numpy().mean(axis=(1, 2))).mean() < 0.1
    again = fit_tissue_net(pixels, masks, SPEC, settings_)
    for one, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_values_of_a_field_see_what_lies_around_each_patch():
    torch.manual_seed(3)
    network = TissueNet().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # without training the outputs are all but constant
    field = discs(16)[0].numpy().reshape(256, 256, 3)
    values = field_values(network, field, SPEC, 32)
    assert values.shape == (7, 7)
    assert values.std() > 1e-3
    # The patch at row 3, column 4, with the 48 px around it that its outputs see.
    seen = torch.from_numpy(field[48:208, 80:240]).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        shares = network.dense(normalised(seen, SPEC)).sigmoid()[0, 0, 6:14, 6:14]
    np.testing.assert_allclose(values[3, 4], shares.mean(), rtol=1e-5)
