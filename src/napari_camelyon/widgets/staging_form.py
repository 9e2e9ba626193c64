"""What a person chooses for staging: thresholds, sizes, method and scheme."""

from collections.abc import Sequence
from dataclasses import replace

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleSlider
from superqt.utils import signals_blocked

from napari_camelyon.staging import SCHEMES, LesionRules, Scheme, StageRange
from napari_camelyon.widgets.stage_scales import StabilityBand
from napari_camelyon.widgets.style import note

__all__ = ["HIGHEST_THRESHOLD", "LOWEST_THRESHOLD", "RuleSliders", "SchemeBox"]

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.05, 0.95
_LARGEST_LEAST_MM = 0.5
"""Leaving out larger ones would hide micrometastases of a size that nobody overlooks."""
_NEARLY = 0.004
"""Two values of two digits that are nearer are the same."""

_SCHEME_TITLES: dict[Scheme, str] = {
    "camelyon17": "CAMELYON17 (pN0 to pN2)",
    "ajcc8": "AJCC/UICC 8th edition (to pN3a)",
}


class RuleSliders(QWidget):
    """The threshold, and over it the stages that others would give.

    Attributes
    ----------
    more : QWidget
        Sliders for the seed threshold and the smallest lesion, to be put elsewhere.
    """

    moved = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.band = StabilityBand(LOWEST_THRESHOLD, HIGHEST_THRESHOLD)
        self.stability = note()
        self.threshold_slider = _slider(
            LOWEST_THRESHOLD, HIGHEST_THRESHOLD, "Probability from which a patch counts as tumour."
        )
        self.seed_slider = _slider(
            LOWEST_THRESHOLD,
            HIGHEST_THRESHOLD,
            "A deposit counts only if one of its patches reaches this. At the threshold itself "
            "every deposit counts.",
        )
        self.size_slider = _slider(
            0.0, _LARGEST_LEAST_MM, "Lesions of a smaller greatest diameter are left out."
        )
        self.threshold_text, self.seed_text, self.size_text = QLabel(), QLabel(), QLabel()
        self._threshold: float = self.threshold_slider.value()
        grid = _grid(self)
        grid.addWidget(self.stability, 0, 0, 1, 3)
        grid.addWidget(self.band, 1, 1)
        _add_slider(grid, 2, "Threshold", self.threshold_slider, self.threshold_text)
        self.more = QWidget()
        grid = _grid(self.more)
        _add_slider(grid, 0, "Seed", self.seed_slider, self.seed_text)
        _add_slider(grid, 1, "Smallest", self.size_slider, self.size_text)
        self.threshold_slider.valueChanged.connect(self._on_threshold)
        self.seed_slider.valueChanged.connect(self._on_seed)
        self.size_slider.valueChanged.connect(self._on_moved)

    def rules(self, before: LesionRules) -> LesionRules:
        """Return rules with what the sliders say."""
        threshold: float = self.threshold_slider.value()
        seed: float = self.seed_slider.value()
        return replace(
            before,
            threshold=round(threshold, 4),
            seed_threshold=round(seed, 4) if seed > threshold + _NEARLY else None,
            min_diameter_mm=round(self.size_slider.value(), 4),
        )

    def show_rules(self, rules: LesionRules) -> None:
        """Show rules, which have a threshold, that somebody else has chosen."""
        self._threshold = rules.threshold or LOWEST_THRESHOLD
        for slider, value in (
            (self.threshold_slider, self._threshold),
            (self.seed_slider, rules.seed_threshold or self._threshold),
            (self.size_slider, rules.min_diameter_mm),
        ):
            with signals_blocked(slider):
                slider.setValue(value)
        self._say_values()

    def show_stability(self, ranges: Sequence[StageRange], words: str) -> None:
        """Show over which thresholds which stage holds; none: not known yet."""
        self.stability.setText(words)
        self.stability.setVisible(bool(words))
        self.band.setVisible(bool(ranges))
        self.band.show_ranges(ranges, self.threshold_slider.value())

    def _on_threshold(self, threshold: float) -> None:
        # A seed threshold is never below the threshold; one that lies on it stays there.
        followed = abs(self.seed_slider.value() - self._threshold) < _NEARLY
        if followed or self.seed_slider.value() < threshold:
            with signals_blocked(self.seed_slider):
                self.seed_slider.setValue(threshold)
        self._threshold = threshold
        self.band.show_ranges(self.band.ranges, threshold)
        self._on_moved()

    def _on_seed(self, seed: float) -> None:
        if seed < self._threshold:
            with signals_blocked(self.seed_slider):
                self.seed_slider.setValue(self._threshold)
        self._on_moved()

    def _on_moved(self, _value: float = 0.0) -> None:
        self._say_values()
        self.moved.emit()

    def _say_values(self) -> None:
        threshold: float = self.threshold_slider.value()
        seed: float = self.seed_slider.value()
        self.threshold_text.setText(f"{threshold:.2f}")
        self.seed_text.setText(f"{seed:.2f}" if seed > threshold + _NEARLY else "off")
        smallest: float = self.size_slider.value()
        self.size_text.setText(f"{smallest:.2f} mm" if smallest else "off")


