"""What a person has chosen or said of the patient in the window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from napari_camelyon.staging import (
    Lesion,
    LesionRules,
    NodeCalibration,
    NodeCertainty,
    NodeResult,
    Override,
    PatientCertainty,
    PatientResult,
    Scheme,
    node_certainty,
    overrides_in_force,
    patient_certainty,
    stage_patient,
)

__all__ = ["PatientChoices", "certainty_of", "rules_with_threshold", "stage_of"]


@dataclass(frozen=True, slots=True)
class PatientChoices:
    """What a stage depends on besides the results of its nodes.

    Attributes
    ----------
    name : str
        Of the patient; empty when slides were opened one by one.
    missing : tuple of str
        Nodes that are expected, of which there is neither slide nor result.
    kept : tuple of NodeResult
        Of nodes whose slides are not there: as they were kept, whatever the threshold is now.
    problems : tuple of str
        Sentences about what was odd when the patient was opened.
    method : str
        How a node's class is called: one of `NODE_METHODS`, but "learned", which needs a file.
    scheme : {"camelyon17", "ajcc8"}
        By which rule nodes make a stage.
    sentinel_only : bool
        Whether only sentinel nodes were taken.
    overrides : tuple of Override
        All that persons said of nodes, taken back or not.
    calibration : NodeCalibration or None
        Gives sets that hold the truth as often as asked for; it counts for its own scheme.
    """

    name: str = ""
    missing: tuple[str, ...] = ()
    kept: tuple[NodeResult, ...] = ()
    problems: tuple[str, ...] = ()
    method: str = "size"
    scheme: Scheme = "camelyon17"
    sentinel_only: bool = False
    overrides: tuple[Override, ...] = ()
    calibration: NodeCalibration | None = None


def certainty_of(
    choices: PatientChoices,
    results: Mapping[str, NodeResult | None],
    lesions: Mapping[str, Sequence[Lesion]],
) -> tuple[dict[str, NodeCertainty | None], PatientCertainty]:
    """Say how sure the classes of the nodes and the stage are.

    Parameters
    ----------
    choices : PatientChoices
    results : mapping of str to NodeResult or None
        Of every node that is known of.
    lesions : mapping of str to sequence of Lesion
        Of the nodes that have all of them at hand; what is not among them counts as without a
        result, unless a person has set it.
    """
    held = overrides_in_force(choices.overrides)
    fits = choices.calibration is not None and choices.calibration.scheme == choices.scheme
    calibration = choices.calibration if fits else None
    nodes: dict[str, NodeCertainty | None] = {}
    for name, result in {**dict.fromkeys(choices.missing), **results}.items():
        set_to = held[name].node_class if name in held else None
        known = set_to is not None or (name in lesions and result is not None and result.complete)
        nodes[name] = (
            node_certainty(lesions.get(name, ()), calibration=calibration, set_to=set_to)
            if known
            else None
        )
    return nodes, patient_certainty(nodes, scheme=choices.scheme, calibration=calibration)


def stage_of(
    choices: PatientChoices, results: Mapping[str, NodeResult | None]
) -> PatientResult | None:
    """Stage the patient; None while nothing is known of any node.

    Parameters
    ----------
    choices : PatientChoices
    results : mapping of str to NodeResult or None
        Of the nodes with a slide.
    """
    kept = {result.name: result for result in choices.kept}
    nodes = {**dict.fromkeys(choices.missing), **kept, **results}
    said = overrides_in_force(choices.overrides).keys() & nodes.keys()
    if not said and all(result is None for result in nodes.values()):
        return None
    return stage_patient(
        nodes,
        name=choices.name,
        expected_nodes=None,
        scheme=choices.scheme,
        sentinel_only=choices.sentinel_only,
        overrides=choices.overrides,
    )


def rules_with_threshold(rules: LesionRules, own_threshold: float) -> LesionRules:
    """Return rules that have a threshold: their own, else that of a heatmap.

    A seed threshold that is no higher has no effect and is left out.
    """
    threshold = own_threshold if rules.threshold is None else rules.threshold
    seed = rules.seed_threshold
    return replace(
        rules,
        threshold=threshold,
        seed_threshold=None if seed is None or seed <= threshold else seed,
    )
