"""The "Slide" dock in a shown window: list, open, look up, and close in the middle."""

import shutil

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, QPoint, Qt, QThreadPool
from qtpy.QtWidgets import QApplication, QDialog, QInputDialog, QLabel, QMessageBox

from napari_camelyon import annotations
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import plan_patches, reference_spec
from napari_camelyon.widgets.label_image import LabelDialog
from napari_camelyon.widgets.napari_compat import main_window
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view

pytestmark = pytest.mark.gui

LEFT = Qt.MouseButton.LeftButton
SLIDES, FOUND, FACTS = 0, 1, 2


@pytest.fixture
def folder(tissue_slide, tmp_path):
    """A folder with three slides, an outline of one, and a file that only looks like a slide."""
    place = tmp_path / "slides"
    place.mkdir()
    source = tissue_slide("source", mark_px=256)
    for name in ("node_1", "node_2", "node_10"):
        shutil.copy(source, place / f"{name}.tif")
    (place / "node_3.tif").write_bytes(b"no slide")
    ring = np.array([(384, 384), (640, 384), (640, 640), (384, 640)], float)
    one = annotations.make_annotation("polygon", ring, group="metastases")
    annotations.write(
        annotations.add_annotations(annotations.AnnotationSet(), [one]), place / "node_2.xml"
    )
    return place


def row_texts(dock):
    rows = range(dock.slides.count())
    return [dock.slides.item(row).text().splitlines()[0].removeprefix("● ") for row in rows]


def double_click(qtbot, dock, row):
    item = dock.slides.item(row)
    dock.slides.scrollToItem(item)
    where = dock.slides.visualItemRect(item).center()
    qtbot.mouseClick(dock.slides.viewport(), LEFT, pos=where)
    qtbot.mouseDClick(dock.slides.viewport(), LEFT, pos=where)


def values(dock):
    rows = [dock.facts.topLevelItem(row) for row in range(dock.facts.topLevelItemCount())]
    return {row.text(0): row.text(1) for row in rows}


def wait_for_found(qtbot, dock, count):
    qtbot.waitUntil(lambda: dock.pages.tabText(FOUND) == f"Found ({count})")


@pytest.mark.fresh_window
def test_from_an_empty_window_to_an_outline_over_a_slide(docked, slide_dock, folder, qtbot):
    viewer, _, _ = docked
    dock, view = slide_dock, patient_view(docked[0])
    qtbot.waitUntil(dock.isVisible)  # in front of the tab beside it
    assert "No slide is open" in dock.empty.text()
    assert not dock.pages.isVisible()
    assert not dock.zoom.isVisible()

    dock.slides.open_folder(folder)
    qtbot.waitUntil(lambda: dock.slides.count() == 3)
    assert row_texts(dock) == ["node_1", "node_2", "node_10"]
    assert "3 slides" in dock.slides_note.text()
    assert "Double-click" in dock.empty.text()
    assert not dock.pages.isTabEnabled(FACTS)
    qtbot.waitUntil(lambda: dock.slides.is_idle)
    assert dock.slides.item(2).text() == "node_10\n0.5 × 0.5 mm · 0.5 µm/px"
    icon = dock.slides.item(0).icon().pixmap(96, 96).toImage()
    assert icon.pixelColor(48, 48).lightness() < 60 < icon.pixelColor(20, 20).lightness() < 230

    double_click(qtbot, dock, 1)
    assert view.shown == "node_2"
    double_click(qtbot, dock, 1)
    assert list(view.nodes) == ["node_2"], "a second time changes nothing"
    assert row_texts(dock) == ["node_1", "node_2", "node_10"]
    assert dock.slides.item(1).font().bold()
    assert [dock.slides.item(row).text()[0] for row in range(3)] == ["n", "●", "n"]
    assert not dock.empty.isVisible()
    assert dock.zoom.isVisible()

    wait_for_found(qtbot, dock, 1)
    (button,) = dock.found.buttons.values()
    dock.pages.setCurrentIndex(FOUND)
    for _ in range(2):
        qtbot.mouseClick(button, LEFT)
    kinds = [layer.metadata["napari_camelyon"]["kind"] for layer in viewer.layers]
    assert kinds == ["slide", "annotation"], "once"
    assert not button.isEnabled()
    viewer.layers.pop()
    assert button.isEnabled(), "who took it out of the window can have it again"

    dock.pages.setCurrentIndex(FACTS)
    qtbot.waitUntil(lambda: values(dock)["Read by"] != "…")
    assert values(dock)["Size"] == "1,024 × 1,024 px\n0.51 × 0.51 mm"
    assert values(dock)["Pixel size"] == "0.5 µm/px, stated by the file"
    assert not dock.mpp_button.isVisible(), "the file says it"
    assert not dock.label_button.isVisible(), "there is none"
    dock.facts.topLevelItem(0).setSelected(True)
    dock.facts.setFocus()
    dock.facts.copy_selected()
    assert QApplication.clipboard().text() == "Size\t1,024 × 1,024 px = 0.51 × 0.51 mm"
    dock.facts.copy_all()
    assert "openslide.vendor\tgeneric-tiff" in QApplication.clipboard().text()
    assert dock.facts.topLevelItem(dock.facts.topLevelItemCount() - 1).childCount() > 5

    double_click(qtbot, dock, 0)
    wait_for_found(qtbot, dock, 0)
    assert not dock.found.buttons
    view.remove("node_1")
    view.remove("node_2")
    assert dock.empty.isVisible()
    assert row_texts(dock) == ["node_1", "node_2", "node_10"], "they still lie in the folder"


