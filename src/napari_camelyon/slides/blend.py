"""What shows through a transparent pixel of a slide: white, like the glass."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["on_white"]


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB where the alpha of RGBA lets white through; both of shape (rows, columns, …)."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return rgba[..., :3]
    # Rounded to the nearest: colour × alpha + white × (1 − alpha).
    colour = rgba[..., :3].astype(np.uint16)
    blended = (colour * alpha + 255 * (255 - alpha.astype(np.uint16)) + 127) // 255
    return blended.astype(np.uint8)
