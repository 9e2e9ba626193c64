r"""Predict one slide with WSInfer, as its command does, and print how long that took, as JSON.

Run by benchmarks/inference.py in an environment of WSInfer's own:

    uv venv wsinfer
    uv pip install --python wsinfer "wsinfer==0.6.1" "zarr<3" "numpy<2" "tifffile<2025" \
        "tiffslide<3"

Its functions are called with its command's defaults. The command itself asks an online registry
before it does anything; that question is all that is left out.
"""

import argparse
import csv
import json
import shutil
import time
from pathlib import Path

import torch
from wsinfer.modellib.models import LocalModelTorchScript
from wsinfer.modellib.run_inference import run_inference
from wsinfer.patchlib import segment_and_patch_directory_of_slides
from wsinfer_zoo.client import ModelConfiguration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("model", type=Path, help="folder: torchscript_model.pt, config.json")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)

    config = json.loads((chosen.model / "config.json").read_text(encoding="utf-8"))
    model = LocalModelTorchScript(
        config=ModelConfiguration.from_dict(config),
        model_path=str(chosen.model / "torchscript_model.pt"),
    )
    folder = chosen.out / "slides"  # it takes a folder that holds nothing but slides
    results = chosen.out / "results"
    shutil.rmtree(chosen.out, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / chosen.slide.name).symlink_to(chosen.slide.resolve())

    started = time.perf_counter()
    segment_and_patch_directory_of_slides(
        wsi_dir=folder,
        save_dir=results,
        patch_size_px=config["patch_size_pixels"],
        patch_spacing_um_px=config["spacing_um_px"],
    )
    planned = time.perf_counter()
    run_inference(
        wsi_dir=folder,
        results_dir=results,
        model_info=model,
        batch_size=32,
        num_workers=min(chosen.threads, 8),
    )
    ended = time.perf_counter()
    (table,) = (results / "model-outputs-csv").glob("*.csv")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = f"prob_{config['class_names'][-1]}"
    print(
        json.dumps(
            {
                "patches": len(rows),
                "seconds": ended - started,
                "planning_s": planned - started,
                "values": [
                    (float(row["minx"]), float(row["miny"]), float(row[column])) for row in rows
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
