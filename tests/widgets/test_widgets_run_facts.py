"""What the window says below the bar of a run."""

import subprocess
import sys
from dataclasses import replace

from napari_camelyon.cohort import PredictRequest, predict_slide
from napari_camelyon.inference import CompilingBeside
from napari_camelyon.slides import open_slide
from napari_camelyon.widgets.run_panel import facts_text


def test_the_window_says_that_the_model_is_compiled_for_as_long_as_it_is(tissue_slide, tmp_path):
    with open_slide(tissue_slide(mark_px=64)) as slide:
        planned = next(iter(predict_slide(slide, PredictRequest(device="cpu"))))
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE) as process:
        beside = replace(planned, compiling=CompilingBeside(tmp_path / "made.pt2", process))
        line = "Compiling this model for later runs in the background"
        assert facts_text(beside, None) == f"{facts_text(planned, None)}\n{line}"
        process.communicate()
        assert line not in facts_text(beside, None)