_METHOD_TITLES = {
    "size": "Class by size of the largest lesion",
    "clusters": "Class by clusters of patches (not validated)",
    "proportion": "Class by share of patches (not validated)",
    "area": "Class by tumour area (not validated)",
}
"""Of `NODE_METHODS`; "learned" needs a file that somebody has trained, on the command line."""


def _grid(parent: QWidget) -> QGridLayout:
    grid = QGridLayout(parent)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(6)
    grid.setVerticalSpacing(3)
    grid.setColumnStretch(1, 1)
    return grid


def _slider(low: float, high: float, tool_tip: str) -> QDoubleSlider:
    slider = QDoubleSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
    slider.setRange(low, high)
    slider.setSingleStep(0.01)
    slider.setPageStep(0.05)
    slider.setMinimumWidth(80)
    slider.setToolTip(tool_tip)
    return slider


def _add_slider(
    grid: QGridLayout, row: int, title: str, slider: QDoubleSlider, text: QLabel
) -> None:
    label = QLabel(title)
    label.setToolTip(slider.toolTip())
    label.setMinimumWidth(label.fontMetrics().horizontalAdvance("Threshold  "))
    slider.setAccessibleName(title)
    text.setMinimumWidth(text.fontMetrics().horizontalAdvance("0.00 mm"))
    text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    grid.addWidget(label, row, 0)
    grid.addWidget(slider, row, 1)
    grid.addWidget(text, row, 2)


class SchemeBox(QWidget):
    """How the classes of nodes are called, and by which scheme they make a stage."""

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
        self.method_box = QComboBox()
        for method, title in _METHOD_TITLES.items():
            self.method_box.addItem(title, method)
        self.method_box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.method_box.setToolTip(
            "How the class of a node is called. Only the rule by size is that of CAMELYON17; the "
            "others, ways of a published reference pipeline, were never validated."
        )
        self.sentinel_box = QCheckBox("Only sentinel nodes were taken: (sn)")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.method_box)
        layout.addWidget(self.scheme_box)
        layout.addWidget(self.sentinel_box)
        self.scheme_box.currentIndexChanged.connect(self._on_changed)
        self.method_box.currentIndexChanged.connect(self._on_changed)
        self.sentinel_box.toggled.connect(self._on_changed)
        self._show_sentinel()

    @property
    def method(self) -> str:
        """The chosen method."""
        method: str = self.method_box.currentData()
        return method

    @property
    def scheme(self) -> Scheme:
        """The chosen scheme."""
        scheme: Scheme = self.scheme_box.currentData()
        return scheme

    @property
    def sentinel_only(self) -> bool:
        """Whether only sentinel nodes were taken."""
        return self.sentinel_box.isChecked() and self.sentinel_box.isEnabled()

    def show_choice(self, method: str, scheme: Scheme, *, sentinel_only: bool) -> None:
        """Show what was chosen elsewhere."""
        with signals_blocked(self.method_box):
            self.method_box.setCurrentIndex(self.method_box.findData(method))
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
