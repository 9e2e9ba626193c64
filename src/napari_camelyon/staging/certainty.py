"""How sure a node's class and a patient's stage are, under assumptions that are stated.

A node's lesions are taken as independent. Each is tumour with its greatest probability, and its
true diameter is normal around what was measured, with a 95 % interval of ± the margin. The node's
class is that of the largest lesion that is tumour, so its probabilities follow exactly, and with
independent nodes so do the stage's. That is what a model says of itself: nothing of it was
validated on real slides. A conformal set has a coverage that holds for cases like those it was
calibrated on, whatever the probabilities are worth.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from napari_camelyon.calibration import (
    apply_temperature,
    conformal_quantile,
    conformal_sets,
    fit_temperature,
)
from napari_camelyon.errors import CalibrationError
from napari_camelyon.staging.lesions import Lesion
from napari_camelyon.staging.nodes import (
    ITC_LIMIT_MM,
    MICRO_LIMIT_MM,
    NODE_CLASSES,
    NodeClass,
)
from napari_camelyon.staging.patients import Scheme, Stage, stage_of_counts, stages_of

__all__ = [
    "NodeCalibration",
    "NodeCertainty",
    "PatientCertainty",
    "fit_node_calibration",
    "node_certainty",
    "node_probabilities",
    "patient_certainty",
    "stage_probabilities",
]

_SIGMAS_OF_MARGIN = 1.959964
"""A margin holds 95 % of a normal distribution's values."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NodeCalibration:
    """What was fitted on nodes, and perhaps patients, of known class.

    Attributes
    ----------
    coverage : float
        How often sets shall hold the truth.
    temperature : float
        Of the nodes' probabilities.
    node_quantile : float
        Of one minus the probability of the true class; infinite where there were too few nodes.
    patient_quantile : float or None
        The same of stages; None where no patient was complete.
    nodes, patients : int
        How many there were.
    model_sha256 : str
        The model that it holds for; empty when unknown.
    scheme : {"camelyon17", "ajcc8"}
        Of the stages.
    """

    coverage: float
    temperature: float
    node_quantile: float
    patient_quantile: float | None
    nodes: int
    patients: int
    model_sha256: str = ""
    scheme: Scheme = "camelyon17"

    def check_model(self, model_sha256: str) -> None:
        """Raise `CalibrationError` where results are of another model."""
        if self.model_sha256 and model_sha256 and self.model_sha256 != model_sha256:
            raise CalibrationError(
                "The calibration was made for another model (its file begins with "
                f"{self.model_sha256[:8]}, not {model_sha256[:8]}). Calibrate this one."
            )


@dataclass(frozen=True, slots=True)
class NodeCertainty:
    """How sure a node's class is.

    Attributes
    ----------
    probabilities : mapping of str to float
        Of each class.
    possible : tuple of str or None
        The conformal set; None without a calibration.
    """

    probabilities: Mapping[NodeClass, float]
    possible: tuple[NodeClass, ...] | None


@dataclass(frozen=True, slots=True)
class PatientCertainty:
    """How sure a patient's stage is.

    Attributes
    ----------
    probabilities : mapping of str to float
        Of each stage; nodes without a result are taken as negative.
    lowest, highest : mapping of str to float
        The least and the greatest probability of each stage over everything that nodes without a
        result may be; equal where there is none.
    possible : tuple of str or None
        The conformal set; None without a calibration of patients, or with a node without a result.
    coverage : float or None
        How often such sets shall hold the truth.
    sentence : str
        For people.
    """

    probabilities: Mapping[Stage, float]
    lowest: Mapping[Stage, float]
    highest: Mapping[Stage, float]
    possible: tuple[Stage, ...] | None
    coverage: float | None
    sentence: str


