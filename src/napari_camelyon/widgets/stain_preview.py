"""Choosing a stain normalisation, and seeing it on the slide before anything is run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.errors import CamelyonError, StainError
from napari_camelyon.geometry import Grid
from napari_camelyon.slides import Slide, read_resampled
from napari_camelyon.stain import (
    REFERENCE_STAIN,
    StainFit,
    StainMethod,
    StainTransfer,
    StainVectors,
    make_transfer,
    stain_distance_deg,
    target_stain,
    transfer,
)
from napari_camelyon.tissue import TissueMask, fit_slide_stain, tissue_mask
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.napari_compat import camera, canvas_size_px
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.result_layers import layer_metadata
from napari_camelyon.widgets.seen import layer_of_slide, seen_box
from napari_camelyon.widgets.style import note

__all__ = ["StainControls", "StainPreview"]

TITLES = {"none": "as it is", "macenko": "Macenko", "reinhard": "Reinhard"}

_Key = tuple[str, str]
"""Path of a slide and method."""

_SETTLED_MS = 120
"""For so long the view must rest before it is read: panning alone reads nothing."""

_MOST_PIXELS = 4_000_000
"""Of one preview: a large screen. It takes a tenth of a second and 12 MB."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a preview is made of: whole pixels of the screen, or coarser ones."""

    slide: Slide
    stain: StainTransfer
    grid: Grid


