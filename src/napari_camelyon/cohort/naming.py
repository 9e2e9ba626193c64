"""How CAMELYON17 names its slides: ``patient_PPP_node_N``, five nodes a patient."""

import re

from napari_camelyon.staging import EXPECTED_NODES

__all__ = ["is_camelyon17_patient", "node_names", "patient_of_node"]

_NODE = re.compile(r"(patient_\d{3})_node_\d")
_PATIENT = re.compile(r"patient_\d{3}")


def patient_of_node(name: str) -> str | None:
    """Return ``patient_PPP`` for a slide ``patient_PPP_node_N``; None for any other name."""
    match = _NODE.fullmatch(name)
    return match[1] if match else None


def is_camelyon17_patient(name: str) -> bool:
    """Tell whether a patient is named as in CAMELYON17."""
    return _PATIENT.fullmatch(name) is not None


def node_names(patient: str) -> list[str]:
    """Return the names of the five nodes of a CAMELYON17 patient."""
    return [f"{patient}_node_{number}" for number in range(EXPECTED_NODES)]
