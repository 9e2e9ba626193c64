"""The class of a node again, while a person moves a threshold.

What is shown while a hand moves is the class, and the size of the lesion that decides it. So only
those lesions are measured that may be the largest, and no outline is made. It skips work whose
result is not needed; it is no other way of measuring.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_camelyon.geometry import um_to_slide
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging.deposits import find_deposits
from napari_camelyon.staging.lesions import Point, gathered, join_deposits
from napari_camelyon.staging.measuring import (
    Excess,
    diameter_margins_um,
    excess_of,
    greatest_diameters,
)
from napari_camelyon.staging.nodes import NodeResult, node_of_size
from napari_camelyon.staging.rules import LesionRules

__all__ = ["Restaged", "restage_node", "restage_nodes"]

_MEASURED_FIRST = 8
"""Lesions of the largest boxes: their sizes rule out most others."""


@dataclass(frozen=True, slots=True)
class Restaged:
    """What is known of a node at other rules.

    Attributes
    ----------
    result : NodeResult
        Without a deciding lesion.
    diameter_ends_px : tuple of two points, or None
        Slide points between which the deciding lesion's diameter is measured.
    """

    result: NodeResult
    diameter_ends_px: tuple[Point, Point] | None


def restage_node(
    heatmap: Heatmap,
    rules: LesionRules | None = None,
    *,
    planned: NDArray[np.bool_] | None = None,
    name: str | None = None,
) -> Restaged:
    """Return what `classify_node` says of the lesions that `find_lesions` finds, sooner.

    Parameters
    ----------
    heatmap : Heatmap
    rules : LesionRules, optional
    planned, name
        As in `classify_node`.

    Raises
    ------
    StagingError
        The seed threshold is lower than the threshold.
    """
    rules = rules or LesionRules()
    threshold = rules.threshold_of(heatmap.threshold)
    deposits = find_deposits(
        heatmap, threshold, rules.min_patches, rules.seed_threshold, with_holes=False
    )
    count, diameter_um, ends_um = 0, 0.0, np.zeros((2, 2))
    if deposits is not None:
        excess = excess_of(heatmap, threshold)
        contours_um = deposits.contours_um
        lesion_of = join_deposits(contours_um, rules.join_dilation_um, excess)
        lesions = np.arange(int(lesion_of.max()) + 1)
        # How many are large enough is known only when all are measured.
        asked = lesions if rules.min_diameter_mm else _contenders(contours_um, lesion_of, excess)
        diameters_um, ends = _diameters(contours_um, lesion_of, asked, excess)
        count = int(np.count_nonzero(diameters_um >= rules.min_diameter_mm * 1000))
        count = count if rules.min_diameter_mm else len(lesions)
        largest = int(diameters_um.argmax())
        diameter_um, ends_um = float(diameters_um[largest]), ends[largest]
    if not count:
        return Restaged(
            node_of_size(None, 0.0, 0, heatmap=heatmap, planned=planned, name=name), None
        )
    margin_mm = float(diameter_margins_um(heatmap, np.array([diameter_um]))[0]) / 1000
    result = node_of_size(
        diameter_um / 1000, margin_mm, count, heatmap=heatmap, planned=planned, name=name
    )
    one, other = um_to_slide(ends_um, heatmap.mpp).tolist()
    return Restaged(result, ((one[0], one[1]), (other[0], other[1])))


def restage_nodes(
    heatmaps: Mapping[str, Heatmap], rules: LesionRules | None = None
) -> dict[str, Restaged]:
    """Restage the nodes of a patient at once, each in a thread of its own as far as cores go.

    Parameters
    ----------
    heatmaps : mapping of str to Heatmap
        By the name of the node.
    rules : LesionRules, optional

    Returns
    -------
    dict of str to Restaged
        In the same order.
    """
    threads = min(len(heatmaps), os.cpu_count() or 1)
    if threads < 2:
        return {name: restage_node(one, rules, name=name) for name, one in heatmaps.items()}
    with ThreadPoolExecutor(threads, thread_name_prefix="restage") as pool:
        futures = {
            name: pool.submit(partial(restage_node, one, rules, name=name))
            for name, one in heatmaps.items()
        }
        return {name: future.result() for name, future in futures.items()}


def _contenders(
    contours_um: NDArray[np.object_], lesion_of: NDArray[np.intp], excess: Excess
) -> NDArray[np.intp]:
    """Return the lesions, rising, that may be the largest.

    No width of a lesion exceeds the diagonal of its box, so what is measured of the largest boxes
    rules out most others.
    """
    boxes = shapely.bounds(contours_um)
    count = int(lesion_of.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, lesion_of, boxes[:, :2])
    np.maximum.at(high, lesion_of, boxes[:, 2:])
    at_most = np.hypot(*(high - low).T) + 2 * max(0.0, -excess.radius_um)
    first = np.sort(np.argsort(-at_most)[:_MEASURED_FIRST])
    best = _diameters(contours_um, lesion_of, first, excess)[0].max()
    contenders: NDArray[np.intp] = np.flatnonzero(at_most >= best)
    return contenders


def _diameters(
    contours_um: NDArray[np.object_],
    lesion_of: NDArray[np.intp],
    lesions: NDArray[np.intp],
    excess: Excess,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    member = np.isin(lesion_of, lesions)
    owners = np.searchsorted(lesions, lesion_of[member])
    return greatest_diameters(gathered(contours_um[member], owners), excess)
