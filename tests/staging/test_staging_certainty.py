"""Probabilities of classes and stages against trying everything, and calibrations as files."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from napari_camelyon.errors import CalibrationError, ResultError
from napari_camelyon.staging import (
    NODE_CLASSES,
    SCHEMES,
    Lesion,
    fit_node_calibration,
    node_certainty,
    node_probabilities,
    patient_certainty,
    read_calibration,
    stage_patient,
    stage_probabilities,
    write_calibration,
)


def lesion(diameter_mm, probability, margin_mm=0.03):
    return Lesion(
        id=1,
        diameter_mm=diameter_mm,
        margin_mm=margin_mm,
        diameter_ends_px=((0.0, 0.0), (1.0, 0.0)),
        area_mm2=1.0,
        mean_probability=probability,
        max_probability=probability,
        patches=3,
        bounds_px=(0.0, 0.0, 1.0, 1.0),
        outline=shapely.box(0, 0, 1, 1),
    )


lesions = st.lists(
    st.builds(
        lesion,
        st.floats(0.05, 3),
        st.sampled_from([0.5, 0.9, 1.0]),
        st.sampled_from([0.01, 0.2, 0.6]),
    ),
    max_size=4,
)


@given(lesions)
def test_classes_of_a_node_equal_summing_over_all_that_may_be(found):
    """Each lesion is nothing, or tumour of one of three sizes; the largest decides."""
    expected = dict.fromkeys(NODE_CLASSES, 0.0)
    choices = []
    for one in found:
        sigma = one.margin_mm / 1.959964
        small = norm.cdf(0.2, one.diameter_mm, sigma)
        middle = norm.cdf(2.0, one.diameter_mm, sigma) - small
        real = one.max_probability
        choices.append(
            [
                ("negative", 1 - real),
                ("itc", real * small),
                ("micro", real * middle),
                ("macro", real * (1 - small - middle)),
            ]
        )
    for combination in itertools.product(*choices):
        largest = max((kind for kind, _ in combination), key=NODE_CLASSES.index, default="negative")
        expected[largest] += math.prod(share for _, share in combination)
    assert node_probabilities(found).tolist() == pytest.approx(list(expected.values()), abs=1e-9)


nodes = st.lists(
    st.tuples(*[st.floats(0.01, 1)] * 4).map(lambda p: np.array(p) / sum(p)), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(nodes, st.sampled_from(SCHEMES))
def test_stages_equal_summing_over_all_combinations(probabilities, scheme):
    expected = {}
    for classes in itertools.product(range(4), repeat=len(probabilities)):
        stage = stage_patient(
            [NODE_CLASSES[k] for k in classes], expected_nodes=None, scheme=scheme
        ).stage
        share = math.prod(p[k] for p, k in zip(probabilities, classes, strict=True))
        expected[stage] = expected.get(stage, 0.0) + share
    found = stage_probabilities(probabilities, scheme)
    assert sum(found.values()) == pytest.approx(1)
    assert {stage: p for stage, p in found.items() if p} == pytest.approx(expected)


def test_ten_sure_macro_nodes_are_pn3a():
    assert stage_probabilities([(0, 0, 0, 1)] * 10, "ajcc8")["pN3a"] == 1


def test_missing_nodes_bound_the_probabilities_and_a_persons_word_is_certain():
    sure = node_certainty([], set_to="micro")
    assert sure.probabilities["micro"] == 1
    found = patient_certainty({"a": sure, "b": None})
    assert found.probabilities["pN1mi"] == 1
    assert found.highest["pN1"] == 1
    assert found.lowest["pN1mi"] == 0
    assert "if what has no result is negative" in found.sentence
    assert found.possible is None


def test_every_stage_is_bounded_over_all_that_a_missing_node_may_be():
    negative = node_certainty([])
    found = patient_certainty({"a": negative, "b": negative, "c": None})
    assert {stage for stage, share in found.highest.items() if share == 1} == {
        "pN0",
        "pN0(i+)",
        "pN1mi",
        "pN1",
    }
    assert not any(found.lowest.values())


def made_table(count=400, seed=3):
    """Nodes of patients whose probabilities are honest, and their classes."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.4] * 4, count)
    classes = [NODE_CLASSES[rng.choice(4, p=row)] for row in probabilities]
    names = [f"patient_{n // 5:03}_node_{n % 5}" for n in range(count)]
    patients = {}
    for name in names:
        patients.setdefault(name[:11], []).append(name)
    truth = dict(zip(names, classes, strict=True))
    stages = {p: stage_patient({n: truth[n] for n in m}).stage for p, m in patients.items()}
    return dict(zip(names, probabilities, strict=True)), truth, patients, stages


def test_patients_that_were_not_seen_are_covered():
    probabilities, classes, patients, stages = made_table(count=5000)
    names = sorted(patients)
    seen, unseen = names[:300], names[300:]
    nodes_seen = [node for name in seen for node in patients[name]]
    fitted = fit_node_calibration(
        {node: probabilities[node] for node in nodes_seen},
        {node: classes[node] for node in nodes_seen},
        coverage=0.8,
        patients={name: patients[name] for name in seen},
        stages=stages,
    )
    assert fitted.temperature == pytest.approx(1, abs=0.1)
    assert (fitted.nodes, fitted.patients) == (1500, 300)
    held = []
    for name in unseen:
        parts = {
            node: replace(
                node_certainty([]),
                probabilities=dict(zip(NODE_CLASSES, probabilities[node].tolist(), strict=True)),
            )
            for node in patients[name]
        }
        found = patient_certainty(parts, calibration=fitted)
        assert found.coverage == 0.8
        held.append(stages[name] in found.possible)
    assert 0.75 <= np.mean(held) <= 0.87


def test_a_calibration_is_kept_and_read(tmp_path):
    probabilities, classes, patients, stages = made_table(count=10)
    fitted = fit_node_calibration(
        probabilities, classes, patients=patients, stages=stages, model_sha256="ab" * 32
    )
    assert math.isinf(fitted.patient_quantile)  # two patients are too few
    path = tmp_path / "calibration.json"
    write_calibration(fitted, path)
    assert read_calibration(path) == fitted
    entries = json.loads(path.read_text())
    for change in ({"temperature": "x"}, {"scheme": "ajcc6"}, {"coverage": 2}):
        path.write_text(json.dumps({**entries, **change}))
        with pytest.raises(ResultError, match="damaged"):
            read_calibration(path)
    fitted.check_model("")
    with pytest.raises(CalibrationError, match="another model"):
        fitted.check_model("cd" * 32)
    with pytest.raises(CalibrationError, match="by camelyon17, not ajcc8"):
        patient_certainty({}, scheme="ajcc8", calibration=fitted)
    few = patient_certainty({"a": node_certainty([], calibration=fitted)}, calibration=fitted)
    assert set(few.possible) == set(few.probabilities)
    assert "2 patients are too few" in few.sentence


def test_nodes_without_a_class_are_named():
    with pytest.raises(CalibrationError, match="a has no class"):
        fit_node_calibration({"a": [1, 0, 0, 0]}, {})
    with pytest.raises(CalibrationError, match="no node"):
        fit_node_calibration({}, {})
