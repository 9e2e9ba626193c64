"""The "Evaluation" dock: a click on a number lists its cases, and a click on one shows it."""

import json

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_camelyon.widgets.evaluation_dock import EvaluationDock
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.patient_view import patient_view

pytestmark = pytest.mark.gui

FROC = {
    "schema_version": 1,
    "froc_score": 0.5,
    "slides": 2,
    "tumours": 2,
    "auc": 0.75,
    "points": [
        {"threshold": 0.4, "false_positives_per_slide": 1.0, "sensitivity": 1.0},
        {"threshold": 0.8, "false_positives_per_slide": 0.5, "sensitivity": 0.5},
        {"threshold": None, "false_positives_per_slide": 0.0, "sensitivity": 0.0},
    ],
    "detections": [
        {"slide": "node_1", "x_px": 500, "y_px": 400, "probability": 0.9, "fate": "false positive",
         "lesion": None},
        {"slide": "node_1", "x_px": 100, "y_px": 100, "probability": 0.5, "fate": "false positive",
         "lesion": None},
        {"slide": "node_1", "x_px": 600, "y_px": 600, "probability": 0.8, "fate": "hit",
         "lesion": 1},
    ],
    "lesions": [
        {"slide": "node_1", "number": 1, "x_px": 600, "y_px": 600, "probability": 0.8},
        {"slide": "gone", "number": 1, "x_px": 5, "y_px": 5, "probability": 0.4},
    ],
}  # fmt: skip
STAGES = {
    "schema_version": 1,
    "patients": {
        "count": 3,
        "kappa": 0.5,
        "accuracy": 2 / 3,
        "order": ["pN0", "pN1"],
        "confusion": [[1, 1], [0, 1]],
        "cases": [
            {"true": "pN0", "predicted": "pN0", "names": ["a"]},
            {"true": "pN0", "predicted": "pN1", "names": ["patient_001"]},
            {"true": "pN1", "predicted": "pN1", "names": ["b"]},
        ],
    },
    "nodes": None,
}


@pytest.fixture
def dock(docked, qtbot):
    viewer, _, _ = docked
    dock = EvaluationDock(viewer)
    qtbot.addWidget(dock)
    dock.resize(360, 700)
    dock.show()
    return dock


def written(path, entries):
    path.write_text(json.dumps(entries))
    return path


def listed(dock):
    return [dock.cases.item(row).text() for row in range(dock.cases.count())]


def click_item(qtbot, dock, row):
    place = dock.cases.visualItemRect(dock.cases.item(row)).center()
    qtbot.mouseClick(dock.cases.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_a_point_of_the_curve_lists_its_cases_and_a_case_is_shown(
    dock, docked, tissue_slide, tmp_path, qtbot
):
    viewer, _, _ = docked
    view = patient_view(viewer)
    view.open_slide(tissue_slide("node_1", mark_px=256))
    dock.open_scores(written(tmp_path / "s.json", FROC))
    assert "FROC score 0.500" in dock.summary.text()
    place = dock.plot.place_of(1)
    qtbot.mouseClick(
        dock.plot, Qt.MouseButton.LeftButton, pos=QPoint(round(place.x()), round(place.y()))
    )
    assert listed(dock) == ["gone: missed (best 0.40)", "node_1: false, 0.90"]
    assert "From 0.800 on: sensitivity 0.50 at 0.50 false positives" in dock.cases_title.text()
    click_item(qtbot, dock, 1)
    mpp = view.shown_node.slide.mpp
    centre = np.array(camera(viewer).center[-2:])
    np.testing.assert_allclose(centre, [400 * mpp[1], 500 * mpp[0]], atol=2)


def test_a_cell_lists_who_lies_in_it_and_a_patient_opens_from_the_folder(
    dock, docked, tissue_slide, tmp_path, qtbot
):
    viewer, _, _ = docked
    slide = tissue_slide("patient_001_node_2", mark_px=256)
    dock.slides = slide.parent
    dock.open_scores(written(tmp_path / "s.json", STAGES))
    (table,) = dock.tables
    cell = table.visualItemRect(table.item(0, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell)
    assert listed(dock) == ["patient_001: pN0, taken for pN1"]
    assert "1 patient is pN0 and taken for pN1." in dock.cases_title.text()
    click_item(qtbot, dock, 0)
    assert patient_view(viewer).shown == "patient_001_node_2"


def test_a_slide_that_is_not_there_and_a_file_that_is_none_are_said(
    dock, tmp_path, qtbot, monkeypatch
):
    said = []
    monkeypatch.setattr("napari_camelyon.widgets.evaluation_dock.show_info", said.append)
    monkeypatch.setattr("napari_camelyon.widgets.evaluation_dock.show_error", said.append)
    dock.open_scores(written(tmp_path / "s.json", FROC))
    dock.plot.chosen.emit(0)
    click_item(qtbot, dock, 0)
    assert "is not open" in said[-1]
    dock.open_scores(written(tmp_path / "other.json", {"schema_version": 1}))
    assert "holds no scores" in said[-1]
    dock.open_scores(written(tmp_path / "bad.json", {**FROC, "points": 3}))
    assert "damaged" in said[-1]
    assert "FROC score 0.500" in dock.summary.text()
