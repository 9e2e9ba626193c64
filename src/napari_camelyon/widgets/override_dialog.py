"""A person calls the class of a node: which class, why, and who says so."""

from collections.abc import Sequence

from qtpy.QtCore import QSettings
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_camelyon.staging import NODE_CLASSES, NodeClass
from napari_camelyon.widgets.style import note

__all__ = ["OverrideDialog", "kept_initials"]

_INITIALS = "staging/initials"
_MOST_INITIALS = 8
_CLASS_WORDS = {
    "negative": "negative: no tumour",
    "itc": "ITC: at most 0.2 mm",
    "micro": "micrometastasis: more than 0.2, at most 2 mm",
    "macro": "macrometastasis: more than 2 mm",
}


class OverrideDialog(QDialog):
    """Asks for class, reason and initials; can be accepted once all three are there."""

    def __init__(
        self,
        node: str,
        called: NodeClass | None,
        held: NodeClass | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Change the class of a node")
        said = "The program has no result" if called is None else f"The program says {called}"
        explanation = note(
            f"{said} for {node}. Your call takes its place in the stage. Both are kept, with the "
            "time, and it can be undone."
        )
        self.class_box = QComboBox()
        for node_class in NODE_CLASSES:
            self.class_box.addItem(_CLASS_WORDS[node_class], node_class)
        self.class_box.setCurrentIndex(NODE_CLASSES.index(held or called or "negative"))
        self.reason = QPlainTextEdit()
        self.reason.setPlaceholderText("What you saw, for instance: keratin stain negative")
        self.reason.setTabChangesFocus(True)
        self.reason.setFixedHeight(4 * self.fontMetrics().lineSpacing() + 12)
        self.initials = QLineEdit(kept_initials())
        self.initials.setMaxLength(_MOST_INITIALS)
        self.initials.setPlaceholderText("For instance: AB")
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.ok_button = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok_button.setText("Change class")
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.reason.textChanged.connect(self._check)
        self.initials.textChanged.connect(self._check)
        form = QFormLayout()
        form.addRow("Class", self.class_box)
        form.addRow("Reason", self.reason)
        form.addRow("Initials", self.initials)
        layout = QVBoxLayout(self)
        layout.addWidget(explanation)
        layout.addLayout(form)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(380)
        self._check()

    @property
    def chosen(self) -> tuple[NodeClass, str, str]:
        """Class, reason and initials."""
        return (
            self.class_box.currentData(),
            " ".join(self.reason.toPlainText().split()),
            self.initials.text().strip(),
        )

    def accept(self) -> None:
        """Keep the initials for the next time, and close."""
        _settings().setValue(_INITIALS, self.chosen[2])
        super().accept()

    def _check(self) -> None:
        _, reason, initials = self.chosen
        self.ok_button.setEnabled(bool(reason and initials))
        missing: Sequence[str] = [
            word for word, text in (("a reason", reason), ("your initials", initials)) if not text
        ]
        self.ok_button.setToolTip(f"Give {' and '.join(missing)} first." if missing else "")


def kept_initials() -> str:
    """Return the initials that were given last; empty before the first time."""
    return str(_settings().value(_INITIALS, "") or "")


def _settings() -> QSettings:
    # A file on every system: what is typed here is never a matter of the registry.
    return QSettings(
        QSettings.Format.IniFormat,
        QSettings.Scope.UserScope,
        "napari-camelyon",
        "napari-camelyon",
    )
