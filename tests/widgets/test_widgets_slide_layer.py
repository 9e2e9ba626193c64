"""A slide in the window: every pixel where world coordinates say, at every zoom."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from napari import Viewer
from napari.layers import Image
from napari.utils.notifications import notification_manager
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from napari_camelyon.slides import Slide, layer_data, open_slide
from napari_camelyon.slides.slide import DAMAGED_RGB
from napari_camelyon.slides.streaming import NOTHING_YET
from napari_camelyon.widgets.napari_compat import (
    camera,
    canvas_size_px,
    canvas_widget,
    scale_bar,
    slice_before_drawing,
)
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.slide_layer import (
    SlideDisplay,
    show_whole_slide,
    slide_layer,
    slides_are_sharp,
)
from shown_canvas import screenshot

MARK_PX = 64
MARKS_XY = [(104, 80), (2501, 1649), (4889, 3187)]
ZOOMS = [11.0, 8.0, 5.3, 2.7, 1.4, 0.5]
"""Level-0 pixels along x per screen pixel."""


@dataclass(frozen=True)
class Shot:
    """What the canvas shows, and which slide point each of its pixels stands for."""

    pixels: NDArray[np.uint8]
    centre_xy: NDArray[np.float64]
    px_a_screen_px: NDArray[np.float64]

    def slide_point(self, row: float, column: float) -> NDArray[np.float64]:
        """Derived from the camera alone: centre of the canvas = centre of the camera."""
        height, width = self.pixels.shape[:2]
        from_centre = np.array([column + 0.5 - width / 2, row + 0.5 - height / 2])
        return self.centre_xy + from_centre * self.px_a_screen_px


def add_slide_layer(viewer: Viewer, slide: Slide) -> Image:
    slice_before_drawing(viewer)
    scale_bar(viewer).visible = True
    layer = viewer.add_layer(slide_layer(slide))
    show_whole_slide(viewer, slide, layer)
    return layer


def look_at(viewer: Viewer, slide: Slide, point_xy: tuple[float, float], zoom: float) -> Shot:
    """Bring a slide point to the middle of the canvas and take what is shown when all is drawn."""
    unit = np.array(slide.mpp or (1.0, 1.0))
    view = camera(viewer)
    view.zoom = 1 / (zoom * unit[0])
    # napari's world: pixel centres at whole numbers, hence half a pixel.
    x_um, y_um = (np.array(point_xy) - 0.5) * unit
    view.center = (y_um, x_um)
    pixels = screenshot(viewer)
    screen_a_unit = view.zoom * pixels.shape[0] / canvas_size_px(viewer)[0]
    return Shot(pixels, np.array(point_xy, dtype=float), 1 / (screen_a_unit * unit))


def red_centroid(shot: Shot) -> NDArray[np.float64]:
    """Slide point of the centre of what is red in the middle of the canvas."""
    height, width = shot.pixels.shape[:2]
    half = int(1.5 * MARK_PX / shot.px_a_screen_px.min()) + 8
    rows = slice(max(0, height // 2 - half), height // 2 + half)
    columns = slice(max(0, width // 2 - half), width // 2 + half)
    red, green, blue = np.moveaxis(shot.pixels[rows, columns].astype(float), -1, 0)
    weight = red - (green + blue) / 2  # white and the black canvas weigh nothing
    assert weight.sum() > 0, "the mark is not on the canvas"
    row = (weight.sum(axis=1) * np.arange(rows.start, rows.start + len(weight))).sum()
    column = (weight.sum(axis=0) * np.arange(columns.start, columns.start + weight.shape[1])).sum()
    return shot.slide_point(row / weight.sum(), column / weight.sum())


@pytest.fixture(scope="module")
def marked_pixels() -> NDArray[np.uint8]:
    """White with red squares around known slide points; both sides odd."""
    pixels = np.full((3301, 5003, 3), 255, dtype=np.uint8)
    for x_px, y_px in MARKS_XY:
        half = MARK_PX // 2
        pixels[y_px - half : y_px + half, x_px - half : x_px + half] = (255, 0, 0)
    return pixels


@pytest.mark.gui
@pytest.mark.parametrize(
    ("factors", "mpp"),
    [
        pytest.param((1, 2, 4, 8), (0.25, 0.25), id="all levels stored"),
        pytest.param((1, 4), (0.25, 0.3), id="levels missing and pixels not square"),
    ],
)
def test_marks_are_where_the_world_says_at_every_zoom(
    make_napari_viewer, make_slide, marked_pixels, factors, mpp
):
    viewer = make_napari_viewer(show=True)
    levels_seen = set()
    path = make_slide(marked_pixels, factors=factors, mpp=mpp, tile_px=256)
    with open_slide(path) as slide:
        layer = add_slide_layer(viewer, slide)
        layer.interpolation2d = "linear"  # whole screen pixels would hide small shifts
        for zoom in ZOOMS:
            for x_px, y_px in MARKS_XY:
                shot = look_at(viewer, slide, (x_px + 3.7, y_px - 5.2), zoom)
                levels_seen.add(layer.data_level)
                off_px = np.abs(red_centroid(shot) - (x_px, y_px))
                assert (off_px <= 1).all(), (zoom, (x_px, y_px), layer.data_level, off_px)
        assert levels_seen == {0, 1, 2, 3}
        viewer.layers.clear()


@pytest.mark.gui
def test_real_aperio_levels_lie_on_each_other_in_the_window(make_napari_viewer, shared_data):
    """At the far end of a 4443 × 3567 slide a scale of 4443/2221 would show as a shift."""
    from skimage.registration import phase_cross_correlation

    viewer = make_napari_viewer(show=True)
    with open_slide(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        layer = add_slide_layer(viewer, slide)
        for zoom, level in ((2, 1), (1, 0)):
            # Not between two pixels, where either may be drawn.
            shot = look_at(viewer, slide, (3800.3, 2980.3), zoom)
            assert layer.data_level == level
            height, width = shot.pixels.shape[:2]
            top, left = height // 2 - 64, width // 2 - 64
            shown = shot.pixels[top : top + 128, left : left + 128].astype(float).mean(axis=2)
            x_px, y_px = shot.slide_point(top - 0.5, left - 0.5)  # the corner of that pixel
            side = 128 * zoom
            fine = slide.read(round(x_px), round(y_px), side, side).astype(float).mean(axis=2)
            expected = fine.reshape(128, zoom, 128, zoom).mean(axis=(1, 3))
            shift, _, _ = phase_cross_correlation(expected, shown, upsample_factor=20)
            assert np.abs(shift).max() <= 0.55, (zoom, shift)
        viewer.layers.clear()


@pytest.mark.gui
def test_whole_slide_is_in_view_in_micrometres(make_napari_viewer, make_slide, marked_pixels):
    viewer = make_napari_viewer(show=True)
    with open_slide(make_slide(marked_pixels, factors=(1, 2, 4), tile_px=256)) as slide:
        layer = add_slide_layer(viewer, slide)
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        scale_bar(viewer).visible = False  # it would count as slide below
        slide_shown = (screenshot(viewer) != 0).any(axis=2)
        rows, columns = np.flatnonzero(slide_shown.any(axis=1)), np.flatnonzero(slide_shown.any(0))
        height, width = slide_shown.shape
        assert 0.9 <= max(np.ptp(columns) / width, np.ptp(rows) / height) < 1
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(5003 / 3301, rel=0.01)
        viewer.layers.clear()


@pytest.mark.gui
def test_what_was_scanned_is_in_view_not_its_empty_margin(make_napari_viewer, make_leica):
    viewer = make_napari_viewer(show=True)
    scanned = np.full((100, 200, 3), 120, dtype=np.uint8)
    with open_slide(make_leica(scanned, 2100, 50, (3000, 2000)), mpp=0.25) as slide:
        add_slide_layer(viewer, slide)
        assert camera(viewer).center[-2:] == pytest.approx((99.5 * 0.25, 2199.5 * 0.25))
        scale_bar(viewer).visible = False
        grey = (screenshot(viewer) == 120).all(axis=2)
        rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
        height, width = grey.shape
        assert 0.9 <= max(np.ptp(columns) / width, np.ptp(rows) / height) < 1
        viewer.layers.clear()


@pytest.mark.gui
def test_damage_is_shown_and_told_once_and_the_window_lives(
    make_napari_viewer, make_slide, damage_tile
):
    pixels = np.full((512, 512, 3), 200, dtype=np.uint8)
    path = make_slide(pixels, factors=(1,), tile_px=256)
    damage_tile(path, 1, 1)
    viewer = make_napari_viewer(show=True)
    told = len(notification_manager.records)
    with open_slide(path) as slide:
        add_slide_layer(viewer, slide)
        shown = look_at(viewer, slide, (256, 256), 1).pixels
        row, column = shown.shape[0] // 2, shown.shape[1] // 2
        assert (shown[row + 20 : row + 200, column + 20 : column + 100] == DAMAGED_RGB).all()
        assert (shown[row - 200 : row - 20, column] == 200).all()
        camera(viewer).zoom *= 2
        screenshot(viewer)
        notes = [str(note.message) for note in notification_manager.records[told:]]
        assert len(notes) == 1
        assert "damaged" in notes[0]
        assert "magenta" in notes[0]
        viewer.layers.clear()


@pytest.mark.gui
def test_the_window_never_waits_and_the_data_stay_exact(
    make_napari_viewer, make_slide, marked_pixels, monkeypatch
):
    """While no pixel can be read the window draws, and what it draws is never taken for data."""
    path = make_slide(marked_pixels, factors=(1, 2, 4, 8), tile_px=256)
    let_through = threading.Event()
    read = Slide.read

    def held_up(slide: Slide, *place: int, level: int = 0, **how) -> NDArray[np.uint8]:
        if threading.current_thread().name == "slide pieces":
            let_through.wait()
        return read(slide, *place, level=level, **how)

    monkeypatch.setattr(Slide, "read", held_up)
    viewer = make_napari_viewer(show=True)
    with open_slide(path) as slide:
        layer = add_slide_layer(viewer, slide)
        scale_bar(viewer).visible = False
        x_px, y_px = MARKS_XY[1]
        camera(viewer).center = ((y_px - 0.5) * 0.25, (x_px - 0.5) * 0.25)
        camera(viewer).zoom = 1 / 0.25
        QApplication.processEvents()
        empty = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
        assert set(np.unique(empty)) <= {0, NOTHING_YET}
        assert not slides_are_sharp(viewer)
        window = np.s_[y_px - 40 : y_px + 40, x_px - 40 : x_px + 40]
        np.testing.assert_array_equal(layer.data[0][window].compute(), marked_pixels[window])
        let_through.set()
        shown = screenshot(viewer)
        height, width = shown.shape[:2]
        assert (shown[height // 2, width // 2] == (255, 0, 0)).all()
        thumbnail = layer.thumbnail[..., :3]
        assert ((thumbnail == 255).all(axis=2)).mean() > 0.5, "the thumbnail came later as well"
        viewer.layers.clear()


@pytest.mark.gui
def test_a_pan_reads_only_what_is_seen(make_napari_viewer, make_slide, marked_pixels, monkeypatch):
    places = []
    read = Slide.read

    def noted(slide: Slide, *place: int, level: int = 0, **how) -> NDArray[np.uint8]:
        places.append((*place, level))
        return read(slide, *place, level=level, **how)

    viewer = make_napari_viewer(show=True)
    viewer.window.resize(900, 600)
    with open_slide(make_slide(marked_pixels, factors=(1, 2, 4, 8), tile_px=256)) as slide:
        add_slide_layer(viewer, slide)
        look_at(viewer, slide, (1000, 1000), 1)
        monkeypatch.setattr(Slide, "read", noted)
        shot = look_at(viewer, slide, (1000, 1000), 1)
        assert not places
        height, width = shot.pixels.shape[:2]
        look_at(viewer, slide, (1600, 1000), 1)
        pixels_read = sum(w * h for _, _, w, h, level in places if level == 0)
        assert 0 < pixels_read <= (width + 2 * 512) * (height + 2 * 512)
        viewer.layers.clear()


@pytest.mark.gui
def test_a_slide_that_napari_opened_is_streamed_as_well(
    make_napari_viewer, make_slide, marked_pixels
):
    viewer = make_napari_viewer(show=True)
    patient = patient_view(viewer)
    path = make_slide(marked_pixels, factors=(1, 2, 4, 8), tile_px=256)
    (layer,) = viewer.open(path, plugin="napari-camelyon")
    assert isinstance(layer.metadata["napari_camelyon"]["display"], SlideDisplay)
    shown = screenshot(viewer)
    assert (shown == 255).all(axis=2).mean() > 0.3
    patient.remove(path.stem)
    assert not viewer.layers


def test_reader_tuple_carries_place_and_origin(make_slide, marked_pixels):
    with open_slide(make_slide(marked_pixels, factors=(1, 2, 4), mpp=(0.24, 0.26))) as slide:
        levels, arguments, kind = layer_data(slide, tell=print)
        assert kind == "image"
        assert arguments["name"] == slide.name
        assert arguments["scale"] == pytest.approx((0.26, 0.24))
        assert arguments["units"] == ("µm", "µm")
        about = arguments["metadata"]["napari_camelyon"]
        assert (about["slide"], about["kind"]) == (slide.name, "slide")
        assert about["path"] == str(slide.path)
        layer = slide_layer(slide)
        assert isinstance(layer, Image)
        assert layer.multiscale
        assert layer.rgb
        factors = layer.downsample_factors[:, :2]
        np.testing.assert_array_equal(factors, [[2**k, 2**k] for k in range(len(levels))])


def test_unknown_pixel_size_is_pixels(make_slide, marked_pixels):
    with open_slide(make_slide(marked_pixels, factors=(1, 2), mpp=None)) as slide:
        _, arguments, _ = layer_data(slide, tell=print)
        assert arguments["scale"] == (1.0, 1.0)
        assert arguments["units"] == ("pixel", "pixel")


@pytest.mark.gui
def test_the_first_frame_after_a_move_shows_the_new_place(
    make_napari_viewer, make_slide, marked_pixels
):
    viewer = make_napari_viewer(show=True)
    with open_slide(make_slide(marked_pixels, mpp=0.25)) as slide:
        add_slide_layer(viewer, slide)
        here, there = MARKS_XY[1], MARKS_XY[2]
        for place in (there, here):
            look_at(viewer, slide, place, zoom=1.0)  # both are known from now on
        widget, frames = canvas_widget(viewer), []

        def keep_frame() -> None:
            frame = widget.grabFramebuffer()
            colour = frame.pixelColor(frame.width() // 2, frame.height() // 2)
            frames.append((colour.red(), colour.green(), colour.blue()))

        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(
            lambda _event: keep_frame(), position="last"
        )
        camera(viewer).center = tuple((np.array(there[::-1]) - 0.5) * 0.25)
        while not frames:
            QApplication.processEvents()
    assert frames[0] == (255, 0, 0)
