"""The demonstration generator: seeded H&E lymph nodes, slides and training patches.

Everything here is synthetic: no patient, and no proof of how a model does on one.
"""

from napari_camelyon.synthetic.patient import (
    GENERATOR_VERSION,
    PatientNode,
    make_patient,
    plan_patient,
    write_patient,
)

__all__ = ["GENERATOR_VERSION", "PatientNode", "make_patient", "plan_patient", "write_patient"]