def node_probabilities(lesions: Iterable[Lesion]) -> Probabilities:
    """Return the probabilities of the classes of a node, the least first.

    Parameters
    ----------
    lesions : iterable of Lesion
        All of the node; none makes it negative with probability 1, which says only that nothing
        was found.

    Returns
    -------
    ndarray of float64, shape (4,)
        They sum to 1.
    """
    found = list(lesions)
    real = np.clip(np.array([lesion.max_probability for lesion in found], dtype=float), 0, 1)
    size = np.array([lesion.diameter_mm for lesion in found], dtype=float)
    sigma = np.array([lesion.margin_mm for lesion in found], dtype=float) / _SIGMAS_OF_MARGIN
    sigma = np.maximum(sigma, 1e-9)
    below = [float(np.prod(1 - real))]
    for limit_mm in (ITC_LIMIT_MM, MICRO_LIMIT_MM):
        above = ndtr((size - limit_mm) / sigma)
        below.append(float(np.prod(1 - real * above)))
    return np.asarray(np.clip(np.diff([0.0, *below, 1.0]), 0, 1))


def stage_probabilities(
    nodes: Iterable[ArrayLike], scheme: Scheme = "camelyon17"
) -> dict[Stage, float]:
    """Return the probability of each stage from those of independent nodes, exactly.

    Parameters
    ----------
    nodes : iterable of array_like of float, shape (4,)
        Probabilities of the classes of each node, the least first.
    scheme : {"camelyon17", "ajcc8"}

    Returns
    -------
    dict of str to float
        All stages of the scheme, the lowest first.
    """
    # Only how many nodes of each class there are matters.
    counts: dict[tuple[int, int, int], float] = {(0, 0, 0): 1.0}
    steps = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    for node in nodes:
        grown: dict[tuple[int, int, int], float] = {}
        for (itc, micro, macro), share in counts.items():
            for step, probability in zip(steps, np.asarray(node, dtype=float), strict=True):
                if probability:
                    key = (min(1, itc + step[0]), micro + step[1], macro + step[2])
                    grown[key] = grown.get(key, 0.0) + share * float(probability)
        counts = grown
    found = dict.fromkeys(stages_of(scheme), 0.0)
    for key, share in counts.items():
        found[stage_of_counts(*key, scheme)] += share
    return found


def fit_node_calibration(
    probabilities: Mapping[str, ArrayLike],
    classes: Mapping[str, NodeClass],
    *,
    coverage: float = 0.9,
    patients: Mapping[str, Sequence[str]] | None = None,
    stages: Mapping[str, Stage] | None = None,
    model_sha256: str = "",
    scheme: Scheme = "camelyon17",
) -> NodeCalibration:
    """Fit a calibration on nodes of known class, and patients of known stage.

    Patients are calibrated on their own, not put together from their nodes' sets: to cover five
    nodes at once each would need a coverage of 98 % instead of 90, and the stages that all
    combinations allow are then nearly always all of them. The temperature is fitted on the same
    nodes as the quantiles; one number on many nodes, but strictly it belongs on others.

    Parameters
    ----------
    probabilities : mapping of str to array_like of float, shape (4,)
        From `node_probabilities`, by node.
    classes : mapping of str to str
        The true class of each.
    coverage : float
        Between 0 and 1.
    patients : mapping of str to sequence of str, optional
        The nodes of each patient; those with a node that has no probabilities are left out.
    stages : mapping of str to str, optional
        The true stage of each.
    model_sha256 : str
        Whose probabilities they are.
    scheme : {"camelyon17", "ajcc8"}

    Raises
    ------
    CalibrationError
        There is no node, or names and values do not fit.
    """
    names = sorted(probabilities)
    if not names or set(names) != set(classes):
        odd = sorted(set(names) ^ set(classes))
        raise CalibrationError(
            f"{odd[0]} has no {'class' if odd[0] in probabilities else 'probabilities'}."
            if odd
            else "There is no node to calibrate on."
        )
    table = np.array([np.asarray(probabilities[name], dtype=float) for name in names])
    truth = np.array([NODE_CLASSES.index(classes[name]) for name in names])
    temperature = fit_temperature(table, truth)
    scaled = dict(zip(names, apply_temperature(table, temperature), strict=True))
    scores = [1 - scaled[name][place] for name, place in zip(names, truth.tolist(), strict=True)]
    patient_scores = [
        1 - stage_probabilities([scaled[node] for node in members], scheme)[stages[patient]]
        for patient, members in (patients or {}).items()
        if stages is not None and patient in stages and all(node in scaled for node in members)
    ]
    return NodeCalibration(
        coverage=coverage,
        temperature=temperature,
        node_quantile=conformal_quantile(scores, coverage),
        patient_quantile=conformal_quantile(patient_scores, coverage) if patient_scores else None,
        nodes=len(names),
        patients=len(patient_scores),
        model_sha256=model_sha256,
        scheme=scheme,
    )


