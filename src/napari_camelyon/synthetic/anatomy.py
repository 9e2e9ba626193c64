"""Where everything lies in a node: fields that can be evaluated at any place on their own.

A `NodePlan` is a seed and a few numbers. From it `chart` computes, on a grid of 2 µm, what tissue
is where, in which direction its fibres run, and how deep inside a deposit of tumour a place lies.
Nothing is stored for the slide as a whole, so its size costs no memory.

Layout after Willard-Mack, Toxicol Pathol 34:409 (2006): capsule, subcapsular sinus, cortex with
follicles, paracortex with high endothelial venules, medulla with cords and sinuses, hilum with fat.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.synthetic.deposits import with_deposit
from napari_camelyon.synthetic.noise import child_seed, smooth_noise, uniform_at
from napari_camelyon.synthetic.tissues import (
    CHART_STEP_UM,
    Axis,
    Chart,
    Field,
    NodePlan,
    Tissue,
)

__all__ = ["chart", "node_depth"]

_NOISE_LIMIT = 4.0  # `smooth_noise` stays within half a unit over its deviation, 3.6


def chart(plan: NodePlan, left: float, top: float, right: float, bottom: float) -> Chart:
    """Compute the fields of a window, given in µm; the grid lies on multiples of 2 µm."""
    x = _axis(left, right)
    y = _axis(top, bottom)
    ground = _Ground(plan, x, y)
    if _is_far(plan, x, y):  # most of a slide is glass
        return ground.chart()
    ground.lay_node()
    ground.lay_follicles()
    ground.lay_medulla()
    ground.lay_trabeculae()
    ground.lay_capsule()
    ground.lay_vessels()
    field = ground.chart()
    for deposit in plan.deposits:
        field = with_deposit(field, deposit, ground.depth)
    return field


def node_depth(plan: NodePlan, x: Axis, y: Axis) -> Field:
    """Return the depth (µm) below a node's surface on the grid of two axes, negative outside."""
    return _depth_and_hilum(plan, x, y)[0]


def _depth_and_hilum(plan: NodePlan, x: Axis, y: Axis) -> tuple[Field, Field]:
    """Return `node_depth` and the distance from the hilum: vessels leave, fat reaches in there."""

    def noise(name: int, wavelength: float) -> Field:
        return smooth_noise(child_seed(plan.seed, name), x, y, wavelength)

    right, down = x[None] - plan.x_um, y[:, None] - plan.y_um
    c, s = np.cos(plan.angle), np.sin(plan.angle)
    u, v = right * c + down * s, down * c - right * s
    a, b = plan.length_um / 2, plan.breadth_um / 2
    hilum = np.hypot(u, v - b)
    away = np.hypot(u / a, v / b)
    radial = np.hypot(u, v) * (1 / np.maximum(away, 1e-3) - 1)
    bean = radial - 0.5 * b * np.exp(-((hilum / (0.34 * b)) ** 2))
    rough = 45 * noise(1, 620.0) + 12 * noise(2, 170.0) + 3 * noise(3, 40.0)
    return np.asarray(bean + rough, np.float32), np.asarray(hilum, np.float32)


