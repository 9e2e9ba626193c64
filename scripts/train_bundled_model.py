"""Train the bundled demonstration model from generated tissue alone, and choose its threshold.

    python scripts/train_bundled_model.py [--out FOLDER] [--keep-weights]

Everything is seeded: patients 0, 1, 2 … train; patients from 1,000,000 on choose the threshold
and give the figures printed. No real picture is read. Takes under 20 minutes on two free cores.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from napari_camelyon.files import atomic_file
from napari_camelyon.models import load_tissue_net
from napari_camelyon.models.networks import TissueNet
from napari_camelyon.specs import ModelSpec, write_model_spec
from napari_camelyon.synthetic import GENERATOR_VERSION
from napari_camelyon.training.baselines import auc
from napari_camelyon.training.choosing import (
    choose_threshold,
    false_deposits,
    field_values,
    predict,
)
from napari_camelyon.training.dataset import draw_fields, draw_patients
from napari_camelyon.training.fit import FitSettings, fit_tissue_net

WEIGHTS, RECORD = "model.safetensors", "training.json"
BUNDLED = Path(__file__).parents[1] / "src/napari_camelyon/models/bundled"

PATCH_PX, PATCH_MPP = 128, 0.486  # 62 µm; level 1 of a slide scanned at 0.243 µm/px
STRIDE_PX = 64
FIRST_HELD_BACK = 1_000_000
LEAST_COVERAGE = 0.25  # a patch below this is neither tumour nor normal in the figures

DESCRIPTION = (
    "Trained on synthetic tissue only: it shows how the program works. An illustration, not "
    "calibrated, not for diagnosis."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--patches", type=int, default=30, help="a patient")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--fields", type=int, default=72, help="without tumour, for the threshold")
    parser.add_argument(
        "--keep-weights", action="store_true", help="fit nothing, choose the threshold anew"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.workers)
    clock = _Clock()

    spec = ModelSpec(
        name="napari-camelyon demo",
        patch_px=PATCH_PX,
        patch_mpp=PATCH_MPP,
        activation="sigmoid",
        mean=(0.68, 0.54, 0.68),
        std=(0.20, 0.22, 0.18),
        value_meaning="covered_fraction",
        stride_um=STRIDE_PX * PATCH_MPP,
        description=DESCRIPTION,
    )
    if options.keep_weights:
        network = load_tissue_net(options.out).module
        known = json.loads((options.out / RECORD).read_text(encoding="utf-8"))
        trained_on = known["training patches"]
    else:
        network, trained_on = _fitted(spec, options, clock)
    clock.say("fitted")

    held_back = range(FIRST_HELD_BACK, FIRST_HELD_BACK + 32)
    unseen = draw_patients(held_back, 32, workers=options.workers)
    figures = _figures_on(unseen.coverage, predict(network, unseen.pixels, spec))
    seeds = range(FIRST_HELD_BACK, FIRST_HELD_BACK + options.fields)
    fields = draw_fields(seeds, workers=options.workers)
    values = [field_values(network, field, spec, STRIDE_PX) for field in fields]
    choosing = 2 * len(values) // 3
    threshold = choose_threshold(values[:choosing])
    others = values[choosing:]
    deposits = [false_deposits(array, threshold) for array in others]
    figures |= {
        "fields without tumour that chose nothing": len(others),
        "their area, mm²": round(_area_mm2(others), 2),
        "fields of these with a false deposit": sum(count > 0 for count in deposits),
        "false deposits on them": sum(deposits),
        "highest value on them": round(float(max(array.max() for array in others)), 3),
        "generator version": GENERATOR_VERSION,
        "training patches": trained_on,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with atomic_file(options.out / WEIGHTS) as temporary:
        save_file(weights, temporary)
    final = ModelSpec(
        **{name: getattr(spec, name) for name in spec.__slots__} | {"threshold": threshold}
    )
    write_model_spec(final, options.out / "spec.json")
    with atomic_file(options.out / RECORD) as temporary:
        temporary.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    clock.say(f"threshold {threshold}")
    clock.say(json.dumps(figures, indent=2, ensure_ascii=False))


def _fitted(spec: ModelSpec, options: argparse.Namespace, clock: "_Clock") -> tuple[TissueNet, int]:
    patches = draw_patients(
        range(options.patients),
        options.patches,
        workers=options.workers,
        progress=lambda done: clock.say(f"{done} of {options.patients} patients", every=20),
    )
    clock.say(f"{len(patches.pixels)} patches drawn")
    network = fit_tissue_net(
        torch.from_numpy(patches.pixels),
        torch.from_numpy(patches.tumour),
        spec,
        FitSettings(seed=options.seed, epochs=options.epochs),
        lambda done, steps, loss: clock.say(f"step {done} of {steps}: {loss:.3f}", every=100),
    )
    return network, len(patches.pixels)


def _figures_on(coverage: np.ndarray, values: np.ndarray) -> dict[str, float]:
    clear = (coverage == 0) | (coverage >= LEAST_COVERAGE)
    return {
        "AUC on unseen generated patients": round(auc(values[clear], coverage[clear] > 0), 4),
        "mean error of the covered share": round(float(np.abs(values - coverage).mean()), 4),
    }


def _area_mm2(fields: list[np.ndarray]) -> float:
    return sum(values.size for values in fields) * (STRIDE_PX * PATCH_MPP / 1000) ** 2


class _Clock:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._said = 0

    def say(self, text: str, every: int = 1) -> None:
        self._said += 1
        if every == 1 or self._said % every == 0:
            print(f"{time.monotonic() - self._started:6.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