def node_certainty(
    lesions: Iterable[Lesion],
    *,
    calibration: NodeCalibration | None = None,
    set_to: NodeClass | None = None,
) -> NodeCertainty:
    """Say how sure the class of a node is.

    Parameters
    ----------
    lesions : iterable of Lesion
        All of the node.
    calibration : NodeCalibration, optional
        Gives the temperature and the conformal set.
    set_to : str, optional
        The class that a person has set, which is certain.
    """
    if set_to is not None:
        sure = {kind: float(kind == set_to) for kind in NODE_CLASSES}
        return NodeCertainty(sure, None if calibration is None else (set_to,))
    values = node_probabilities(lesions)
    if calibration is None:
        return NodeCertainty(_by_class(values), None)
    values = apply_temperature(values[None], calibration.temperature)[0]
    (chosen,) = conformal_sets(values[None], calibration.node_quantile)
    possible = tuple(kind for kind, holds in zip(NODE_CLASSES, chosen, strict=True) if holds)
    return NodeCertainty(_by_class(values), possible)


def patient_certainty(
    nodes: Mapping[str, NodeCertainty | None],
    *,
    scheme: Scheme = "camelyon17",
    calibration: NodeCalibration | None = None,
) -> PatientCertainty:
    """Say how sure the stage of a patient is.

    Parameters
    ----------
    nodes : mapping of str to NodeCertainty or None
        None for a node without a result.
    scheme : {"camelyon17", "ajcc8"}
    calibration : NodeCalibration, optional
        Of the same scheme.

    Raises
    ------
    CalibrationError
        The calibration is of another scheme.
    """
    if calibration is not None and calibration.scheme != scheme:
        raise CalibrationError(
            f"The calibration is of stages by {calibration.scheme}, not {scheme}: make another."
        )
    known = [tuple(one.probabilities.values()) for one in nodes.values() if one is not None]
    missing = len(nodes) - len(known)
    # Which of the missing nodes is what does not matter, only how many of each class there are.
    cases = [
        stage_probabilities([*known, *filling], scheme)
        for filling in combinations_with_replacement(np.eye(len(NODE_CLASSES)), missing)
    ]
    as_negative = cases[0]
    lowest = {stage: min(case[stage] for case in cases) for stage in as_negative}
    highest = {stage: max(case[stage] for case in cases) for stage in as_negative}
    possible = None
    if calibration is not None and calibration.patient_quantile is not None and not missing:
        values = np.array(list(as_negative.values()))[None]
        (chosen,) = conformal_sets(values, calibration.patient_quantile)
        possible = tuple(stage for stage, holds in zip(as_negative, chosen, strict=True) if holds)
    coverage = None if possible is None or calibration is None else calibration.coverage
    sentence = _sentence(as_negative, missing, possible, calibration)
    return PatientCertainty(as_negative, lowest, highest, possible, coverage, sentence)


def _sentence(
    probabilities: Mapping[Stage, float],
    missing: int,
    possible: tuple[Stage, ...] | None,
    calibration: NodeCalibration | None,
) -> str:
    likely = max(probabilities, key=lambda stage: probabilities[stage])
    share = probabilities[likely]
    percent = "over 99" if share > 0.995 else f"{share * 100:.0f}"
    said = f"By the model's own account {likely} with {percent} %"
    if missing:
        return f"{said}, if what has no result is negative."
    if possible is None or calibration is None:
        return f"{said}; not calibrated."
    if calibration.patient_quantile is not None and math.isinf(calibration.patient_quantile):
        return (
            f"{said}. {calibration.patients} patients are too few to calibrate sets that hold the "
            f"truth in {calibration.coverage:.0%} of cases."
        )
    listed = " or ".join(possible)
    return (
        f"{said}. Of sets made like this one, {calibration.coverage:.0%} hold the truth for "
        f"patients like the {calibration.patients} of the calibration: {listed}."
    )


def _by_class(values: Probabilities) -> dict[NodeClass, float]:
    return dict(zip(NODE_CLASSES, values.tolist(), strict=True))
