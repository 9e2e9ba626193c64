"""Every kind of model predicts what its network says, on every numeric path that takes it."""

import numpy as np
import pytest
import torch

from made_models import brightness, write_exported, write_onnx, write_torchscript
from napari_camelyon.errors import ModelError
from napari_camelyon.inference import choose_numeric_path, prepare
from napari_camelyon.models import load_model
from napari_camelyon.specs import ModelSpec, write_model_spec

MEAN, STD = 0.5, 0.2
KINDS = ("onnx", "onnx_fixed", "onnx_shares", "exported", "exported_fixed", "exported_shares",
         "torchscript")  # fmt: skip
NOT_FOR_OPENVINO = {"onnx_shares": "probabilities", "exported_fixed": "one number of patches"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    network = brightness()
    shares = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()
    made = {
        "onnx": write_onnx(network, folder / "a.onnx"),
        "onnx_fixed": write_onnx(network, folder / "b.onnx", batch=2),
        "onnx_shares": write_onnx(shares, folder / "c.onnx"),
        "exported": write_exported(network, folder / "d.pt2"),
        "exported_fixed": write_exported(network, folder / "e.pt2", batch=2),
        "exported_shares": write_exported(shares, folder / "f.pt2"),
        "torchscript": write_torchscript(network, folder / "g.pt"),
    }
    for kind, path in made.items():
        activation = "none" if kind.endswith("shares") else "softmax"
        spec = ModelSpec(kind, 32, 1.0, activation=activation, mean=(MEAN,) * 3, std=(STD,) * 3)
        write_model_spec(spec, path.with_suffix(".json"))
    return made


@pytest.fixture(scope="module")
def patches():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(patches):
    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return brightness()((pixels - MEAN) / STD).softmax(1).numpy()


def predicted(model, path, patches):
    predictor = prepare(model, path, batch_size=4)
    try:
        parts = [predictor.submit(part).result() for part in (patches[:4], patches[4:])]
    finally:
        predictor.close()
    return np.concatenate([part.probabilities for part in parts])


@pytest.mark.parametrize("kind", KINDS)
def test_with_torch(files, patches, expected, kind):
    model = load_model(files[kind])
    path = choose_numeric_path(model, device="cpu", engine="torch", precision="fp32")
    assert predicted(model, path, patches) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_with_openvino_or_a_reason(files, patches, expected, kind):
    model = load_model(files[kind])
    if kind in NOT_FOR_OPENVINO:
        with pytest.raises(ModelError, match=NOT_FOR_OPENVINO[kind]):
            choose_numeric_path(model, device="cpu", engine="openvino")
        path = choose_numeric_path(model, device="cpu")
        assert path.engine != "openvino"
    else:
        path = choose_numeric_path(model, device="cpu", engine="openvino", precision="fp32")
    assert predicted(model, path, patches) == pytest.approx(expected, abs=1e-5)
