"""Compare whole runs over one slide: WSInfer, TIAToolbox, and this program's numeric paths.

    python benchmarks/inference.py --wsinfer ENV/bin/python --tiatoolbox ENV/bin/python
    python benchmarks/inference.py --model FOLDER --rounds 5   # with weights of your own

Each peer lives in an environment of its own (benchmarks/inference_peers/*.py say how to make it);
one that is not given is left out, and said to be. All read the same file with the same ResNet-18
over the same patches: 224 px side by side over the tissue at the model's spacing. What is timed is
the whole way from the slide's file to the written result: finding tissue, reading, predicting,
writing; not the import of packages and the loading of weights. Every run is a process of its own,
and the programs take turns, so that a machine whose speed drifts slows all of them alike.

FOLDER holds resnet18.pt (a torchvision state dict) with its specification resnet18.json, and
torchscript_model.pt with config.json (WSInfer's layout). Without it one with random weights is
made.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from large_slide import write_large_slide

from napari_camelyon.files import atomic_folder, cache_folder
from napari_camelyon.specs import ModelSpec, write_model_spec

SLIDE_PX, MPP = 10_240, 0.5
PATCH_PX = 224
MEMORY_PATCHES = 2_000
HERE = Path(__file__).parent
PATHS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("compiled", "fp32"),
    ("compiled", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
OURS = {f"{engine} {precision}": (engine, precision) for engine, precision in PATHS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--wsinfer", type=Path, help="Python of WSInfer's environment")
    parser.add_argument("--tiatoolbox", type=Path, help="Python of TIAToolbox's environment")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--slide", type=Path, help="default: a generated one of dense tissue")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(OURS), choices=list(OURS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--child", nargs=2, metavar=("PATH", "OUT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    model = chosen.model or _random_model()
    slide = chosen.slide or _slide()
    if chosen.child:
        print(json.dumps(_run_ours(slide, model, *OURS[chosen.child[0]], Path(chosen.child[1]))))
        return

    peers = {"WSInfer": chosen.wsinfer, "TIAToolbox": chosen.tiatoolbox}
    commands = {
        f"{name}{label}": [
            str(python),
            str(HERE / "inference_peers" / f"with_{name.lower()}.py"),
            *(str(slide), str(model), "{out}", "--threads", str(chosen.threads), *more),
        ]
        for name, python in peers.items()
        if python is not None
        for label, more in _ways(name, chosen.threads)
    }
    absent = [name for name, python in peers.items() if python is None]
    for name in chosen.only:
        same = ["--slide", str(slide), "--model", str(model), "--threads", str(chosen.threads)]
        commands[name] = [sys.executable, __file__, *same, "--child", name, "{out}"]

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    refused = {}
    for number in range(chosen.rounds):
        for name, command in commands.items():
            if name in refused:
                continue
            result, problem = _run(command, chosen.threads)
            print(f"round {number + 1}: {name}: {_short(result, problem)}", file=sys.stderr)
            if result is None:
                refused[name] = problem
            else:
                found[name].append(result)
    _print_table(found, refused, absent, chosen, slide)


def _ways(name: str, threads: int) -> list[tuple[str, list[str]]]:
    if name == "TIAToolbox":  # its default reads between two batches; the other way is its best
        return [("", ["--workers", "0"]), (f", {threads} workers", ["--workers", str(threads)])]
    return [("", [])]


def _run(command: list[str], threads: int) -> tuple[dict[str, Any] | None, str]:
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [part.replace("{out}", out) for part in command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "WSINFER_FORCE_CPU": "1"},
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or ["ended without a word"])[-1]
    result: dict[str, Any] = json.loads(lines[-1])
    return result, result.get("refused", "")


def _run_ours(slide_path: Path, folder: Path, engine: str, precision: str, out: Path) -> object:
    # What the program imports only once it writes; in the peers it is imported before the clock.
    import pyarrow.parquet
    import zarr

    from napari_camelyon.cohort import write_slide_results
    from napari_camelyon.errors import ModelError
    from napari_camelyon.inference import choose_numeric_path, new_heatmap, prepare, run
    from napari_camelyon.models import load_model
    from napari_camelyon.slides import open_slide
    from napari_camelyon.staging import classify_node, find_lesions
    from napari_camelyon.tissue import plan_patches

    del pyarrow, zarr
    model = load_model(folder / "resnet18.pt")
    try:
        path = choose_numeric_path(model, engine=engine, precision=precision)
    except ModelError as error:
        return {"refused": str(error)}
    predictor = prepare(model, path)
    warm = np.zeros((predictor.batch_size, PATCH_PX, PATCH_PX, 3), np.uint8)
    predictor.submit(warm).result()

    started = time.perf_counter()
    with open_slide(slide_path) as slide:
        grid = plan_patches(slide, model.spec)
        heatmap = new_heatmap(slide, model, grid)
        first_s = None
        for update in run(slide, model, grid, heatmap=heatmap, predictor=predictor):
            first_s = first_s or time.perf_counter() - started
            del update
        lesions = find_lesions(heatmap)
        node = classify_node(lesions, heatmap=heatmap, planned=grid.selected)
        write_slide_results(out, heatmap, lesions, node, slide_path=slide_path)
    seconds = time.perf_counter() - started

    cells = np.argwhere(grid.selected)
    corners = grid.grid.corners(cells)
    return {
        "patches": grid.patch_count,
        "seconds": seconds,
        "first_s": first_s,
        "memory_rate": _rate_in_memory(predictor, slide_path, grid, cells),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "values": np.column_stack([corners, heatmap.values[grid.selected]]).astype(float).tolist(),
    }


def _rate_in_memory(predictor: Any, slide_path: Path, grid: Any, cells: Any) -> float:
    """Return patches a second when the patches, many different ones, lie in memory.

    One batch again and again would stay in the processor's cache, where no run finds its patches.
    """
    from napari_camelyon.inference.patches import read_block
    from napari_camelyon.slides import open_slide

    size = predictor.batch_size
    starts = range(0, min(len(cells), MEMORY_PATCHES) - size + 1, size)
    with open_slide(slide_path) as slide:
        batches = [
            read_block(slide, grid.grid, cells[start : start + size], PATCH_PX) for start in starts
        ]
    started = time.perf_counter()
    waiting = []
    for patches in batches:
        waiting.append(predictor.submit(patches))
        if len(waiting) >= predictor.depth:
            waiting.pop(0).result()
    for pending in waiting:
        pending.result()
    return len(batches) * size / (time.perf_counter() - started)


def _print_table(
    found: dict[str, list[dict[str, Any]]],
    refused: dict[str, str],
    absent: list[str],
    chosen: argparse.Namespace,
    slide: Path,
) -> None:
    rates = {
        name: statistics.median(run["patches"] / run["seconds"] for run in runs)
        for name, runs in found.items()
        if runs
    }
    best = {
        peer: max((name for name in rates if name.startswith(peer)), key=rates.__getitem__)
        for peer in ("WSInfer", "TIAToolbox")
        if any(name.startswith(peer) for name in rates)
    }
    print(f"\n{platform.machine()}, {chosen.threads} threads, {slide.name}, {PATCH_PX} px patches")
    header = ["", "patches", "patches/s", *(f"× {peer}" for peer in best)]
    header += ["in memory", "share", "largest difference"]
    rows = [header]
    for name, runs in found.items():
        if not runs:
            continue
        ratios = [
            statistics.median(
                (mine["patches"] / mine["seconds"]) / (theirs["patches"] / theirs["seconds"])
                for mine, theirs in zip(runs, found[other], strict=True)
            )
            for other in best.values()
        ]
        memory = [run["memory_rate"] for run in runs if "memory_rate" in run]
        shares = [r["patches"] / r["seconds"] / r["memory_rate"] for r in runs if memory]
        reference = found[next(iter(best.values()), name)][0]
        rows.append(
            [
                name,
                str(runs[0]["patches"]),
                f"{rates[name]:.1f}",
                *(f"{ratio:.2f}" for ratio in ratios),
                f"{statistics.median(memory):.0f}" if memory else "",
                f"{statistics.median(shares):.2f}" if memory else "",
                _difference(runs[0], reference),
            ]
        )
    widths = [max(len(row[index]) for row in rows) for index in range(len(header))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells))
    for name, problem in refused.items():
        print(f"{name}: {problem}")
    for name in absent:
        print(f"{name}: not compared; give its Python with --{name.lower()}")


def _difference(run: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the largest difference of two runs' probabilities on patches that both have."""
    theirs = {(round(x), round(y)): value for x, y, value in other["values"]}
    both = [
        abs(value - theirs[round(x), round(y)])
        for x, y, value in run["values"]
        if (round(x), round(y)) in theirs
    ]
    return f"{max(both):.4f} of {len(both)}" if both else "none in common"


