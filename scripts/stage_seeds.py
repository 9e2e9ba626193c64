"""Print how the bundled model stages generated patients, at the program's default settings.

    python scripts/stage_seeds.py [SEED …]

Nothing was chosen on these patients: the model and its threshold come from other seeds of the
generator (`train_bundled_model.py`), and the slides are generated at full size.
"""

import argparse
import tempfile
from pathlib import Path

from napari_camelyon.cohort import PredictRequest, predict_to_folder
from napari_camelyon.models import load_model
from napari_camelyon.staging import stage_patient
from napari_camelyon.synthetic import cached_patient, make_patient, read_truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--keep", action="store_true", help="keep the slides, in the cache")
    options = parser.parse_args()
    spec = load_model().spec
    print(f"{spec.name}, threshold {spec.threshold}\n")
    print("| seed | node | generated as | called |\n|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            paths = cached_patient(seed) if options.keep else make_patient(folder, seed)
            _stage(seed, paths, Path(folder) / "results")


def _stage(seed: int, paths: list[Path], out: Path) -> None:
    nodes = read_truth(paths)
    outcomes = [predict_to_folder(path, out, PredictRequest()) for path in paths]
    results = {outcome.name: outcome.node for outcome in outcomes}
    for number, (node, result) in enumerate(zip(nodes, results.values(), strict=True)):
        generated = f"{node['class']} {node['greatest_diameter_um'] / 1000:.2f} mm"
        called = f"{result.node_class} {result.diameter_mm or 0:.2f} mm"
        wrong = "" if node["class"] == result.node_class else " **wrong**"
        print(f"| {seed} | {number} | {generated} | {called}{wrong} |")
    truth = stage_patient(dict(zip(results, (node["class"] for node in nodes), strict=True)))
    print(f"| {seed} | patient | {truth.stage} | {stage_patient(results).stage} |", flush=True)


if __name__ == "__main__":
    main()
