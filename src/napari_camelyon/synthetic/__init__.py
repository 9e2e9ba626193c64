"""The demonstration generator: seeded H&E lymph nodes, whole slides and training patches.

Everything here is synthetic: no patient, and no proof of how a model does on one.
"""

from napari_camelyon.synthetic.node_slides import (
    NodeSlide,
    paint_tile,
    tumour_mask,
    write_node_slide,
    write_outlines,
)
from napari_camelyon.synthetic.patches import Patches, draw_normal_field, draw_patches
from napari_camelyon.synthetic.patient import (
    GENERATOR_VERSION,
    PatientNode,
    cached_patient,
    make_patient,
    outlines_of,
    plan_patient,
    read_truth,
    write_patient,
)
from napari_camelyon.synthetic.scanners import CENTRES, Centre
from napari_camelyon.synthetic.tissues import Deposit, NodePlan

__all__ = [
    "CENTRES",
    "GENERATOR_VERSION",
    "Centre",
    "Deposit",
    "NodePlan",
    "NodeSlide",
    "Patches",
    "PatientNode",
    "cached_patient",
    "draw_normal_field",
    "draw_patches",
    "make_patient",
    "outlines_of",
    "paint_tile",
    "plan_patient",
    "read_truth",
    "tumour_mask",
    "write_node_slide",
    "write_outlines",
    "write_patient",
]
