"""From a heatmap to lesions, from lesions to the node's class, from nodes to the patient's pN."""

from napari_camelyon.staging.lesion_file import read_lesions, write_lesions
from napari_camelyon.staging.lesions import JOIN_DILATION_UM, MIN_PATCHES, Lesion, find_lesions
from napari_camelyon.staging.node_file import read_node, write_node
from napari_camelyon.staging.nodes import (
    ITC_LIMIT_MM,
    MICRO_LIMIT_MM,
    NODE_CLASSES,
    NodeClass,
    NodeResult,
    classify_node,
    parse_node_class,
)
from napari_camelyon.staging.patients import (
    EXPECTED_NODES,
    STAGES,
    PatientResult,
    Stage,
    stage_of_counts,
    stage_patient,
)

__all__ = [
    "EXPECTED_NODES",
    "ITC_LIMIT_MM",
    "JOIN_DILATION_UM",
    "MICRO_LIMIT_MM",
    "MIN_PATCHES",
    "NODE_CLASSES",
    "STAGES",
    "Lesion",
    "NodeClass",
    "NodeResult",
    "PatientResult",
    "Stage",
    "classify_node",
    "find_lesions",
    "parse_node_class",
    "read_lesions",
    "read_node",
    "stage_of_counts",
    "stage_patient",
    "write_lesions",
    "write_node",
]
