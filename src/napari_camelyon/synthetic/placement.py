"""Which cell lies where.

Cells of one size class sit on a jittered hexagonal lattice that is loosened by two steps of mutual
repulsion; what tissue lies at a point decides which cell it becomes, if any. Larger classes come
first, smaller ones fill what is left between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_camelyon.synthetic.cells import Phenotype
from napari_camelyon.synthetic.noise import child_seed, hashed_uniform
from napari_camelyon.synthetic.tissues import Chart, Tissue

__all__ = ["Cells", "place_cells"]

Mixture = tuple[tuple[str, float], ...]

_T = Tissue
# Shares of the places of a size class that a cell type takes; the rest stays empty.
_TUMOUR: dict[int, Mixture] = {
    _T.TUMOUR: (("tumour", 0.955), ("mitosis", 0.015), ("apoptotic", 0.01)),
}
_MEDIUM: dict[int, Mixture] = {
    _T.GERMINAL: (
        ("centrocyte", 0.42),
        ("centroblast", 0.36),
        ("tingible", 0.045),
        ("mitosis", 0.015),
        ("apoptotic", 0.02),
    ),
    _T.PARACORTEX: (
        ("activated", 0.13),
        ("histiocyte", 0.06),
        ("endothelium", 0.02),
        ("plasma", 0.01),
    ),
    _T.MANTLE: (("activated", 0.03), ("histiocyte", 0.01)),
    _T.CORD: (("plasma", 0.30), ("histiocyte", 0.06), ("activated", 0.08), ("endothelium", 0.03)),
    _T.SINUS: (("histiocyte", 0.26), ("endothelium", 0.05), ("plasma", 0.03)),
    _T.HISTIOCYTES: (("histiocyte", 0.62), ("endothelium", 0.02)),
    _T.VENULE: (("endothelium", 0.80),),
    _T.VESSEL_WALL: (("endothelium", 0.12), ("fibroblast", 0.42)),
    _T.COLLAGEN: (("fibroblast", 0.20), ("plump", 0.12)),
    _T.DESMOPLASIA: (("fibroblast", 0.20), ("plump", 0.24), ("plasma", 0.03), ("histiocyte", 0.03)),
    _T.FAT: (),
    _T.NECROSIS: (("apoptotic", 0.25),),
}
_SMALL: dict[int, Mixture] = {
    _T.PARACORTEX: (("lymphocyte", 0.93),),
    _T.MANTLE: (("mantle", 0.98),),
    _T.GERMINAL: (("lymphocyte", 0.22),),
    _T.CORD: (("lymphocyte", 0.72), ("eosinophil", 0.01)),
    _T.SINUS: (("lymphocyte", 0.22), ("red", 0.04), ("eosinophil", 0.005)),
    _T.HISTIOCYTES: (("lymphocyte", 0.16),),
    _T.VENULE: (("lymphocyte", 0.10),),
    _T.VESSEL_WALL: (("lymphocyte", 0.02),),
    _T.COLLAGEN: (("lymphocyte", 0.06),),
    _T.DESMOPLASIA: (("lymphocyte", 0.26),),
    _T.LUMEN: (("red", 0.92), ("lymphocyte", 0.02)),
    _T.NECROSIS: (("apoptotic", 0.12), ("lymphocyte", 0.03)),
}


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of a window, in the order in which they are drawn.

    Attributes
    ----------
    names : list of str
    x_um, y_um : ndarray of float64
        Centres.
    chance : ndarray of float32
        One random number a cell, in [0, 1).
    angle : ndarray of float32
        Direction of the long axis, radians.
    """

    names: list[str]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    chance: NDArray[np.float32]
    angle: NDArray[np.float32]


