"""The tools on a slide whose pixels are not square: 0.5 µm wide, 0.25 µm high."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from qtpy.QtCore import Qt

from canvas_hand import Hand
from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, Group, make_annotation, region_of
from napari_camelyon.geometry import slide_to_um
from napari_camelyon.widgets.annotating import tools_of
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui

MPP = (0.5, 0.25)
BOX = np.array([(200, 200), (400, 200), (400, 600), (200, 600)], float)
NEAR_PX = (2.0, 4.0)
"""One screen pixel and a half, along x and y."""


@pytest.fixture
def desk(docked, tissue_slide, qtbot):
    """The dock over a slide with a dark square in its middle, and one region beside it."""
    viewer, _, _ = docked
    slide = tissue_slide("node_1", mark_px=200, mpp=MPP)
    xml = Path(slide).with_suffix(".xml")
    made = AnnotationSet(
        (make_annotation("polygon", BOX, name="box", group="Tumor"),),
        (Group("Tumor", colour="#ff0000"),),
    )
    annotations.write(made, xml)
    assert open_paths(viewer, [slide, xml]) == 0
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    dock.parent().raise_()
    viewer.layers.selection.active = dock.editor.layer
    view = camera(viewer)
    view.center, view.zoom = (128, 256), 1.6  # µm: 0.8 screen pixels a px along x, 0.4 along y
    qtbot.wait(50)
    dock.hand = Hand(viewer, dock.editor.layer, qtbot)
    return dock


def test_every_tool_works_in_place_and_the_brush_is_round(desk, qtbot):
    hand, editor = desk.hand, desk.editor

    # A click picks what is under it, and sizes are those of the tissue.
    hand.click((700, 400))
    assert editor.current is None
    hand.click((300, 500))
    assert editor.current.name == "box"
    qtbot.waitUntil(lambda: "mm²" in desk.details.sizes.text())
    # 200 px of 0.5 µm by 400 px of 0.25 µm: 0.1 mm square, 0.141 mm across.
    assert "0.01 mm² · around 0.4 mm" in desk.details.sizes.text()
    assert "greatest diameter 0.141 mm" in desk.details.sizes.text()

    # A vertex goes where it is dragged, an edge is taken as far from it as any other.
    hand.drag([(400, 600), (420, 640), (440, 700)])
    points = editor.current.points
    assert (np.abs(points[2] - (440, 700)) <= NEAR_PX).all()
    assert (points[[0, 1, 3]] == BOX[[0, 1, 3]]).all()
    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert (editor.current.points == BOX).all()

    # What the brush paints is round on the screen and in the tissue: 30 screen pixels, 18.75 µm.
    editor.select([])
    hand.press(Qt.Key.Key_B)
    tools = tools_of(editor)
    assert tools.radius_screen_px == 30
    hand.click((700, 800))
    dab = editor.current
    left, top, right, bottom = region_of(dab).bounds
    assert_allclose((left, right), (700 - 37.5, 700 + 37.5), atol=NEAR_PX[0])
    assert_allclose((top, bottom), (800 - 75, 800 + 75), atol=NEAR_PX[1])
    from_middle = slide_to_um(dab.points, MPP) - slide_to_um((700, 800), MPP)
    assert_allclose(np.hypot(*from_middle.T), 18.75, atol=1.0)
    # The circle at the pointer is as large: its size is in µm.
    assert_allclose(editor.layer.cursor_size, 2 * 18.75)
    editor.remove_selected()

    # The wand takes the dark square, but for the blurred rim.
    hand.press(Qt.Key.Key_W)
    hand.click((512, 512))
    taken = region_of(editor.current)
    assert_allclose(taken.bounds, (412, 412, 612, 612), atol=8)
    editor.remove_selected()

    # A line is in reach within 10 px, 8 screen pixels at most along either axis.
    hand.press(Qt.Key.Key_V)
    for at, name in (
        ((300, 606), "box"),
        ((300, 624), None),
        ((407, 400), "box"),
        ((413, 400), None),
    ):
        editor.select([])
        hand.click(at)
        assert (None if editor.current is None else editor.current.name) == name, at
