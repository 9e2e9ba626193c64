"""The "Annotate" dock and its tools, with real mouse and key events in a shown window."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.testing import assert_allclose
from qtpy.QtCore import Qt

from canvas_hand import CONTROL, SHIFT, Hand
from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, make_annotation, region_of
from napari_camelyon.widgets.annotating import tools_of
from napari_camelyon.widgets.annotation_editor import editor_of
from napari_camelyon.widgets.group_actions import recolour
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui

SQUARE = np.array([(300, 300), (700, 300), (700, 700), (300, 700)], float)
SMALL = np.array([(760, 760), (860, 760), (860, 860), (760, 860)], float)
SCREEN_PX = 2.0
"""What a place on the screen may be off, level-0 pixels: the view is at about one to one."""


@pytest.fixture
def desk(docked, tissue_slide, qtbot):
    """The dock, its editor with two regions, and a hand over them; the file is on the disk."""
    viewer, _, _ = docked
    slide = tissue_slide("node_1", mark_px=256)
    xml = Path(slide).with_suffix(".xml")
    made = [
        make_annotation("polygon", SQUARE, name="large", group="Tumor"),
        make_annotation("polygon", SMALL, name="small", group="Exclusion"),
    ]
    groups = (Group("Tumor", colour="#ff0000"), Group("Exclusion", colour="#00ff00"))
    annotations.write(AnnotationSet(tuple(made), groups), xml)
    assert open_paths(viewer, [slide, xml]) == 0
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    dock.parent().raise_()
    viewer.layers.selection.active = dock.editor.layer
    view = camera(viewer)
    view.center, view.zoom = (256, 256), 1.6  # 0.5 µm/px: 0.8 screen pixels each
    qtbot.wait(50)
    dock.hand = Hand(viewer, dock.editor.layer, qtbot)
    dock.xml = xml
    return dock


def region(dock, name="large"):
    (one,) = [a for a in dock.editor.now if a.name == name]
    return one


def labels(dock):
    return [change.label for change in dock.editor.history.done]


def undone(dock):
    """Undo everything by key; the set is what was opened, object by object."""
    for _ in range(len(dock.editor.history.done)):
        dock.hand.press(Qt.Key.Key_Z, CONTROL)
    assert not dock.editor.history.done
    return dock.editor.is_saved


# --- selecting and vertices --------------------------------------------------------------------


def test_a_click_selects_the_region_under_it_and_glass_selects_none(desk):
    desk.hand.click((500, 500))
    assert desk.editor.current.name == "large"
    desk.hand.click((810, 810))
    assert desk.editor.current.name == "small"
    desk.hand.click((810, 400))
    assert desk.editor.current is None
    desk.hand.click((500, 500))
    desk.hand.click((810, 810), SHIFT)
    assert [a.name for a in desk.editor.selected_annotations] == ["large", "small"]
    desk.hand.click((500, 500), SHIFT)
    assert [a.name for a in desk.editor.selected_annotations] == ["small"]


def test_dragging_a_vertex_moves_it_alone(desk):
    desk.hand.click((500, 500))
    desk.hand.drag([(300, 300), (280, 250), (260, 220)])
    points = region(desk).points
    assert_allclose(points[0], (260, 220), atol=SCREEN_PX)
    assert (points[1:] == SQUARE[1:]).all()
    assert labels(desk) == ["move vertex"]
    assert undone(desk)


def test_dragging_an_edge_makes_a_vertex(desk):
    desk.hand.click((500, 500))
    desk.hand.drag([(700, 500), (740, 510), (760, 520)])
    points = region(desk).points
    assert len(points) == 5
    assert_allclose(points[2], (760, 520), atol=SCREEN_PX)
    assert labels(desk) == ["insert vertex"]
    assert undone(desk)


def test_a_vertex_is_deleted_by_control_click_and_by_key(desk):
    desk.hand.click((500, 500))
    desk.hand.click((300, 300), CONTROL)
    assert (region(desk).points == SQUARE[1:]).all()
    desk.hand.press(Qt.Key.Key_Z, CONTROL)
    desk.hand.hover((700, 700))
    desk.hand.press(Qt.Key.Key_Backspace)
    assert (region(desk).points == SQUARE[[0, 1, 3]]).all()
    assert undone(desk)


def test_delete_away_from_vertices_deletes_what_is_selected(desk):
    desk.hand.click((810, 810))
    desk.hand.press(Qt.Key.Key_Delete)
    assert [a.name for a in desk.editor.now] == ["large"]
    assert undone(desk)


def test_dragging_with_shift_moves_the_region(desk):
    desk.hand.click((810, 810))
    desk.hand.drag([(810, 810), (800, 600), (800, 500)], SHIFT)
    assert_allclose(region(desk, "small").points, SMALL - np.array([10, 310]), atol=SCREEN_PX)
    assert labels(desk) == ["move region"]
    assert undone(desk)


def test_dragging_beside_the_selected_region_moves_the_view_alone(desk):
    before = camera(desk.hand.viewer).center
    desk.hand.click((500, 500))
    desk.hand.drag([(500, 500), (450, 450), (400, 400)])
    assert camera(desk.hand.viewer).center != before
    assert desk.editor.current.name == "large"
    assert not labels(desk)


# --- drawing -----------------------------------------------------------------------------------


def test_a_polygon_is_clicked_and_closed_by_a_double_click(desk):
    desk.hand.press(Qt.Key.Key_P)
    assert tools_of(desk.editor).tool.name == "polygon"
    for at in [(100, 100), (250, 100), (900, 900)]:
        desk.hand.click(at)
    desk.hand.press(Qt.Key.Key_Backspace)  # takes (900, 900) back
    desk.hand.double_click((250, 250))
    drawn = desk.editor.current
    assert_allclose(drawn.points, [(100, 100), (250, 100), (250, 250)], atol=SCREEN_PX)
    assert drawn.group == "Tumor"
    assert undone(desk)


def test_escape_drops_what_was_begun_and_then_the_tool(desk):
    desk.hand.press(Qt.Key.Key_P)
    for at in [(100, 100), (250, 100), (250, 250)]:
        desk.hand.click(at)
    desk.hand.press(Qt.Key.Key_Escape)
    desk.hand.press(Qt.Key.Key_Return)
    assert len(desk.editor.now) == 2
    desk.hand.press(Qt.Key.Key_Escape)
    assert tools_of(desk.editor).tool.name == "select"


def circle(x, y, radius, count=24):
    angle = np.linspace(0, 2 * np.pi, count)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def test_freehand_encloses_what_the_hand_went_around(desk):
    desk.hand.press(Qt.Key.Key_F)
    desk.hand.drag(list(circle(180, 500, 90)))
    drawn = region_of(desk.editor.current)
    wanted = shapely.Polygon(circle(180, 500, 90))
    assert drawn.symmetric_difference(wanted).area < 0.03 * wanted.area
    assert undone(desk)


def test_a_hole_is_cut_and_filled_again(desk):
    desk.hand.click((500, 500))
    desk.hand.press(Qt.Key.Key_H)
    desk.hand.drag(list(circle(500, 500, 80)))
    assert len(region(desk).holes) == 1
    hole = shapely.Polygon(circle(500, 500, 80)).area
    assert_allclose(region_of(region(desk)).area, 400**2 - hole, rtol=0.01)
    desk.details.fill.click()
    assert not region(desk).holes
    assert labels(desk) == ["cut hole", "fill holes"]
    assert undone(desk)


def test_a_line_across_splits_the_region(desk):
    desk.hand.click((500, 500))
    desk.hand.press(Qt.Key.Key_S)
    desk.hand.drag([(250, 450), (500, 450), (750, 450)])
    halves = [a for a in desk.editor.now if a.name == "large"]
    assert len(halves) == 2
    assert_allclose(sorted(region_of(a).area for a in halves), [60_000, 100_000], rtol=0.02)
    assert undone(desk)


def test_a_line_that_ends_inside_splits_nothing_and_is_explained(desk):
    desk.hand.click((500, 500))
    desk.hand.press(Qt.Key.Key_S)
    desk.hand.drag([(250, 450), (500, 450)])
    assert not labels(desk)


# --- brush, eraser, wand -----------------------------------------------------------------------


def test_the_brush_adds_to_the_selected_region_in_one_step(desk):
    desk.hand.click((500, 500))
    desk.hand.press(Qt.Key.Key_B)
    radius = tools_of(desk.editor).radius_screen_px / 0.8
    path = [(690, 500), (740, 500), (780, 500)]
    desk.hand.drag(path)
    wanted = shapely.Polygon(SQUARE).union(shapely.LineString(path).buffer(radius))
    assert region_of(region(desk)).symmetric_difference(wanted).area < 0.01 * wanted.area
    assert {tuple(p) for p in SQUARE} <= {tuple(p) for p in region(desk).points}
    assert labels(desk) == ["paint"]
    assert undone(desk)


def test_without_a_selection_the_brush_paints_a_new_region(desk):
    desk.hand.press(Qt.Key.Key_B)
    desk.hand.drag([(150, 150), (170, 150)])
    assert len(desk.editor.now) == 3
    assert desk.editor.current.group == "Tumor"
    assert undone(desk)


def test_the_eraser_cuts_and_shift_turns_it_round(desk):
    desk.hand.click((500, 500))
    desk.hand.press(Qt.Key.Key_E)
    desk.hand.drag([(250, 500), (750, 500)])
    assert len(region(desk).parts) == 2
    assert region_of(region(desk)).area < 400**2
    desk.hand.drag([(250, 500), (750, 500)], SHIFT)
    assert len(region(desk).parts) == 1
    assert labels(desk) == ["erase", "paint"]
    assert undone(desk)


def test_erasing_all_of_a_region_removes_it(desk):
    desk.hand.click((810, 810))
    desk.hand.press(Qt.Key.Key_E)
    tools_of(desk.editor).change_radius(4)
    desk.hand.drag([(800, 800), (820, 820)])
    assert [a.name for a in desk.editor.now] == ["large"]
    assert undone(desk)


def test_keys_and_the_wheel_change_the_radius_and_not_the_zoom(desk):
    tools = tools_of(desk.editor)
    desk.hand.press(Qt.Key.Key_B)
    before, zoom = tools.radius_screen_px, camera(desk.hand.viewer).zoom
    desk.hand.press(Qt.Key.Key_BracketRight)
    grown = tools.radius_screen_px
    assert grown > before
    desk.hand.wheel((500, 500), 1, CONTROL)
    assert tools.radius_screen_px > grown
    desk.hand.press(Qt.Key.Key_BracketLeft)
    desk.hand.wheel((500, 500), -1, CONTROL)
    assert_allclose(tools.radius_screen_px, before)
    assert camera(desk.hand.viewer).zoom == zoom
    desk.hand.wheel((500, 500), 1)
    assert camera(desk.hand.viewer).zoom > zoom
    assert_allclose(desk.radius.value(), tools.radius_screen_px, atol=1)


def test_the_wand_takes_what_is_of_one_colour(desk):
    # The slide's dark mark of 256 px in the middle, sharp-edged.
    desk.editor.select([])
    desk.hand.press(Qt.Key.Key_W)
    desk.hand.click((512, 512))
    mark = shapely.box(384, 384, 640, 640)
    drawn = region_of(desk.editor.current)
    # The wand blurs by 4 screen pixels of 2 µm, so that it stops a little before a sharp edge.
    assert mark.buffer(1).covers(drawn)
    assert drawn.covers(mark.buffer(-8))
    assert labels(desk) == ["wand"]
    assert undone(desk)


def test_holding_space_moves_the_view_with_any_tool(desk, qtbot):
    desk.hand.press(Qt.Key.Key_B)
    before = camera(desk.hand.viewer).center
    qtbot.keyPress(desk.hand.canvas, Qt.Key.Key_Space)
    desk.hand.drag([(500, 500), (450, 450), (400, 400)])
    qtbot.keyRelease(desk.hand.canvas, Qt.Key.Key_Space)
    assert camera(desk.hand.viewer).center != before
    assert not labels(desk)
    desk.hand.drag([(500, 500), (520, 500)])
    assert labels(desk) == ["paint"]


# --- the selected regions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("button", "area"),
    [("union", 160_000 + 25_000 - 2_500), ("intersection", 2_500), ("difference", 22_500)],
)
def test_regions_are_combined(desk, button, area):
    over = make_annotation(
        "polygon", [(650, 650), (850, 650), (850, 775), (650, 775)], name="over", group="Tumor"
    )
    desk.editor.add("draw", [over])
    desk.editor.select([region(desk).id, over.id])
    getattr(desk.details, button).click()
    assert_allclose(region_of(desk.editor.current).area, area)
    assert desk.editor.current.name == "over"
    assert undone(desk)


def test_sizes_are_those_of_the_region_in_mm(desk, qtbot):
    desk.hand.click((500, 500))
    # 400 px of 0.5 µm: 0.2 mm wide, 0.04 mm², 0.8 mm around, a diagonal of 0.283 mm.
    qtbot.waitUntil(lambda: "0.04 mm²" in desk.details.sizes.text())
    text = desk.details.sizes.text()
    assert "around 0.8 mm" in text
    assert "0.283 mm" in text
    assert "4 vertices" in text


def test_simplifying_shows_its_deviation_before_it_is_done(desk):
    rough = circle(180, 500, 90, 400)[:-1]
    desk.editor.add("draw", [make_annotation("polygon", rough, name="round")])
    desk.details.simplify_button.click()
    assert "vertices; the outline moves by" in desk.details.deviation.text()
    assert len(region(desk, "round").points) == 399, "not done yet"
    desk.details.apply.click()
    simple = region_of(region(desk, "round"))
    assert 4 < len(region(desk, "round").points) < 100
    assert shapely.hausdorff_distance(simple, shapely.Polygon(rough), 0.01) <= 2.0 / 0.5 + 0.1
    desk.details.smooth_button.click()
    desk.details.drop.click()
    assert labels(desk) == ["draw", "simplify"]
    assert undone(desk)


def test_name_group_and_verdict_are_edits_that_can_be_undone(desk):
    desk.hand.click((810, 810))
    details = desk.details
    details.name.setText("lymphocytes")
    details.name.editingFinished.emit()
    details.group.setCurrentIndex(details.group.findText("Tumor"))
    details.group.activated.emit(details.group.currentIndex())
    details.status.setCurrentText("rejected")
    details.status.activated.emit(details.status.currentIndex())
    details.comment.setText("follicle")
    details.comment.editingFinished.emit()
    one = region(desk, "lymphocytes")
    assert one.group == "Tumor"
    assert annotations.status_of(one) == "rejected"
    assert annotations.verification_note(one) == "follicle"
    assert labels(desk) == ["rename region", "assign to Tumor", "mark rejected", "mark rejected"]
    assert undone(desk)


def test_problems_are_listed_jumped_to_and_mended_one_by_one(desk, qtbot):
    bow = make_annotation(
        "polygon", [(100, 100), (200, 200), (200, 100), (100, 200)], name="bow", group="Tumor"
    )
    desk.editor.add("draw", [bow])
    desk.editor.select([])
    desk.pages.setCurrentWidget(desk.problems)
    qtbot.waitUntil(lambda: desk.problems.list.count() == 1 and not desk.problems.is_looking)
    assert "crosses" in desk.problems.list.item(0).text()
    desk.problems.list.setCurrentRow(0)
    assert desk.editor.current.name == "bow"
    assert_allclose(camera(desk.hand.viewer).center[-2:], (74.75, 74.75), atol=1)
    assert "do not cross" in desk.problems.offer.text()
    area = region_of(region(desk, "bow")).area
    desk.problems.mend.click()
    assert_allclose(region_of(region(desk, "bow")).area, area)
    qtbot.waitUntil(lambda: desk.problems.title.text() == "No problems found.")
    assert labels(desk) == ["draw", "mend self crossing"]
    assert undone(desk)


# --- groups ------------------------------------------------------------------------------------


def test_hidden_and_locked_groups_are_out_of_reach(desk):
    row = desk.groups.tree.topLevelItem(0)
    for column, on in ((3, Qt.CheckState.Unchecked), (4, Qt.CheckState.Checked)):
        desk.hand.click((500, 500))
        assert desk.editor.current.name == "large"
        before = row.checkState(column)
        row.setCheckState(column, on)
        assert desk.editor.current is None
        desk.hand.click((500, 500))
        assert desk.editor.current is None
        row.setCheckState(column, before)


def test_groups_are_made_renamed_and_recoloured(desk):
    desk.groups.add_button.click()
    assert desk.editor.draw_group == "Group 1"
    desk.groups.tree.topLevelItem(2).setText(0, "doubtful")
    assert desk.editor.draw_group == "doubtful"
    desk.groups.tree.topLevelItem(0).setText(0, "metastases")
    assert region(desk).group == "metastases"
    recolour(desk.editor, "metastases", "#123456")
    assert desk.editor.colour("metastases") == "#123456"
    assert undone(desk)


# --- undo by button, the file -------------------------------------------------------------------


def test_saving_writes_what_changed_and_nothing_else(desk):
    before = desk.xml.read_text()
    assert not desk.save_button.isEnabled()
    desk.hand.click((810, 810))
    desk.hand.click((760, 760), CONTROL)
    assert "not saved" in desk.state.text()
    desk.hand.press(Qt.Key.Key_S, CONTROL)
    assert "saved" in desk.state.text()
    assert not desk.save_button.isEnabled()
    after = desk.xml.read_text()
    large = before.index('Name="small"')
    assert after[:large] == before[:large]
    assert (annotations.read(desk.xml)["1"].points == SMALL[1:]).all()
    desk.undo_button.click()
    desk.save_button.click()
    assert desk.xml.read_text() == before


def test_no_journal_stays_after_saving_and_one_begun_later_tells_the_whole_story(desk):
    def journals():
        return [path for path in desk.xml.parent.iterdir() if path.suffix == ".journal"]

    desk.hand.click((810, 810))
    desk.hand.click((760, 760), CONTROL)
    assert journals()
    desk.save()
    assert not journals()
    desk.undo_button.click()
    assert journals()
    began_with, history = annotations.recover(desk.xml)
    assert (history.now.annotations[1].points == SMALL).all()
    assert (history.saved.annotations[1].points == SMALL[1:]).all()
    assert len(began_with) == 2


def test_an_older_version_comes_back_as_an_edit(desk):
    before = desk.xml.read_bytes()
    desk.hand.click((810, 810))
    desk.hand.press(Qt.Key.Key_Delete)
    desk.save()
    assert len(annotations.read(desk.xml)) == 1
    (version,) = annotations.versions(desk.xml)
    desk.restore(version.path)
    assert [a.name for a in desk.editor.now] == ["large", "small"]
    desk.save()
    assert desk.xml.read_bytes() == before
    desk.undo_button.click()
    assert len(desk.editor.now) == 1


def test_edits_of_a_window_that_was_never_saved_come_back_in_the_next(desk, tissue_slide):
    viewer = desk.hand.viewer
    desk.hand.click((500, 500))
    desk.hand.drag([(300, 300), (280, 250), (260, 220)])
    moved = region(desk).points
    viewer.layers.remove(desk.editor.layer)
    before = desk.xml.read_bytes()
    open_paths(viewer, [desk.xml])
    editor = editor_of(viewer.layers[-1])
    assert editor is not None
    assert (editor.now.annotations[0].points == moved).all()
    assert not editor.is_saved
    assert desk.xml.read_bytes() == before
    editor.undo()
    assert editor.is_saved


def test_new_annotations_begin_beside_a_slide_that_has_none(docked, tissue_slide, qtbot):
    viewer, _, _ = docked
    slide = Path(tissue_slide("node_2"))
    open_paths(viewer, [slide])
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    assert dock.editor is None
    dock.tool_buttons["freehand"].click()
    hand = Hand(viewer, dock.editor.layer, qtbot)
    view = camera(viewer)
    view.center, view.zoom = (256, 256), 1.6
    hand.drag(list(circle(500, 500, 90)))
    assert len(dock.editor.now) == 1
    assert not slide.with_suffix(".xml").exists()
    dock.save()
    (one,) = annotations.read(slide.with_suffix(".xml"))
    assert one.group == "metastases"


# --- how it is drawn ---------------------------------------------------------------------------


def test_outlines_lie_exactly_on_what_they_outline(desk, qtbot):
    """The line runs through the slide points: its middle on the screen is where they are."""
    viewer = desk.hand.viewer
    viewer.layers[0].visible = False
    desk.editor.hide("Exclusion", True)
    qtbot.waitUntil(lambda: tools_of(desk.editor).display.is_up_to_date)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    red = (picture[..., 0] > 120) & (picture[..., 1] < 90)
    rows, columns = np.nonzero(red)
    for at, row, column in (
        ((300, 300), rows.min(), columns.min()),
        ((700, 700), rows.max(), columns.max()),
    ):
        place = desk.hand.place(at)
        assert abs(place.x() - column) <= 2
        assert abs(place.y() - row) <= 2


def test_outlines_follow_when_another_slide_was_shown_meanwhile(desk, tissue_slide, qtbot):
    viewer, display = desk.hand.viewer, tools_of(desk.editor).display
    assert len(display._lines) == 4
    open_paths(viewer, [tissue_slide("node_3")])
    assert desk.editor is None
    from napari_camelyon.widgets.patient_view import patient_view

    patient_view(viewer).show("node_1")
    assert desk.editor is not None
    qtbot.waitUntil(lambda: display._lines["all"].visible)
    desk.hand.click((500, 500))
    assert desk.editor.current.name == "large"


# --- napari's own tools ------------------------------------------------------------------------


def test_what_is_drawn_with_naparis_own_tools_becomes_an_annotation(desk, qtbot):
    layer = desk.editor.layer
    desk.editor.draw_in("Exclusion")
    layer.mode = "add_rectangle"
    desk.hand.drag([(100, 100), (150, 150), (200, 220)])
    qtbot.waitUntil(lambda: len(desk.editor.now) == 3)
    drawn = desk.editor.current
    assert drawn.group == "Exclusion"
    assert_allclose(region_of(drawn).bounds, (100, 100, 200, 220), atol=SCREEN_PX)
    assert len(layer.data) == 0
    layer.mode = "add_polygon"
    for at in [(100, 800), (200, 800), (200, 900)]:
        desk.hand.click(at)
    desk.hand.double_click((100, 900))
    qtbot.waitUntil(lambda: len(desk.editor.now) == 4)
    bounds = region_of(desk.editor.current).bounds
    assert_allclose(bounds, (100, 800, 200, 900), atol=SCREEN_PX)
    assert labels(desk) == ["draw", "draw"]
    desk.save()
    assert len(annotations.read(desk.xml)) == 4
    desk.take_tool("select")
    assert layer.mode == "pan_zoom"


def test_our_tools_rest_while_one_of_naparis_is_in_hand(desk):
    desk.hand.click((500, 500))
    desk.take_tool("brush")
    desk.editor.layer.mode = "select"
    desk.hand.drag([(700, 400), (760, 500), (700, 600)])
    assert not labels(desk)
