"""Print what is known about the bundled model: the card, its figures and their baselines.

    python scripts/model_card.py [--patches FOLDER] [--pictures FOLDER]
    python scripts/model_card.py > docs/reference/bundled-model.md

No weight, threshold or setting of the training was chosen on the real patches. But the generator
was made by people who looked at them and measured on them, so they are no independent test. Each
figure stands beside what plain statistics and untrained networks reach, since 57 patches prove
little alone.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from napari_camelyon.models import Model, load_model, load_tissue_net
from napari_camelyon.models.networks import TissueNet
from napari_camelyon.synthetic.cells import CELL_TYPES
from napari_camelyon.training.baselines import BASELINES, auc, auc_interval, separation
from napari_camelyon.training.choosing import predict
from napari_camelyon.training.dataset import draw_patients

ROOT = Path(__file__).resolve().parents[1]
REAL_PATCHES = ROOT.parent / "shared/data/patches/camelyon16_dldp"
REAL_MPP = 0.243
UNTRAINED = 40
FIRST_UNSEEN = 2_000_000  # patients that neither trained nor chose anything

Pixels = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=Path, default=REAL_PATCHES)
    parser.add_argument("--model", type=Path, default=None, help="a folder as the training writes")
    parser.add_argument("--pictures", type=Path, default=None, help="save false positives here")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    model = load_model() if options.model is None else load_tissue_net(options.model)

    print(f"# The bundled model: {model.spec.name}\n\n{model.spec.description}\n")
    print(_facts(model))
    generated = draw_patients(range(FIRST_UNSEEN, FIRST_UNSEEN + 24), 48, workers=options.workers)
    clear = (generated.coverage == 0) | (generated.coverage >= 0.25)
    truth = generated.coverage[clear] > 0
    print("\n## On generated patches of 24 unseen patients\n")
    print(_table(model, {"as they are": generated.pixels[clear]}, truth, {"all": ...}))
    print(_baselines(generated.pixels[clear], truth, generated.nuclei[clear].astype(float)))
    if not options.patches.is_dir():
        print(f"\nNo real patches at {options.patches}: their part of the card is left out.")
        return
    pixels, is_tumour, slides = _read_real(options.patches, model)
    subsets = {"all": slice(None), "tumor_064": slides == "tumor_064"}
    print(f"\n## On {len(pixels)} real patches (CAMELYON16, {is_tumour.sum()} tumour)\n")
    print(
        "No weight, threshold or setting of the training was chosen on these patches. The "
        "generator was made by looking at them: sizes of nuclei were measured on them, and made "
        "smaller when an earlier model ranked these patches well only after magnification. So "
        "they are no independent test. "
        "AUC with the central 95 % of 2,000 bootstrap samples. *Stain-swapped*: tumour patches "
        "take on the colours of normal ones (mean and deviation of optical density in each "
        "channel) and the reverse. *Spectra exchanged*: haematoxylin drawn in eosin's colour and "
        "the reverse.\n"
    )
    variants = {
        "as they are": pixels,
        "grey": _grey(pixels),
        "stain-swapped": _stain_swapped(pixels, is_tumour),
        "spectra exchanged": _spectra_exchanged(pixels),
    }
    print(_table(model, variants, is_tumour, subsets))
    print(_baselines(pixels, is_tumour, None))
    print(_untrained(model, pixels, is_tumour))
    values = predict(model.module, pixels, model.spec)
    called = values >= model.spec.threshold
    print(
        f"\nAt the default threshold of {model.spec.threshold:.2f}: "
        f"{int((called & is_tumour).sum())} of {int(is_tumour.sum())} tumour patches are found, "
        f"{int((called & ~is_tumour).sum())} of {int((~is_tumour).sum())} normal ones are called "
        "tumour. Values shift from slide to slide; no threshold suits all."
    )
    print("\nWritten by `scripts/model_card.py`; `--pictures FOLDER` saves the worst mistakes.")
    if options.pictures is not None:
        _save_extremes(options.pictures, pixels, values, is_tumour)


def _facts(model: Model) -> str:
    spec = model.spec
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    size_mb = model.path.stat().st_size / 1e6
    stride = f"every {spec.stride_um:.1f} µm; any input size works"
    lines = [
        f"- {weights:,} weights, {size_mb:.2f} MB, SHA-256 {model.sha256[:16]}…",
        f"- sees {spec.patch_px} px at {spec.patch_mpp} µm/px ({spec.field_um:.0f} µm)",
        f"- meant to be run {stride}",
        "- a value is the estimated share of the patch that is tumour",
        f"- its threshold of {spec.threshold:.2f} was chosen on generated tissue",
        f"- trained on generated tissue with {len(CELL_TYPES)} kinds of cells",
        "- no real picture trained it or chose its threshold",
    ]
    record = model.path.with_name("training.json")
    if record.exists():
        figures = json.loads(record.read_text(encoding="utf-8"))
        lines += [f"- {name}: {value}" for name, value in figures.items()]
    return "\n".join(lines)


def _read_real(folder: Path, model: Model) -> tuple[Pixels, np.ndarray, np.ndarray]:
    factor = round(model.spec.patch_mpp / REAL_MPP)
    pixels, is_tumour, slides = [], [], []
    for name in ("normal", "tumor"):
        for path in sorted((folder / name).glob("*.png")):
            full = np.asarray(Image.open(path).convert("RGB"), float)
            side = full.shape[0] // factor
            blocks = full.reshape(side, factor, side, factor, 3).mean(axis=(1, 3))
            pixels.append(np.round(blocks).astype(np.uint8))
            is_tumour.append(name == "tumor")
            slides.append("_".join(path.stem.split("_")[:2]))
    return np.stack(pixels), np.array(is_tumour), np.array(slides)


def _table(
    model: Model, variants: dict[str, Pixels], is_tumour: np.ndarray, subsets: dict[str, object]
) -> str:
    lines = [
        "| patches | " + " | ".join(subsets) + " |",
        "|---" * (len(subsets) + 1) + "|",
    ]
    for name, pixels in variants.items():
        values = predict(model.module, pixels, model.spec)
        cells = []
        for subset in subsets.values():
            scores, truth = values[subset], is_tumour[subset]
            low, high = auc_interval(scores, truth)
            cells.append(f"{auc(scores, truth):.3f} ({low:.3f}–{high:.3f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _baselines(pixels: Pixels, is_tumour: np.ndarray, nuclei: np.ndarray | None) -> str:
    found = {name: separation(score(pixels), is_tumour) for name, score in BASELINES.items()}
    if nuclei is not None:
        found["nuclear density"] = separation(nuclei, is_tumour)
    lines = ["\n| plain statistic | AUC, in its better direction |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in found.items()]
    return "\n".join(lines)


def _untrained(model: Model, pixels: Pixels, is_tumour: np.ndarray) -> str:
    found = []
    for seed in range(UNTRAINED):
        torch.manual_seed(seed)
        network = TissueNet(normalise=True).eval()
        found.append(separation(predict(network, pixels, model.spec), is_tumour))
    return (
        f"\nUntrained networks of this kind ({UNTRAINED} seeds, each in its better direction): "
        f"median AUC {np.median(found):.3f}, 95 % below {np.percentile(found, 95):.3f}."
    )


def _grey(pixels: Pixels) -> Pixels:
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    return np.repeat(np.round(luma)[..., None], 3, axis=-1).astype(np.uint8)


def _density(pixels: Pixels) -> np.ndarray:
    return -np.log((pixels.astype(float) + 1) / 256)


def _picture(density: np.ndarray) -> Pixels:
    return np.clip(np.round(np.exp(-density) * 256 - 1), 0, 255).astype(np.uint8)


def _stain_swapped(pixels: Pixels, is_tumour: np.ndarray) -> Pixels:
    density = _density(pixels)
    swapped = np.empty_like(density)
    for mine in (is_tumour, ~is_tumour):
        own, other = density[mine], density[~mine]
        scaled = (own - own.mean(axis=(0, 1, 2))) / own.std(axis=(0, 1, 2))
        swapped[mine] = scaled * other.std(axis=(0, 1, 2)) + other.mean(axis=(0, 1, 2))
    return _picture(swapped)


def _spectra_exchanged(pixels: Pixels) -> Pixels:
    # Haematoxylin, eosin and a residual (Ruifrok & Johnston, 2001).
    spectra = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)
    amounts = _density(pixels) @ np.linalg.inv(spectra)
    return _picture(amounts @ spectra[[1, 0, 2]])


def _save_extremes(folder: Path, pixels: Pixels, values: np.ndarray, is_tumour: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    choices: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]] = {
        "normal-highest": (~is_tumour, lambda scores: np.argsort(-scores)),
        "tumour-lowest": (is_tumour, np.argsort),
    }
    for name, (mine, order) in choices.items():
        chosen = np.flatnonzero(mine)[order(values[mine])[:8]]
        strip = np.concatenate(list(pixels[chosen]), axis=1)
        Image.fromarray(strip).save(folder / f"{name}.png")
        print(f"\n{name}.png: values " + ", ".join(f"{value:.2f}" for value in values[chosen]))


if __name__ == "__main__":
    main()
