"""Predict one slide with TIAToolbox's PatchPredictor and print how long that took, as JSON.

Run by benchmarks/inference.py in an environment of TIAToolbox's own:

    uv venv tiatoolbox
    uv pip install --python tiatoolbox "tiatoolbox==2.1.3"
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tiatoolbox.models.architecture.vanilla import CNNModel
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.engine.patch_predictor import PatchPredictor
from torchvision.transforms.functional import normalize, to_tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("model", type=Path, help="folder: resnet18.pt, config.json")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="its own default")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)

    config = json.loads((chosen.model / "config.json").read_text(encoding="utf-8"))
    model = with_weights(chosen.model / "resnet18.pt", len(config["class_names"]))
    (arguments,) = [
        step["arguments"] for step in config["transform"] if step["name"] == "Normalize"
    ]

    def prepare(patch: np.ndarray) -> torch.Tensor:
        return normalize(to_tensor(patch), arguments["mean"], arguments["std"]).permute(1, 2, 0)

    model.preproc_func = prepare
    patch_px, mpp = config["patch_size_pixels"], config["spacing_um_px"]
    shutil.rmtree(chosen.out, ignore_errors=True)

    started = time.perf_counter()
    predictor = PatchPredictor(model=model, batch_size=32, num_workers=chosen.workers)
    predictor.run(
        images=[chosen.slide],
        patch_mode=False,
        ioconfig=IOPatchPredictorConfig(
            input_resolutions=[{"units": "mpp", "resolution": mpp}],
            patch_input_shape=[patch_px, patch_px],
            stride_shape=[patch_px, patch_px],
        ),
        return_probabilities=True,
        auto_get_mask=True,
        save_dir=chosen.out,
        output_type="zarr",
    )
    seconds = time.perf_counter() - started

    import zarr

    (store,) = chosen.out.rglob("*.zarr")
    group = zarr.open(store, mode="r")
    print(sorted(group.array_keys()), file=sys.stderr)
    corners = np.asarray(group["coordinates"])[:, :2]
    values = np.asarray(group["probabilities"])[:, -1]
    print(
        json.dumps(
            {
                "patches": len(values),
                "seconds": seconds,
                "values": np.column_stack([corners, values]).astype(float).tolist(),
            }
        )
    )


def with_weights(path: Path, classes: int) -> CNNModel:
    """Return TIAToolbox's own ResNet-18 with the weights of torchvision's."""
    model = CNNModel("resnet18", num_classes=classes)
    state = torch.load(path, map_location="cpu", weights_only=True)
    names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    renamed = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        place = "classifier" if first == "fc" else f"feat_extract.{names.index(first)}"
        renamed[f"{place}.{rest}"] = value
    model.load_state_dict(renamed)
    return model.eval()


if __name__ == "__main__":
    main()