def place_cells(seed: int, phenotype: Phenotype, field: Chart) -> Cells:
    """Place the cells of a charted window.

    Only cells farther from the window's border than about five spacings are the same as in a
    larger window; the caller charts a wider window than it draws.
    """
    gradient_y, gradient_x = np.gradient(field.fibres)
    along_fibres = np.arctan2(gradient_x, -gradient_y)
    taken_xy = np.empty((0, 2))
    taken_radius = np.empty(0)
    names: list[str] = []
    parts = []
    classes = (
        (1, phenotype.tumour_spacing_um, _TUMOUR),
        (2, phenotype.medium_spacing_um, _MEDIUM),
        (3, phenotype.small_spacing_um, _SMALL),
    )
    present = set(np.unique(field.tissue).tolist())
    for number, spacing, mixtures in classes:
        places_here = {int(tissue) for tissue in mixtures}
        if number == 3:
            places_here.add(int(Tissue.TUMOUR))  # lymphocytes among tumour cells
        if not present & places_here:
            continue
        key = child_seed(seed, 100 + number)
        x, y, i, j = _lattice(key, spacing, field)
        rows, columns = field.rows_columns(x, y)
        tissue = field.tissue[rows, columns]
        infiltrated = (tissue == Tissue.TUMOUR) & (
            hashed_uniform(child_seed(key, 4), i, j) < field.infiltration[rows, columns]
        )
        names_here = _types(tissue, hashed_uniform(child_seed(key, 3), i, j), mixtures)
        if number == 1:
            names_here[infiltrated] = ""  # lymphocytes will take this place
        if number == 3:
            # Between tumour cells: the gaps that infiltration left, and a few more.
            names_here[tissue == Tissue.TUMOUR] = "lymphocyte"
            spare = hashed_uniform(child_seed(key, 5), i, j)
            few = (tissue == Tissue.TUMOUR) & (
                spare > 0.2 + 1.6 * field.infiltration[rows, columns]
            )
            names_here[few] = ""
        kept = np.flatnonzero(names_here != "")
        if kept.size == 0:
            continue
        chosen = names_here[kept]
        radius = np.array([_reach(phenotype, name) for name in chosen])
        xy = np.stack([x[kept], y[kept]], axis=1)
        if taken_radius.size:
            free = _far_from(xy, radius, taken_xy, taken_radius)
            kept, chosen, radius, xy = kept[free], chosen[free], radius[free], xy[free]
        r, c = rows[kept], columns[kept]
        loose = np.isin(chosen, ("fibroblast", "plump", "endothelium"))
        turn = hashed_uniform(child_seed(key, 6), i[kept], j[kept])
        angle = np.where(loose, along_fibres[r, c] + (turn - 0.5) * 0.5, turn * np.pi)
        names += chosen.tolist()
        parts.append(
            (xy, hashed_uniform(child_seed(key, 7), i[kept], j[kept]), angle.astype(np.float32))
        )
        taken_xy = np.concatenate([taken_xy, xy])
        taken_radius = np.concatenate([taken_radius, radius])
    if not parts:
        nothing = np.empty(0)
        return Cells([], nothing, nothing, nothing.astype(np.float32), nothing.astype(np.float32))
    xy = np.concatenate([part[0] for part in parts])
    return Cells(
        names,
        xy[:, 0],
        xy[:, 1],
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


def _reach(phenotype: Phenotype, name: str) -> float:
    """Return how close (µm) a neighbour of another class may come to a cell's centre."""
    cell = phenotype.types[name]
    if name == "red":
        return 2.6
    return cell.nucleus_um * (0.36 + 0.14 * cell.body)


def _lattice(
    key: int, spacing: float, field: Chart
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    height = spacing * np.sqrt(3) / 2
    i_range = np.arange(int(field.y[0] // height), int(field.y[-1] // height) + 2)
    j_range = np.arange(int(field.x[0] // spacing) - 1, int(field.x[-1] // spacing) + 2)
    i, j = (grid.ravel() for grid in np.meshgrid(i_range, j_range, indexing="ij"))
    jitter_x = hashed_uniform(child_seed(key, 1), i, j).astype(np.float64) - 0.5
    jitter_y = hashed_uniform(child_seed(key, 2), i, j).astype(np.float64) - 0.5
    x = spacing * (j + 0.5 * (i % 2) + 0.95 * jitter_x)
    y = height * i + spacing * 0.95 * jitter_y
    xy = np.stack([x, y], axis=1)
    for _ in range(2):
        pairs = cKDTree(xy).query_pairs(spacing * 0.95, output_type="ndarray")
        if pairs.size == 0:
            break
        between = xy[pairs[:, 0]] - xy[pairs[:, 1]]
        distance = np.maximum(np.hypot(between[:, 0], between[:, 1]), 1e-6)
        push = between / distance[:, None] * ((spacing * 0.95 - distance) * 0.36)[:, None]
        for axis in (0, 1):
            xy[:, axis] += np.bincount(pairs[:, 0], push[:, axis], xy.shape[0])
            xy[:, axis] -= np.bincount(pairs[:, 1], push[:, axis], xy.shape[0])
    return xy[:, 0], xy[:, 1], i, j


def _types(
    tissue: NDArray[np.uint8], chance: NDArray[np.float32], mixtures: dict[int, Mixture]
) -> NDArray[np.str_]:
    names = np.full(tissue.size, "", dtype="<U12")
    for kind, mixture in mixtures.items():
        here = np.flatnonzero(tissue == kind)
        if here.size == 0 or not mixture:
            continue
        limits = np.cumsum([share for _, share in mixture])
        index = np.searchsorted(limits, chance[here], side="right")
        labels = np.array([name for name, _ in mixture] + [""])
        names[here] = labels[index]
    return names


def _far_from(
    xy: NDArray[np.float64],
    radius: NDArray[np.float64],
    taken_xy: NDArray[np.float64],
    taken_radius: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which points leave room for all taken ones."""
    free = np.ones(len(xy), bool)
    # Neighbours beyond the nearest three hardly ever decide: taken cells keep apart themselves.
    distance, index = cKDTree(taken_xy).query(xy, k=min(3, len(taken_xy)))
    distance, index = distance.reshape(len(xy), -1), index.reshape(len(xy), -1)
    for column in range(distance.shape[1]):
        free &= distance[:, column] > radius + taken_radius[index[:, column]]
    return free