def _short(result: dict[str, Any] | None, problem: str) -> str:
    if result is None or "patches" not in result:
        return problem
    return f"{result['patches'] / result['seconds']:.1f} patches/s"


def _slide() -> Path:
    path = cache_folder() / "benchmarks" / f"dense_{SLIDE_PX}.tif"
    if not path.exists():
        write_large_slide(path, SLIDE_PX, SLIDE_PX, mpp=MPP)
    return path


def _random_model() -> Path:
    import warnings

    import torch
    from torchvision.models import resnet18

    folder = cache_folder() / "benchmarks" / "resnet18_random"
    if not folder.exists():
        torch.manual_seed(0)
        network = resnet18(num_classes=2).eval()
        with atomic_folder(folder) as made:
            torch.save(network.state_dict(), made / "resnet18.pt")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is what WSInfer wants
                torch.jit.save(torch.jit.script(network), str(made / "torchscript_model.pt"))
            config = {
                "spec_version": "1.0",
                "architecture": "resnet18",
                "num_classes": 2,
                "class_names": ["normal", "tumour"],
                "patch_size_pixels": PATCH_PX,
                "spacing_um_px": MPP,
                "transform": [
                    {"name": "Resize", "arguments": {"size": PATCH_PX}},
                    {"name": "ToTensor"},
                    {
                        "name": "Normalize",
                        "arguments": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
                    },
                ],
            }
            (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
            spec = ModelSpec("ResNet-18 with random weights", PATCH_PX, MPP)
            write_model_spec(spec, made / "resnet18.json")
    return folder


if __name__ == "__main__":
    main()