@pytest.mark.fresh_window
def test_slides_of_elsewhere_and_folders_without_any(docked, slide_dock, folder, tmp_path, qtbot):
    viewer, _, _ = docked
    dock = slide_dock
    open_paths(viewer, [folder / "node_1.tif"])
    assert row_texts(dock) == ["node_1"]
    (tmp_path / "none").mkdir()
    with qtbot.waitSignal(dock.slides.folder_read):
        dock.slides.open_folder(tmp_path / "none")
    assert "no slides in this folder" in dock.slides_note.text()
    assert row_texts(dock) == ["node_1"]
    told = len(notification_manager.records)
    with qtbot.waitSignal(dock.slides.folder_failed):
        dock.slides.open_folder(tmp_path / "nowhere")
    assert "nowhere" in str(notification_manager.records[told].message)
    # A file that goes or breaks after it was listed.
    dock.slides.open_folder(folder)
    qtbot.waitUntil(lambda: dock.slides.count() == 3 and dock.slides.is_idle)
    (folder / "node_10.tif").write_bytes(b"broken meanwhile")
    told = len(notification_manager.records)
    double_click(qtbot, dock, 2)
    assert "node_10.tif" in str(notification_manager.records[told].message)
    assert patient_view(viewer).shown == "node_1"
    # Listed once more, it is no slide any longer.
    dock.slides.open_folder(folder)
    qtbot.waitUntil(lambda: row_texts(dock) == ["node_1", "node_2"])


def test_kept_results_are_shown_again_and_only_over_their_slide(
    docked, slide_dock, folder, qtbot, monkeypatch
):
    viewer, inference, stage = docked
    dock, view = slide_dock, patient_view(viewer)
    open_paths(viewer, [folder / "node_1.tif"])
    inference.run_shown()
    qtbot.waitUntil(lambda: inference.is_idle, timeout=60_000)
    before = view.nodes["node_1"].heatmap.values.copy()
    result = view.nodes["node_1"].result
    stage.save(folder / "results")
    view.remove("node_1")

    open_paths(viewer, [folder / "node_1.tif"])
    wait_for_found(qtbot, dock, 1)
    (button,) = dock.found.buttons.values()
    dock.pages.setCurrentIndex(FOUND)
    qtbot.mouseClick(button, LEFT)
    node = view.nodes["node_1"]
    np.testing.assert_array_equal(node.heatmap.values, before)
    assert node.result == result
    assert node.status == "done"
    assert stage.rows["node_1"].chip.text() == "ITC"
    kinds = [layer.metadata["napari_camelyon"]["kind"] for layer in viewer.layers]
    assert kinds == ["slide", "heatmap", "lesions", "diameters"]
    # What is in the window is not replaced unasked.
    shown = viewer.layers[1].data
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    qtbot.mouseClick(button, LEFT)
    assert viewer.layers[1].data is shown
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    qtbot.mouseClick(button, LEFT)
    assert viewer.layers[1].data is not shown
    np.testing.assert_array_equal(viewer.layers[1].data, before)

    # Another slide of the same name.
    view.remove("node_1")
    other = folder.parent / "other"
    other.mkdir()
    shutil.copytree(folder / "results" / "node_1", other / "results" / "node_1")
    content = bytearray((folder / "node_1.tif").read_bytes())
    (other / "node_1.tif").write_bytes(content + b"another")
    told = len(notification_manager.records)
    open_paths(viewer, [other / "node_1.tif"])
    wait_for_found(qtbot, dock, 1)
    qtbot.mouseClick(next(iter(dock.found.buttons.values())), LEFT)
    assert "another slide" in str(notification_manager.records[told].message)
    assert view.nodes["node_1"].heatmap is None


