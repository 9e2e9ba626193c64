"""Patients small enough to be generated within a test."""

from dataclasses import replace

from napari_camelyon.synthetic import PatientNode, plan_patient, write_patient
from napari_camelyon.synthetic.artefacts import Artefacts, Stroke
from napari_camelyon.synthetic.outlines import with_greatest_diameter
from napari_camelyon.synthetic.tissues import Deposit, NodePlan

SMALL_MPP = 1.2


def small_nodes():
    """Two nodes of half a millimetre, one with a cluster of tumour."""
    slide = plan_patient(1, mpp=SMALL_MPP)[4].slide
    plan = NodePlan(5, 410, 410, 280, 240, fat_um=10)
    cluster = with_greatest_diameter(Deposit(400, 350, 90, seed=2), 90)
    marked = Artefacts(seed=3, strokes=(Stroke(50, 50, 30, 0.0, 3.0, 30.0),), dust=20)
    negative = replace(slide, plan=plan, artefacts=marked, width_px=512, height_px=512)
    itc = replace(negative, plan=replace(plan, deposits=(cluster,)), artefacts=Artefacts())
    return [
        PatientNode("synthetic_x_node_0", "negative", 0.0, "pen", negative),
        PatientNode("synthetic_x_node_1", "itc", 90.0, "cluster", itc),
    ]


def write_small(folder, **options):
    facts = {"seed": 1, "stage": "pN0(i+)"}
    return write_patient(folder, small_nodes(), stem="synthetic_x", facts=facts, **options)
