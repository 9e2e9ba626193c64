"""The head of the pN panel: the stage, and below it the reasons and how sure it is."""

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_camelyon.staging import (
    NodeCertainty,
    NodeClass,
    PatientResult,
    Stage,
    StageRange,
    range_at,
)
from napari_camelyon.widgets.stage_scales import ProbabilityBar
from napari_camelyon.widgets.style import (
    CLASS_TITLES,
    chip,
    note,
    sentence,
    set_chip,
    stage_colour,
)

__all__ = ["StageCertainty", "StageHead", "StageReasons", "certainty_words", "stability_words"]

_CHIP_PT = 22
_SCHEME_TITLES = {"camelyon17": "CAMELYON17", "ajcc8": "AJCC/UICC 8"}
_WARNING = "#e08a1e"
_WITH_TUMOUR: tuple[NodeClass, ...] = ("macro", "micro", "itc")


class StageHead(QWidget):
    """The stage in large letters, with one line beside it that says what it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.chip = chip("pN ?", size_pt=_CHIP_PT)
        self.chip.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.title.setStyleSheet("font-size: 11pt; font-weight: 600;")
        self.line = note()
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self.title)
        words.addWidget(self.line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.chip)
        layout.addSpacing(8)
        layout.addLayout(words, 1)

    def show_nothing(self, count: int) -> None:
        """Show that there is no stage yet for so many nodes."""
        set_chip(self.chip, "pN ?", size_pt=_CHIP_PT)
        self.chip.setToolTip("")
        self.title.setText(_nodes(count) if count else "No patient is open")
        self.line.setText("no result yet" if count else "")
        self.line.setVisible(bool(count))

    def show_result(self, result: PatientResult) -> None:
        """Show a stage, or between which it lies."""
        if result.is_certain:
            set_chip(self.chip, result.statement, stage_colour(result.statement), size_pt=_CHIP_PT)
        elif result.lowest == "pN0":  # "at least pN0" says nothing
            set_chip(self.chip, "pN ?", size_pt=_CHIP_PT)
        else:
            least = result.statement.removeprefix("at least ")
            set_chip(self.chip, f"≥ {least}", stage_colour(least), size_pt=_CHIP_PT)
        self.chip.setToolTip(result.describe())
        count = len(result.nodes)
        self.title.setText(result.name or _nodes(count))
        said = [_nodes(count)] if result.name else []
        said += [
            f"{result.counts[kind]} {CLASS_TITLES[kind]}"
            for kind in _WITH_TUMOUR
            if result.counts[kind]
        ]
        said.append(f"by {_SCHEME_TITLES[result.scheme]}")
        # Lines are broken between two things, not within one.
        self.line.setText(" · ".join(one.replace(" ", "\u00a0") for one in said))
        self.line.show()


class StageReasons(QWidget):
    """Why the stage is what it is, in a list of sentences; what is odd stands first."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[QLabel] = []
        self._lines: list[QWidget] = []
        self._said: tuple[tuple[str, str], ...] = ()
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(4)

    def text(self) -> str:
        """Return all sentences."""
        return " ".join(text for _, text in self._said)

    def show_sentences(self, reasons: Sequence[str], problems: Sequence[str] = ()) -> None:
        """Show other sentences."""
        self._show((*(("⚠", one) for one in problems), *(("•", one) for one in reasons)))

    def show_hint(self, hint: str, problems: Sequence[str] = ()) -> None:
        """Show what to do next in the place of reasons."""
        self._show((*(("⚠", one) for one in problems), ("", hint)))

    def _show(self, said: tuple[tuple[str, str], ...]) -> None:
        if said == self._said:  # several times a second while a slider moves
            return
        self._said = said
        for line in self._lines:
            self._rows.removeWidget(line)
            line.hide()
            line.deleteLater()
        self.labels, self._lines = [], []
        for mark, text in said:
            line = self._line(mark, text)
            self._rows.addWidget(line)
            self._lines.append(line)

    def _line(self, mark: str, text: str) -> QWidget:
        line = QWidget()
        bullet = QLabel(mark)
        bullet.setVisible(bool(mark))
        bullet.setFixedWidth(self.fontMetrics().horizontalAdvance("⚠") + 4)
        if mark == "⚠":
            bullet.setStyleSheet(f"color: {_WARNING}; font-weight: 600;")
        label = sentence(text)
        self.labels.append(label)
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(bullet, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(label, 1)
        return line


class StageCertainty(QWidget):
    """How probable each stage is, and which ones cannot be ruled out."""

    def __init__(self) -> None:
        super().__init__()
        self.words = note()
        self.bar = ProbabilityBar()
        title = QLabel("How sure")
        title.setStyleSheet("font-weight: 600;")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(title)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)
        self.show_certainty({}, "")

    def show_certainty(self, probabilities: Mapping[Stage, float], sentence: str) -> None:
        """Show other probabilities by stage, and what they mean; none: nothing."""
        self.words.setText(sentence)
        self.bar.show_probabilities(probabilities)
        self.setVisible(bool(probabilities))


def certainty_words(nodes: Mapping[str, NodeCertainty | None]) -> dict[str, str]:
    """Say for each node how sure its class is: "micro 83 %, macro 17 %"."""
    words = {}
    for name, one in nodes.items():
        if one is None:
            words[name] = ""
            continue
        ordered = sorted(one.probabilities.items(), key=lambda item: -item[1])
        told = ", ".join(f"{CLASS_TITLES[kind]} {p:.0%}" for kind, p in ordered if p >= 0.01)
        possible = one.possible
        held = "" if possible is None else f" · set: {', '.join(CLASS_TITLES[k] for k in possible)}"
        words[name] = told + held
    return words


def stability_words(ranges: Sequence[StageRange], threshold: float) -> str:
    """Say over which thresholds the present stage holds: "pN1 from 0.35 to 0.82"."""
    here = range_at(ranges, threshold)
    if here is None:
        return ""
    if len(ranges) == 1:
        return f"{here.stage} at every threshold from {here.low:.2f} to {here.high:.2f}"
    return here.describe()


def _nodes(count: int) -> str:
    return f"{count} node{'s' if count != 1 else ''}"
