"""A model compiled beside a run: that run keeps its path, the next one takes the compiled form."""

import shutil
import sys

import numpy as np
import pytest

from napari_camelyon.cohort import Planned, PredictRequest, read_run, steps_to_folder
from napari_camelyon.heatmaps import read_heatmap
from napari_camelyon.inference import (
    NumericPath,
    RunControl,
    end_compiling,
    keep_run_rate,
    wait_for_compiling,
)
from napari_camelyon.inference.compiling import COMPILERS
from napari_camelyon.models import load_model


@pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler on this machine"
)
def test_the_next_run_takes_what_was_compiled_and_says_so(make_slide, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "openvino", None)  # it would be taken instead
    pixels = np.random.default_rng(1).normal((220, 160, 205), 25, (1500, 1500, 3))
    path = make_slide(pixels.clip(0, 255).astype(np.uint8), name="it", mpp=0.5, tile_px=256)
    request = PredictRequest(device="cpu", precision="fp32", method="patches")
    # As after an earlier run that was slow: of 550 patches compiling saves a minute, which pays
    # for several runs, not for one.
    slow = (load_model(), NumericPath("cpu", "torch", "fp32"), 1.2)
    keep_run_rate(*slow)
    try:
        named = PredictRequest(device="cpu", engine="torch", precision="fp32", method="patches")
        for step in steps_to_folder(path, tmp_path / "named", named):
            if isinstance(step, Planned):
                assert step.compiling is None, "who names an engine wants nothing compiled"
        keep_run_rate(*slow)  # that one told its own
        control = RunControl()
        for step in steps_to_folder(path, tmp_path / "first", request, control=control):
            if isinstance(step, Planned):
                planned = step
            else:
                control.cancel()
        assert 400 < planned.patch_grid.patch_count < 700
        assert planned.compiling is not None
        assert planned.path.engine == "torch"
        assert wait_for_compiling()
    finally:
        end_compiling()
    *_, rest = steps_to_folder(path, tmp_path / "first", request)
    assert rest.known > 0
    assert rest.complete
    first = read_run(tmp_path / "first" / "it").facts.numeric_path
    assert first["path"] == "torch fp32 on cpu", "a run keeps to its path"
    keep_run_rate(*slow)
    *_, second = steps_to_folder(path, tmp_path / "second", request)
    assert second.complete
    told = read_run(tmp_path / "second" / "it").facts.numeric_path
    assert (told["engine"], told["path"]) == ("compiled", "compiled fp32 on cpu")
    keep_run_rate(slow[0], slow[1], 1000.0)
    *_, _third = steps_to_folder(path, tmp_path / "third", request)
    told = read_run(tmp_path / "third" / "it").facts.numeric_path
    assert told["engine"] == "torch", "loading it takes longer than half a second of computing"
    ours, wanted = (read_heatmap(tmp_path / name / "it").values for name in ("second", "first"))
    assert np.nanmax(wanted) > np.nanmin(wanted)
    np.testing.assert_allclose(ours, wanted, atol=1e-3)
