"""Arrays of pixels as Qt's pictures."""

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPixmap

__all__ = ["fit_into_square", "to_qimage"]


def to_qimage(pixels: NDArray[np.uint8]) -> QImage:
    """Return an RGB or RGBA array, shape (height, width, 3 or 4), as an image of its own."""
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    kind = QImage.Format.Format_RGBA8888 if channels == 4 else QImage.Format.Format_RGB888
    # The copy owns its pixels; the array may go.
    return QImage(pixels.data, width, height, width * channels, kind).copy()


def fit_into_square(picture: QImage, side_px: int) -> QPixmap:
    """Return a picture shrunk into the middle of a clear square of `side_px` device pixels."""
    shrunk = picture.scaled(
        QSize(side_px, side_px),
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
    square = QPixmap(side_px, side_px)
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    painter.drawImage(
        QPoint((side_px - shrunk.width()) // 2, (side_px - shrunk.height()) // 2), shrunk
    )
    painter.end()
    return square
