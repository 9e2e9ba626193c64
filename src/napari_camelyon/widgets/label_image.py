"""The images that came with a slide: looked at on request only, for a label may bear a name."""

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import Slide
from napari_camelyon.widgets.pictures import to_qimage

__all__ = ["LabelDialog"]

_LARGEST_PX = 520


class LabelDialog(QDialog):
    """Warns first; shows an image only when its button is pressed. Nothing can be saved here."""

    def __init__(self, slide: Slide, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slide = slide
        self.setWindowTitle(f"Images that came with {slide.name}")
        self.warning = QLabel(
            "<b>These images may show a patient's name, a number or handwriting.</b><br>"
            "Make sure that nobody sees them who should not, on a shared screen for instance. "
            "They are only shown here; nothing of them is saved or exported."
        )
        self.warning.setWordWrap(True)
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        for name in slide.associated_names:
            self.buttons[name] = self._button(name)
            row.addWidget(self.buttons[name])
        row.addStretch(1)
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setMinimumSize(_LARGEST_PX, 260)
        closing = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        closing.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.warning)
        layout.addLayout(row)
        layout.addWidget(self.picture, 1)
        layout.addWidget(closing)

    def _button(self, name: str) -> QPushButton:
        button = QPushButton(f"Show {name}")
        button.setAutoDefault(False)  # Return must not show it by accident
        button.clicked.connect(lambda: self.show_image(name))
        return button

    def show_image(self, name: str) -> None:
        """Show one of the images, shrunk to fit."""
        try:
            image = to_qimage(self._slide.associated(name))
        except SlideError as error:
            self.picture.setText(str(error))
            self.picture.setWordWrap(True)
            return
        ratio = self.devicePixelRatioF()
        picture = QPixmap.fromImage(image)
        largest = round(_LARGEST_PX * ratio)
        if max(picture.width(), picture.height()) > largest:
            picture = picture.scaled(
                largest,
                largest,
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        picture.setDevicePixelRatio(ratio)
        self.picture.setPixmap(picture)
