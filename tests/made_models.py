"""Small models with known answers, in the layouts that people have."""

import json
import warnings
from pathlib import Path

import torch
from torch import nn


class Darkness(nn.Module):
    """Calls a patch tumour when its middle is dark: two logits from the centre's mean grey."""

    def __init__(self, centre_px: int = 8) -> None:
        super().__init__()
        self.centre_px = centre_px

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        first = (pixels.shape[2] - self.centre_px) // 2
        last = first + self.centre_px
        grey = pixels[:, :, first:last, first:last].mean((1, 2, 3))
        tumour = 20.0 * (0.5 - grey)
        return torch.stack([-tumour, tumour], dim=1)


def write_wsinfer_model(
    folder: Path,
    *,
    patch_px: int = 32,
    mpp: float = 1.0,
    centre_px: int = 8,
    class_names: tuple[str, ...] = ("normal", "tumour"),
    transforms: list[dict[str, object]] | None = None,
) -> Path:
    """Write a `Darkness` model as WSInfer lays models out; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what the zoo is made of
        torch.jit.save(torch.jit.script(Darkness(centre_px)), str(folder / "torchscript_model.pt"))
    config = {
        "spec_version": "1.0",
        "architecture": "darkness",
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "patch_size_pixels": patch_px,
        "spacing_um_px": mpp,
        "transform": transforms or [{"name": "ToTensor", "arguments": {}}],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
