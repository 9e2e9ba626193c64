"""How a patch that was looked at is shown: its pictures, its probability, and its neighbours'."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter, QPen, QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_camelyon.specs import ModelSpec
from napari_camelyon.widgets.pictures import to_qimage
from napari_camelyon.widgets.result_layers import heat_colour
from napari_camelyon.widgets.style import note

if TYPE_CHECKING:
    from napari_camelyon.inference import PatchView

__all__ = ["FRAME_COLOUR", "PatchPanel"]

_PICTURE_PX = 224
FRAME_COLOUR = "#0a66ff"
"""Of the patch: as the overview's box, no colour of H&E, heatmaps or outlines."""


class PatchPanel(QWidget):
    """Shows one patch."""

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.normalised = QLabel(), QLabel()
        self.raw_title, self.normalised_title = note("As it is on the slide"), note()
        pictures = QGridLayout()
        pictures.setHorizontalSpacing(10)
        for column, (title, picture) in enumerate(
            ((self.raw_title, self.raw), (self.normalised_title, self.normalised))
        ):
            picture.setFixedSize(_PICTURE_PX, _PICTURE_PX)
            pictures.addWidget(title, 0, column)
            pictures.addWidget(picture, 1, column)
        pictures.setRowStretch(2, 1)

        self.probability = QLabel()
        self.probability.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.classes = QLabel()
        self.classes.setTextFormat(Qt.TextFormat.PlainText)
        around = QGridLayout()
        around.setSpacing(2)
        self.cells: list[QLabel] = []
        for index in range(9):
            cell = QLabel()
            cell.setFixedSize(48, 32)
            cell.setAlignment(Qt.AlignmentFlag.AlignCenter)
            around.addWidget(cell, index // 3, index % 3)
            self.cells.append(cell)
        said = QVBoxLayout()
        said.addWidget(note("Probability of tumour"))
        said.addWidget(self.probability)
        said.addWidget(self.classes)
        said.addSpacing(6)
        said.addWidget(note("Here and around"))
        said.addLayout(around)
        said.addStretch(1)

        self.details = note()
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addLayout(pictures)
        row.addLayout(said)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.details)

    def show_patch(self, seen: "PatchView", spec: ModelSpec, stain_title: str = "") -> None:
        """Show a patch, what the model of this specification says, and by which stain method."""
        self.raw.setPixmap(_picture(seen.raw, spec.patch_mpp))
        with_stain = seen.normalised is not None
        self.normalised.setVisible(with_stain)
        self.normalised_title.setVisible(with_stain)
        if seen.normalised is not None:
            self.normalised.setPixmap(_picture(seen.normalised, spec.patch_mpp))
            self.normalised_title.setText(f"{stain_title}: what the model sees")
        self.probability.setText(_number(seen.tumour))
        self.probability.setStyleSheet(_cell_style(seen.tumour, size_pt=26))
        self.classes.setText("\n".join(_class_lines(seen)))
        for label, value, held in zip(
            self.cells, seen.neighbours.ravel(), seen.from_heatmap.ravel(), strict=True
        ):
            label.setText("–" if np.isnan(value) else _number(float(value)))
            label.setStyleSheet(_cell_style(float(value)))
            label.setToolTip("from the heatmap" if held else "computed now")
        self.cells[4].setStyleSheet(_cell_style(seen.tumour) + f"border: 2px solid {FRAME_COLOUR};")
        self.details.setText("\n".join(_detail_lines(seen, spec)))


def _class_lines(seen: "PatchView") -> list[str]:
    """Return a line a class, the one that counts as tumour marked where its name does not tell."""
    lines = []
    for index, (name, value) in enumerate(zip(seen.class_names, seen.probabilities, strict=True)):
        told = index != seen.tumour_class or "tumo" in name.lower()
        lines.append(f"{value:.3f}  {name}" + ("" if told else " (tumour)"))
    return lines


def _picture(patch: NDArray[np.uint8], um_a_px: float) -> QPixmap:
    """Return a patch at a readable size, with a scale bar."""
    pixmap = QPixmap.fromImage(to_qimage(patch)).scaled(
        _PICTURE_PX,
        _PICTURE_PX,
        Qt.AspectRatioMode.IgnoreAspectRatio,
        # Pixels of the model stay visible as such where they are few.
        Qt.TransformationMode.SmoothTransformation
        if patch.shape[0] > _PICTURE_PX / 2
        else Qt.TransformationMode.FastTransformation,
    )
    field_um = patch.shape[0] * um_a_px
    length_um = max(
        (one for one in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if one <= field_um / 2.5),
        default=1,
    )
    length = round(length_um / field_um * _PICTURE_PX)
    bottom = _PICTURE_PX - 10
    painter = QPainter(pixmap)
    for colour, width in ((Qt.GlobalColor.white, 6), (Qt.GlobalColor.black, 3)):
        painter.setPen(QPen(colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
        edge = 1 if width == 6 else 0
        painter.drawLine(10 - edge, bottom, 10 + length + edge, bottom)
    font = painter.font()
    font.setPointSizeF(9)
    font.setBold(True)
    painter.setFont(font)
    text = f"{length_um} µm"
    painter.setPen(Qt.GlobalColor.white)
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        painter.drawText(12 + right, bottom - 7 + down, text)
    painter.setPen(Qt.GlobalColor.black)
    painter.drawText(12, bottom - 7, text)
    painter.end()
    return pixmap


def _cell_style(probability: float, *, size_pt: int = 10) -> str:
    if np.isnan(probability):
        return "background: #3a3f48; color: #9aa3b2; border-radius: 3px;"
    red, green, blue = heat_colour(probability)
    ink = "#16181d" if 0.3 * red + 0.6 * green + 0.1 * blue > 120 else "white"
    return (
        f"background: rgb({red}, {green}, {blue}); color: {ink}; border-radius: 3px;"
        f"font-size: {size_pt}pt; font-weight: 600;"
    )


def _number(probability: float) -> str:
    """Return two digits; 0 and 1 only where they are meant."""
    if 0 < probability < 0.005:
        return "<0.01"
    if 0.995 <= probability < 1:
        return ">0.99"
    return f"{probability:.2f}"


def _detail_lines(seen: "PatchView", spec: ModelSpec) -> list[str]:
    x_px, y_px, width_px, height_px = seen.box_px
    low, high = seen.input_range
    patch = f"{spec.patch_px} × {spec.patch_px} px at {spec.patch_mpp:.3g} µm/px"
    lines = [
        f"{spec.name}: {patch} = {spec.field_um:.0f} µm",
        f"On the slide at x {x_px:,}, y {y_px:,}: {width_px:,} × {height_px:,} px",
        f"The network is given numbers from {low:.2f} to {high:.2f}",
    ]
    if seen.heatmap_value is not None:
        lines.append(f"The heatmap holds {seen.heatmap_value:.3f} here")
    if seen.note:
        lines.append(seen.note)
    return lines
