"""Patients and files: result folders, stage tables, runs over many slides."""

from napari_camelyon.cohort.annotation_files import (
    ANNOTATION_EXTENSIONS,
    annotated_slide,
    read_annotations,
)
from napari_camelyon.cohort.beside import Beside, FoundResults, found_beside
from napari_camelyon.cohort.naming import patient_of_node
from napari_camelyon.cohort.patients import (
    read_patient,
    stage_nodes,
    stage_source,
    write_patient,
)
from napari_camelyon.cohort.predicting import (
    Planned,
    PredictRequest,
    predict_slide,
    predict_to_folder,
)
from napari_camelyon.cohort.results import (
    RunRecord,
    find_result_folders,
    read_prediction,
    read_run,
    write_slide_results,
)
from napari_camelyon.cohort.tables import StageTable, read_stage_table, write_submission

__all__ = [
    "ANNOTATION_EXTENSIONS",
    "Beside",
    "FoundResults",
    "Planned",
    "PredictRequest",
    "RunRecord",
    "StageTable",
    "annotated_slide",
    "find_result_folders",
    "found_beside",
    "patient_of_node",
    "predict_slide",
    "predict_to_folder",
    "read_annotations",
    "read_patient",
    "read_prediction",
    "read_run",
    "read_stage_table",
    "stage_nodes",
    "stage_source",
    "write_patient",
    "write_slide_results",
    "write_submission",
]
