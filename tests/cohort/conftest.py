"""A model of known answers, and slides for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from made_models import write_wsinfer_model
from napari_camelyon.cohort import PredictRequest


@pytest.fixture(scope="session")
def dark_model(tmp_path_factory) -> Path:
    """Calls a patch of 32 µm tumour where its middle is dark."""
    return write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark", patch_px=32, mpp=1.0)


@pytest.fixture(scope="session")
def request_for(dark_model) -> Callable[..., PredictRequest]:
    """Runs of that model at half its field."""

    def make(**entries) -> PredictRequest:
        return PredictRequest(**{"model": dark_model, "stride_um": 16.0, "device": "cpu"} | entries)

    return make


@pytest.fixture(scope="session")
def slide_with(make_slide) -> Callable[..., Path]:
    """Pink tissue at 0.5 µm/px with a dark bar, `length_px` long and 128 px high."""

    def make(name: str, length_px: int, **entries) -> Path:
        pixels = np.full((600, 1600, 3), 255, np.uint8)
        pixels[40:560, 40:1560] = (220, 160, 205)
        pixels[236:364, 100 : 100 + length_px] = (60, 5, 60)
        return make_slide(pixels, name=name, mpp=entries.pop("mpp", 0.5), **entries)

    return make
