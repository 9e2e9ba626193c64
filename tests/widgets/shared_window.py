"""The program's window for many tests, one after another: each finds it as if it were new."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from app_model import Application
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QEventLoop, Qt, QThreadPool
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_camelyon.cli.window import bring_to_front, docked_viewer
from napari_camelyon.widgets.alignment_check import AlignmentCheck
from napari_camelyon.widgets.annotation_editor import editor_of
from napari_camelyon.widgets.napari_compat import camera, canvas_widget, main_window, scale_bar
from napari_camelyon.widgets.patient_view import patient_view

PLACE, SIZE = (60, 40), (1300, 850)


class SharedWindow:
    """Opens the window when it is wanted, and puts it back in order between two tests.

    To make one takes seconds, to put it back a fraction of one. A test may close it: the next one
    gets another.
    """

    def __init__(self):
        self._docked = None
        self._as_it_was = self._layout = None
        self._application = None

    @property
    def is_open(self):
        return self._docked is not None and hasattr(self._docked[0].window, "_qt_window")

    def get(self):
        """Return viewer, inference dock and stage dock of the window."""
        if not self.is_open:
            self.close()
            self._application = _application()
            self._application.__enter__()
            get_settings().reset()  # the last window has left its place and size there
            self._docked = docked_viewer()
            window = main_window(self._docked[0])
            # As small as its docks let it be, it would grow with the next tab.
            window.setGeometry(*PLACE, *SIZE)
            for _ in range(2):  # docks are laid out with the event loop, when the window is there
                settle()
            self._layout = window.saveState()
            _let_go_of_keys(self._docked[0])
            self._as_it_was = self._state()
            _let_what_lasts_be()
        return self._docked

    def close(self):
        """Leave no window, so that the next one is new, or a test can make its own."""
        if self.is_open:
            self._docked[0].close()
        self._docked = None
        if self._application is not None:
            settle()
            self._application.__exit__(None, None, None)
            self._application = None
            _let_what_lasts_be()

    def put_back(self):
        """Take away what a test has left; return what stays that the next could see."""
        if not self.is_open:
            return {}
        viewer, inference, _ = self._docked
        docks = viewer.window.dock_widgets
        slide, annotate = (docks[f"{name} (napari-camelyon)"] for name in ("Slide", "Annotate"))
        inference.cancel()
        while not inference.is_idle:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        _empty(viewer)
        settle()
        inference.form["stride_um"].value = 0
        inference.status.clear()
        annotate.pages.setCurrentIndex(0)
        slide.pages.setCurrentIndex(0)
        bring_to_front(slide)
        window = main_window(viewer)
        if (window.width(), window.height()) != SIZE:
            window.setGeometry(*PLACE, *SIZE)
            window.restoreState(self._layout)
            settle()
        canvas_widget(viewer).setFocus()
        _let_go_of_keys(viewer)
        notification_manager.records.clear()
        now = self._state()
        return {key: (was, now[key]) for key, was in self._as_it_was.items() if was != now[key]}

    def _state(self):
        """What a person sees and can have changed."""
        viewer, inference, stage = self._docked
        docks = viewer.window.dock_widgets
        slide, annotate = (docks[f"{name} (napari-camelyon)"] for name in ("Slide", "Annotate"))
        tissue = docks["Tissue (napari-camelyon)"]
        return {
            "layers": list(viewer.layers),
            "camera": (camera(viewer).center, camera(viewer).zoom),
            "3-D": viewer.dims.ndisplay,
            "scale bar": scale_bar(viewer).visible,
            "slides": list(patient_view(viewer).nodes),
            "slides listed": slide.slides.paths(),
            "empty": slide.empty.text(),
            "overview": (slide.minimap.isVisible(), slide.minimap.folded),
            "edited": annotate.editor,
            "tool": [name for name, one in annotate.tool_buttons.items() if one.isChecked()],
            "tissue": (tissue.state.text(), tissue.plan_box.isChecked(), tissue.is_busy),
            "models": [name for name in inference.form["model"].choices if name != "dark"],
            "run": (inference.form["device"].value, inference.form["min_tissue_percent"].value),
            "stage": (stage.stage_chip.text(), stage.reasons.text(), list(stage.rows)),
            "threshold": (patient_view(viewer).threshold, stage.threshold_slider.value()),
            "docks": sorted(one.windowTitle() for one in _children(viewer, QDockWidget)),
            "size": main_window(viewer).size(),
            "in front": slide.isVisible(),
            "on top": [
                one for one in QApplication.topLevelWidgets()
                if one.isVisible() and one is not main_window(viewer)
            ],
            "keys": QApplication.keyboardModifiers(),
        }  # fmt: skip


def settle():
    """Let threads end, and what they and closed widgets have left to do be done."""
    pool = QThreadPool.globalInstance()
    for _ in range(100):
        while pool.activeThreadCount():
            pool.waitForDone(1)
            QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QApplication.processEvents()
        QCursor.pos()  # the screen answers when it has done what it was asked for before: resizing
        QApplication.processEvents()
        if not pool.activeThreadCount():  # what came back may have started another one
            return
    raise AssertionError("threads start threads for ever")


def _let_go_of_keys(viewer):
    # For Qt those of the last event that a test has sent are held until the next one.
    QTest.keyRelease(canvas_widget(viewer), Qt.Key.Key_Control)


def _let_what_lasts_be():
    """napari collects all garbage with each layer that leaves: look through what is new alone."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _empty(viewer):
    view = patient_view(viewer)
    while view.nodes:
        view.remove(view.shown or next(iter(view.nodes)))
    for layer in list(viewer.layers):
        if (editor := editor_of(layer)) is not None:
            editor.close()
    if viewer.layers:  # napari collects all garbage even where there is none to go
        viewer.layers.clear()
    viewer.dims.ndisplay = 2
    viewer.title = "napari-camelyon"
    camera(viewer).center, camera(viewer).zoom = (0, 0, 0), 1.0
    scale_bar(viewer).visible = False
    for one in QApplication.topLevelWidgets():
        if one is not main_window(viewer) and one.isVisible():
            one.close()
    for one in _children(viewer, NapariQtNotification):
        one.close()
    for one in _children(viewer, AlignmentCheck):
        one.deleteLater()  # a small one stays for each time, as long as the window


def _children(viewer, kind):
    return main_window(viewer).findChildren(kind)


@contextmanager
def _application() -> Iterator[None]:
    """Give napari an application of its own, as its fixture `mock_app_model` does for one test.

    Commands cannot be registered twice in one.
    """
    app = NapariApplication("shared_window")
    app.injection_store.namespace = _napari_names
    with patch.object(NapariApplication, "get_app_model", return_value=app):
        try:
            yield
        finally:
            Application.destroy("shared_window")
            _initialize_plugins.cache_clear()
            init_qactions.cache_clear()
