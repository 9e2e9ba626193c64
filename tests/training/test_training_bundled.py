"""The bundled model does what its card says, on generated patients that it has not seen."""

import numpy as np
import pytest
from PIL import Image

from napari_camelyon.models import load_model
from napari_camelyon.training import auc, draw_fields, draw_patients, predict
from napari_camelyon.training.choosing import false_deposits, field_values


@pytest.fixture(scope="module")
def bundled():
    return load_model()


def test_it_is_small_and_made_for_measuring(bundled):
    assert bundled.path.stat().st_size <= 2e6
    assert bundled.spec.stride_um <= 32
    assert bundled.spec.value_meaning == "covered_fraction"
    assert "synthetic" in bundled.spec.description
    assert "not for diagnosis" in bundled.spec.description


def test_it_tells_tumour_from_normal_on_unseen_patients(bundled):
    patches = draw_patients(range(3_000_000, 3_000_012), 24, workers=2)
    values = predict(bundled.module, patches.pixels, bundled.spec)
    clear = (patches.coverage == 0) | (patches.coverage >= 0.25)
    assert auc(values[clear], patches.coverage[clear] > 0) > 0.97
    assert np.abs(values - patches.coverage).mean() < 0.12


def test_it_sees_no_deposit_in_normal_tissue(bundled):
    fields = draw_fields(range(3_000_000, 3_000_006), workers=2, side_px=768)
    for field in fields:
        values = field_values(bundled.module, field, bundled.spec, 64)
        assert false_deposits(values, bundled.spec.threshold) == 0


def test_it_ranks_the_real_patches(bundled, shared_data):
    folder = shared_data / "patches" / "camelyon16_dldp"
    pixels, truth = [], []
    for name in ("normal", "tumor"):
        for path in sorted((folder / name).glob("*.png")):
            full = np.asarray(Image.open(path).convert("RGB"), float)
            pixels.append(full.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).round())
            truth.append(name == "tumor")
    values = predict(bundled.module, np.array(pixels).astype(np.uint8), bundled.spec)
    assert auc(values, np.array(truth)) > 0.97
