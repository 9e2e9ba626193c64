"""How long does restaging five nodes take when a threshold moves?

    python benchmarks/restaging.py

Five heatmaps of 2,000 × 2,000 cells: with a dozen deposits each, as a good model gives them, with
a hundred, and with about a thousand, as a bad one does. For each threshold `restage_nodes` and then
the full way, `find_lesions` with outlines, areas and all, are timed in turn. The first line of each
kind is the first time.
"""

import time

import numpy as np
from scipy import ndimage

from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    LesionRules,
    classify_node,
    find_lesions,
    restage_nodes,
    stage_patient,
)

CELLS, MPP = 2_000, (0.25, 0.25)
THRESHOLDS = (0.5, 0.45, 0.55, 0.6, 0.4, 0.7, 0.5)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(20261201)
    print(
        "five nodes of 2,000 x 2,000 cells   threshold  lesions  stage   restage      full  ratio"
    )
    for deposits in (12, 100, 1000):
        heatmaps = {f"node {place}": _heatmap(rng, deposits) for place in range(5)}
        for threshold in THRESHOLDS:
            started = time.perf_counter()
            restaged = restage_nodes(heatmaps, LesionRules(threshold=threshold))
            patient = stage_patient({name: one.result for name, one in restaged.items()})
            quick_s = time.perf_counter() - started
            started = time.perf_counter()
            full = {
                name: classify_node(find_lesions(one, threshold=threshold), name=name)
                for name, one in heatmaps.items()
            }
            again = stage_patient(full)
            full_s = time.perf_counter() - started
            if again.stage != patient.stage:
                raise SystemExit("the two ways differ")
            print(
                f"{deposits:5} deposits a node {threshold:22.2f}"
                f"{sum(one.result.lesions for one in restaged.values()):9}  {patient.stage:6}"
                f"{quick_s * 1000:7.0f} ms {full_s * 1000:6.0f} ms {full_s / quick_s:6.1f}"
            )


def _heatmap(rng: np.random.Generator, deposits: int) -> Heatmap:
    """Return low values in an ellipse of tissue, with smooth hills of all sizes on it."""
    values = rng.beta(0.4, 12, (CELLS, CELLS))
    largest = 60 if deposits < 1000 else 9
    for _ in range(deposits):
        row, column = rng.integers(300, CELLS - 300, 2)
        radius = int(np.exp(rng.uniform(np.log(2), np.log(largest))))
        away = np.hypot(*np.mgrid[-2 * radius : 2 * radius + 1, -2 * radius : 2 * radius + 1])
        hill = 1 / (1 + np.exp((away - radius) / max(0.6, radius / 8)))
        hill += ndimage.gaussian_filter(rng.normal(0, 0.6, hill.shape), 1.5) * (hill > 0.1)
        part = values[row - 2 * radius : row + 2 * radius + 1, column - 2 * radius :]
        part = part[:, : hill.shape[1]]
        np.maximum(part, np.clip(hill, 0, 1), out=part)
    rows, columns = np.mgrid[:CELLS, :CELLS] / CELLS - 0.5
    values[(rows / 0.47) ** 2 + (columns / 0.42) ** 2 > 1] = np.nan
    grid = Grid(CELLS, CELLS, 0, 0, 256, 256, 128, 128)
    return Heatmap(grid, values.astype(np.float32), MPP)


if __name__ == "__main__":
    main()
