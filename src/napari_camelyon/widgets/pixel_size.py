"""Asking a person for the pixel size that a slide does not tell."""

from qtpy.QtWidgets import QInputDialog, QWidget

from napari_camelyon.geometry import Mpp
from napari_camelyon.slides import Slide
from napari_camelyon.slides.mpp import PLAUSIBLE_MPP, choose_mpp, mpp_hint

__all__ = ["ask_for_mpp", "mpp_of_file"]


def mpp_of_file(slide: Slide) -> tuple[Mpp | None, str]:
    """Return the pixel size that the file itself states, and why not if it states none."""
    return choose_mpp(slide.properties, None, slide.path.name)


def ask_for_mpp(parent: QWidget, slide: Slide) -> float | None:
    """Return the µm per level-0 pixel that a person gives, or None when they rather would not.

    What the objective suggests is a hint and the field's first value; nothing is taken unasked.
    """
    usual, hint = mpp_hint(slide.objective_power)
    mpp, accepted = QInputDialog.getDouble(
        parent,
        "Pixel size",
        f"{slide.name} does not say how large its pixels are "
        f"({mpp_of_file(slide)[1]}).\n"
        "Without it nothing can be measured, and a model would see the wrong scale.\n\n"
        f"µm per pixel at full resolution ({hint}).\n"
        "It is kept for the next time:",
        usual if slide.mpp is None else slide.mpp[0],
        *PLAUSIBLE_MPP,
        4,
    )
    return mpp if accepted else None