def _is_far(plan: NodePlan, x: Axis, y: Axis) -> bool:
    """Tell whether a window is so far from a node that nothing of it can reach there."""
    right = max(x[0] - plan.x_um, plan.x_um - x[-1], 0.0)
    down = max(y[0] - plan.y_um, plan.y_um - y[-1], 0.0)
    rough_um = 60 * _NOISE_LIMIT
    fat_um = plan.fat_um * (1 + 0.8 * _NOISE_LIMIT) + 60
    longest_um = max(plan.length_um, plan.breadth_um)
    return bool(np.hypot(right, down) > longest_um / 2 + rough_um + fat_um)


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
        self.fibres = np.zeros(shape, np.float32)
        self.depth = np.zeros(shape, np.float32)
        self.hilum = np.zeros(shape, np.float32)

    def chart(self) -> Chart:
        infiltration = np.zeros(self.fibres.shape, np.float32)
        return Chart(self.x, self.y, self.tissue, self.fibres, infiltration)

    def noise(self, name: int, wavelength: float) -> Field:
        return smooth_noise(child_seed(self.plan.seed, name), self.x, self.y, wavelength)

    def put(self, where: NDArray[np.bool_], tissue: Tissue) -> None:
        self.tissue[where] = tissue

    def lay_node(self) -> None:
        plan = self.plan
        self.depth, self.hilum = _depth_and_hilum(plan, self.x, self.y)
        self.fibres = self.depth.copy()
        fat_edge = plan.fat_um * (1 + 0.8 * self.noise(4, 500.0)) + 60
        outside = self.depth <= 0
        self.put(outside & (self.depth > -fat_edge), Tissue.FAT)
        self.put(~outside, Tissue.PARACORTEX)
        groups = self.noise(5, 75.0) > 3.1 - 1.5 * plan.histiocytosis
        self.put(~outside & groups, Tissue.HISTIOCYTES)

    def lay_follicles(self) -> None:
        plan = self.plan
        for i, j, cx, cy in _blobs(child_seed(plan.seed, 10), 430.0, self.x, self.y, reach=280.0):
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
        seed = self.plan.seed
        for i, j, x, y in _blobs(child_seed(seed, 50), 118.0, self.x, self.y, reach=45.0):
            n = [uniform_at(child_seed(seed, 51 + k), i, j) for k in range(5)]
            if n[0] < 0.62:
                venule = _Vessel(x, y, 8 + 9 * n[1], 0.42 + 0.5 * n[2], n[3], 0.42, n[4] < 0.55)
                self._lay_vessel(venule, Tissue.VENULE, (Tissue.PARACORTEX, Tissue.CORD))
        for i, j, x, y in _blobs(child_seed(seed, 60), 520.0, self.x, self.y, reach=110.0):
            n = [uniform_at(child_seed(seed, 61 + k), i, j) for k in range(5)]
            if n[0] < 0.6:
                vein = _Vessel(x, y, 22 + 44 * n[1] ** 2, 0.5 + 0.5 * n[2], n[3], 0.62, n[4] < 0.55)
                over = (Tissue.PARACORTEX, Tissue.CORD, Tissue.SINUS, Tissue.FAT)
                self._lay_vessel(vein, Tissue.VESSEL_WALL, over)

    def _lay_vessel(self, vessel: "_Vessel", wall: Tissue, over: tuple[Tissue, ...]) -> None:
        columns = np.flatnonzero(np.abs(self.x - vessel.x_um) < vessel.radius_um * 2.2)
        rows = np.flatnonzero(np.abs(self.y - vessel.y_um) < vessel.radius_um * 2.2)
        if columns.size == 0 or rows.size == 0:
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        x, y = self.x[None, box[1]] - vessel.x_um, self.y[box[0], None] - vessel.y_um
        c, s = np.cos(vessel.turn * np.pi), np.sin(vessel.turn * np.pi)
        squash = vessel.aspect**0.5
        radius = np.hypot((x * c + y * s) * squash, (y * c - x * s) / squash)
        place = self.tissue[box]
        allowed = np.isin(place, over) & (radius < vessel.radius_um)
        place[allowed] = wall
        inner = allowed & (radius < vessel.radius_um * vessel.lumen)
        place[inner] = Tissue.LUMEN if vessel.filled else Tissue.GLAND_LUMEN
        self.fibres[box] = np.where(allowed, radius, self.fibres[box])


@dataclass(frozen=True, slots=True)
class _Vessel:
    """A vessel cut across: centre and radius, aspect, turn (in half turns), share of the lumen."""

    x_um: float
    y_um: float
    radius_um: float
    aspect: float
    turn: float
    lumen: float
    filled: bool


def _blobs(
    seed: int, spacing: float, x: Axis, y: Axis, *, reach: float
) -> list[tuple[int, int, float, float]]:
    """Return lattice indices and centres of the jittered blobs that may touch a window."""
    rows = range(int((y[0] - reach) // spacing) - 1, int((y[-1] + reach) // spacing) + 2)
    columns = range(int((x[0] - reach) // spacing) - 1, int((x[-1] + reach) // spacing) + 2)
    found = []
    for i in rows:
        for j in columns:
            jitter_x = uniform_at(child_seed(seed, 1), i, j)
            jitter_y = uniform_at(child_seed(seed, 2), i, j)
            cx = spacing * (j + 0.5 * (i % 2) + 0.7 * jitter_x)
            cy = spacing * (i + 0.7 * jitter_y)
            if x[0] - reach < cx < x[-1] + reach and y[0] - reach < cy < y[-1] + reach:
                found.append((i, j, cx, cy))
    return found
