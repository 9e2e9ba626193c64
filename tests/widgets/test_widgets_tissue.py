"""The "Tissue" dock in a shown window: find, switch, paint, leave out, keep, undo."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

from canvas_hand import CONTROL, Hand
from napari_camelyon import annotations
from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import OFF, TISSUE, find_kept_tissue, tissue_choice
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.opening import open_paths
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.tissue_plan import Search, StoppedError, search

pytestmark = pytest.mark.gui

PINK, INK = (220, 150, 200), (30, 70, 160)
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def pieces(make_slide):
    """A slide of 1 µm/px with two pieces of tissue, 1.0 × 0.8 and 0.6 × 0.8 mm, ink on the left."""
    picture = np.full((1200, 2600, 3), 245, np.uint8)
    for left, right in ((200, 1200), (1700, 2300)):
        picture[200:1000, left:right] = PINK
    picture[300:600, 300:700] = INK
    return make_slide(picture, mpp=1.0, name="pieces")


@pytest.fixture
def desk(docked, pieces, tmp_path, qtbot):
    """The dock in front of a slide whose tissue nobody has looked for yet."""
    viewer, _, _ = docked
    path = tmp_path / "pieces.tif"
    path.write_bytes(pieces.read_bytes())
    assert open_paths(viewer, [path]) == 0
    dock = viewer.window.dock_widgets["Tissue (napari-camelyon)"]
    dock.parent().raise_()
    dock.viewer, dock.view, dock.path = viewer, patient_view(viewer), path
    dock.kept = path.with_name("pieces.tif.tissue.geojson")
    dock.wait = lambda: qtbot.waitUntil(lambda: not dock.is_busy, timeout=WAIT_MS)
    qtbot.wait(20)
    return dock


@pytest.fixture
def found(desk):
    QTest.mouseClick(desk.find_button, Qt.MouseButton.LeftButton)
    desk.wait()
    return desk


def kinds(viewer):
    return [layer.metadata["napari_camelyon"]["kind"] for layer in viewer.layers]


def click_box(tree, row):
    """Click the check box of a row, as a mouse does."""
    item = tree.topLevelItem(row)
    option = QStyleOptionViewItem()
    option.initFrom(tree)
    option.rect = tree.visualItemRect(item)
    option.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    box = tree.style().subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, option, tree)
    place = QPoint(box.center().x(), option.rect.center().y())
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)


def planned_at(desk, x_px, y_px):
    """Whether a patch is drawn as planned over a slide point."""
    (layer,) = desk.view.layers_of("pieces", "planned")
    node = desk.view.nodes["pieces"]
    world = slide_to_layer((x_px, y_px)) * np.array(node.slide.mpp)[::-1]
    value = layer.get_value(world, world=True)
    return value is not None and np.isfinite(value)


def rows(tree):
    return [
        [tree.topLevelItem(row).text(column) for column in range(tree.columnCount())]
        for row in range(tree.topLevelItemCount())
    ]


def test_before_anything_is_found_the_dock_says_so(desk):
    assert "A run finds the tissue by itself" in desk.state.text()
    assert desk.find_button.isEnabled()
    assert not desk.rows.isVisible()
    desk.view.remove("pieces")
    assert desk.state.text() == "Open a slide first."
    assert not desk.find_button.isEnabled()


def test_tissue_is_found_and_shown_with_what_a_run_would_do(found):
    assert kinds(found.viewer) == ["slide", "planned", "tissue"]
    assert [number for number, _ in rows(found.rows.pieces)] == ["1", "2"]
    assert rows(found.rows.pieces)[1][1] == "0.49 mm²"  # in pixels of 8 µm
    (pen, blur, _) = rows(found.rows.spoilt)
    assert pen[:2] == ["Pen", "1"]
    assert blur == ["Out of focus", "", "none found"]
    node = found.view.nodes["pieces"]
    assert (node.tissue.pieces, node.tissue.pieces_off, node.tissue.leave_out) == (2, 0, ())
    assert "patches" in found.plan.text()
    assert "dark" in found.plan.text()
    assert planned_at(found, 900, 800)
    assert planned_at(found, 2000, 500)
    assert not planned_at(found, 1450, 500)  # glass
    assert not found.kept.exists(), "what nobody has changed is not kept"


def test_a_piece_is_switched_off_kept_and_brought_back_by_undo(found, qtbot):
    before = found.plan.text()
    click_box(found.rows.pieces, 1)
    found.wait()
    node = found.view.nodes["pieces"]
    assert (node.tissue.pieces_off, node.tissue.off) == (1, {2})
    assert not planned_at(found, 2000, 500)
    assert planned_at(found, 900, 800)
    assert found.kept.name in found.state.text()
    assert tissue_choice(node.slide).pieces_off == 1
    assert sorted(one.group for one in annotations.read(found.kept)) == ["pen", TISSUE, OFF]

    found.viewer.layers.selection.active = found.editor.layer
    Hand(found.viewer, found.editor.layer, qtbot).press(Qt.Key.Key_Z, CONTROL)
    found.wait()
    assert node.tissue.pieces_off == 0
    assert found.plan.text() == before
    assert tissue_choice(node.slide).pieces_off == 0
    assert found.rows.pieces.topLevelItem(1).checkState(0) == Qt.CheckState.Checked


def test_what_the_brush_paints_is_tissue_for_every_run(found, qtbot):
    view = camera(found.viewer)
    view.center, view.zoom = (600, 1450), 0.5
    qtbot.wait(50)
    QTest.mouseClick(found.tool_buttons["brush"], Qt.MouseButton.LeftButton)
    Hand(found.viewer, found.editor.layer, qtbot).drag([(1380, 600), (1450, 600), (1520, 600)])
    found.wait()
    node = found.view.nodes["pieces"]
    pixel_px = node.tissue.mask.pixel_px
    assert node.tissue.mask.values[int(600 / pixel_px), int(1450 / pixel_px)]
    with open_slide(found.path) as slide:
        np.testing.assert_array_equal(tissue_choice(slide).mask.values, node.tissue.mask.values)
    assert found.undo_button.isEnabled()
    QTest.mouseClick(found.undo_button, Qt.MouseButton.LeftButton)
    found.wait()
    assert not node.tissue.mask.values[int(600 / pixel_px), int(1450 / pixel_px)]


def test_ink_is_left_out_when_its_box_is_checked(found):
    click_box(found.rows.spoilt, 0)
    found.wait()
    node = found.view.nodes["pieces"]
    assert node.tissue.leave_out == ("pen",)
    assert find_kept_tissue(node.slide).outlines.leave_out == ("pen",)
    assert "left out (pen " in found.plan.text()
    assert not planned_at(found, 500, 612)  # beside the ink, within its rim


def test_how_much_tissue_a_patch_needs_changes_the_plan(found):
    (layer,) = found.view.layers_of("pieces", "planned")
    before = np.isfinite(layer.data).sum()
    found.rows.min_tissue.setValue(100)
    found.wait()
    (layer,) = found.view.layers_of("pieces", "planned")
    assert np.isfinite(layer.data).sum() < before
    assert found.view.nodes["pieces"].tissue.min_tissue_fraction == 1.0


def test_the_plan_can_be_hidden(found):
    QTest.mouseClick(
        found.plan_box, Qt.MouseButton.LeftButton, pos=QPoint(8, found.plan_box.height() // 2)
    )
    (layer,) = found.view.layers_of("pieces", "planned")
    assert not layer.visible
    found.plan_box.setChecked(True)
    assert layer.visible


def test_what_was_kept_is_there_when_the_slide_comes_again_until_one_starts_over(found):
    click_box(found.rows.pieces, 1)
    found.wait()
    found.view.remove("pieces")
    assert open_paths(found.viewer, [found.path]) == 0
    found.wait()
    node = found.view.nodes["pieces"]
    assert node.tissue.pieces_off == 1
    assert found.kept.name in found.state.text()
    assert "tissue" in kinds(found.viewer)
    QTest.mouseClick(found.over_button, Qt.MouseButton.LeftButton)
    assert not found.kept.exists()
    assert kinds(found.viewer) == ["slide"]
    assert node.tissue is None
    assert found.find_button.text() == "Find tissue"


def test_finding_again_is_an_edit_that_can_be_undone(found):
    click_box(found.rows.pieces, 1)
    found.wait()
    QTest.mouseClick(found.find_button, Qt.MouseButton.LeftButton)
    found.wait()
    node = found.view.nodes["pieces"]
    assert node.tissue.pieces_off == 0
    assert kinds(found.viewer).count("tissue") == 1
    found.editor.undo()
    found.wait()
    assert node.tissue.pieces_off == 1


def test_another_slide_has_its_own_tissue_and_the_first_keeps_its(found, tissue_slide):
    click_box(found.rows.pieces, 1)  # not waited for: leaving the slide keeps it
    assert open_paths(found.viewer, [tissue_slide("node_2")]) == 0
    found.wait()
    assert kinds(found.viewer) == ["slide"]
    assert "A run finds the tissue by itself" in found.state.text()
    assert found.kept.exists()
    found.view.show("pieces")
    found.wait()
    assert kinds(found.viewer) == ["slide", "planned", "tissue"]
    assert found.view.nodes["pieces"].tissue.pieces_off == 1


def test_annotations_are_drawn_into_their_own_file_unless_tissue_is_chosen(found, qtbot):
    annotate = found.viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    (slide_layer,) = found.view.layers_of("pieces", "slide")
    found.viewer.layers.selection.active = slide_layer
    assert annotate.editor is None
    annotate.take_tool("polygon")
    assert annotate.editor is not None
    assert annotate.editor is not found.editor
    found.take_tool("brush")
    assert annotate.editor is found.editor
    Hand(found.viewer, found.editor.layer, qtbot).press(Qt.Key.Key_S, CONTROL)
    found.wait()
    assert found.kept.exists()  # without a dialog
    assert list(found.path.parent.glob("*.xml")) == []


def test_a_slide_that_does_not_know_its_pixel_size_says_where_to_set_it(desk, make_slide):
    unknown = make_slide(np.full((256, 256, 3), 200, np.uint8), mpp=None, name="unknown")
    assert open_paths(desk.viewer, [unknown]) == 0
    assert "set the pixel size" in desk.state.text()
    assert not desk.find_button.isEnabled()


def test_another_pixel_size_plans_anew(found):
    found.view.set_mpp("pieces", 2.0)
    found.wait()
    assert rows(found.rows.pieces)[1][1] == "1.95 mm²"
    assert planned_at(found, 2000, 500)
    assert not planned_at(found, 1450, 500)


def test_a_kept_file_that_does_not_fit_is_said(found, tissue_slide):
    click_box(found.rows.pieces, 1)
    found.wait()
    other = tissue_slide("node_2")
    other.with_name("node_2.tif.tissue.geojson").write_bytes(found.kept.read_bytes())
    assert open_paths(found.viewer, [other]) == 0
    assert "another slide" in found.state.text()


def test_a_search_stops_when_it_is_stopped(desk):
    progress = Search()
    progress.stopped = True
    with pytest.raises(StoppedError, match="Nothing was changed"):
        search(desk.view.nodes["pieces"].slide, progress)
    desk.find_tissue()
    desk.cancel()
    assert not desk._searching.is_busy
