"""What a person chooses for a run: few things at once, and more when they are asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from magicgui.widgets import ComboBox, FloatSpinBox, SpinBox
from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_camelyon.cohort import PredictRequest
from napari_camelyon.models.registry import BUNDLED_NAME
from napari_camelyon.widgets.stain_preview import StainControls
from napari_camelyon.widgets.style import note

__all__ = ["RunForm"]

_BUNDLED = "Bundled model"
_DEVICES = ("auto", "cuda", "mps", "cpu")
_ENGINES = {
    "auto": "auto",
    "torch": "torch",
    "torch, compiled": "compiled",
    "OpenVINO": "openvino",
    "ONNX Runtime": "onnxruntime",
}
_PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
StainChoice = Literal["none", "macenko", "reinhard"]
_UNCERTAINTIES = {
    "none": "none",
    "8 symmetries": "tta",
    "MC dropout": "mc_dropout",
    "ensemble of models": "ensemble",
}
_LEAVE_OUT = {"pen": "pen", "blur": "blur", "fold": "folds"}
_MODEL_FILES = "Models (*.safetensors *.pt *.pth *.pt2 *.onnx);;All files (*)"


class RunForm(QWidget):
    """The form of the Inference dock; `request` says what it says.

    Fields are reached by their names, as magicgui's: ``form["stride_um"].value``.
    """

    changed = QtSignal()

    def __init__(self, stain: StainControls) -> None:
        super().__init__()
        self.stain = stain
        self._models: dict[str, Path | str | None] = {_BUNDLED: None}
        self._tumour_classes: dict[Path | str | None, str] = {}
        self._fields = _fields(tuple(self._models))
        self._leave_out = {kind: QCheckBox(title) for kind, title in _LEAVE_OUT.items()}
        self._build()
        for field in self._fields.values():
            field.changed.connect(self._on_changed)
        for box in self._leave_out.values():
            box.toggled.connect(self._on_changed)
        self._members.itemChanged.connect(self._on_changed)
        stain.changed.connect(self._on_changed)
        self._on_changed()

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name."""
        return self._fields[name]

    def request(self) -> PredictRequest:
        """Return what the form says now."""
        fields = self._fields
        model = self._models[fields["model"].value]
        return PredictRequest(
            model=model,
            tumour_class=self._tumour_classes.get(model),
            stride_um=fields["stride_um"].value or None,
            min_tissue_fraction=fields["min_tissue_percent"].value / 100,
            device=fields["device"].value,
            engine=_ENGINES[fields["engine"].value],
            precision=fields["precision"].value,
            method=fields["method"].value,
            stain=cast("StainChoice", self.stain.value()),
            leave_out=tuple(kind for kind, box in self._leave_out.items() if box.isChecked()),
            uncertainty=_UNCERTAINTIES[fields["uncertainty"].value],
            samples=fields["samples"].value,
            ensemble=self._chosen_members(),
        )

    def choose_model(self, path: Path | str) -> None:
        """Put a model file or folder into the list and choose it."""
        path = Path(path)
        self.add_models({path.name: path})
        self._fields["model"].value = path.name

    def add_models(self, models: Mapping[str, Path | str]) -> None:
        """Put models into the list: what they are called, and where they lie or their names."""
        self._models.update(models)
        self._fields["model"].choices = tuple(self._models)
        self._list_members()

    def set_tumour_class(self, name: str) -> None:
        """Remember which class of the chosen model is tumour, for as long as the window lives."""
        self._tumour_classes[self._models[self._fields["model"].value]] = name

    def show_tissue(self, text: str) -> None:
        """Show what was chosen in the Tissue dock in place of the fields for the same; or those."""
        self.tissue.setText(text)
        self._rows.setRowVisible(self.tissue, bool(text))
        self._rows.setRowVisible(self._fields["min_tissue_percent"].native, not text)
        self._show_what_belongs()

    def say_cost(self, text: str) -> None:
        """Show what the chosen uncertainty costs."""
        self.cost.setText(text)
        self._show_what_belongs()

    # -- how it looks ---------------------------------------------------------------------------

    def _build(self) -> None:
        fields = self._fields
        fields["stride_um"].native.setSpecialValueText("the model's own")
        fields["min_tissue_percent"].native.setDecimals(0)
        for field in fields.values():  # long names must not widen the dock
            field.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            field.native.setMinimumWidth(60)
        self.add_button = QPushButton("Add")
        self.add_button.setToolTip("Add a model of your own to the list")
        menu = QMenu(self.add_button)
        menu.addAction("Model file …", self._ask_for_file)
        menu.addAction("WSInfer folder …", self._ask_for_folder)
        self.add_button.setMenu(menu)

        self.more_button = QToolButton()
        self.more_button.setText("More")
        self.more_button.setCheckable(True)
        self.more_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more_button.setArrowType(Qt.ArrowType.RightArrow)
        self.more_button.setAutoRaise(True)
        self.more_button.toggled.connect(self._show_more)

        models = QHBoxLayout()
        models.addWidget(fields["model"].native, 1)
        models.addWidget(self.add_button)
        self.tissue = note()
        self._left_out = left_out = QHBoxLayout()
        for box in self._leave_out.values():
            left_out.addWidget(box)
        left_out.addStretch(1)
        self._members = QListWidget()
        self._members.setFixedHeight(72)
        self.cost = note()

        # One layout, so that all fields begin in one line.
        self._rows = rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Model", models)
        self._add("stride_um", "min_tissue_percent")
        rows.addRow("Tissue", self.tissue)
        rows.addRow(self.more_button)
        self._first_of_more = rows.rowCount()
        self._add("device", "engine", "precision", "method")
        rows.addRow("Stain", self.stain)
        rows.addRow("Leave out", left_out)
        self._add("uncertainty", "samples")
        rows.addRow("With", self._members)
        rows.addRow("", self.cost)
        self._show_more(False)
        self.show_tissue("")
        # Otherwise the form is what gives way when a window is low.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def _add(self, *names: str) -> None:
        for name in names:
            self._rows.addRow(self._fields[name].label, self._fields[name].native)

    def _show_more(self, shown: bool) -> None:
        self.more_button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        for row in range(self._first_of_more, self._rows.rowCount()):
            self._rows.setRowVisible(row, shown)
        if shown:
            self._show_what_belongs()

    def _show_what_belongs(self) -> None:
        """Show the fields that the chosen uncertainty needs."""
        uncertainty = _UNCERTAINTIES[self._fields["uncertainty"].value]
        shown = self.more_button.isChecked()
        self._rows.setRowVisible(
            self._fields["samples"].native, shown and uncertainty == "mc_dropout"
        )
        self._rows.setRowVisible(self._members, shown and uncertainty == "ensemble")
        self._rows.setRowVisible(self._left_out, shown and not self.tissue.text())
        self._rows.setRowVisible(self.cost, shown and bool(self.cost.text()))

    def _on_changed(self, _value: object = None) -> None:
        self._show_what_belongs()
        self.more_button.setText(self._more_text())
        self._list_members()
        self.changed.emit()

    def _more_text(self) -> str:
        """Return the button's text: what was chosen below it must be seen when it is folded."""
        names = ("device", "engine", "precision", "method", "uncertainty")
        unusual = [
            self._fields[name].value
            for name in names
            if self._fields[name].value != self._fields[name].choices[0]
        ]
        if self.stain.value() != "none":
            unusual.append(self.stain.choice.currentText())
        left_out = [box.text() for box in self._leave_out.values() if box.isChecked()]
        if left_out:
            unusual.append(f"without {', '.join(left_out)}")
        return "More: " + ", ".join(unusual) if unusual else "More"

    def _list_members(self) -> None:
        """List the other models, which may be asked beside the chosen one."""
        chosen, others = self._chosen_members(), dict(self._models)
        others.pop(self._fields["model"].value, None)
        there = [self._members.item(row).text() for row in range(self._members.count())]
        if there == list(others):
            return
        self._members.blockSignals(True)
        self._members.clear()
        for name, model in others.items():
            item = QListWidgetItem(name, self._members)
            checked = str(model or BUNDLED_NAME) in chosen
            item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
        self._members.blockSignals(False)

    def _chosen_members(self) -> tuple[str, ...]:
        if _UNCERTAINTIES[self._fields["uncertainty"].value] != "ensemble":
            return ()
        items = [self._members.item(row) for row in range(self._members.count())]
        names = [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]
        return tuple(str(self._models[name] or BUNDLED_NAME) for name in names)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load model", "", _MODEL_FILES)
        if path:
            self.choose_model(path)

    def _ask_for_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Load WSInfer model folder")
        if path:
            self.choose_model(path)


