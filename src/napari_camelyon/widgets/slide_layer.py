"""A slide as an Image layer: placed in µm, drawn as it is read, and fitted into the view."""

from functools import partial
from weakref import ref

from napari.components.viewer_model import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.slides import ColourTransform, Slide, SlideStream, layer_data
from napari_camelyon.slides.layer_data import DamageNotice
from napari_camelyon.widgets.napari_compat import camera, show_instead

__all__ = [
    "SlideDisplay",
    "show_whole_slide",
    "slide_layer",
    "slides_are_sharp",
    "stream_slide",
]

_REFRESH_MS = 80
"""Pause in which arriving pieces are collected before the layer is drawn again, unless all came."""
_STEP_PX = 128


def slide_layer(slide: Slide) -> Image:
    """Return the slide as a layer that belongs to no viewer yet.

    Parameters
    ----------
    slide : Slide
        Must stay open while the layer exists.

    Returns
    -------
    napari.layers.Image
        Multiscale; its world coordinates are µm (pixels if the slide's pixel size is unknown). Its
        data are exact dask arrays; drawn is what `stream_slide` has.
    """
    levels, arguments, _ = layer_data(slide, tell=show_warning)
    layer = Image(levels, **arguments)
    stream_slide(layer, slide)
    return layer


def stream_slide(layer: Image, slide: Slide) -> None:
    """Let a slide's layer be drawn at once from what is known, and again as pieces arrive.

    Parameters
    ----------
    layer : napari.layers.Image
        With the data of `slides.layer_data`, which stay as they are. Its metadata get a
        `SlideDisplay`, as ``"display"``.
    slide : Slide
    """
    meta = layer.metadata["napari_camelyon"]
    meta["display"] = display = SlideDisplay(layer, slide, meta["damage"])
    show_instead(
        layer,
        lambda: display.stream,
        step_px=_STEP_PX,
        pixel_ratio=_device_pixel_ratio,
    )


def slides_are_sharp(viewer: ViewerModel) -> bool:
    """Tell whether every slide in the viewer is drawn in full detail for the present view."""
    displays = (layer.metadata.get("napari_camelyon", {}).get("display") for layer in viewer.layers)
    return all(display.is_sharp for display in displays if display is not None)


class SlideDisplay(QObject):
    """Draws a slide's layer again, some moments after pieces of it have arrived.

    Attributes
    ----------
    stream : SlideStream
    colour : ColourTransform or None
        What the colours go through; None where they are drawn as they are stored.
    """

    _arrived = Signal()

    def __init__(self, layer: Image, slide: Slide, damage: DamageNotice) -> None:
        super().__init__()
        self._layer = ref(layer)
        self._slide = slide
        self._damage = damage
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._redraw)
        self._arrived.connect(self._redraw_soon)
        self.colour: ColourTransform | None = None
        self._begin()

    def _begin(self) -> None:
        self._drawn, self._has_overview = 0, False
        self.stream = SlideStream(
            self._slide,
            on_arrival=self._tell_arrival,
            on_damage=self._damage,
            colour=self.colour,
            begin_soon=partial(QTimer.singleShot, 0),
        )

    @property
    def damaged(self) -> int:
        """Tiles of the slide that could not be read so far."""
        return self._damage.count

    @property
    def is_sharp(self) -> bool:
        """Whether the present view is drawn in full detail."""
        return self.stream.is_complete and self._drawn == self.stream.arrived

    def show_in(self, colour: ColourTransform | None) -> None:
        """Draw the slide in sRGB by way of its colour profile, or with None as it is stored."""
        self.stream.close()
        self.colour = colour
        self._begin()
        self._redraw()

    def _tell_arrival(self) -> None:
        self._arrived.emit()  # from a reading thread to the window's

    def _redraw_soon(self) -> None:
        if self.stream.is_complete:
            self._timer.start(0)
        elif not self._timer.isActive():
            self._timer.start(_REFRESH_MS)

    def _redraw(self) -> None:
        layer = self._layer()
        if layer is None:
            return
        self._drawn = self.stream.arrived
        known, self._has_overview = self._has_overview, self.stream.has_overview
        layer.refresh(extent=False, highlight=False, thumbnail=not known)


def _device_pixel_ratio() -> float:
    application = QApplication.instance()
    return 1.0 if application is None else application.devicePixelRatio()


def show_whole_slide(viewer: ViewerModel, slide: Slide, layer: Image) -> None:
    """Fit what was scanned into the view, without the empty margin that some formats have."""
    viewer.fit_to_view(layers=[layer])
    x_px, y_px, width_px, height_px = slide.bounds_px
    rows, columns = layer.data[0].shape[:2]
    view = camera(viewer)
    view.center = layer.data_to_world(slide_to_layer((x_px + width_px / 2, y_px + height_px / 2)))
    view.zoom *= min(columns / width_px, rows / height_px)
