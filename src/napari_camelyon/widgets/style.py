"""Colours and small pieces that the docks share."""

import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

__all__ = [
    "CLASS_COLOURS",
    "NOT_A_DEVICE",
    "STAGE_COLOURS",
    "breakable",
    "chip",
    "disclaimer",
    "note",
    "sentence",
    "stage_colour",
    "three_digits",
]

NOT_A_DEVICE = "Research software, not a medical device."

# From calm to alarming, each readable under black text in napari's dark and light theme.
_GREEN, _YELLOW, _ORANGE, _RED, _CRIMSON = "#6cc08b", "#e8cf5a", "#f2a154", "#ee7f74", "#e0608a"
_GREY = "#a5acb8"

_JOINT = re.compile(r"([_\-/\\])")
_LONGEST_WORD = 24
"""Characters that fit a line of a dock of 300 px."""

CLASS_COLOURS = {"negative": _GREEN, "itc": _YELLOW, "micro": _ORANGE, "macro": _RED}
_PURPLE = "#c77dd6"
STAGE_COLOURS = {
    "pN0": _GREEN,
    "pN0(i+)": _YELLOW,
    "pN1mi": _ORANGE,
    "pN1": _RED,
    "pN2": _CRIMSON,
    "pN1a": _RED,
    "pN2a": _CRIMSON,
    "pN3a": _PURPLE,
}
CLASS_TITLES = {"negative": "negative", "itc": "ITC", "micro": "micro", "macro": "macro"}


def chip(text: str, colour: str | None = None, *, size_pt: int = 10) -> QLabel:
    """Return a label with rounded corners that shows a class or a stage."""
    label = QLabel()
    label.setAlignment(Qt.AlignmentFlag.AlignCenter)
    set_chip(label, text, colour, size_pt=size_pt)
    return label


def set_chip(label: QLabel, text: str, colour: str | None = None, *, size_pt: int = 10) -> None:
    """Change text and colour of a `chip`."""
    label.setText(text)
    style = (
        f"background: {colour or _GREY}; color: #16181d; border-radius: {size_pt // 2}px;"
        f"padding: {size_pt // 5}px {size_pt * 3 // 4}px; font-size: {size_pt}pt;"
        "font-weight: 600;"
    )
    if style != label.styleSheet():
        label.setStyleSheet(style)


def stage_colour(stage: str) -> str:
    """Return the colour of a stage, with ``(sn)`` or without; grey for what is none."""
    return STAGE_COLOURS.get(stage.removesuffix("(sn)"), _GREY)


def breakable(text: str) -> str:
    """Let long names be broken where they have a joint: Qt breaks lines at blanks alone."""
    return " ".join(
        _JOINT.sub("\\1\u200b", word) if len(word) > _LONGEST_WORD else word
        for word in text.split(" ")
    )


def sentence(text: str = "") -> QLabel:
    """Return a label for a sentence that is to be read: wrapping, to be copied."""
    label = QLabel(breakable(text))
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    # A long word must not make a dock wider than its neighbours.
    policy = label.sizePolicy()
    policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
    label.setSizePolicy(policy)
    return label


def note(text: str = "") -> QLabel:
    """Return a label for a sentence that explains: small, quiet, wrapping."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setStyleSheet("color: #9aa3b2; font-size: 9pt;")
    return label


def disclaimer() -> QLabel:
    """Return the line that stands in every dock of ours."""
    return note(NOT_A_DEVICE)


def three_digits(value: float) -> str:
    """Return three digits that mean something, whatever the size: 0.0123, 1.23, 123."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