def _fields(models: tuple[str, ...]) -> dict[str, Any]:
    return {
        "model": ComboBox(choices=models, label="Model"),
        "stride_um": FloatSpinBox(
            label="Stride (µm)",
            value=0,
            min=0,
            max=1000,
            step=8,
            tooltip="Distance between neighbouring patches; 0 leaves it to the model. "
            "Isolated tumour cells need 32 µm or less.",
        ),
        "min_tissue_percent": FloatSpinBox(
            label="Tissue at least (%)",
            value=40,
            min=0,
            max=100,
            step=5,
            tooltip="Patches with less tissue are not predicted.",
        ),
        "device": ComboBox(
            choices=_DEVICES, label="Device", tooltip="auto takes a GPU where there is one."
        ),
        "engine": ComboBox(
            choices=tuple(_ENGINES),
            label="Computed by",
            tooltip="auto takes the fastest that is installed and fits the model.",
        ),
        "precision": ComboBox(
            choices=_PRECISIONS,
            label="Precision",
            tooltip="int8 is offered only for models on which it was proven "
            "(napari-camelyon models prove-int8).",
        ),
        "method": ComboBox(
            choices=("auto", "patches", "dense"),
            label="Method",
            tooltip="dense runs a ResNet over whole blocks: many times faster where patches "
            "overlap, with slightly other values.",
        ),
        "uncertainty": ComboBox(
            choices=tuple(_UNCERTAINTIES),
            label="Uncertainty",
            tooltip="Predicts every patch several times, and maps how far the answers differ.",
        ),
        "samples": SpinBox(label="Times", value=20, min=2, max=200),
    }
