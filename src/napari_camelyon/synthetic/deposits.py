"""Deposits of tumour: their depth field, whose zero line is the outline, and their tissue."""

import numpy as np

from napari_camelyon.synthetic.noise import child_seed, smooth_noise
from napari_camelyon.synthetic.tissues import Axis, Chart, Deposit, Field, Tissue

__all__ = ["depth_in_deposit", "with_deposit"]


def depth_in_deposit(deposit: Deposit, x: Axis, y: Axis, node: Field | None = None) -> Field:
    """Return the depth (µm) inside a deposit on the grid of two axes, negative outside.

    The outline that is written as annotation is the zero line of this very field. With the
    depth below the node's surface (`node`, on the same grid) it ends at that surface.
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
    depth = np.asarray((ellipse + rough * fade) * half_width, np.float32)
    return depth if node is None else np.minimum(depth, node)


def with_deposit(chart: Chart, deposit: Deposit, node: Field | None = None) -> Chart:
    """Return a chart with a deposit grown into it; see `depth_in_deposit` for `node`."""
    x, y = chart.x, chart.y
    reach = deposit.length_um * 0.75 + 60
    if (
        x[-1] < deposit.x_um - reach
        or x[0] > deposit.x_um + reach
        or y[-1] < deposit.y_um - reach
        or y[0] > deposit.y_um + reach
    ):
        return chart
    depth = depth_in_deposit(deposit, x, y, node)
    inside = depth > 0
    if not inside.any():
        return chart
    seed = deposit.seed
    nest = smooth_noise(child_seed(seed, 3), x, y, deposit.nest_um * 0.5)
    nest += 0.25 * smooth_noise(child_seed(seed, 4), x, y, deposit.nest_um * 0.17)
    if deposit.pattern == "files":
        ridge = np.abs(smooth_noise(child_seed(seed, 5), x, y, 26.0))
        cells = ridge < 0.62 - 0.8 * deposit.stroma
    elif deposit.pattern == "sheet":
        cells = nest > -3.2 + 3.0 * deposit.stroma
    else:
        # The noise is nearly normal: this leaves about the wanted share to the stroma.
        cells = nest > -1.55 + 2.6 * deposit.stroma
    tissue = chart.tissue.copy()
    solid = inside & (tissue != Tissue.GLASS)
    tissue[solid & cells] = Tissue.TUMOUR
    # Septa are collagen, or the lymphoid tissue that was there.
    collagen = smooth_noise(child_seed(seed, 6), x, y, 120.0) > 0.1
    tissue[solid & ~cells & collagen & (depth > 12)] = Tissue.DESMOPLASIA
    if deposit.pattern == "glands":
        tissue[solid & cells & (nest > 0.95)] = Tissue.GLAND_LUMEN
    if deposit.necrosis > 0:
        dead = smooth_noise(child_seed(seed, 7), x, y, 160.0) > 0.5
        tissue[solid & cells & dead & (depth > deposit.necrosis)] = Tissue.NECROSIS
    fibres = np.where(inside, nest * deposit.nest_um * 0.3, chart.fibres).astype(np.float32)
    # Lymphocytes crowd at the border.
    crowd = np.clip(deposit.infiltration + 0.3 * np.exp(-depth / 22.0), 0, 0.75)
    infiltration = np.where(inside, crowd, chart.infiltration).astype(np.float32)
    return Chart(x, y, tissue, fibres, infiltration)
