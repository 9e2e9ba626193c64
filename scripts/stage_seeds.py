"""Print how the bundled model stages generated patients, at the program's default settings.

    python scripts/stage_seeds.py [SEED …]

Nothing was chosen on these patients: the model and its threshold come from other seeds of the
generator (`train_bundled_model.py`), and the slides are generated at full size.
"""

import argparse
import json
import tempfile
from pathlib import Path

from napari_camelyon.inference import new_heatmap, run
from napari_camelyon.models import Model, load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.staging import NodeResult, classify_node, find_lesions, stage_patient
from napari_camelyon.synthetic import cached_patient, make_patient
from napari_camelyon.tissue import plan_patches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2, 3])
    parser.add_argument("--keep", action="store_true", help="keep the slides, in the cache")
    options = parser.parse_args()
    model = load_model()
    print(f"{model.spec.name}, threshold {model.spec.threshold}\n")
    print("| seed | node | generated as | called |\n|---|---|---|---|")
    for seed in options.seeds:
        if options.keep:
            _stage(seed, cached_patient(seed), model)
        else:
            with tempfile.TemporaryDirectory() as folder:
                _stage(seed, make_patient(folder, seed), model)


def _stage(seed: int, paths: list[Path], model: Model) -> None:
    (truth,) = paths[0].parent.glob("*_truth.json")
    nodes = json.loads(truth.read_text(encoding="utf-8"))["nodes"]
    results = [_node(path, model) for path in paths]
    for number, (node, result) in enumerate(zip(nodes, results, strict=True)):
        generated = f"{node['class']} {node['greatest_diameter_um'] / 1000:.2f} mm"
        called = f"{result.node_class} {result.diameter_mm or 0:.2f} mm"
        wrong = "" if node["class"] == result.node_class else " **wrong**"
        print(f"| {seed} | {number} | {generated} | {called}{wrong} |")
    names = [path.stem for path in paths]
    generated = stage_patient(dict(zip(names, (node["class"] for node in nodes), strict=True)))
    called = stage_patient(dict(zip(names, results, strict=True)))
    print(f"| {seed} | patient | {generated.stage} | {called.stage} |", flush=True)


def _node(path: Path, model: Model) -> NodeResult:
    with open_slide(path) as slide:
        grid = plan_patches(slide, model.spec)
        heatmap = new_heatmap(slide, model, grid)
        for _ in run(slide, model, grid, heatmap=heatmap):
            pass
    return classify_node(find_lesions(heatmap), heatmap=heatmap)


if __name__ == "__main__":
    main()
