"""The numeric paths: each agrees with the plain network, and says what went wrong."""

import copy
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.compiling import COMPILERS
from napari_camelyon.inference.numeric import (
    NumericPath,
    OutOfMemoryError,
    choose_numeric_path,
    prepare,
)
from napari_camelyon.models import Model
from napari_camelyon.models.folding import folded
from napari_camelyon.specs import ModelSpec

PATCH_PX = 64


def a_model(tmp_path, module, **spec):
    described = ModelSpec("made", PATCH_PX, 0.5, **spec)
    return Model(described, module.eval(), tmp_path / "made.safetensors", "0" * 64)


@pytest.fixture(scope="module")
def resnet():
    """A ResNet-18 whose batch normalisation does something and whose outputs differ."""
    from torchvision.models import resnet18

    torch.manual_seed(3)
    network = resnet18(num_classes=2)
    generator = torch.Generator().manual_seed(4)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.1)
            part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
    network.fc.weight.data *= 3
    return network.eval()


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(8)
    coarse = rng.integers(30, 240, (6, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def reference(module, patches, model):
    """Return probabilities computed as the specification says it, one patch at a time."""
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    rows = []
    for patch in patches:
        inputs = ((patch / 255 - mean) / std).astype(np.float32)
        with torch.inference_mode():
            rows.append(module(torch.from_numpy(inputs).permute(2, 0, 1)[None]).softmax(1)[0])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 2e-2)])
def test_torch_agrees_with_the_plain_network(tmp_path, resnet, patches, precision, tolerance):
    model = a_model(tmp_path, resnet)
    predictor = prepare(model, NumericPath("cpu", "torch", precision))
    found = predictor.submit(patches).result().probabilities
    predictor.close()
    expected = reference(resnet, patches, model)
    assert np.ptp(expected[:, 1]) > 0.3, "a test on constant values would show nothing"
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("make", [torch.jit.script, torch.jit.trace], ids=["script", "trace"])
def test_a_torchscript_program_agrees_in_every_precision(tmp_path, resnet, patches, make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what the zoo is made of
        example = () if make is torch.jit.script else (torch.zeros(1, 3, PATCH_PX, PATCH_PX),)
        program = make(resnet, *example)
    spec = ModelSpec("made", PATCH_PX, 0.5)
    path = tmp_path / "torchscript_model.pt"
    model = Model(spec, program, path, "1" * 64, kind="torchscript")
    expected = reference(resnet, patches, model)
    for precision, tolerance in (("fp32", 1e-3), ("bf16", 2e-2)):
        chosen = choose_numeric_path(model, device="cpu", engine="torch", precision=precision)
        predictor = prepare(model, chosen)
        found = predictor.submit(patches).result().probabilities
        predictor.close()
        np.testing.assert_allclose(found, expected, atol=tolerance)
    with pytest.raises(ModelError, match="cannot be compiled"):
        choose_numeric_path(model, device="cpu", engine="compiled")


def test_one_logit_gives_two_columns(tmp_path, patches):
    class Light(nn.Module):
        def forward(self, pictures):
            return pictures.mean(dim=(1, 2, 3))

    model = a_model(tmp_path, Light(), activation="sigmoid")
    found = prepare(model, NumericPath("cpu", "torch", "fp32")).submit(patches).result()
    assert found.probabilities.shape == (len(patches), 2)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-6)
    light = patches.mean(axis=(1, 2, 3))
    assert (np.argsort(found.probabilities[:, 1]) == np.argsort(light)).all()


def test_same_batch_same_bits(tmp_path, resnet, patches):
    model = a_model(tmp_path, resnet)
    predictor = prepare(model, NumericPath("cpu", "torch", "bf16"))
    first = predictor.submit(patches).result().probabilities
    predictor.submit(patches[::-1].copy()).result()
    np.testing.assert_array_equal(predictor.submit(patches).result().probabilities, first)


def test_folding_removes_batch_normalisation_and_leaves_the_model_alone(resnet):
    before = copy.deepcopy(resnet.state_dict())
    fused = folded(resnet, PATCH_PX)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    for name, tensor in resnet.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_network_that_cannot_be_traced_is_left_unfolded():
    class Choosing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)

        def forward(self, pictures):
            features = self.norm(self.conv(pictures))
            return features.mean((2, 3)) if features.sum() > 0 else features.amax((2, 3))

    network = Choosing().eval()
    pictures = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(folded(network, 16)(pictures), network(pictures))


class _Broken(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        values = pictures.new_zeros(len(pictures), 2)
        if self.what == "nan":
            return values / 0
        if self.what == "classes":
            return pictures.new_zeros(len(pictures), 5)
        if self.what == "rows":
            return values[:1]
        if self.what == "tuple":
            return (values,)
        if self.what == "crash":
            raise IndexError("index 7 is out of bounds")
        if self.what == "gone":
            raise RuntimeError("CUDA error: device-side assert triggered")
        if self.what == "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nan", "no numbers"),
        ("classes", "returns \\(5,\\) values a patch"),
        ("rows", "1 rows for 6 patches"),
        ("tuple", "returns a tuple"),
        ("crash", "failed on a batch of patches \\(index 7"),
        ("gone", "The device cpu failed"),
    ],
)
def test_a_broken_model_is_named(tmp_path, patches, what, sentence):
    model = a_model(tmp_path, _Broken(what))
    pending = prepare(model, NumericPath("cpu", "torch", "fp32")).submit(patches)
    with pytest.raises(ModelError, match=sentence) as raised:
        pending.result()
    assert "made.safetensors" in str(raised.value)
    assert not isinstance(raised.value, OutOfMemoryError)


@pytest.mark.parametrize("what", ["memory", "cuda memory"])
def test_too_large_a_batch_is_told_apart(tmp_path, patches, what):
    model = a_model(tmp_path, _Broken(what))
    with pytest.raises(OutOfMemoryError):
        prepare(model, NumericPath("cpu", "torch", "fp32")).submit(patches).result()


@pytest.mark.parametrize(
    "asked", [{"device": "cuda:7"}, {"engine": "abacus"}, {"precision": "fp8"}]
)
def test_what_is_not_there_is_refused(tmp_path, resnet, asked):
    with pytest.raises(ModelError, match=next(iter(asked.values()))):
        choose_numeric_path(a_model(tmp_path, resnet), **asked)


def test_compiling_without_a_compiler_is_told_and_auto_does_without(tmp_path, resnet, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    model = a_model(tmp_path, resnet)
    with pytest.raises(ModelError, match="needs a C\\+\\+ compiler"):
        choose_numeric_path(model, device="cpu", engine="compiled")
    long = choose_numeric_path(model, device="cpu", precision="fp32", expected_patches=1)
    assert long.engine == "torch"


def test_a_compiled_network_agrees_and_is_kept(tmp_path, patches, monkeypatch):
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("there is no C++ compiler on this machine")
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    model = a_model(tmp_path, network)
    path = choose_numeric_path(model, device="cpu", engine="compiled", precision="fp32")
    # What was compiled is used without a compiler, also where nothing was asked for.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_numeric_path(model, device="cpu", precision="fp32", expected_patches=1) == path
    predictor = prepare(model, path)
    found = predictor.submit(patches).result().probabilities
    many = predictor.submit(np.concatenate([patches] * 4)).result().probabilities
    predictor.close()
    np.testing.assert_allclose(found, reference(network, patches, model), atol=1e-3)
    np.testing.assert_array_equal(many[:6], found)
