"""The demonstration at default settings, from an empty folder to the stage, at three seeds."""

import json

import pytest

from napari_camelyon.cohort import PredictRequest, predict_to_folder
from napari_camelyon.staging import stage_patient
from napari_camelyon.synthetic import make_patient

pytestmark = pytest.mark.staged


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_node_and_the_patient_are_staged_as_generated(seed, tmp_path):
    slides = make_patient(tmp_path / "slides", seed)
    truth = json.loads(next((tmp_path / "slides").glob("*_truth.json")).read_text("utf-8"))
    outcomes = [predict_to_folder(path, tmp_path, PredictRequest()) for path in slides]
    found = {outcome.name: outcome.node for outcome in outcomes}
    generated = [node["class"] for node in truth["nodes"]]
    assert sorted(generated) == ["itc", "macro", "micro", "negative", "negative"]
    assert [result.node_class for result in found.values()] == generated
    assert stage_patient(found).stage == truth["stage"] == "pN1"
    for node, result in zip(truth["nodes"], found.values(), strict=True):
        assert (result.diameter_mm or 0) * 1000 == pytest.approx(
            node["greatest_diameter_um"], abs=60, rel=0.1
        )
