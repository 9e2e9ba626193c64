"""The film of the demonstration: every step is seen, and it ends when its window is closed."""

import numpy as np
import pytest
from napari import current_viewer
from PIL import Image
from qtpy.QtCore import QTimer

from made_patients import write_small
from napari_camelyon.cli.demo import _film

# The film makes its window itself, in an application of its own: see `docked`.
pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("mock_app_model")]

STEPS = ["1-slides-opened", "2-heatmap-grows", "3-lesion-measured", "4-patient-staged"]


@pytest.fixture
def patient(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    return write_small(tmp_path / "patient", workers=1)


def test_every_step_is_photographed_and_the_stage_printed(qtbot, patient, tmp_path, capsys):
    _film(patient, tmp_path / "out")
    shots = [np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in STEPS]
    assert shots[0].shape != shots[1].shape or (shots[0] != shots[1]).any()
    assert shots[1].shape != shots[2].shape or (shots[1] != shots[2]).any()
    said = capsys.readouterr().out
    assert "synthetic_x_node_0" in said
    assert "The patient was generated as pN0(i+)." in said
    assert current_viewer() is None


def test_who_closes_the_window_ends_the_film(qtbot, patient, capsys):
    def close_once_it_runs():
        viewer = current_viewer()
        if viewer is not None and "tumour probability" in viewer.layers:
            viewer.close()
            timer.stop()

    timer = QTimer()
    timer.timeout.connect(close_once_it_runs)
    timer.start(20)
    _film(patient, None)
    assert "generated as pN" not in capsys.readouterr().out
