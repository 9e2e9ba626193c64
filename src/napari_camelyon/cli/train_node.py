"""``napari-camelyon train-node``: a learned call of nodes from results and labels."""

from pathlib import Path

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned
from napari_camelyon.errors import StagingError

__all__ = ["train_node"]

_PATH = click.Path(path_type=Path)


@click.command("train-node", short_help="Learn to call nodes from results and labels.")
@click.argument("results", type=_PATH, metavar="DIR")
@click.argument("labels", type=_PATH, metavar="LABELS.CSV")
@click.option("--out", type=_PATH, metavar="JSON", default=Path("node-forest.json"))
@click.option("--trees", type=click.IntRange(1, 2000), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def train_node(results: Path, labels: Path, out: Path, trees: int, seed: int) -> None:
    """Train a random forest over features of heatmaps, and write it to plain JSON.

    DIR holds results of one model, LABELS.CSV the table patient,stage with the classes of their
    nodes. How the forest does on patients that it has not seen is printed; it is the default
    nowhere, and not validated.
    """
    from napari_camelyon.cohort import (
        find_result_folders,
        patient_of_node,
        read_run,
        read_stage_table,
    )
    from napari_camelyon.evaluation import compare_labels
    from napari_camelyon.heatmaps import read_heatmap
    from napari_camelyon.staging import NODE_CLASSES, node_features, read_node, write_forest
    from napari_camelyon.training.node_forest import train_node_forest

    true = {
        name: kind
        for members in read_stage_table(labels).nodes.values()
        for name, kind in members.items()
    }
    features = {}
    models = set()
    folders = find_result_folders(results)
    with click.progressbar(folders, label="Heatmaps") as bar:
        for folder in bar:
            name = read_node(folder).name
            if name not in true:
                raise StagingError(f"{labels} does not say what {name} is.")
            if name in features:
                raise StagingError(f"There are two results of the node {name} in {results}.")
            features[name] = node_features(read_heatmap(folder))
            models.add(read_run(folder).model_sha256)
    if len(models) > 1:
        raise StagingError(f"The results are of {len(models)} models; a classifier is for one.")
    trained = train_node_forest(
        features,
        {name: true[name] for name in features},
        patients={name: patient_of_node(name) or name for name in features},
        trees=trees,
        seed=seed,
        model_sha256=models.pop(),
    )
    write_forest(trained.forest, out)
    if trained.held_out:
        found = compare_labels(
            trained.held_out, {name: true[name] for name in trained.held_out}, NODE_CLASSES
        )
        click.echo(f"On {found.count} nodes of patients not seen: {found.accuracy:.1%} equal.")
        rows = [
            (kind, *map(str, row))
            for kind, row in zip(NODE_CLASSES, found.confusion.counts.tolist(), strict=True)
        ]
        header = ("true \\ predicted", *NODE_CLASSES)
        for line in aligned(header, rows, right=NODE_CLASSES):
            click.echo(f"  {line}")
    click.echo(f"Written to {out}. Not validated: the rule by size is the one of CAMELYON17.")
    click.echo(DISCLAIMER)
