"""OpenVINO against the plain network; int8 only with a proof."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.int8 import compare_values, proof_folder, prove_int8
from napari_camelyon.inference.numeric import NumericPath, choose_numeric_path, prepare
from napari_camelyon.models import Model, load_model
from napari_camelyon.models.wrappers import LogProbabilities
from napari_camelyon.specs import ModelSpec
from napari_camelyon.training import draw_patients

pytest.importorskip("openvino", reason="the engine of the extra fast-cpu is not installed")

PATCH_PX = 32


class Small(nn.Module):
    """Convolutions with batch normalisation and a linear head, as ResNets are made of."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 2)

    def forward(self, pictures):
        return self.head(self.features(pictures).mean((2, 3)))


@pytest.fixture(scope="module")
def patches():
    """Half light, half dark, all with noise: easy to tell apart, as a trained model does."""
    rng = np.random.default_rng(2)
    light = rng.integers(60, 100, (160, 1, 1, 3)) + 100 * rng.integers(0, 2, (160, 1, 1, 1))
    noise = rng.integers(-40, 40, (160, PATCH_PX, PATCH_PX, 3))
    return np.clip(light + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def labels(patches):
    return patches.mean((1, 2, 3)) < 140


@pytest.fixture(scope="module")
def trained(patches, labels):
    torch.manual_seed(0)
    network = Small()
    spec = ModelSpec("small", PATCH_PX, 0.5)
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    inputs = ((torch.from_numpy(patches) / 255 - mean) / std).permute(0, 3, 1, 2)
    truth = torch.from_numpy(labels).long()
    optimiser = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(12):
        loss = nn.functional.cross_entropy(network(inputs), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@pytest.fixture
def model(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    return Model(ModelSpec("small", PATCH_PX, 0.5), trained, tmp_path / "small.pt", "ab" * 32)


def reference(model, patches):
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    inputs = ((patches / 255 - mean) / std).astype(np.float32)
    with torch.inference_mode():
        return model.module(torch.from_numpy(inputs).permute(0, 3, 1, 2)).softmax(1).numpy()


def predicted(model, path, patches, **options):
    predictor = prepare(model, path, **options)
    try:
        waiting = [predictor.submit(patches[k : k + 16]) for k in range(0, len(patches), 16)]
        return np.concatenate([pending.result().probabilities for pending in waiting])
    finally:
        predictor.close()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 2e-2)])
@pytest.mark.parametrize("scripted", [False, True])
def test_values_agree_with_the_plain_network(model, patches, precision, tolerance, scripted):
    expected = reference(model, patches)
    if scripted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.jit.script(model.module)
        model = Model(model.spec, program, model.path, "cd" * 32, kind="torchscript")
    path = choose_numeric_path(model, device="cpu", engine="openvino", precision=precision)
    assert path == NumericPath("cpu", "openvino", precision)
    found = predicted(model, path, patches)
    assert np.ptp(expected[:, 1]) > 0.5, "a test on constant values would show nothing"
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_patch_has_the_same_bits_whatever_lies_beside_it(model, patches):
    predictor = prepare(model, choose_numeric_path(model, engine="openvino"), batch_size=8)
    alone = predictor.submit(patches[:1]).result().probabilities
    together = predictor.submit(patches[:8]).result().probabilities
    many = predictor.submit(patches[:21]).result().probabilities
    predictor.close()
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(many[:8], together)


def test_stain_is_changed_before_normalisation(model, patches):
    from napari_camelyon.stain import REFERENCE_STAIN, StainFit, make_transfer, transfer

    other = StainFit((0.60, 0.75, 0.28), (0.10, 0.95, 0.30), REFERENCE_STAIN.strengths)
    stain = make_transfer(other)
    changed = transfer(patches, stain)
    assert np.abs(changed.astype(int) - patches).max() > 10
    expected = reference(model, changed)
    for engine in ("torch", "openvino"):
        found = predicted(model, NumericPath("cpu", engine, "fp32"), patches, stain=stain)
        # `transfer` rounds to whole grey levels, the device does not.
        np.testing.assert_allclose(found, expected, atol=2e-2)


def test_auto_takes_it_where_it_pays(model):
    assert choose_numeric_path(model, device="cpu").engine == "openvino"
    short = choose_numeric_path(model, device="cpu", expected_patches=20)
    assert short.engine == "torch"
    assert "pays" in short.because


def test_auto_says_why_it_stays_with_torch(model):
    class Two(nn.Module):
        def forward(self, pictures):
            return pictures.mean((2, 3))[:, :2], pictures

    two = Model(model.spec, Two(), model.path, "ef" * 32)
    path = choose_numeric_path(two, device="cpu")
    assert path.engine == "torch"
    assert "OpenVINO" in path.because
    with pytest.raises(ModelError, match="2 outputs"):
        choose_numeric_path(two, device="cpu", engine="openvino")


def test_auto_stays_with_torch_where_openvino_lacks_an_operation(model):
    class Odd(nn.Module):
        def forward(self, pictures):
            return torch.logit(pictures.mean((2, 3))[:, :2], eps=1e-6)

    path = choose_numeric_path(Model(model.spec, Odd(), model.path, "12" * 32), device="cpu")
    assert path.engine == "torch"
    assert "logit" in path.because or "OpenVINO cannot run" in path.because


