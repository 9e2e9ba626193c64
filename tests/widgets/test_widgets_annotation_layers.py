"""Annotations in layers and back: nothing moves that a person did not move."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Layer, Shapes
from numpy.testing import assert_allclose, assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.annotations import OUTLINE_SCREEN_PX, annotations_from_layers, layer_data
from napari_camelyon.annotations.triangulation import can_be_filled
from napari_camelyon.geometry import layer_to_slide, slide_to_layer, world_placement
from napari_camelyon.widgets.annotation_layers import keep_outlines_readable
from napari_camelyon.widgets.napari_compat import camera

# In layer coordinates. bermuda 0.1.8 panics on it.
PANICKING_RING = np.array([(1, 3), (5, 0), (4, 5), (4, 1), (2, 4), (1, 2), (4, 1)], np.float32)
# float32 knows neither of these numbers.
EXACT = np.array([(100_000.123_456, 7.1), (100_200.3, 8.7), (100_100.7, 300.9)])


def layers_of(annotation_set, slide_id="slide", mpp=None) -> list[Layer]:
    return [Layer.create(*layer) for layer in layer_data(annotation_set, slide_id, mpp)]


def in_set(*made, groups=()):
    return annotations.AnnotationSet(tuple(made), tuple(map(annotations.Group, groups)))


def set_data(layer, number, data):
    everything = list(layer.data)
    everything[number] = np.asarray(data, np.float32)
    layer.data = everything


NUMBER = st.one_of(
    st.floats(0, 2e5), st.integers(0, 3).map(float), st.sampled_from([np.nan, np.inf, 1e12])
)
RINGS = st.lists(st.tuples(NUMBER, NUMBER), max_size=6).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)


@st.composite
def annotation_sets(draw):
    made = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(
            st.sampled_from(["polygon", "spline", "rectangle", "dot", "pointset", "ruler", "other"])
        )
        made.append(
            annotations.make_annotation(
                kind,
                draw(RINGS),
                name=draw(st.sampled_from(["", "a", "nan"])),
                group=draw(st.sampled_from([None, "Tumor", "_2"])),
                holes=draw(st.lists(RINGS, max_size=2)) if kind == "polygon" else (),
                more_parts=[annotations.Part(draw(RINGS))] if kind == "polygon" else (),
            )
        )
    return in_set(*made, groups=["Tumor"])


@given(annotation_sets())
@settings(deadline=None, max_examples=50)
def test_what_was_not_touched_is_the_same_object(annotation_set):
    back = annotations_from_layers(annotation_set, layers_of(annotation_set))
    assert len(back) == len(annotation_set)
    for now, was in zip(back, annotation_set, strict=True):
        assert now is was


def test_layers_say_what_they_are():
    made = in_set(
        annotations.make_annotation("polygon", EXACT, name="A", group="Tumor"),
        annotations.make_annotation("dot", [(5, 6)], name="B", group="Tumor"),
        annotations.make_annotation("ruler", EXACT[:2], name="C"),
        groups=["Tumor", "Exclusion"],
    )
    made = annotations.with_groups(
        made, [replace(group, colour="#00aa00") for group in made.groups]
    )
    tumour, dots, exclusion, others = layers_of(made, "node_1", (0.25, 0.5))
    assert [layer.name for layer in (tumour, dots, exclusion, others)] == [
        "node_1 Tumor", "node_1 Tumor (points)", "node_1 Exclusion", "node_1 annotations",
    ]  # fmt: skip
    assert [len(layer.data) for layer in (tumour, dots, exclusion, others)] == [1, 1, 0, 1]
    for layer in (tumour, dots, exclusion, others):
        meta = layer.metadata["napari_camelyon"]
        assert (meta["kind"], meta["slide"], meta["annotation_set"]) == (
            "annotation", "node_1", made,
        )  # fmt: skip
        assert tuple(layer.scale) == (0.5, 0.25)
        assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert tumour.features["name"].tolist() == ["A"]
    assert tumour.features["group"].tolist() == ["Tumor"]
    assert tumour.features["id"].tolist() == [made.annotations[0].id]
    assert_allclose(tumour.edge_color, [(0, 0xAA / 255, 0, 1)], atol=1e-6)
    assert tumour.face_color[0, 3] == 0
    assert_allclose(tumour.data[0], slide_to_layer(EXACT), atol=0.01)
    assert others.shape_type == ["path"]


def test_a_moved_vertex_moves_alone():
    other = annotations.make_annotation("polygon", EXACT + 1000, group="Tumor")
    made = in_set(annotations.make_annotation("polygon", EXACT, group="Tumor"), other)
    (layer,) = layers_of(made)
    data = layer.data[0].copy()
    data[1] += (3, 4)
    set_data(layer, 0, data)
    moved, untouched = annotations_from_layers(made, [layer])
    assert untouched is other
    assert moved.id == made.annotations[0].id
    assert_array_equal(moved.points[[0, 2]], EXACT[[0, 2]])
    assert_array_equal(moved.points[1], layer_to_slide(data[1]))
    assert_allclose(moved.points[1] - EXACT[1], (4, 3), atol=0.01)


@given(st.data())
@settings(deadline=None)
def test_whatever_is_done_to_a_ring_its_other_vertices_stay_exact(data):
    count = data.draw(st.integers(3, 12))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = 1e5 + 1000 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + 0.001
    doubled = np.repeat(
        ring, data.draw(st.lists(st.integers(1, 2), min_size=count, max_size=count)), axis=0
    )
    made = in_set(annotations.make_annotation("polygon", doubled))
    (layer,) = layers_of(made)
    assert len(layer.data[0]) == count
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start, count))
    fresh = data.draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=3))
    edited = np.concatenate(
        [layer.data[0][:start], np.array(fresh, np.float32).reshape(-1, 2), layer.data[0][end:]]
    )
    if len(edited) < 3:
        return
    set_data(layer, 0, edited)
    (now,) = annotations_from_layers(made, [layer])
    exact = {tuple(point) for point in ring.tolist()}
    kept = [tuple(point) for point in np.concatenate([ring[:start], ring[end:]]).tolist()]
    found = [tuple(point) for point in now.points.tolist()]
    assert [p for p in dict.fromkeys(found) if p in exact] == kept
    new = [point for point in found if point not in exact]
    assert new == [tuple(p) for p in layer_to_slide(np.reshape(fresh, (-1, 2))).tolist()]


def test_a_spline_is_shown_as_its_curve_and_becomes_a_polygon_when_edited():
    spline = annotations.make_annotation("spline", EXACT)
    made = in_set(spline)
    (layer,) = layers_of(made)
    curve = annotations.spline_outline(EXACT)
    assert_allclose(layer.data[0], slide_to_layer(curve), atol=0.01)
    data = layer.data[0].copy()
    data[4] += 5
    set_data(layer, 0, data)
    (now,) = annotations_from_layers(made, [layer])
    assert now.kind == "polygon"
    assert_array_equal(np.delete(now.points, 4, axis=0), np.delete(curve, 4, axis=0))


def test_deleted_drawn_copied_and_renamed():
    first = annotations.make_annotation("polygon", EXACT, name="first", group="Tumor")
    second = annotations.make_annotation("polygon", EXACT + 500, name="second", group="Tumor")
    third = annotations.make_annotation("polygon", EXACT + 900, name="third", group="Tumor")
    made = in_set(first, second, third)
    (layer,) = layers_of(made)
    layer.remove([1])
    layer.features.loc[1, "name"] = "renamed"
    square = np.array([(0, 0), (0, 10), (10, 10), (10, 0)], float)
    for shape_type, data in (
        ("polygon", square),
        ("rectangle", square),
        ("ellipse", square),
        ("line", square[:2]),
        ("path", square[:3]),
        ("path", square[[0, 1, 2, 3, 0]]),
    ):
        layer.add(data, shape_type=shape_type)
    layer.selected_data = {0}
    layer._copy_data()
    layer._paste_data()

    back = annotations_from_layers(made, [layer])
    assert back.annotations[0] is first
    assert back.annotations[1].id == third.id
    assert back.annotations[1].name == "renamed"
    assert back.annotations[1].points is third.points
    new = back.annotations[2:]
    assert [a.kind for a in new] == [
        "polygon", "polygon", "polygon", "ruler", "polyline", "polygon", "polygon",
    ]  # fmt: skip
    assert {a.group for a in new} == {"Tumor"}
    assert len({a.id for a in back}) == len(back)
    assert_array_equal(new[0].points, layer_to_slide(square))
    assert_array_equal(new[5].points, layer_to_slide(square))
    assert_allclose(annotations.region_of(new[2]).area, np.pi * 25, rtol=0.01)
    assert new[6].name == "first"
    assert_allclose(new[6].points, EXACT, atol=0.01)


def test_what_is_drawn_after_deleting_is_new():
    made = in_set(annotations.make_annotation("polygon", EXACT, name="old", group="Tumor"))
    (layer,) = layers_of(made)
    layer.remove([0])
    assert len(annotations_from_layers(made, [layer])) == 0
    layer.add(EXACT[:, ::-1] + 7, shape_type="polygon")
    (new,) = annotations_from_layers(made, [layer])
    assert new.id != made.annotations[0].id
    assert (new.name, new.group) == ("", "Tumor")


def test_a_shape_pasted_into_the_layer_of_another_group_changes_group_or_is_a_copy():
    tumour = annotations.make_annotation("polygon", EXACT, group="Tumor")
    made = in_set(tumour, groups=["Tumor", "_2"])
    home, other = layers_of(made)
    home.selected_data = {0}
    home._copy_data()
    other._clipboard = home._clipboard
    other._paste_data()
    for layers in ([home, other], [other, home]):
        copied = annotations_from_layers(made, layers)
        assert copied.annotations[0] is tumour
        assert [a.group for a in copied] == ["Tumor", "_2"]

    home.remove([0])
    moved = annotations_from_layers(made, [home, other])
    (annotation,) = moved
    assert (annotation.id, annotation.group) == (tumour.id, "_2")
    assert annotation.points is tumour.points


def test_holes_and_parts_are_rings_of_their_own():
    square = np.array([(0, 0), (80, 0), (80, 80), (0, 80)], float) + 1e5
    made = in_set(
        annotations.make_annotation(
            "polygon",
            square,
            holes=[1e5 + (square - 1e5) / 8 + 10, 1e5 + (square - 1e5) / 8 + 40],
            more_parts=[annotations.Part(square + 100)],
        )
    )
    (layer,) = layers_of(made)
    assert layer.features["ring"].tolist() == [0, 1, 2, 3]
    layer.remove([1])
    data = layer.data[1].copy()
    data[0] -= 5
    set_data(layer, 1, data)
    (now,) = annotations_from_layers(made, [layer])
    (hole,) = now.holes
    assert now.points is made.annotations[0].points
    assert_array_equal(hole[1:], made.annotations[0].holes[1][1:])
    assert_array_equal(hole[0], made.annotations[0].holes[1][0] - 5)
    assert len(now.more_parts) == 1
    layer.remove([0])
    (now,) = annotations_from_layers(made, [layer])
    assert_array_equal(now.points, square + 100)
    assert now.holes == ()


def test_points_move_go_and_come():
    made = in_set(
        annotations.make_annotation("pointset", EXACT, group="a"),
        annotations.make_annotation("dot", EXACT[:1] + 9, group="a"),
    )
    (layer,) = layers_of(made)
    data = layer.data.copy()
    data[1] += 2
    layer.data = data
    layer.selected_data = {2, 3}
    layer.remove_selected()
    layer.add((50, 60))
    pointset, new = annotations_from_layers(made, [layer])
    assert_array_equal(pointset.points[0], EXACT[0])
    assert_allclose(pointset.points[1], EXACT[1] + 2, atol=0.01)
    assert len(pointset.points) == 2
    assert (new.kind, new.group) == ("dot", "a")
    assert_array_equal(new.points, [(60.5, 50.5)])


def test_layers_of_others_and_layers_that_are_not_given_change_nothing():
    made = in_set(
        annotations.make_annotation("polygon", EXACT, group="a"),
        annotations.make_annotation("polygon", EXACT, group="b"),
    )
    first, second = layers_of(made)
    foreign = [Image(np.zeros((4, 4))), Shapes([EXACT], shape_type="polygon")]
    assert annotations_from_layers(made, [*foreign]).annotations == made.annotations
    second.remove([0])
    assert annotations_from_layers(made, [first]).annotations == made.annotations
    assert annotations_from_layers(made, [second]).annotations == made.annotations[:1]


def test_a_vertex_moved_in_a_layer_changes_one_line_of_the_file(tmp_path):
    ring = np.repeat(EXACT, 2, axis=0) + np.arange(6)[:, None] * (37.3, 11.1)
    annotations.write(
        in_set(
            *(annotations.make_annotation("polygon", ring + k, group="Tumor") for k in range(3))
        ),
        tmp_path / "slide.xml",
    )
    before = annotations.read(tmp_path / "slide.xml")
    layers = layers_of(before)
    data = layers[0].data[1].copy()
    data[4] = (500, 700)
    set_data(layers[0], 1, data)
    annotations.write(annotations_from_layers(before, layers), tmp_path / "saved.xml")
    was, now = ((tmp_path / name).read_bytes().splitlines() for name in ("slide.xml", "saved.xml"))
    changed = [line for line, other in zip(now, was, strict=True) if line != other]
    assert changed == [b'\t\t\t\t<Coordinate Order="4" X="700.5" Y="500.5" />']


def test_a_part_in_a_layer_that_is_not_given_stays():
    made = in_set(
        annotations.make_annotation(
            "polygon", EXACT, more_parts=[annotations.Part(np.array([(5.0, 5.0)]))]
        )
    )
    shapes, points = layers_of(made)
    for layers in ([shapes], [points], [shapes, points]):
        assert annotations_from_layers(made, layers).annotations[0] is made.annotations[0]
    shapes.remove([0])
    (now,) = annotations_from_layers(made, [shapes])
    assert_array_equal(now.points, [(5, 5)])


def test_a_ring_that_cannot_be_filled_is_a_closed_path_and_comes_back_whole():
    if can_be_filled(PANICKING_RING):
        pytest.skip("this version of bermuda fills the ring")
    made = in_set(annotations.make_annotation("polygon", layer_to_slide(PANICKING_RING)))
    (layer,) = layers_of(made)
    assert layer.shape_type == ["path"]
    assert_array_equal(layer.data[0], PANICKING_RING[[*range(7), 0]])
    assert annotations_from_layers(made, [layer]).annotations[0] is made.annotations[0]
    for end in (0, -1):  # either of the two ends that lie on the first vertex may be dragged
        data = PANICKING_RING[[*range(7), 0]].copy()
        data[end] = (9, 9)
        set_data(layer, 0, data)
        (now,) = annotations_from_layers(made, [layer])
        assert now.kind == "polygon"
        assert_array_equal(now.points[0], (9.5, 9.5))
        assert_array_equal(now.points[1:], made.annotations[0].points[1:])


def test_an_interruption_is_not_taken_for_a_ring_that_cannot_be_filled(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bermuda.triangulate_polygons_with_edge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        can_be_filled(PANICKING_RING)


def show_annotations(viewer, annotation_set, slide_id=None, mpp=None):
    """Add the layers that napari makes of what our reader returns."""
    layers = layers_of(annotation_set, slide_id, mpp)
    viewer.layers.extend(layers)
    keep_outlines_readable(viewer)
    return layers


# --- in a shown viewer -------------------------------------------------------------------------


@pytest.mark.gui
def test_every_official_file_opens_in_a_shown_viewer(make_napari_viewer, shared_data):
    viewer = make_napari_viewer(show=True)
    for path in sorted(shared_data.glob("annotations/asap_c1?/*.xml")):
        annotation_set = annotations.read(path)
        layers = show_annotations(viewer, annotation_set, path.stem, (0.243, 0.243))
        drawn = sum(len(np.unique(layer.features["id"])) for layer in layers if len(layer.data))
        assert drawn == len(annotation_set), path.name
        back = annotations_from_layers(annotation_set, layers)
        assert all(now is was for now, was in zip(back, annotation_set, strict=True)), path.name
        viewer.layers.clear()


@pytest.mark.gui
def test_a_ring_that_fails_in_plain_napari_opens(make_napari_viewer, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # napari saves what fails there
    viewer = make_napari_viewer(show=True)
    if can_be_filled(PANICKING_RING):
        pytest.skip("this version of bermuda fills the ring")
    with pytest.raises(RuntimeError, match="Triangulation failed"):
        viewer.add_shapes([PANICKING_RING], shape_type="polygon")
    made = in_set(
        annotations.make_annotation("polygon", layer_to_slide(PANICKING_RING)),
        annotations.make_annotation("polygon", layer_to_slide(PANICKING_RING[:3] + 9)),
    )
    (layer,) = show_annotations(viewer, made)
    assert layer.shape_type == ["path", "polygon"]


@pytest.mark.gui
@pytest.mark.parametrize("mpp", [None, (0.25, 0.3)])
def test_outlines_lie_exactly_on_what_they_outline(make_napari_viewer, mpp):
    """A white square and its outline: each border of the square runs in the middle of the line."""
    viewer = make_napari_viewer(show=True)
    pixels = np.zeros((120, 160), np.uint8)
    pixels[30:90, 20:80] = 255
    viewer.add_image(pixels, **world_placement(mpp))
    outline = np.array([(20, 30), (80, 30), (80, 90), (20, 90)], float)
    made = in_set(annotations.make_annotation("polygon", outline, group="red"), groups=["red"])
    made = annotations.with_groups(made, [annotations.Group("red", colour="#ff0000")])
    show_annotations(viewer, made, "slide", mpp)
    view = camera(viewer)
    unit_x, unit_y = (1.0, 1.0) if mpp is None else mpp
    view.center = (60 * unit_y - unit_y / 2, 50 * unit_x - unit_x / 2)
    view.zoom = 6 / unit_x
    keep_outlines_readable(viewer)

    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 100)
    white = picture.min(axis=-1) > 200
    rows, columns = np.nonzero(white | red)
    middle_row, middle_column = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    step_x, step_y = 6.0, 6.0 * unit_y / unit_x
    for line, filled, size in (
        (red[middle_row], white[middle_row], 60 * step_x),
        (red[:, middle_column], white[:, middle_column], 60 * step_y),
    ):
        places = np.flatnonzero(line)
        inside = np.flatnonzero(filled)
        near, far = places[places < inside.min()], places[places > inside.max()]
        # The square itself, from its first to its last screen pixel, half a line on either side.
        assert_allclose(far.mean() - near.mean(), size, atol=1)
        assert_allclose([len(near), len(far)], OUTLINE_SCREEN_PX, atol=1)
        canvas_middle = (len(line) - 1) / 2
        assert_allclose((near.mean() + far.mean()) / 2, canvas_middle, atol=1)


@pytest.mark.gui
def test_outlines_keep_their_width_on_the_screen(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    made = in_set(annotations.make_annotation("polygon", EXACT, group="a"), groups=["a"])
    (layer,) = show_annotations(viewer, made, "slide", (0.25, 0.25))
    view = camera(viewer)

    def width_on_screen():
        return layer.edge_width[0] * 0.25 * view.zoom

    assert 0.8 < width_on_screen() / OUTLINE_SCREEN_PX < 1.25
    for factor in (20, 0.01):
        view.zoom *= factor
        qtbot.waitUntil(lambda: 0.8 < width_on_screen() / OUTLINE_SCREEN_PX < 1.25)
    callbacks = len(view.events.zoom.callbacks)
    show_annotations(viewer, made)
    assert len(view.events.zoom.callbacks) == callbacks


@pytest.mark.gui
def test_a_vertex_dragged_with_the_mouse_is_taken_back_alone(make_napari_viewer, qtbot):
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    viewer = make_napari_viewer(show=True)
    ring = np.array([(10.1, 10.2), (90.3, 10.4), (90.5, 90.6), (10.7, 90.8)])
    made = in_set(
        annotations.make_annotation("polygon", ring),
        annotations.make_annotation("polygon", ring + 200),
    )
    (layer,) = show_annotations(viewer, made)
    view = camera(viewer)
    view.center, view.zoom = (60, 60), 4
    keep_outlines_readable(viewer)
    viewer.layers.selection = {layer}
    layer.mode = "direct"
    layer.selected_data = {0}
    canvas = viewer.window._qt_viewer.canvas.native

    def place(row, column):
        height, width = canvas.height(), canvas.width()
        return QPointF(width / 2 + (column - 60) * 4, height / 2 + (row - 60) * 4)

    row, column = slide_to_layer(ring[2])
    for kind, step in (
        (QEvent.MouseMove, 0),
        (QEvent.MouseButtonPress, 0),
        (QEvent.MouseMove, 5),
        (QEvent.MouseMove, 10),
        (QEvent.MouseButtonRelease, 10),
    ):
        where = place(row + step, column + step)
        held = Qt.NoButton if kind == QEvent.MouseButtonRelease or not step else Qt.LeftButton
        button = Qt.NoButton if kind == QEvent.MouseMove else Qt.LeftButton
        event = QMouseEvent(kind, where, canvas.mapToGlobal(where), button, held, Qt.NoModifier)
        QApplication.sendEvent(canvas, event)
        qtbot.wait(1)

    moved, untouched = annotations_from_layers(made, [layer])
    assert untouched is made.annotations[1]
    assert_array_equal(moved.points[[0, 1, 3]], ring[[0, 1, 3]])
    assert_allclose(moved.points[2], ring[2] + 10, atol=0.6)
