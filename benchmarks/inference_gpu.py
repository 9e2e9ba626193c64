"""How near a GPU comes to its limits: the network alone, patches in memory, and whole runs.

    python benchmarks/inference_gpu.py                       # a generated slide of dense tissue
    python benchmarks/inference_gpu.py --engines torch compiled --threads 16 --rounds 5

A ResNet-18 with random weights in bf16 over 224 px patches. From top to bottom of the table:

- the network alone, on patches that lie on the GPU: what the GPU can do in eager torch
  with batch normalisation folded;
- patches in memory: copied over, normalised, predicted, fetched, as a run does;
- reading alone: a whole run from JPEG tiles with a network that costs nothing;
- a whole run from JPEG tiles, and its share of the lower of the two limits above it;
- the same run reading through OpenSlide.

The ways take turns, round after round; the table holds medians, and medians of the rounds' ratios.
Without a GPU it says so and ends.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from large_slide import write_large_slide

from napari_camelyon.errors import ModelError
from napari_camelyon.files import cache_folder
from napari_camelyon.inference import (
    NumericPath,
    Pending,
    Predicted,
    choose_numeric_path,
    prepare,
    run,
)
from napari_camelyon.models import Model
from napari_camelyon.models.folding import folded
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import plan_patches

PATCH_PX, MPP = 224, 0.5
SLIDE_PX = 40_960


@dataclass(frozen=True, slots=True)
class Instant:
    """Predicts nothing, at once: a run with it is as fast as patches can be read."""

    model: Model
    path: NumericPath
    batch_size: int
    depth: int = 2

    def submit(self, patches: np.ndarray) -> Pending:
        nothing = Predicted(np.full((len(patches), 2), 0.5, dtype=np.float32))
        return Pending(lambda: nothing)

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda", help="default: cuda; cpu tries the script out")
    parser.add_argument("--engines", nargs="+", default=["torch", "compiled"])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--batch", type=int, help="default: what the program chooses")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="in memory, a round")
    parser.add_argument("--slide", type=Path, help="default: a generated one of dense tissue")
    parser.add_argument("--side-px", type=int, default=SLIDE_PX, help="of the generated slide")
    chosen = parser.parse_args()
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU here")
        return
    slide_path = chosen.slide or _slide(chosen.side_px)
    model = _model()

    speeds: dict[str, list[float]] = {}
    refused = {}
    for number in range(chosen.rounds):
        _note(speeds, "network alone", _network_alone(model, chosen))
        for engine in chosen.engines:
            if engine in refused:
                continue
            try:
                path = choose_numeric_path(
                    model, device=chosen.device, engine=engine, precision=chosen.precision
                )
                _measure(speeds, model, path, slide_path, chosen)
            except ModelError as error:
                refused[engine] = str(error)
        print(f"round {number + 1} of {chosen.rounds}", file=sys.stderr)
    _print_table(speeds, slide_path, chosen)
    for engine, reason in refused.items():
        print(f"{engine}: {reason}")


def _measure(
    speeds: dict[str, list[float]],
    model: Model,
    path: NumericPath,
    slide_path: Path,
    chosen: argparse.Namespace,
) -> None:
    predictor = prepare(model, path, batch_size=chosen.batch)
    try:
        name = path.describe()
        _note(speeds, f"{name}: patches in memory", _in_memory(predictor, chosen.seconds))
        instant = Instant(model, path, predictor.batch_size)
        for way, backend, used in (
            ("reading alone", "auto", instant),
            ("whole run", "auto", predictor),
            ("whole run through OpenSlide", "openslide", predictor),
        ):
            rate = _whole_run(slide_path, backend, used, chosen.threads)
            _note(speeds, f"{name}: {way}", rate)
    finally:
        predictor.close()


def _note(speeds: dict[str, list[float]], name: str, rate: float) -> None:
    speeds.setdefault(name, []).append(rate)


def _network_alone(model: Model, chosen: argparse.Namespace) -> float:
    """Return images a second of the plain network on patches that lie on the device."""
    device = torch.device(chosen.device)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen.precision]
    network = folded(model.module, PATCH_PX).to(device, dtype)
    network = network.to(memory_format=torch.channels_last)
    count = chosen.batch or (256 if device.type == "cuda" else 16)
    pixels = torch.rand(count, 3, PATCH_PX, PATCH_PX, device=device, dtype=dtype)
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(pixels).float().cpu()  # waits, and warms up
        batches, started = 0, time.perf_counter()
        while time.perf_counter() - started < chosen.seconds:
            for _ in range(4):
                outputs = network(pixels)
            outputs.float().cpu()
            batches += 4
    return batches * count / (time.perf_counter() - started)


def _in_memory(predictor: Any, seconds: float) -> float:
    rng = np.random.default_rng(0)
    shape = (predictor.batch_size, PATCH_PX, PATCH_PX, 3)
    patches = rng.integers(0, 256, shape, dtype=np.uint8)
    predictor.submit(patches).result()
    waiting: deque[Pending] = deque()
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        waiting.append(predictor.submit(patches))
        batches += 1
        if len(waiting) >= predictor.depth:
            waiting.popleft().result()
    for pending in waiting:
        pending.result()
    return batches * len(patches) / (time.perf_counter() - started)


def _whole_run(slide_path: Path, backend: str, predictor: Any, threads: int) -> float:
    with open_slide(slide_path, backend=backend) as slide:
        grid = plan_patches(slide, predictor.model.spec)
        started = time.perf_counter()
        for _ in run(slide, predictor.model, grid, predictor=predictor, read_threads=threads):
            pass
        return grid.patch_count / (time.perf_counter() - started)


def _print_table(speeds: dict[str, list[float]], slide: Path, chosen: argparse.Namespace) -> None:
    device = torch.device(chosen.device)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(
        f"\n{named or device}, {os.cpu_count()} processors, {chosen.threads} threads read "
        f"{slide.name}; torch {torch.__version__}; medians of {chosen.rounds} rounds\n"
    )
    rows = [("", "patches/s", "ratio")]
    for name, rates in speeds.items():
        rows.append((name, f"{statistics.median(rates):,.0f}", _ratio(name, speeds)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, rate, ratio in rows:
        print(f"{name:<{widths[0]}}  {rate:>{widths[1]}}  {ratio}".rstrip())


def _ratio(name: str, speeds: dict[str, list[float]]) -> str:
    """Say what a speed is held against: the limits of a whole run, or the whole run itself."""
    path, _, way = name.partition(": ")
    rates = speeds[name]
    if way == "patches in memory":
        share = _median_ratio(rates, speeds["network alone"])
        return f"{share:.0%} of the network alone"
    if way == "whole run":
        limits = [speeds[f"{path}: patches in memory"], speeds[f"{path}: reading alone"]]
        lower = [min(both) for both in zip(*limits, strict=True)]
        return f"{_median_ratio(rates, lower):.0%} of the lower limit"
    if way == "whole run through OpenSlide":
        ratio = _median_ratio(speeds[f"{path}: whole run"], rates)
        return f"the whole run does {ratio:.2f} times as many"
    return ""


def _median_ratio(some: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(some, others, strict=False))


def _model() -> Model:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    spec = ModelSpec("ResNet-18 with random weights", PATCH_PX, MPP)
    return Model(spec, resnet18(num_classes=2).eval(), Path("random"), "0" * 64)


def _slide(side_px: int) -> Path:
    path = cache_folder() / "benchmarks" / f"dense_{side_px}.tif"
    if not path.exists():
        write_large_slide(path, side_px, side_px, mpp=MPP)
    return path


if __name__ == "__main__":
    main()
