"""Do conformal sets hold the truth as often as asked for? On generated patients of unseen seeds.

    python benchmarks/coverage.py

Each patient has five nodes, and each node a heatmap that is made here: deposits of a known size
(ellipses), probabilities of a model that is right most of the time (Beta 5, 1.5 on tumour, Beta
0.5, 7 elsewhere), false deposits, and in every tenth node a deposit that the model is unsure of.
Lesions, probabilities and stages come from the program. One half of the seeds calibrates, the other
tests. That is all it shows: real slides and real models are different, and a calibration made here
holds for nothing else.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    NODE_CLASSES,
    NodeCertainty,
    find_lesions,
    fit_node_calibration,
    node_certainty,
    patient_certainty,
    stage_patient,
)

SIZES_MM = {"itc": (0.05, 0.2), "micro": (0.2, 2.0), "macro": (2.0, 5.0)}
SHARES = (0.6, 0.1, 0.13, 0.17)
"""Of the classes, about as in CAMELYON17's training set (318, 36, 59, 87 of 500)."""
MPP, STRIDE_PX, PATCH_PX = (0.25, 0.25), 128, 256  # 32 and 64 µm


def main() -> None:
    """Print how often sets hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--patients", type=int, default=400, help="half of them calibrate")
    patients = parser.parse_args().patients
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(make_patient, range(patients), chunksize=8))
    half = patients // 2
    print("coverage wanted   held (95 % interval)   answers in a set")
    for coverage in (0.8, 0.9, 0.95):
        fitted = fit_node_calibration(
            {f"{p} {n}": v for p in range(half) for n, (_, _, v) in enumerate(made[p])},
            {f"{p} {n}": kind for p in range(half) for n, (kind, _, _) in enumerate(made[p])},
            coverage=coverage,
            patients={str(p): [f"{p} {n}" for n in range(5)] for p in range(half)},
            stages={str(p): true_stage(made[p]) for p in range(half)},
        )
        node_held, node_sizes, held, sizes = [], [], [], []
        for patient in made[half:]:
            nodes: dict[str, NodeCertainty | None] = {}
            for number, (kind, lesions, _) in enumerate(patient):
                one = node_certainty(lesions, calibration=fitted)
                nodes[str(number)] = one
                node_held.append(kind in (one.possible or ()))
                node_sizes.append(len(one.possible or ()))
            found = patient_certainty(nodes, calibration=fitted)
            held.append(true_stage(patient) in (found.possible or ()))
            sizes.append(len(found.possible or ()))
        for what, hits, counts in (("nodes", node_held, node_sizes), ("patients", held, sizes)):
            share, count = float(np.mean(hits)), len(hits)
            half_width = 1.96 * np.sqrt(share * (1 - share) / count)
            print(
                f"{coverage:.0%} {what:9} {share:14.3f} (± {half_width:.3f}, {count}) "
                f"{np.mean(counts):14.2f}"
            )


def make_patient(seed: int) -> list[tuple[str, list, np.ndarray]]:
    """Return class, lesions and probabilities of five nodes."""
    rng = np.random.default_rng(seed)
    nodes = []
    for _ in range(5):
        kind = NODE_CLASSES[rng.choice(4, p=SHARES)]
        lesions = find_lesions(_heatmap(rng, kind))
        values = np.array(list(node_certainty(lesions).probabilities.values()))
        nodes.append((kind, lesions, values))
    return nodes


def true_stage(patient: list) -> str:
    """Return the stage of the true classes."""
    return stage_patient([kind for kind, _, _ in patient]).stage


def _heatmap(rng: np.random.Generator, kind: str) -> Heatmap:
    side = 220
    values = rng.beta(0.5, 7, (side, side))
    rows, columns = np.mgrid[:side, :side]

    def put(diameter_mm: float, sureness: tuple[float, float]) -> None:
        """Put an ellipse of a diameter; a patch is tumour that touches it."""
        row, column = rng.uniform(95, side - 95, 2)
        angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.5, 1)
        half = diameter_mm * 1000 / 2
        away = np.stack([columns - column, rows - row]) * STRIDE_PX * MPP[0]
        along = away[0] * np.cos(angle) + away[1] * np.sin(angle)
        across = away[1] * np.cos(angle) - away[0] * np.sin(angle)
        reach = PATCH_PX * MPP[0] / 2  # a disc in place of the square patch
        inside = (along / (half + reach)) ** 2 + (across / (half * aspect + reach)) ** 2 <= 1
        values[inside] = rng.beta(*sureness, int(inside.sum()))

    if kind != "negative":
        low, high = SIZES_MM[kind]
        diameter = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        put(diameter, (2, 2.5) if rng.random() < 0.1 else (5, 1.5))
        for _ in range(rng.poisson(1)):
            put(float(rng.uniform(0.05, min(diameter, 0.5))), (5, 1.5))
    if rng.random() < 0.15:  # a false deposit
        put(float(rng.uniform(0.05, 0.3)), (3, 3))
    grid = Grid(side, side, 0, 0, PATCH_PX, PATCH_PX, STRIDE_PX, STRIDE_PX)
    return Heatmap(grid, values.astype(np.float32), MPP)


if __name__ == "__main__":
    main()
