"""What a node is described by: tissues, deposits, the plan of a node, and its chart."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHART_STEP_UM", "Axis", "Chart", "Deposit", "Field", "NodePlan", "Tissue"]

CHART_STEP_UM = 2.0
"""Pitch of the grid on which tissue is charted; its points are multiples of it."""

Field = NDArray[np.float32]
Axis = NDArray[np.float64]


class Tissue(IntEnum):
    """What lies at a place."""

    GLASS = 0
    FAT = 1
    COLLAGEN = 2
    SINUS = 3
    PARACORTEX = 4
    MANTLE = 5
    GERMINAL = 6
    CORD = 7
    VENULE = 8
    LUMEN = 9
    TUMOUR = 10
    DESMOPLASIA = 11
    NECROSIS = 12
    GLAND_LUMEN = 13
    HISTIOCYTES = 14
    VESSEL_WALL = 15


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit of tumour.

    Attributes
    ----------
    x_um, y_um : float
        Its centre.
    length_um : float
        About its greatest diameter.
    aspect : float
        Width over length.
    angle : float
        Direction of the long axis, radians.
    seed : int
        Of its outline and architecture.
    roughness : float
        Bumps of its outline, relative to its half width.
    pattern : {"sheet", "nests", "glands", "files"}
        How its cells are arranged.
    nest_um : float
        Size of nests or glands.
    stroma : float
        Share of the deposit between the nests, 0–0.6.
    infiltration : float
        Share of lymphocytes among the tumour cells.
    necrosis : float
        Depth in µm from which the centre may be dead; 0: none.
    """

    x_um: float
    y_um: float
    length_um: float
    aspect: float = 0.7
    angle: float = 0.0
    seed: int = 0
    roughness: float = 0.25
    pattern: str = "sheet"
    nest_um: float = 90.0
    stroma: float = 0.2
    infiltration: float = 0.1
    necrosis: float = 0.0


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A lymph node on a slide.

    Attributes
    ----------
    seed : int
        Of the anatomy.
    x_um, y_um : float
        Centre of the node.
    length_um, breadth_um : float
        Axes of the bean.
    angle : float
        Direction of the long axis, radians.
    capsule_um, sinus_um : float
        Thickness of the capsule and of the sinus below it.
    cortex_um : float
        Depth to which follicles reach.
    follicles, germinal : float
        Share of the places for follicles that are taken; share of those with a germinal centre.
    medulla : float
        Extent of the medulla from the hilum, relative to the breadth.
    histiocytosis : float
        How much of the sinuses histiocytes fill, and how many groups lie in the paracortex, 0–1.
    trabeculae : float
        Amount of collagen inside, relative.
    fat_um : float
        Width of the fat around the node.
    deposits : tuple of Deposit
    """

    seed: int
    x_um: float
    y_um: float
    length_um: float
    breadth_um: float
    angle: float = 0.0
    capsule_um: float = 28.0
    sinus_um: float = 16.0
    cortex_um: float = 520.0
    follicles: float = 0.6
    germinal: float = 0.5
    medulla: float = 0.42
    histiocytosis: float = 0.4
    trabeculae: float = 1.0
    fat_um: float = 260.0
    deposits: tuple[Deposit, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """Fields on a regular grid; values at ``x[j], y[i]`` (µm).

    Attributes
    ----------
    x, y : ndarray of float64, 1-D
    tissue : ndarray of uint8, shape (y.size, x.size)
        `Tissue` of each place.
    fibres : ndarray of float32
        A height (µm) whose contour lines are the fibres.
    infiltration : ndarray of float32
        Share of lymphocytes among tumour cells.
    """

    x: Axis
    y: Axis
    tissue: NDArray[np.uint8]
    fibres: Field
    infiltration: Field

    def rows_columns(
        self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the nearest grid rows and columns of places inside the chart."""
        columns = np.rint((x_um - self.x[0]) / CHART_STEP_UM).astype(np.int64)
        rows = np.rint((y_um - self.y[0]) / CHART_STEP_UM).astype(np.int64)
        return np.clip(rows, 0, self.y.size - 1), np.clip(columns, 0, self.x.size - 1)

    def cut(self, left: float, top: float, right: float, bottom: float) -> "Chart":
        """Return the part that covers a window inside it, in µm (a view, not a copy)."""
        first, last = self.rows_columns(np.array([left, right]), np.array([top, bottom]))
        rows = slice(max(0, int(first[0]) - 1), int(first[1]) + 2)
        columns = slice(max(0, int(last[0]) - 1), int(last[1]) + 2)
        return Chart(
            self.x[columns],
            self.y[rows],
            self.tissue[rows, columns],
            self.fibres[rows, columns],
            self.infiltration[rows, columns],
        )
