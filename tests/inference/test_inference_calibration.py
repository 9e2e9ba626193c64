"""Measured once, kept, and used."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_camelyon.errors import ModelError
from napari_camelyon.inference import calibration
from napari_camelyon.inference.calibrated import calibration_file, expected_rate, keep_run_rate
from napari_camelyon.inference.calibration import calibrate
from napari_camelyon.inference.numeric import NumericPath, prepare
from napari_camelyon.inference.proof_patches import gather_patches
from napari_camelyon.models import Model
from napari_camelyon.specs import ModelSpec

PATH = NumericPath("cpu", "torch", "fp32")


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, pictures):
        return self.head(pictures.mean((2, 3)))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    # One measurement is as good as many here.
    monkeypatch.setattr(calibration, "_SECONDS_A_BATCH_SIZE", 0.01)
    torch.manual_seed(0)
    return Model(ModelSpec("m", 16, 0.5), Mean().eval(), tmp_path / "m.pt", "0" * 64)


def test_it_is_measured_once_and_used_afterwards(model, monkeypatch):
    assert expected_rate(model, PATH) is None
    found = calibrate(model, PATH)
    assert found.patches_per_s > 0
    assert expected_rate(model, PATH) == found.patches_per_s
    assert prepare(model, PATH).batch_size == found.batch_size
    assert prepare(model, PATH, batch_size=5).batch_size == 5

    def never(*_args):
        raise AssertionError("it is known already")

    monkeypatch.setattr(calibration, "_rate", never)
    assert calibrate(model, PATH) == found


def test_it_holds_for_one_network_and_path_alone(model):
    calibrate(model, PATH)
    assert expected_rate(model, NumericPath("cpu", "torch", "bf16")) is None
    other = Model(model.spec, Mean().eval(), model.path, model.sha256)
    assert expected_rate(other, PATH) is None


@pytest.mark.parametrize("content", ["{", "{}", '{"schema_version": 1, "batch_size": "many"}'])
def test_what_is_damaged_is_measured_again(model, content):
    calibrate(model, PATH)
    calibration_file(model, PATH).write_text(content)
    assert expected_rate(model, PATH) is None
    assert calibrate(model, PATH).patches_per_s > 0


def test_the_smallest_batch_that_is_as_fast_is_taken(model, monkeypatch):
    rates = {8: 100.0, 16: 120.0, 32: 121.0}
    monkeypatch.setattr(calibration, "_rate", lambda _model, _path, size: rates[size])
    assert calibrate(model, PATH).batch_size == 16


def test_patches_for_a_proof_come_from_arrays_folders_and_slides(model, tmp_path, make_slide):
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "p.npz", pixels=pixels, labels=np.array([0, 1, 0, 1, 1, 0]))
    for number, name in enumerate(("normal", "tumour", "tumour")):
        (tmp_path / "folder" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(tmp_path / "folder" / name / f"{number}.png")
    both = gather_patches(model, [tmp_path / "p.npz", tmp_path / "folder"])
    np.testing.assert_array_equal(both.pixels, np.concatenate([pixels, pixels[:3]]))
    assert both.labels.tolist() == [False, True, False, True, True, False, False, True, True]

    tissue = np.full((200, 200, 3), (200, 120, 180), np.uint8)
    slide = make_slide(tissue, name="proof", mpp=0.5)
    mixed = gather_patches(model, [tmp_path / "p.npz", slide], most=9)
    assert mixed.pixels.shape == (15, 16, 16, 3)
    assert mixed.labels is None, "of the slide nobody knows"

    np.savez(tmp_path / "q.npz", pixels=pixels[:, :8])
    with pytest.raises(ModelError, match="takes uint8"):
        gather_patches(model, [tmp_path / "q.npz"])


def test_the_last_run_tells_more_than_the_calibration_and_blocks_are_another_matter(model):
    calibrate(model, PATH)
    keep_run_rate(model, PATH, 12.5)
    assert expected_rate(model, PATH) == 12.5
    assert expected_rate(model, PATH, dense=True) is None
    keep_run_rate(model, PATH, 99.0, dense=True)
    assert expected_rate(model, PATH, dense=True) == 99.0
    assert expected_rate(model, PATH) == 12.5