def test_a_pixel_size_is_set_once_and_not_under_results(
    docked, slide_dock, tissue_slide, qtbot, monkeypatch
):
    viewer, _, _ = docked
    dock, view = slide_dock, patient_view(viewer)
    open_paths(viewer, [tissue_slide("nompp", mpp=None)])
    dock.pages.setCurrentIndex(FACTS)
    assert dock.mpp_button.text() == "Set pixel size …"
    asked = []

    def answer(*arguments):
        asked.append(arguments[2])
        return 0.5, True

    monkeypatch.setattr(QInputDialog, "getDouble", answer)
    qtbot.mouseClick(dock.mpp_button, LEFT)
    assert "nompp does not say" in asked[0]
    assert view.nodes["nompp"].slide.mpp == (0.5, 0.5)
    assert values(dock)["Pixel size"].startswith("0.5 µm/px, given by a person")
    assert dock.mpp_button.text() == "Change pixel size …"
    node = view.nodes["nompp"]
    plan = plan_patches(node.slide, reference_spec(node.slide))
    from napari_camelyon.heatmaps import Heatmap

    heatmap = Heatmap(
        plan.grid, np.zeros(plan.grid.shape, np.float32), (0.5, 0.5), slide_name="nompp"
    )
    view.begin_heatmap(node, plan, heatmap)
    view.restage(node)
    assert not dock.mpp_button.isEnabled()


@pytest.mark.fresh_window
@pytest.mark.parametrize("how", ["window", "dock"])
def test_closing_while_pictures_are_read_stops_reading(docked, slide_dock, folder, qtbot, how):
    viewer, _, _ = docked
    dock = slide_dock
    for number in range(60):
        shutil.copy(folder / "node_1.tif", folder / f"more_{number}.tif")
    open_paths(viewer, [folder / "node_1.tif"])
    dock.slides.open_folder(folder)
    qtbot.waitUntil(lambda: dock.slides.count() == 63)
    qtbot.waitUntil(lambda: 0 < len(dock.slides._waiting) < 62)
    patient_view(viewer).remove("node_1")  # a slide that goes meanwhile
    waiting = dock.slides._waiting
    assert waiting
    nobody_reads = QThreadPool.globalInstance()
    if how == "window":
        viewer.close()
        assert nobody_reads.activeThreadCount() == 0
        assert not waiting
    else:
        viewer.window.remove_dock_widget(dock)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qtbot.waitUntil(lambda: nobody_reads.activeThreadCount() == 0)
        open_paths(viewer, [folder / "node_2.tif"])  # no widget that is gone is asked to show it
    left = len(waiting)
    QApplication.processEvents()  # what was left to do; an error in it fails the test
    qtbot.waitUntil(lambda: nobody_reads.activeThreadCount() == 0)
    assert len(waiting) == left


def test_the_label_is_shown_on_request_only(docked, slide_dock, shared_data, qtbot, monkeypatch):
    viewer, _, _ = docked
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    open_paths(viewer, [path])
    slide_dock.pages.setCurrentIndex(FACTS)
    seen = []

    def look(dialog):
        seen.append(dialog)
        assert dialog.picture.pixmap().isNull(), "nothing is shown before a button is pressed"
        assert "patient's name" in dialog.warning.text()
        qtbot.keyClick(dialog, Qt.Key.Key_Return)
        assert dialog.picture.pixmap().isNull()
        qtbot.mouseClick(dialog.buttons["label"], LEFT)
        return 0

    monkeypatch.setattr(QDialog, "exec", look)
    qtbot.mouseClick(slide_dock.label_button, LEFT)
    (dialog,) = seen
    assert isinstance(dialog, LabelDialog)
    with open_slide(path) as slide:
        height, width = slide.associated("label").shape[:2]
    shown = dialog.picture.pixmap().deviceIndependentSize()
    assert shown.width() / shown.height() == pytest.approx(width / height, rel=0.02)
    everywhere = [label for label in slide_dock.findChildren(QLabel) if label is not dialog.picture]
    assert not [label for label in everywhere if label.pixmap() and not label.pixmap().isNull()]


@pytest.mark.fresh_window
def test_the_docks_fit_a_small_screen_and_the_slide_is_in_front(docked, slide_dock, qtbot):
    viewer, inference, stage = docked
    window = main_window(viewer)
    window.resize(1366, 768)
    qtbot.waitUntil(lambda: window.height() == 768)
    assert (window.width(), window.height()) == (1366, 768), "it need not be larger"
    qtbot.waitUntil(slide_dock.isVisible)
    assert not inference.visibleRegion().boundingRect().isValid()
    assert stage.isVisible()
    bottom = stage.mapTo(window, QPoint(0, stage.height())).y()
    assert bottom <= 768
