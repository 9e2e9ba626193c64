"""What a person chooses for staging: thresholds, sizes, method and scheme."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_camelyon.staging import SCHEMES, Scheme

__all__ = ["HIGHEST_THRESHOLD", "LOWEST_THRESHOLD", "SchemeBox", "threshold_slider"]

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.05, 0.95

_SCHEME_TITLES: dict[Scheme, str] = {
    "camelyon17": "CAMELYON17 (pN0 to pN2)",
    "ajcc8": "AJCC/UICC 8th edition (to pN3a)",
}


def threshold_slider(tool_tip: str) -> QLabeledDoubleSlider:
    """Return a slider over the thresholds."""
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(LOWEST_THRESHOLD, HIGHEST_THRESHOLD)
    slider.setDecimals(2)
    slider.setSingleStep(0.01)
    slider.setPageStep(0.05)
    slider.setToolTip(tool_tip)
    return slider


class SchemeBox(QWidget):
    """By which scheme nodes make a stage."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.scheme_box = QComboBox()
        for scheme in SCHEMES:
            self.scheme_box.addItem(_SCHEME_TITLES[scheme], scheme)
        self.scheme_box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.scheme_box.setToolTip("The rule by which the classes of nodes make the stage.")
        self.sentinel_box = QCheckBox("Only sentinel nodes were taken: (sn)")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.scheme_box)
        layout.addWidget(self.sentinel_box)
        self.scheme_box.currentIndexChanged.connect(self._on_changed)
        self.sentinel_box.toggled.connect(self._on_changed)
        self._show_sentinel()

    @property
    def scheme(self) -> Scheme:
        """The chosen scheme."""
        scheme: Scheme = self.scheme_box.currentData()
        return scheme

    @property
    def sentinel_only(self) -> bool:
        """Whether only sentinel nodes were taken."""
        return self.sentinel_box.isChecked() and self.sentinel_box.isEnabled()

    def show_choice(self, scheme: Scheme, *, sentinel_only: bool) -> None:
        """Show what was chosen elsewhere."""
        with signals_blocked(self.scheme_box), signals_blocked(self.sentinel_box):
            self.scheme_box.setCurrentIndex(SCHEMES.index(scheme))
            if scheme == "ajcc8":  # else what was ticked is kept for when it counts again
                self.sentinel_box.setChecked(sentinel_only)
        self._show_sentinel()

    def _on_changed(self, _value: object) -> None:
        self._show_sentinel()
        self.changed.emit()

    def _show_sentinel(self) -> None:
        knows = self.scheme == "ajcc8"
        self.sentinel_box.setEnabled(knows)
        self.sentinel_box.setToolTip(
            "Adds (sn) to the stage where fewer than six nodes were taken."
            if knows
            else "CAMELYON17 has no (sn); choose AJCC/UICC for it."
        )
