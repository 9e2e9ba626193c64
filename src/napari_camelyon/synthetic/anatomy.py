"""Where everything lies in a node: fields that can be evaluated at any place on their own.

A `NodePlan` is a seed and a few numbers. From it `chart` computes, on a grid of 2 µm, what tissue
is where, in which direction its fibres run, and how deep inside a deposit of tumour a place lies.
Nothing is stored for the slide as a whole, so its size costs no memory.

Layout after Willard-Mack, Toxicol Pathol 34:409 (2006): capsule, subcapsular sinus, cortex with
follicles, paracortex with high endothelial venules, medulla with cords and sinuses, hilum with fat.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.synthetic.noise import child_seed, smooth_noise, uniform_at

__all__ = ["CHART_STEP_UM", "Chart", "Deposit", "NodePlan", "Tissue", "chart", "depth_in_deposit"]

CHART_STEP_UM = 2.0

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
    tumour : ndarray of float32
        Depth (µm) inside a deposit, negative outside.
    infiltration : ndarray of float32
        Share of lymphocytes among tumour cells.
    """

    x: Axis
    y: Axis
    tissue: NDArray[np.uint8]
    fibres: Field
    tumour: Field
    infiltration: Field

    def rows_columns(
        self, x_um: NDArray[np.floating], y_um: NDArray[np.floating]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the nearest grid rows and columns of places inside the chart."""
        columns = np.rint((x_um - self.x[0]) / CHART_STEP_UM).astype(np.int64)
        rows = np.rint((y_um - self.y[0]) / CHART_STEP_UM).astype(np.int64)
        return np.clip(rows, 0, self.y.size - 1), np.clip(columns, 0, self.x.size - 1)


def chart(plan: NodePlan, left: float, top: float, right: float, bottom: float) -> Chart:
    """Compute the fields of a window, given in µm; the grid lies on multiples of 2 µm."""
    x = _axis(left, right)
    y = _axis(top, bottom)
    ground = _Ground(plan, x, y)
    ground.lay_node()
    ground.lay_follicles()
    ground.lay_medulla()
    ground.lay_trabeculae()
    ground.lay_capsule()
    ground.lay_vessels()
    for deposit in plan.deposits:
        ground.lay_deposit(deposit)
    return Chart(x, y, ground.tissue, ground.fibres, ground.tumour, ground.infiltration)


def depth_in_deposit(deposit: Deposit, x: Axis, y: Axis) -> Field:
    """Return the depth (µm) inside a deposit on the grid of two axes, negative outside.

    The outline that is written as annotation is the zero line of this very field.
    """
    half_length, half_width = deposit.length_um / 2, deposit.length_um * deposit.aspect / 2
    # In units of the half width, so that a deposit of another size has the same shape.
    right, down = (x - deposit.x_um) / half_width, (y - deposit.y_um) / half_width
    c, s = np.cos(deposit.angle), np.sin(deposit.angle)
    u = (right[None] * c + down[:, None] * s) * (half_width / half_length)
    v = down[:, None] * c - right[None] * s
    ellipse = 1 - np.hypot(u, v)
    bumps = smooth_noise(child_seed(deposit.seed, 1), right, down, 0.75)
    small = smooth_noise(child_seed(deposit.seed, 2), right, down, 0.2)
    rough = deposit.roughness * (0.34 * bumps + 0.09 * small)
    # Far away the bumps must not make new islands.
    fade = np.clip(1.6 + ellipse / 0.6, 0, 1)
    return ((ellipse + rough * fade) * half_width).astype(np.float32)


def _axis(first: float, last: float) -> Axis:
    return (
        np.arange(np.floor(first / CHART_STEP_UM), np.ceil(last / CHART_STEP_UM) + 1)
        * CHART_STEP_UM
    )


class _Ground:
    """The fields while they are being laid, one structure over the other."""

    def __init__(self, plan: NodePlan, x: Axis, y: Axis) -> None:
        self.plan = plan
        self.x, self.y = x, y
        shape = (y.size, x.size)
        self.tissue = np.zeros(shape, np.uint8)
        self.tumour = np.full(shape, -1e4, np.float32)
        self.infiltration = np.zeros(shape, np.float32)
        self.fibres = np.zeros(shape, np.float32)
        self.depth = np.zeros(shape, np.float32)
        self.hilum = np.zeros(shape, np.float32)

    def noise(self, name: int, wavelength: float) -> Field:
        return smooth_noise(child_seed(self.plan.seed, name), self.x, self.y, wavelength)

    def put(self, where: NDArray[np.bool_], tissue: Tissue) -> None:
        self.tissue[where] = tissue

    def lay_node(self) -> None:
        plan = self.plan
        u = (self.x[None] - plan.x_um) * np.cos(plan.angle) + (
            self.y[:, None] - plan.y_um
        ) * np.sin(plan.angle)
        v = (self.y[:, None] - plan.y_um) * np.cos(plan.angle) - (
            self.x[None] - plan.x_um
        ) * np.sin(plan.angle)
        a, b = plan.length_um / 2, plan.breadth_um / 2
        away = np.hypot(u / a, v / b)
        radial = np.hypot(u, v) * (1 / np.maximum(away, 1e-3) - 1)
        dent = np.hypot(u, v - b)  # the hilum: where vessels leave and fat reaches in
        self.hilum = dent.astype(np.float32)
        bean = radial - 0.5 * b * np.exp(-((dent / (0.34 * b)) ** 2))
        self.depth = (
            bean + 45 * self.noise(1, 620.0) + 12 * self.noise(2, 170.0) + 3 * self.noise(3, 40.0)
        ).astype(np.float32)
        self.fibres = self.depth.copy()
        fat_edge = plan.fat_um * (1 + 0.8 * self.noise(4, 500.0)) + 60
        outside = self.depth <= 0
        self.put(outside & (self.depth > -fat_edge), Tissue.FAT)
        self.put(~outside, Tissue.PARACORTEX)
        groups = self.noise(5, 75.0) > 3.1 - 1.5 * plan.histiocytosis
        self.put(~outside & groups, Tissue.HISTIOCYTES)

    def lay_follicles(self) -> None:
        plan = self.plan
        spacing = 430.0
        for i, j, cx, cy in _blobs(plan.seed, 10, spacing, self.x, self.y, 280.0):
            chance = uniform_at(child_seed(plan.seed, 11), i, j)
            size = uniform_at(child_seed(plan.seed, 12), i, j)
            kind = uniform_at(child_seed(plan.seed, 13), i, j)
            if chance >= plan.follicles:
                continue
            radius = 105 + 95 * size
            squash = 0.75 + 0.5 * uniform_at(child_seed(plan.seed, 14), i, j)
            rho = np.hypot(
                (self.x[None] - cx) * squash**0.5, (self.y[:, None] - cy) / squash**0.5
            ) - 9 * self.noise(15, 70.0)
            inside = (rho < radius) & (self.depth > 45) & (self.depth < plan.cortex_um + 120)
            self.put(inside, Tissue.MANTLE)
            if kind < plan.germinal:
                core = radius * (0.52 + 0.22 * size) + 5 * self.noise(16, 30.0)
                self.put(inside & (rho < core), Tissue.GERMINAL)

    def lay_medulla(self) -> None:
        plan = self.plan
        reach = plan.medulla * plan.breadth_um * (1 + 0.28 * self.noise(20, 260.0))
        medulla = (self.hilum < reach) & (self.depth > 20)
        ridge = np.abs(self.noise(21, 72.0) + 0.3 * self.noise(22, 28.0))
        self.put(medulla, Tissue.CORD)
        self.put(medulla & (ridge < 0.42), Tissue.SINUS)
        full = self.noise(23, 110.0) > 1.3 - 1.9 * plan.histiocytosis
        self.put(medulla & (ridge < 0.42) & full, Tissue.HISTIOCYTES)

    def lay_trabeculae(self) -> None:
        plan = self.plan
        height = self.noise(30, 330.0) + 0.12 * self.noise(31, 60.0)
        near = np.clip(1.25 - self.depth / (plan.cortex_um * 1.5), 0.25, 1)
        gate = self.noise(32, 280.0) > 0.35 - 0.6 * plan.trabeculae
        width = 0.055 * plan.trabeculae * near
        inside = (self.depth > plan.capsule_um * 0.6) & gate & (near > 0.3)
        core = inside & (np.abs(height) < width)
        sleeve = inside & (np.abs(height) < width + 0.05) & ~core
        self.put(sleeve, Tissue.SINUS)
        self.put(core, Tissue.COLLAGEN)
        self.fibres = np.where(core, height * 190, self.fibres).astype(np.float32)

    def lay_capsule(self) -> None:
        plan = self.plan
        thick = plan.capsule_um * (1 + 0.35 * self.noise(40, 240.0))
        sinus = np.maximum(plan.sinus_um * (1 + 0.6 * self.noise(41, 160.0)), 0)
        below = (self.depth > thick) & (self.depth < thick + sinus)
        self.put(below, Tissue.SINUS)
        full = self.noise(42, 140.0) > 1.5 - 1.5 * plan.histiocytosis
        self.put(below & full, Tissue.HISTIOCYTES)
        self.put((self.depth > 0) & (self.depth <= thick), Tissue.COLLAGEN)
        # Septa of the fat around the node.
        septum = np.abs(self.noise(43, 420.0)) < 0.05
        self.put((self.tissue == Tissue.FAT) & septum, Tissue.COLLAGEN)

    def lay_vessels(self) -> None:
        plan = self.plan
        for i, j, cx, cy in _blobs(plan.seed, 50, 118.0, self.x, self.y, 45.0):
            numbers = [uniform_at(child_seed(plan.seed, 51 + k), i, j) for k in range(5)]
            if numbers[0] < 0.62:
                self._vessel(
                    cx,
                    cy,
                    8 + 9 * numbers[1],
                    0.42 + 0.5 * numbers[2],
                    numbers[3],
                    0.42,
                    Tissue.VENULE,
                    (Tissue.PARACORTEX, Tissue.CORD),
                    numbers[4],
                )
        for i, j, cx, cy in _blobs(plan.seed, 60, 520.0, self.x, self.y, 110.0):
            numbers = [uniform_at(child_seed(plan.seed, 61 + k), i, j) for k in range(5)]
            if numbers[0] < 0.6:
                self._vessel(
                    cx,
                    cy,
                    22 + 44 * numbers[1] ** 2,
                    0.5 + 0.5 * numbers[2],
                    numbers[3],
                    0.62,
                    Tissue.VESSEL_WALL,
                    (Tissue.PARACORTEX, Tissue.CORD, Tissue.SINUS, Tissue.FAT),
                    numbers[4],
                )

    def _vessel(
        self,
        cx: float,
        cy: float,
        radius: float,
        aspect: float,
        turn: float,
        lumen: float,
        wall: Tissue,
        over: tuple[Tissue, ...],
        filled: float,
    ) -> None:
        columns = np.flatnonzero(np.abs(self.x - cx) < radius * 2.2)
        rows = np.flatnonzero(np.abs(self.y - cy) < radius * 2.2)
        if columns.size == 0 or rows.size == 0:
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        x, y = self.x[None, box[1]] - cx, self.y[box[0], None] - cy
        c, s = np.cos(turn * np.pi), np.sin(turn * np.pi)
        rho = np.hypot((x * c + y * s) * aspect**0.5, (y * c - x * s) / aspect**0.5)
        place = self.tissue[box]
        allowed = np.isin(place, over) & (rho < radius)
        place[allowed] = wall
        inner = allowed & (rho < radius * lumen)
        place[inner] = Tissue.LUMEN if filled < 0.55 else Tissue.SINUS
        if filled >= 0.55:
            place[inner] = Tissue.GLAND_LUMEN  # empty: nothing but clear plasma
        self.fibres[box] = np.where(allowed, rho, self.fibres[box])

    def lay_deposit(self, deposit: Deposit) -> None:
        reach = deposit.length_um * 0.75 + 60
        if (
            self.x[-1] < deposit.x_um - reach
            or self.x[0] > deposit.x_um + reach
            or self.y[-1] < deposit.y_um - reach
            or self.y[0] > deposit.y_um + reach
        ):
            return
        depth = depth_in_deposit(deposit, self.x, self.y)
        inside = depth > 0
        if not inside.any():
            self.tumour = np.maximum(self.tumour, depth)
            return
        seed = deposit.seed
        nest = smooth_noise(child_seed(seed, 3), self.x, self.y, deposit.nest_um * 0.5)
        nest += 0.25 * smooth_noise(child_seed(seed, 4), self.x, self.y, deposit.nest_um * 0.17)
        if deposit.pattern == "files":
            ridge = np.abs(smooth_noise(child_seed(seed, 5), self.x, self.y, 26.0))
            cells = ridge < 0.62 - 0.8 * deposit.stroma
        elif deposit.pattern == "sheet":
            cells = nest > -3.2 + 3.0 * deposit.stroma
        else:
            # Quantile of the nest noise that leaves the wanted share to the stroma.
            cells = nest > (-1.55 + 2.6 * deposit.stroma)
        between = smooth_noise(child_seed(seed, 6), self.x, self.y, 120.0) > 0.1
        old = self.tissue.copy()
        solid = inside & (old != Tissue.GLASS)
        self.put(solid & cells, Tissue.TUMOUR)
        # Septa are collagen or the lymphoid tissue that was there.
        self.put(solid & ~cells & between & (depth > 12), Tissue.DESMOPLASIA)
        if deposit.pattern == "glands":
            self.put(solid & cells & (nest > 1.15), Tissue.GLAND_LUMEN)
        if deposit.necrosis > 0:
            dead = smooth_noise(child_seed(seed, 7), self.x, self.y, 160.0) > 0.5
            self.put(solid & cells & dead & (depth > deposit.necrosis), Tissue.NECROSIS)
        self.fibres = np.where(inside, nest * deposit.nest_um * 0.3, self.fibres).astype(np.float32)
        edge = 0.5 * np.exp(-depth / 22.0)
        self.infiltration = np.where(
            inside, np.clip(deposit.infiltration + edge * 0.6, 0, 0.75), self.infiltration
        ).astype(np.float32)
        self.tumour = np.maximum(self.tumour, depth)


def _blobs(
    seed: int, name: int, spacing: float, x: Axis, y: Axis, reach: float
) -> list[tuple[int, int, float, float]]:
    """Return lattice indices and centres of the jittered blobs that may touch a window."""
    rows = range(int((y[0] - reach) // spacing) - 1, int((y[-1] + reach) // spacing) + 2)
    columns = range(int((x[0] - reach) // spacing) - 1, int((x[-1] + reach) // spacing) + 2)
    found = []
    for i in rows:
        for j in columns:
            cx = spacing * (j + 0.5 * (i % 2) + 0.7 * uniform_at(child_seed(seed, name, 1), i, j))
            cy = spacing * (i + 0.7 * uniform_at(child_seed(seed, name, 2), i, j))
            if x[0] - reach < cx < x[-1] + reach and y[0] - reach < cy < y[-1] + reach:
                found.append((i, j, cx, cy))
    return found
