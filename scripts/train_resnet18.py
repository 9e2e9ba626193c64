"""Train a ResNet-18 on generated tissue alone, to measure and prove with; it is not shipped.

    python scripts/train_resnet18.py FOLDER [--patients 40] [--patches 40] [--epochs 5]

Everything is seeded: patients 0, 1, 2 … train; patients from 1,000,000 on give the figures and
the held-back patches. No real picture is read. Some ten minutes on two free cores with bfloat16.

The folder then holds ``resnet18.pt`` (a state dict) with ``resnet18.json`` (its specification),
the same network in the layout of WSInfer (``torchscript_model.pt`` and ``config.json``),
``held_back.npz`` (``pixels`` and ``labels``, for ``napari-camelyon models prove-int8``) and
``training.json`` with the figures.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18

from napari_camelyon.files import atomic_file, write_json
from napari_camelyon.specs import ModelSpec, write_model_spec
from napari_camelyon.synthetic import GENERATOR_VERSION
from napari_camelyon.synthetic.patches import Patches
from napari_camelyon.training.augment import crop, turn
from napari_camelyon.training.baselines import auc
from napari_camelyon.training.dataset import draw_patients
from napari_camelyon.training.fit import normalised

PATCH_PX, PATCH_MPP = 224, 0.5
FIRST_HELD_BACK = 1_000_000
LEAST_COVERAGE = 0.05  # a patch with less tumour, but some, is neither one nor the other
RATE, DECAY, BATCH, AVERAGING, CROP_BLOCKS = 2e-3, 1e-2, 32, 0.98, 14

SPEC = ModelSpec(
    name="resnet18-generated-tissue",
    patch_px=PATCH_PX,
    patch_mpp=PATCH_MPP,
    value_meaning="any_tumour",
    description=(
        "A ResNet-18 trained on synthetic tissue only, to measure speed and exactness with. Not "
        "for diagnosis, nor for research on real slides."
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--patches", type=int, default=40, help="a patient")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--held-back", type=int, default=12, help="patients")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.workers)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)

    pixels, masks = _draw(range(options.patients), options)
    say(f"{len(pixels)} patches of {options.patients} patients")
    network = _fitted(torch.from_numpy(pixels), torch.from_numpy(masks), options, say)
    held_back = range(FIRST_HELD_BACK, FIRST_HELD_BACK + options.held_back)
    unseen, masks = _draw(held_back, options)
    truth = masks.mean(axis=(1, 2)) > 0
    values = _predict(network, unseen)
    figures = {
        "AUC on unseen generated patients": round(auc(values, truth), 4),
        "unseen patches": len(unseen),
        "training patches": len(pixels),
        "generator version": GENERATOR_VERSION,
        "seed": options.seed,
    }
    _write(options.folder, network, unseen, truth, figures)
    say(json.dumps(figures))


def _draw(seeds: range, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    drawn: Patches = draw_patients(
        seeds, options.patches, workers=options.workers, patch_px=PATCH_PX, mpp=PATCH_MPP
    )
    clear = (drawn.coverage == 0) | (drawn.coverage >= LEAST_COVERAGE)
    return drawn.pixels[clear], drawn.tumour[clear]


def _fitted(pixels: Tensor, masks: Tensor, options: argparse.Namespace, say) -> nn.Module:
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    network = resnet18(num_classes=2).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGING),
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    steps = options.epochs * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    done = 0
    for _ in range(options.epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for batch in torch.split(order[: steps // options.epochs * BATCH], BATCH):
            pictures = pixels[batch].permute(0, 3, 1, 2).float() / 255
            # A quarter of a patch teaches as well as the whole at a quarter of the cost: the
            # network averages over space before it decides.
            pictures, truth = crop(pictures, masks[batch][:, None], CROP_BLOCKS, generator)
            pictures, truth = turn(pictures, truth, generator)
            # The patients' stains differ as they are; more would be for real slides, and longer.
            pictures = normalised(pictures, SPEC).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(pictures).float()
            loss = _loss(logits, truth.mean(dim=(1, 2, 3)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            done += 1
            if done % 20 == 0:
                say(f"step {done} of {steps}: {float(loss.detach()):.3f}")
    return average.module.eval()


def _loss(logits: Tensor, coverage: Tensor) -> Tensor:
    clear = (coverage == 0) | (coverage >= LEAST_COVERAGE)
    losses = cross_entropy(logits, (coverage > 0).long(), reduction="none", label_smoothing=0.02)
    return (losses * clear).sum() / clear.sum().clamp(min=1)


@torch.inference_mode()
def _predict(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(pixels), BATCH):
        pictures = torch.from_numpy(pixels[start : start + BATCH]).permute(0, 3, 1, 2)
        parts.append(network(normalised(pictures.float() / 255, SPEC)).softmax(1)[:, 1])
    return torch.cat(parts).numpy()


def _write(
    folder: Path, network: nn.Module, unseen: np.ndarray, truth: np.ndarray, figures: dict
) -> None:
    network = network.to(memory_format=torch.contiguous_format)
    with atomic_file(folder / "resnet18.pt") as temporary:
        torch.save(network.state_dict(), temporary)
    write_model_spec(SPEC, folder / "resnet18.json")
    with atomic_file(folder / "torchscript_model.pt") as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what the zoo is made of
        torch.jit.save(torch.jit.script(network), str(temporary))
    write_json(
        {
            "spec_version": "1.0",
            "architecture": "resnet18",
            "num_classes": 2,
            "class_names": list(SPEC.class_names),
            "patch_size_pixels": PATCH_PX,
            "spacing_um_px": PATCH_MPP,
            "transform": [
                {"name": "Resize", "arguments": {"size": PATCH_PX}},
                {"name": "ToTensor"},
                {
                    "name": "Normalize",
                    "arguments": {"mean": list(SPEC.mean), "std": list(SPEC.std)},
                },
            ],
        },
        folder / "config.json",
    )
    with atomic_file(folder / "held_back.npz") as temporary:
        np.savez_compressed(temporary, pixels=unseen, labels=truth)
    write_json(figures, folder / "training.json")


if __name__ == "__main__":
    main()
