"""From a heatmap to lesions, from lesions to the node's class, from nodes to the patient's pN."""

from napari_camelyon.staging.calibration_file import read_calibration, write_calibration
from napari_camelyon.staging.certainty import (
    NodeCalibration,
    NodeCertainty,
    PatientCertainty,
    fit_node_calibration,
    node_certainty,
    node_probabilities,
    patient_certainty,
    stage_probabilities,
)
from napari_camelyon.staging.comparable import check_comparable
from napari_camelyon.staging.learned_node import NodeForest, read_forest, write_forest
from napari_camelyon.staging.lesion_file import read_lesions, write_lesions
from napari_camelyon.staging.lesions import Lesion, find_lesions
from napari_camelyon.staging.methods import NODE_METHODS, PATCH_THRESHOLDS, PatchRule, call_node
from napari_camelyon.staging.node_features import FEATURE_NAMES, node_features
from napari_camelyon.staging.node_file import read_node, write_node
from napari_camelyon.staging.nodes import (
    ITC_LIMIT_MM,
    MICRO_LIMIT_MM,
    NODE_CLASSES,
    NodeClass,
    NodeResult,
    classify_node,
    node_class_of_size,
    parse_node_class,
)
from napari_camelyon.staging.overrides import (
    Override,
    apply_overrides,
    is_outdated,
    override_node,
    overrides_in_force,
    undo_override,
)
from napari_camelyon.staging.patient_file import PATIENT_FILE, read_patient, write_patient
from napari_camelyon.staging.patients import (
    AJCC_STAGES,
    EXPECTED_NODES,
    SCHEMES,
    STAGES,
    PatientResult,
    Scheme,
    Stage,
    stage_of_counts,
    stage_patient,
    stages_of,
)
from napari_camelyon.staging.regions import (
    Region,
    measure_lesions,
    measure_regions,
    node_class_of_regions,
)
from napari_camelyon.staging.restaging import Restaged, restage_node, restage_nodes
from napari_camelyon.staging.rules import JOIN_DILATION_UM, MIN_PATCHES, LesionRules
from napari_camelyon.staging.sensitivity import (
    Change,
    StageRange,
    range_at,
    stages_over_thresholds,
    what_would_change,
)

__all__ = [
    "AJCC_STAGES",
    "EXPECTED_NODES",
    "FEATURE_NAMES",
    "ITC_LIMIT_MM",
    "JOIN_DILATION_UM",
    "MICRO_LIMIT_MM",
    "MIN_PATCHES",
    "NODE_CLASSES",
    "NODE_METHODS",
    "PATCH_THRESHOLDS",
    "PATIENT_FILE",
    "SCHEMES",
    "STAGES",
    "Change",
    "Lesion",
    "LesionRules",
    "NodeCalibration",
    "NodeCertainty",
    "NodeClass",
    "NodeForest",
    "NodeResult",
    "Override",
    "PatchRule",
    "PatientCertainty",
    "PatientResult",
    "Region",
    "Restaged",
    "Scheme",
    "Stage",
    "StageRange",
    "apply_overrides",
    "call_node",
    "check_comparable",
    "classify_node",
    "find_lesions",
    "fit_node_calibration",
    "is_outdated",
    "measure_lesions",
    "measure_regions",
    "node_certainty",
    "node_class_of_regions",
    "node_class_of_size",
    "node_features",
    "node_probabilities",
    "override_node",
    "overrides_in_force",
    "parse_node_class",
    "patient_certainty",
    "range_at",
    "read_calibration",
    "read_forest",
    "read_lesions",
    "read_node",
    "read_patient",
    "restage_node",
    "restage_nodes",
    "stage_of_counts",
    "stage_patient",
    "stage_probabilities",
    "stages_of",
    "stages_over_thresholds",
    "undo_override",
    "what_would_change",
    "write_calibration",
    "write_forest",
    "write_lesions",
    "write_node",
    "write_patient",
]
