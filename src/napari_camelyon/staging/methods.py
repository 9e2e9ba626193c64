"""Calling a node's class by name of a method: by size, by counting patches, or by what was learned.

``size`` is the rule of CAMELYON17 and AJCC, and the default. ``clusters``, ``proportion`` and
``area`` are the three ways of a published student reference pipeline for CAMELYON17, for those who
want to reproduce or compare it: patches count from one threshold on (0.7, 0.8 or 0.9 there), and it
does not say where its classes begin. ``learned`` is a classifier over features of the heatmap. None
but the first was validated, and there are no real heatmaps here to do it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import pi

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_camelyon.errors import StagingError
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.learned_node import NodeForest
from napari_camelyon.staging.lesions import find_lesions
from napari_camelyon.staging.node_features import node_features
from napari_camelyon.staging.nodes import (
    ITC_LIMIT_MM,
    MICRO_LIMIT_MM,
    NODE_CLASSES,
    NodeClass,
    NodeResult,
    classify_node,
    node_class_of_size,
)
from napari_camelyon.staging.rules import LesionRules

__all__ = ["NODE_METHODS", "PATCH_THRESHOLDS", "PatchRule", "call_node"]

NODE_METHODS = ("size", "clusters", "proportion", "area", "learned")
"""By name; the first is the default."""

PATCH_THRESHOLDS = (0.7, 0.8, 0.9)
"""``THR_PATCH`` of the reference pipeline."""

_TOUCHING = np.ones((3, 3), dtype=int)


@dataclass(frozen=True, slots=True)
class PatchRule:
    """How the methods that count patches call a class.

    Attributes
    ----------
    threshold : float
        Probability from which a patch is positive.
    micro_share, macro_share : float
        Proportions of positive patches above which a node is micro or macro. The pipeline states
        none; these are ours, and rough: a node section of some 100 mm² of which 0.03 or 3.1 mm²,
        discs of 0.2 and 2.0 mm, are tumour.
    """

    threshold: float = 0.8
    micro_share: float = 0.0003
    macro_share: float = 0.03

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 < self.threshold < 1:
            raise StagingError(f"The patch threshold {self.threshold} is no probability.")
        if not 0 <= self.micro_share < self.macro_share <= 1:
            raise StagingError(
                f"The proportions {self.micro_share} and {self.macro_share} must rise, from 0 to 1."
            )


def call_node(
    heatmap: Heatmap,
    rules: LesionRules | None = None,
    *,
    method: str = "size",
    patch_rule: PatchRule | None = None,
    forest: NodeForest | None = None,
    planned: NDArray[np.bool_] | None = None,
    name: str | None = None,
) -> NodeResult:
    """Call the class of a node.

    Parameters
    ----------
    heatmap : Heatmap
    rules : LesionRules, optional
        Which lesions are measured. Their sizes are told whatever the method.
    method : str
        One of `NODE_METHODS`.
    patch_rule : PatchRule, optional
        For the methods that count patches.
    forest : NodeForest, optional
        For "learned".
    planned, name
        As in `classify_node`.

    Raises
    ------
    StagingError
        There is no such method, or no forest for "learned".
    """
    if method not in NODE_METHODS:
        raise StagingError(f"There is no method {method!r}: choose {', '.join(NODE_METHODS)}.")
    lesions = find_lesions(heatmap, **asdict(rules or LesionRules()))
    by_size = classify_node(lesions, heatmap=heatmap, planned=planned, name=name)
    if method == "size":
        return by_size
    if method == "learned":
        node_class, reason = _learned(heatmap, forest)
    else:
        node_class, reason = _PATCH_METHODS[method](heatmap, patch_rule or PatchRule())
    unsure = "This method was never validated; the rule by size is the one of CAMELYON17."
    return replace(
        by_size,
        node_class=node_class,
        possible_classes=(node_class,),
        reasons=(reason, unsure, *by_size.reasons),
        method=method,
    )


def _clusters(heatmap: Heatmap, rule: PatchRule) -> tuple[NodeClass, str]:
    """Call by the longest side of the largest cluster's box; a patch alone is ignored."""
    labels, count = ndimage.label(_positive(heatmap, rule), _TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    height_um, width_um = heatmap.grid.cell_size_um(heatmap.mpp)[::-1]
    longest_mm = 0.0
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if sizes[number] > 1:
            tall, wide = (side.stop - side.start for side in box)
            longest_mm = max(longest_mm, tall * height_um / 1000, wide * width_um / 1000)
    found = int(np.count_nonzero(sizes[1:] > 1))
    if not found:
        return "negative", f"No two patches of {rule.threshold} or more touch."
    return node_class_of_size(longest_mm), (
        f"{found} {'cluster' if found == 1 else 'clusters'} of patches of {rule.threshold} or "
        f"more; the longest extends over {longest_mm:.2f} mm."
    )


def _proportion(heatmap: Heatmap, rule: PatchRule) -> tuple[NodeClass, str]:
    positive = int(np.count_nonzero(_positive(heatmap, rule)))
    share = positive / max(1, heatmap.computed_cells)
    node_class: NodeClass = "negative"
    if positive:
        node_class = "itc"
        if share > rule.micro_share:
            node_class = "macro" if share > rule.macro_share else "micro"
    return node_class, (
        f"{positive} of {heatmap.computed_cells} patches ({share:.2%}) have {rule.threshold} or "
        f"more; above {rule.micro_share:.2%} is called micro, above {rule.macro_share:.2%} macro."
    )


def _area(heatmap: Heatmap, rule: PatchRule) -> tuple[NodeClass, str]:
    """Call by the area of positive patches, against discs of the two limits."""
    width_um, height_um = heatmap.grid.cell_size_um(heatmap.mpp)
    count = int(np.count_nonzero(_positive(heatmap, rule)))
    area_mm2 = count * width_um * height_um * 1e-6
    as_disc_mm = 2 * (area_mm2 / pi) ** 0.5
    return node_class_of_size(as_disc_mm) if count else "negative", (
        f"Patches of {rule.threshold} or more cover {area_mm2:.3f} mm², as a disc of "
        f"{as_disc_mm:.2f} mm would; the limits are those of {ITC_LIMIT_MM} and "
        f"{MICRO_LIMIT_MM} mm."
    )


_PATCH_METHODS: dict[str, Callable[[Heatmap, PatchRule], tuple[NodeClass, str]]] = {
    "clusters": _clusters,
    "proportion": _proportion,
    "area": _area,
}


def _learned(heatmap: Heatmap, forest: NodeForest | None) -> tuple[NodeClass, str]:
    if forest is None:
        raise StagingError(
            "The method 'learned' needs a classifier: make one with napari-camelyon train-node."
        )
    shares = forest.probabilities(node_features(heatmap))
    place = int(shares.argmax())
    return NODE_CLASSES[place], (
        f"The learned classifier ({forest.nodes} nodes) says {NODE_CLASSES[place]} with "
        f"{shares[place]:.0%} of its trees' votes."
    )


def _positive(heatmap: Heatmap, rule: PatchRule) -> NDArray[np.bool_]:
    positive: NDArray[np.bool_] = heatmap.values >= np.float32(rule.threshold)
    return positive
