"""Patients and files: result folders, stage tables, runs over many slides."""

from napari_camelyon.cohort.annotation_files import (
    ANNOTATION_EXTENSIONS,
    annotated_slide,
    read_annotations,
)
from napari_camelyon.cohort.batch import (
    Attempt,
    BatchTask,
    Progress,
    attempt_slide,
    bound_tile_cache,
    run_batch,
    usual_workers,
)
from napari_camelyon.cohort.beside import Beside, FoundResults, found_beside
from napari_camelyon.cohort.chosen_slides import ChosenSlides, choose_slides
from napari_camelyon.cohort.claims import SlideState, SlideTakenError, read_states
from napari_camelyon.cohort.dask_batch import run_on_dask
from napari_camelyon.cohort.evaluation_files import (
    SlideFiles,
    find_truths,
    read_detections,
    read_reference,
    read_scores,
    read_truth,
)
from napari_camelyon.cohort.kept_model import KeptModel
from napari_camelyon.cohort.naming import patient_of_node
from napari_camelyon.cohort.patient_files import FoundPatients, PatientFiles, find_patients
from napari_camelyon.cohort.patients import (
    NodeCall,
    called_node,
    kept_overrides,
    stage_nodes,
    stage_source,
    write_patients,
)
from napari_camelyon.cohort.predicting import (
    Planned,
    PredictRequest,
    RunPath,
    choose_run_path,
    predict_slide,
    run_progress,
)
from napari_camelyon.cohort.results import (
    RunFacts,
    RunRecord,
    find_result_folders,
    read_prediction,
    read_run,
    write_slide_results,
)
from napari_camelyon.cohort.tables import (
    StageTable,
    read_stage_table,
    write_stage_table,
    write_submission,
)
from napari_camelyon.cohort.to_folder import Outcome, predict_to_folder, steps_to_folder
from napari_camelyon.staging import read_patient, write_patient

__all__ = [
    "ANNOTATION_EXTENSIONS",
    "Attempt",
    "BatchTask",
    "Beside",
    "ChosenSlides",
    "FoundPatients",
    "FoundResults",
    "KeptModel",
    "NodeCall",
    "Outcome",
    "PatientFiles",
    "Planned",
    "PredictRequest",
    "Progress",
    "RunFacts",
    "RunPath",
    "RunRecord",
    "SlideFiles",
    "SlideState",
    "SlideTakenError",
    "StageTable",
    "annotated_slide",
    "attempt_slide",
    "bound_tile_cache",
    "called_node",
    "choose_run_path",
    "choose_slides",
    "find_patients",
    "find_result_folders",
    "find_truths",
    "found_beside",
    "kept_overrides",
    "patient_of_node",
    "predict_slide",
    "predict_to_folder",
    "read_annotations",
    "read_detections",
    "read_patient",
    "read_prediction",
    "read_reference",
    "read_run",
    "read_scores",
    "read_stage_table",
    "read_states",
    "read_truth",
    "run_batch",
    "run_on_dask",
    "run_progress",
    "stage_nodes",
    "stage_source",
    "steps_to_folder",
    "usual_workers",
    "write_patient",
    "write_patients",
    "write_slide_results",
    "write_stage_table",
    "write_submission",
]
