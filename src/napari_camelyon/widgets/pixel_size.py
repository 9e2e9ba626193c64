"""Asking a person for the pixel size that a slide does not tell."""

from qtpy.QtWidgets import QInputDialog, QWidget

from napari_camelyon.geometry import Mpp
from napari_camelyon.slides import Slide
from napari_camelyon.slides.mpp import PLAUSIBLE_MPP, choose_mpp

__all__ = ["ask_for_mpp", "mpp_of_file"]


def mpp_of_file(slide: Slide) -> tuple[Mpp | None, str]:
    """Return the pixel size that the file itself states, and why not if it states none."""
    return choose_mpp(slide.properties, None, slide.path.name)


def ask_for_mpp(parent: QWidget, slide: Slide) -> float | None:
    """Return the µm per level-0 pixel that a person gives, or None when they rather would not.

    What the objective suggests is a hint and the field's first value; nothing is taken unasked.
    """
    first, hint = 0.25, ""
    if slide.objective_power:
        # 40× scans have about 0.25 µm/px, 20× scans about 0.5.
        first = 10 / slide.objective_power
        hint = (
            f"\nThe file states a {slide.objective_power:g}× objective; such scans have about "
            f"{first:.3g}."
        )
    mpp, accepted = QInputDialog.getDouble(
        parent,
        "Pixel size",
        f"{slide.name} does not say how large its pixels are "
        f"({mpp_of_file(slide)[1]}).\n"
        f"Without it nothing can be measured, and a model would see the wrong scale.\n{hint}\n"
        "µm per pixel at full resolution (about 0.25 at 40×, 0.5 at 20×):",
        first if slide.mpp is None else slide.mpp[0],
        *PLAUSIBLE_MPP,
        4,
    )
    return mpp if accepted else None
