"""Fit the bundled network to patches with tumour masks."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_camelyon.models.networks import TissueNet, fold_normalisation
from napari_camelyon.specs import ModelSpec
from napari_camelyon.training.augment import change_colours, change_texture, crop, turn

__all__ = ["FitSettings", "fit_tissue_net", "normalised"]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit.

    Attributes
    ----------
    seed : int
        Of the first weights, the order of patches and their changes.
    epochs : int
        Passes over the patches. Few: longer training raises the score on generated patches and
        lowers it on real ones.
    batch : int
        Patches a step.
    rate : float
        Highest learning rate of the one-cycle schedule.
    warm_up : float
        Share of the steps in which the rate rises.
    decay : float
        Weight decay.
    crop_blocks : int
        Side, in blocks of the mask, of the random part of each patch that a step sees. The loss
        is that of each block, so a part teaches as well as the whole, and costs less.
    averaging : float
        Decay a step of the running average of the weights that is returned.
    """

    seed: int = 0
    epochs: int = 6
    batch: int = 32
    rate: float = 3e-3
    warm_up: float = 0.15
    decay: float = 1e-2
    crop_blocks: int = 12
    averaging: float = 0.99


def normalised(pictures: Tensor, spec: ModelSpec) -> Tensor:
    """Return pictures (n, 3, h, w) in 0–1 as the model expects them."""
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    return (pictures - mean) / std


def fit_tissue_net(
    pixels: Tensor,
    masks: Tensor,
    spec: ModelSpec,
    settings: FitSettings,
    progress: Callable[[int, int, float], None] | None = None,
) -> TissueNet:
    """Fit a `TissueNet`.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, height, width, 3)
    masks : Tensor of float32, shape (n, height / 8, width / 8)
        Share of each 8 × 8 block that is tumour.
    spec : ModelSpec
        Gives the normalisation.
    settings : FitSettings
    progress : callable, optional
        Called after each step with ``(steps done, steps in all, loss)``.

    Returns
    -------
    TissueNet
        In evaluation mode, the average of the weights along the way, normalisation folded in.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = TissueNet(normalise=True).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * (len(pixels) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=steps, pct_start=settings.warm_up
    )
    blocks = min(settings.crop_blocks, masks.shape[-1])
    done = 0
    for _ in range(settings.epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for batch in torch.split(
            order[: steps // settings.epochs * settings.batch], settings.batch
        ):
            pictures = pixels[batch].permute(0, 3, 1, 2).float() / 255
            pictures, truth = crop(pictures, masks[batch][:, None], blocks, generator)
            pictures, truth = turn(pictures, truth, generator)
            pictures = change_texture(change_colours(pictures, generator), generator)
            pictures = normalised(pictures, spec)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            loss = tumour_loss(network.dense(pictures), truth)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            done += 1
            _follow(average, network, settings.averaging)
            if progress is not None:
                progress(done, steps, float(loss.detach()))
    return fold_normalisation(average)


def tumour_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the loss of dense logits (n, 1, h, w) against the share of tumour in each block.

    Cross-entropy in every block, plus the same for the whole patch's share: what `forward` gives.
    """
    blocks = functional.binary_cross_entropy_with_logits(logits, truth)
    share = logits.sigmoid().mean(dim=(1, 2, 3)).clamp(1e-5, 1 - 1e-5)
    patch = functional.binary_cross_entropy(share, truth.mean(dim=(1, 2, 3)))
    return blocks + patch


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for slow_weight, weight in zip(average.parameters(), network.parameters(), strict=True):
        slow_weight.lerp_(weight, 1 - decay)
    # Running statistics are averages already.
    for slow_statistic, statistic in zip(average.buffers(), network.buffers(), strict=True):
        slow_statistic.copy_(statistic)