class StainPreview(QObject):
    """An extra layer that shows what is in view as it looks after stain normalisation.

    It follows the view, is read in a thread at the screen's resolution, and what is out of date
    when it arrives is dropped. Switching the layer off and on compares before and after.
    """

    removed = Signal()
    """A person has taken the layer away."""

    def __init__(self, viewer: Viewer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = patient_view(viewer)
        self._stain: StainTransfer | None = None
        self._layer: Image | None = None
        self._wanted: _Look | None = None
        self._shown: _Look | None = None
        self._reading = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SETTLED_MS)
        self._soon.timeout.connect(self._read)
        view = camera(viewer)
        view.events.center.connect(self._follow)
        view.events.zoom.connect(self._follow)
        viewer.layers.events.removed.connect(self._on_removed)
        self._view.shown_changed.connect(self._on_slide_changed)

    @property
    def layer(self) -> Image | None:
        """The layer, once it has something to show."""
        return self._layer

    @property
    def is_up_to_date(self) -> bool:
        """Whether what is in view is shown, or nothing is wanted."""
        return not self._reading and not self._soon.isActive()

    def show(self, stain: StainTransfer | None) -> None:
        """Show the slide in view through a transfer, or with None no longer."""
        if stain == self._stain:
            return
        self._stain = stain
        self._shown = None
        if stain is None:
            self._soon.stop()
            self._take_away()
        else:
            self._read()

    def _follow(self) -> None:
        if self._stain is not None:
            self._soon.start()

    def _read(self) -> None:
        self._wanted = self._look()
        if self._wanted is None or self._reading or self._wanted == self._shown:
            return
        self._reading = True
        in_thread(_render, self._wanted, receive=self._receive)

    def _look(self) -> _Look | None:
        node, viewer = self._view.shown_node, self._view.viewer
        layer = None if node is None else layer_of_slide(viewer, node.slide.name)
        if self._stain is None or node is None or layer is None:
            return None
        height, width = canvas_size_px(viewer)
        grid = _grid_in_view(node.slide, seen_box(viewer, layer), max(height, width))
        return None if grid is None else _Look(node.slide, self._stain, grid)

    def _receive(self, done: tuple[_Look, NDArray[np.uint8] | None]) -> None:
        look, pixels = done
        self._reading = False
        if look != self._wanted or self._stain is None:
            self._read()  # the view went on meanwhile: what came is of no use
            return
        self._shown = look
        if pixels is None:
            self._take_away()  # the slide's own layer says that it cannot be read
            return
        self._draw(look, pixels)

    def _draw(self, look: _Look, pixels: NDArray[np.uint8]) -> None:
        placement = look.grid.layer_placement(look.slide.mpp)
        if self._layer is None:
            layers = self._view.viewer.layers
            active = layers.selection.active
            self._layer = Image(
                pixels,
                rgb=True,
                name=f"stain preview: {TITLES[look.stain.method]}",
                metadata=layer_metadata(look.slide.name, "stain preview"),
                **placement,
            )
            slide_layer = layer_of_slide(self._view.viewer, look.slide.name)
            layers.insert(0 if slide_layer is None else layers.index(slide_layer) + 1, self._layer)
            layers.selection.active = active  # a person goes on with what they were at
            return
        self._layer.data = pixels
        self._layer.scale, self._layer.translate = placement["scale"], placement["translate"]
        self._layer.name = f"stain preview: {TITLES[look.stain.method]}"

    def _take_away(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None:
            self._view.take_away(layer)

    def _on_removed(self, event: Any) -> None:
        if event.value is not self._layer:
            return  # also what this takes away itself
        if layer_of_slide(self._view.viewer, self._view.shown) is None:
            return  # put away with its slide
        self._layer, self._stain = None, None
        self._soon.stop()
        self.removed.emit()

    def _on_slide_changed(self) -> None:
        self._shown = None
        self._take_away()


class StainControls(QWidget):
    """Chooses a method, shows the stain that was found on the slide, and switches the preview."""

    changed = Signal()
    """Another method was chosen."""
    fitted = Signal()
    """`transfer` has changed: a stain was found, or there is none any more."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._view = patient_view(napari_viewer)
        self._known: StainVectors | None = None
        self._fits: dict[_Key, tuple[TissueMask | None, object]] = {}
        self._waited_for: _Key | None = None
        self.transfer: StainTransfer | None = None
        self.preview = StainPreview(napari_viewer, self)
        self._build()
        self.choice.currentIndexChanged.connect(self._on_chosen)
        self.preview_box.toggled.connect(self._show_preview)
        self.preview.removed.connect(lambda: self.preview_box.setChecked(False))
        self._view.shown_changed.connect(self._fit)
        self._view.nodes_changed.connect(self._fit)
        self._view.tissue_changed.connect(self._on_tissue_changed)
        self._fit()

    def value(self) -> str:
        """Return ``none``, ``macenko`` or ``reinhard``."""
        return self.choice.currentData()

    def set_value(self, method: str) -> None:
        """Choose a method."""
        self.choice.setCurrentIndex(self.choice.findData(method))

    def set_model_stain(self, vectors: StainVectors | None) -> None:
        """Say which stain the chosen model knew, to which Macenko's method then brings slides."""
        if vectors != self._known:
            self._known = vectors
            self._fit()

    @property
    def is_fitting(self) -> bool:
        """Whether a stain is being looked for."""
        return self._waited_for is not None

    # -- the fit --------------------------------------------------------------------------------

    def _on_chosen(self) -> None:
        self._fit()
        self.changed.emit()

    def _on_tissue_changed(self, name: str) -> None:
        if name == self._view.shown:
            self._fit()

    def _fit(self) -> None:
        node, method = self._view.shown_node, self.value()
        self._waited_for = None
        if node is None or method == "none":
            self._take(None, "")
            return
        mask = None if node.tissue is None else node.tissue.mask
        key = (str(node.slide.path), method)
        known = self._fits.get(key)
        if known is not None and known[0] is mask:
            self._use(known[1])
            return
        self._take(None, "Looking for the stain on the tissue …")
        self._waited_for = key
        in_thread(_fit_for, key, node.slide, mask, method, receive=self._on_fitted)

    def _on_fitted(self, done: tuple[_Key, TissueMask | None, object]) -> None:
        key, mask, found = done
        self._fits[key] = (mask, found)
        if self._waited_for == key:
            self._waited_for = None
            self._use(found)

    def _use(self, found: object) -> None:
        if isinstance(found, CamelyonError):
            self._take(None, str(found))
            return
        try:
            target = target_stain(self._known) if isinstance(found, StainFit) else None
            self._take(make_transfer(found, target), "")  # type: ignore[arg-type]
        except StainError as error:
            self._take(None, str(error))

    def _take(self, stain: StainTransfer | None, text: str) -> None:
        self.transfer = stain
        fit = None if stain is None else stain.source
        self.swatches.setVisible(isinstance(fit, StainFit))
        if isinstance(fit, StainFit):
            for label, vector, strength in zip(
                (self.haematoxylin, self.eosin), fit.vectors, fit.strengths, strict=True
            ):
                _paint_swatch(label, vector, strength)
            away = stain_distance_deg(fit, self._known or REFERENCE_STAIN.vectors)
            of = "the stain that the model knew" if self._known else "the reference"
            self.distance.setText(f"{away:.0f}° from {of}")
        self.note.setText(text)
        self.note.setVisible(bool(text))
        self._show_preview()
        self.fitted.emit()

    def _show_preview(self) -> None:
        self.preview_box.setEnabled(self.value() != "none")
        self.preview.show(self.transfer if self.preview_box.isChecked() else None)

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        self.choice = QComboBox()
        for name, title in TITLES.items():
            self.choice.addItem(title, name)
        self.choice.setToolTip(
            "Bring the slide's colours to those of a reference before the model sees them. "
            "Only for models that were trained so, or where a warning says that stains differ."
        )
        self.preview_box = QCheckBox("Preview")
        self.preview_box.setToolTip(
            "Show what is in view as the model would see it; switch the layer's eye to compare"
        )
        first = QHBoxLayout()
        first.addWidget(self.choice, 1)
        first.addWidget(self.preview_box)
        self.haematoxylin, self.eosin = QLabel("H"), QLabel("E")
        self.haematoxylin.setToolTip("Haematoxylin as it was found on this slide")
        self.eosin.setToolTip("Eosin as it was found on this slide")
        self.distance = note()
        self.swatches = QWidget()
        self.swatches.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        second = QHBoxLayout(self.swatches)
        second.setContentsMargins(0, 0, 0, 0)
        second.addWidget(self.haematoxylin)
        second.addWidget(self.eosin)
        second.addWidget(self.distance, 1)
        self.note = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(first)
        layout.addWidget(self.swatches)
        layout.addWidget(self.note)


def _grid_in_view(slide: Slide, box: NDArray[np.float64], canvas_px: int) -> Grid | None:
    """Return the pixels of a preview: what is in view of the slide, one a pixel of the screen.

    Parameters
    ----------
    slide : Slide
    box : ndarray of float64, shape (2, 2)
        Slide points of the canvas's corners.
    canvas_px : int
        The canvas's longer side in logical pixels.
    """
    size = np.array([slide.width_px, slide.height_px])
    first, last = np.floor(np.clip(box, 0, size)).astype(int)
    if (last <= first).any():
        return None
    across, down = (last - first).tolist()
    application = QApplication.instance()
    ratio = 1.0 if application is None else application.devicePixelRatio()
    step = max(1, round(float((box[1] - box[0]).max()) / (canvas_px * ratio)))
    while (across // step + 1) * (down // step + 1) > _MOST_PIXELS:
        step += 1
    return Grid(
        rows=-(-down // step),
        columns=-(-across // step),
        x_px=int(first[0]),
        y_px=int(first[1]),
        patch_width_px=step,
        patch_height_px=step,
        stride_x_px=step,
        stride_y_px=step,
    )


def _render(look: _Look) -> tuple[_Look, NDArray[np.uint8] | None]:
    """Read and transfer in the worker's thread; None where the slide cannot be read."""
    grid = look.grid
    try:
        pixels = read_resampled(
            look.slide,
            grid.x_px,
            grid.y_px,
            grid.columns * grid.stride_x_px,
            grid.rows * grid.stride_y_px,
            grid.columns,
            grid.rows,
            on_damage=lambda _damage: None,  # the slide's own layer tells it
        )
    except CamelyonError:
        return look, None
    return look, transfer(pixels, look.stain)


def _fit_for(
    key: _Key, slide: Slide, mask: TissueMask | None, method: StainMethod
) -> tuple[_Key, TissueMask | None, object]:
    """Fit in the worker's thread; an error of ours is the result."""
    try:
        return key, mask, fit_slide_stain(slide, mask or tissue_mask(slide), method)
    except CamelyonError as error:
        return key, mask, error


def _paint_swatch(label: QLabel, vector: tuple[float, ...], strength: float) -> None:
    colour = np.clip(255 * np.exp(-np.array(vector) * strength), 0, 255).astype(int)
    ink = "white" if colour.mean() < 140 else "black"
    label.setStyleSheet(
        f"background: rgb({colour[0]}, {colour[1]}, {colour[2]}); color: {ink};"
        "border-radius: 3px; padding: 1px 9px; font-weight: 600;"
    )
