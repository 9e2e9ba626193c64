"""The class of one lymph node from its lesions, with reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StagingError
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.lesions import Lesion
from napari_camelyon.staging.measuring import unseen_um

__all__ = [
    "ITC_LIMIT_MM",
    "MICRO_LIMIT_MM",
    "NODE_CLASSES",
    "NodeClass",
    "NodeResult",
    "classify_node",
    "node_class_of_size",
    "parse_node_class",
]

NodeClass = Literal["negative", "itc", "micro", "macro"]

NODE_CLASSES: tuple[NodeClass, ...] = get_args(NodeClass)
"""The classes of a node, the least first (CAMELYON17; Bandi et al., IEEE TMI 38(2), 2019)."""

ITC_LIMIT_MM = 0.2
"""Isolated tumour cells: no deposit of more than this (AJCC/UICC; CAMELYON17)."""

MICRO_LIMIT_MM = 2.0
"""Micrometastasis: no deposit of more than this; above it is macro (AJCC/UICC; CAMELYON17)."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The class of a node and what it rests on.

    Attributes
    ----------
    name : str
        Of the node; usually its slide's name.
    node_class : {"negative", "itc", "micro", "macro"}
        The class by size. A class of a node that is not complete is a lower bound.
    diameter_mm, margin_mm : float or None
        Greatest diameter of the deciding lesion and its uncertainty (±); None when negative.
    deciding_lesion : Lesion or None
        The largest one; None when negative, or when only the node's file was read.
    lesions : int
        How many there are.
    possible_classes : tuple of str
        The classes that the diameter allows within its uncertainty, the least first.
    computed_share : float or None
        Computed over planned patches, 0–1; None when unknown.
    reasons : tuple of str
        Sentences for people.
    method : str
        By which the class was called; "size" unless somebody chose another.
    """

    name: str
    node_class: NodeClass
    diameter_mm: float | None
    margin_mm: float | None
    deciding_lesion: Lesion | None
    lesions: int
    possible_classes: tuple[NodeClass, ...]
    computed_share: float | None
    reasons: tuple[str, ...]
    method: str = "size"

    @property
    def complete(self) -> bool:
        """Whether all planned patches were computed, as far as is known."""
        return self.computed_share is None or self.computed_share >= 1

    @property
    def beyond_itc_limit_mm(self) -> float | None:
        """Diameter minus 0.2 mm: positive for a micro- or macrometastasis."""
        return None if self.diameter_mm is None else self.diameter_mm - ITC_LIMIT_MM

    @property
    def beyond_micro_limit_mm(self) -> float | None:
        """Diameter minus 2.0 mm: positive for a macrometastasis."""
        return None if self.diameter_mm is None else self.diameter_mm - MICRO_LIMIT_MM


def classify_node(
    lesions: Sequence[Lesion],
    *,
    heatmap: Heatmap | None = None,
    planned: NDArray[np.bool_] | None = None,
    name: str | None = None,
) -> NodeResult:
    """Classify a node by the greatest diameter of its largest lesion.

    Macro: more than 2.0 mm. Micro: more than 0.2 mm and at most 2.0 mm. ITC: at most 0.2 mm.
    Negative: no lesion. (CAMELYON17's rules. Their second criterion for micro, more than 200
    cells, needs cells to be counted, which a heatmap cannot; it is not applied.)

    Parameters
    ----------
    lesions : sequence of Lesion
        All of the node, in any order.
    heatmap : Heatmap or None
        The one the lesions were found in: tells how much of it is computed. With less than all
        that was planned, the class is a lower bound, and says so.
    planned : ndarray of bool, shape (rows, columns), or None
        Which cells were to be computed; None: the heatmap's own count of them.
    name : str or None
        Of the node; None: the heatmap's slide.
    """
    largest = max(lesions, key=lambda lesion: (lesion.diameter_mm, -lesion.id), default=None)
    if largest is None:
        return node_of_size(None, 0.0, 0, heatmap=heatmap, planned=planned, name=name)
    return node_of_size(
        largest.diameter_mm,
        largest.margin_mm,
        len(lesions),
        deciding=largest,
        heatmap=heatmap,
        planned=planned,
        name=name,
    )


def node_of_size(
    diameter_mm: float | None,
    margin_mm: float,
    lesions: int,
    *,
    deciding: Lesion | None = None,
    heatmap: Heatmap | None,
    planned: NDArray[np.bool_] | None,
    name: str | None,
) -> NodeResult:
    """Return what `classify_node` does, from the largest lesion's size and the number of all.

    Parameters
    ----------
    diameter_mm : float or None
        None where there is no lesion.
    margin_mm : float
    lesions : int
    deciding : Lesion, optional
    heatmap, planned, name
        As in `classify_node`.
    """
    if name is None:
        name = heatmap.slide_name if heatmap else ""
    computed_share = _computed_share(heatmap, planned)
    if diameter_mm is None:
        return NodeResult(
            name=name,
            node_class="negative",
            diameter_mm=None,
            margin_mm=None,
            deciding_lesion=None,
            lesions=0,
            possible_classes=("negative",),
            computed_share=computed_share,
            reasons=("No lesion was found.", *_incomplete(computed_share)),
        )
    node_class = node_class_of_size(diameter_mm)
    least = node_class_of_size(max(0.0, diameter_mm - margin_mm))
    unseen_mm = 0.0 if heatmap is None else unseen_um(heatmap, diameter_mm * 1000) / 1000
    most = node_class_of_size(diameter_mm + margin_mm + unseen_mm)
    possible = NODE_CLASSES[NODE_CLASSES.index(least) : NODE_CLASSES.index(most) + 1]
    number = 1 if deciding is None else deciding.id
    return NodeResult(
        name=name,
        node_class=node_class,
        diameter_mm=diameter_mm,
        margin_mm=margin_mm,
        deciding_lesion=deciding,
        lesions=lesions,
        possible_classes=possible,
        computed_share=computed_share,
        reasons=(
            _size_reason(number, diameter_mm, margin_mm, node_class),
            *_limit_reason(node_class, possible, unseen_mm),
            *_incomplete(computed_share),
        ),
    )


def node_class_of_size(diameter_mm: float) -> NodeClass:
    """Return the class of a node whose largest deposit has this greatest diameter."""
    if diameter_mm > MICRO_LIMIT_MM:
        return "macro"
    if diameter_mm > ITC_LIMIT_MM:
        return "micro"
    return "itc"


def parse_node_class(text: str, node: str) -> NodeClass:
    """Return the node class that a person or a table wrote, in capitals or not.

    Raises
    ------
    StagingError
        It is none of `NODE_CLASSES`; names the node.
    """
    word = text.strip().lower() if isinstance(text, str) else text
    if word not in NODE_CLASSES:
        raise StagingError(
            f"{node} has the class {text!r}, which is none of {', '.join(NODE_CLASSES)}."
        )
    return word


def _computed_share(heatmap: Heatmap | None, planned: NDArray[np.bool_] | None) -> float | None:
    if heatmap is None:
        return None
    if planned is None:
        return heatmap.computed_share
    count = int(np.count_nonzero(planned))
    return float(np.count_nonzero(planned & ~np.isnan(heatmap.values)) / count) if count else 1.0


def _size_reason(number: int, diameter_mm: float, margin_mm: float, node_class: NodeClass) -> str:
    meaning = {
        "macro": f"more than {MICRO_LIMIT_MM} mm: macrometastasis",
        "micro": f"more than {ITC_LIMIT_MM} and at most {MICRO_LIMIT_MM} mm: micrometastasis",
        "itc": f"at most {ITC_LIMIT_MM} mm: isolated tumour cells",
    }[node_class]
    size = f"{diameter_mm:.2f} ± {margin_mm:.2f} mm"
    return f"The largest lesion (number {number}) measures {size}, {meaning}."


def _limit_reason(
    node_class: NodeClass, possible: tuple[NodeClass, ...], unseen_mm: float
) -> tuple[str, ...]:
    if len(possible) == 1:
        return ()
    others = " or ".join(other for other in possible if other != node_class)
    if unseen_mm:
        why = "Parts thinner than a patch do not show, and the grid is coarse"
        return (f"{why}: {others} is possible.",)
    return (f"The grid is too coarse to be sure of this size: {others} is possible.",)


def _incomplete(computed_share: float | None) -> tuple[str, ...]:
    if computed_share is None or computed_share >= 1:
        return ()
    return (f"Only {computed_share:.0%} of the planned patches are computed: it may be more.",)
