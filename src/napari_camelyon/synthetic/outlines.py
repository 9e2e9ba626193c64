"""Exact outlines of deposits, their greatest diameter, and their text in ASAP's format."""

from dataclasses import replace
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import find_contours

from napari_camelyon.synthetic.anatomy import node_depth
from napari_camelyon.synthetic.deposits import depth_in_deposit
from napari_camelyon.synthetic.tissues import Deposit, NodePlan

__all__ = ["asap_xml", "deposit_outlines", "greatest_diameter", "with_greatest_diameter"]

Ring = NDArray[np.float64]


def deposit_outlines(
    deposit: Deposit, plan: NodePlan | None = None, *, step_um: float = 2.0
) -> tuple[list[Ring], list[Ring]]:
    """Trace the border of a deposit; with the plan of its node, as far as that reaches.

    Parameters
    ----------
    deposit : Deposit
    plan : NodePlan, optional
    step_um : float
        Pitch of the grid, at most a fiftieth of the deposit's width; it is linear in between.

    Returns
    -------
    outer, holes : lists of ndarray of float64, shape (n, 2)
        Closed rings (the first point is not repeated) of points ``(x, y)`` in µm from the
        slide's corner.
    """
    step = min(step_um, deposit.length_um * deposit.aspect / 50)
    reach = deposit.length_um * (0.5 + 0.5 * deposit.roughness) + 4 * step
    x = deposit.x_um + np.arange(-reach, reach + step, step)
    y = deposit.y_um + np.arange(-reach, reach + step, step)
    node = None if plan is None else node_depth(plan, x, y)
    depth = depth_in_deposit(deposit, x, y, node).astype(np.float64)
    outer: list[Ring] = []
    holes: list[Ring] = []
    contours = find_contours(depth, 0.0, positive_orientation="high")  # type: ignore[no-untyped-call]
    for contour in contours:
        ring = np.stack([x[0] + contour[:, 1] * step, y[0] + contour[:, 0] * step], axis=1)[:-1]
        area = _signed_area(ring)
        if abs(area) > 4 * step**2:
            (holes if area > 0 else outer).append(ring)
    return outer, holes


def greatest_diameter(rings: list[Ring]) -> float:
    """Return the greatest distance of two points of the largest ring (its Feret diameter)."""
    largest = max(rings, key=lambda ring: abs(_signed_area(ring)))
    return float(pdist(largest[ConvexHull(largest).vertices]).max())


def with_greatest_diameter(
    deposit: Deposit, diameter_um: float, plan: NodePlan | None = None
) -> Deposit:
    """Return the deposit at the size whose outline has this greatest diameter, within 0.02 %.

    Raises
    ------
    ValueError
        The node of the plan has no room for it.
    """
    for _ in range(40):
        outer, _ = deposit_outlines(deposit, plan, step_um=max(2.0, diameter_um / 300))
        factor = diameter_um / greatest_diameter(outer)
        if abs(factor - 1) < 2e-4:
            return deposit
        deposit = replace(deposit, length_um=deposit.length_um * factor)
    raise ValueError(f"A deposit of {diameter_um:.0f} µm does not fit into its node.")


def asap_xml(rings: list[tuple[str, Ring]]) -> str:
    """Return rings as ASAP XML.

    Parameters
    ----------
    rings : list of (group, ring)
        The group ("metastases", or "normal" for a hole, as in CAMELYON17) and points ``(x, y)``
        in level-0 pixels from the slide's corner.
    """
    colours = {"metastases": "#ff0000", "normal": "#00ff00"}
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "  <Annotations>"]
    for number, (group, ring) in enumerate(rings):
        lines.append(
            f'    <Annotation Name="Annotation {number}" Type="Polygon" '
            f"PartOfGroup={quoteattr(group)} Color={quoteattr(colours[group])}>"
        )
        lines.append("      <Coordinates>")
        lines += [
            f'        <Coordinate Order="{order}" X="{x:.4f}" Y="{y:.4f}" />'
            for order, (x, y) in enumerate(ring)
        ]
        lines += ["      </Coordinates>", "    </Annotation>"]
    lines += ["  </Annotations>", "  <AnnotationGroups>"]
    lines += [
        f'    <Group Name="{group}" PartOfGroup="None" Color="{colour}"><Attributes /></Group>'
        for group, colour in colours.items()
        if any(name == group for name, _ in rings)
    ]
    lines += ["  </AnnotationGroups>", "</ASAP_Annotations>", ""]
    return "\n".join(lines)


def _signed_area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
