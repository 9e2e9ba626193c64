"""What the canvas shows, once all is drawn."""

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication

from napari_camelyon.widgets.slide_layer import slides_are_sharp


def screenshot(viewer: Viewer) -> NDArray[np.uint8]:
    """Draw until slides are sharp and nothing changes any more."""
    last = None
    QApplication.processEvents()
    while not slides_are_sharp(viewer):
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    for _ in range(20):
        QApplication.processEvents()
        shown = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
        if last is not None and np.array_equal(shown, last):
            return shown
        last = shown
    raise AssertionError("the canvas never comes to rest")
