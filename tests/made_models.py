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


def write_torchscript(module: nn.Module, path: Path) -> Path:
    """Write a module as a TorchScript program; returns the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what the zoo is made of
        torch.jit.save(torch.jit.script(module), str(path))
    return path


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
    write_torchscript(Darkness(centre_px), folder / "torchscript_model.pt")
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


class Brightness(nn.Module):
    """A small convolutional network with dropout, two classes unless told otherwise."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(6, outputs)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.conv(pixels).relu().mean((2, 3))
        logits: torch.Tensor = self.head(self.drop(features))
        return logits


def brightness(outputs: int = 2, *, seed: int = 5) -> Brightness:
    """Return a `Brightness` with weights that do not depend on what ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Brightness(outputs).eval()


def write_onnx(
    module: nn.Module, path: Path, *, patch_px: int = 32, batch: int | None = None
) -> Path:
    """Write a module as ONNX, for any number of patches unless told otherwise."""
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=4096)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(batch or 2, 3, patch_px, patch_px),),
            str(path),
            dynamo=True,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
        )
    return path


def write_exported(
    module: nn.Module, path: Path, *, patch_px: int = 32, batch: int | None = None
) -> Path:
    """Write a module as a program of torch.export, for any number of patches unless told."""
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=4096)},)
    pixels = torch.zeros(batch or 2, 3, patch_px, patch_px)
    torch.export.save(torch.export.export(module, (pixels,), dynamic_shapes=dynamic), str(path))
    return path


def write_timm_folder(
    folder: Path,
    architecture: str,
    state: dict[str, torch.Tensor],
    *,
    patch_px: int = 96,
    outputs: int = 2,
    safe: bool = True,
    **entries: object,
) -> Path:
    """Write weights as timm and the hub lay them out: config.json, a card, and one file."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": architecture,
        "num_classes": outputs,
        "num_features": 512,
        "pretrained_cfg": {
            "tag": "made",
            "input_size": [3, patch_px, patch_px],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "num_classes": outputs,
            "first_conv": "conv1",
            "classifier": "fc",
        },
        **entries,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "README.md").write_text("---\ntags:\n- timm\nlicense: cc0-1.0\n---\n# Made\n")
    if safe:
        save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return folder