def test_int8_is_refused_without_a_proof_and_taken_with_one(model, patches, labels, monkeypatch):
    pytest.importorskip("nncf", reason="quantising needs the extra fast-cpu")
    from napari_camelyon.inference import int8

    # How exact int8 is on so small a network is the CPU's affair; here it matters what follows.
    monkeypatch.setattr(int8, "LIMITS", {name: 4 * most for name, most in int8.LIMITS.items()})
    with pytest.raises(ModelError, match="no proof for"):
        choose_numeric_path(model, precision="int8")
    comparison = prove_int8(model, patches, labels)
    assert comparison.patches == len(patches) - len(patches) // 3
    assert comparison.labelled
    assert comparison.auc_fp32 > 0.95
    path = choose_numeric_path(model, precision="int8")
    assert path.describe() == "openvino int8 on cpu"
    found = predicted(model, path, patches)
    expected = reference(model, patches)
    assert np.abs(found - expected).mean() < 0.02
    assert not np.array_equal(found, expected)

    # Other weights, another specification, a changed file: the proof holds no more.
    other = Model(model.spec, model.module, model.path, "00" * 32)
    with pytest.raises(ModelError, match="other weights"):
        choose_numeric_path(other, precision="int8")
    other = Model(
        ModelSpec("s", PATCH_PX, 0.5, mean=(0, 0, 0)), model.module, model.path, "ab" * 32
    )
    with pytest.raises(ModelError, match="another specification"):
        choose_numeric_path(other, precision="int8")
    (proof_folder(model) / "model.bin").write_bytes(b"other")
    with pytest.raises(ModelError, match="other weights"):
        choose_numeric_path(model, precision="int8")
    (proof_folder(model) / "proof.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        choose_numeric_path(model, precision="int8")


def test_nothing_is_kept_of_a_network_that_changes(model, patches, labels, monkeypatch):
    pytest.importorskip("nncf", reason="quantising needs the extra fast-cpu")
    from napari_camelyon.inference import int8

    monkeypatch.setattr(int8, "LIMITS", {"mean_difference": 1e-9})
    with pytest.raises(ModelError, match="does not say the same in int8: mean difference"):
        prove_int8(model, patches, labels)
    assert not proof_folder(model).exists()


def test_comparison_measures_what_it_says():
    fp32 = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    int8 = np.array([0.1, 0.6, 0.7, 0.9], np.float32)
    found = compare_values(fp32, int8, np.array([False, True, False, True]), 0.5)
    assert found.auc_fp32 == 0.75  # of the four pairs, the one of 0.2 and 0.8 is wrong
    assert found.auc_int8 == 0.75
    assert found.crossing_share == 0.25
    assert found.max_difference == pytest.approx(0.4)
    assert found.mean_difference == pytest.approx(0.125)
    assert len(found.problems()) == 3
    assert json.dumps(found.problems())
    with pytest.raises(ModelError, match="patches of both"):
        compare_values(fp32, int8, np.ones(4, bool), 0.5)


def test_what_a_cpu_cannot_do_is_refused(model):
    for asked in (
        {"engine": "openvino", "precision": "fp16"},
        {"engine": "torch", "precision": "int8"},
    ):
        with pytest.raises(ModelError):
            choose_numeric_path(model, device="cpu", **asked)


class Share(nn.Module):
    """One probability a patch, which has to be turned back into a logit."""

    def forward(self, pictures):
        return torch.sigmoid(3 * pictures.mean((1, 2, 3))[:, None])


@pytest.mark.parametrize("which", ["bundled", "probabilities"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 3e-2)])
def test_a_single_share_agrees(which, precision, tolerance, tmp_path, monkeypatch):
    """The bundled model pools probabilities: all of 0, all of 1 and what lies between are right."""
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    if which == "bundled":
        model = load_model()
    else:
        spec = ModelSpec("share", PATCH_PX, 0.5, activation="sigmoid")
        model = Model(spec, LogProbabilities(Share(), single=True), tmp_path / "s.pt", "ef" * 32)
    px = model.spec.patch_px
    rng = np.random.default_rng(6)
    light = rng.integers(0, 256, (24, 1, 1, 3))
    light[:2] = [[[[0, 0, 0]]], [[[255, 255, 255]]]]
    noise = rng.integers(-50, 50, (24, px, px, 3))
    patches = np.clip(light + noise, 0, 255).astype(np.uint8)
    if which == "bundled":
        drawn = draw_patients([3_000_000, 3_000_001], 8, workers=1).pixels
        patches = np.concatenate([patches, drawn])
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    inputs = torch.from_numpy(((patches / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        if which == "bundled":
            expected = model.module.dense(inputs).double().sigmoid().mean((1, 2, 3)).numpy()
        else:
            expected = model.module.program(inputs)[:, 0].numpy()
    path = choose_numeric_path(model, device="cpu", engine="openvino", precision=precision)
    found = predicted(model, path, patches)
    assert np.ptp(expected) > 0.3, "a test on constant values would show nothing"
    np.testing.assert_allclose(found[:, 1], expected, atol=tolerance)
    plain = predicted(model, NumericPath("cpu", "torch", "fp32"), patches)
    np.testing.assert_allclose(plain[:, 1], expected, atol=1e-5)
