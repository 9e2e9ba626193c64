"""``napari-camelyon stage``: the pN stages of patients from results or from a table of classes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned

if TYPE_CHECKING:
    from napari_camelyon.cohort import NodeCall
    from napari_camelyon.staging import PatientResult

__all__ = ["stage"]

_PATH = click.Path(path_type=Path)


@click.command(short_help="Derive the pN stage of patients.")
@click.argument("source", type=_PATH, metavar="DIR|CSV")
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many nodes a patient has; missing ones bound the stage. "
    "Default: five where named as in CAMELYON17, else those there are.",
)
@click.option(
    "--scheme",
    type=click.Choice(["camelyon17", "ajcc8"]),
    default="camelyon17",
    show_default=True,
    help="The challenge's rule, or AJCC/UICC, 8th edition (pN1a, pN2a, pN3a).",
)
@click.option(
    "--sentinel",
    is_flag=True,
    help="Only sentinel nodes were taken: with ajcc8 the stage bears (sn).",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Find the lesions anew, from this probability on.",
)
@click.option(
    "--seed-threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="A deposit counts only if one of its patches reaches this.",
)
@click.option(
    "--min-diameter-mm",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Lesions of less are left out.",
)
@click.option(
    "--method",
    type=click.Choice(["size", "clusters", "proportion", "area", "learned", "all"]),
    help="Call the nodes anew: by the size of lesions (the rule, and what the results hold), or as "
    "the reference pipeline does, or as learned. Only the first is validated. all: print every "
    "method's class side by side, and stage by size.",
)
@click.option(
    "--patch-threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.8,
    show_default=True,
    help="From which a patch is positive for clusters, proportion and area (0.7, 0.8, 0.9).",
)
@click.option("--classifier", type=_PATH, metavar="JSON", help="From train-node, for learned.")
@click.option(
    "--out",
    type=_PATH,
    metavar="CSV",
    help="Where to write the table of stages. Default: DIR/stages.csv, or NAME_stages.csv in this "
    "folder for a table.",
)
@click.option(
    "--submission",
    type=_PATH,
    metavar="CSV",
    help="Write CAMELYON17's submission too; it takes no gaps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def stage(
    source: Path,
    nodes: int | None,
    scheme: str,
    sentinel: bool,
    threshold: float | None,
    seed_threshold: float | None,
    min_diameter_mm: float,
    method: str | None,
    patch_threshold: float,
    classifier: Path | None,
    out: Path | None,
    submission: Path | None,
    as_json: bool,
) -> None:
    """Derive the pN stage of every patient in a folder of results or in a table, and write it.

    DIR is what predict wrote to; each patient's patient.json is written there too, and what persons
    set in it before holds. CSV has the columns patient,stage with a class (negative, itc, micro,
    macro) a node, as in CAMELYON17; where it holds the stages of patients too, they are compared.
    """
    from napari_camelyon.cohort import (
        NodeCall,
        read_stage_table,
        stage_source,
        write_patients,
        write_stage_table,
        write_submission,
    )
    from napari_camelyon.staging import SCHEMES, LesionRules, PatchRule, read_forest

    rules = LesionRules(
        threshold=threshold, seed_threshold=seed_threshold, min_diameter_mm=min_diameter_mm
    )
    call = NodeCall(
        rules=rules,
        method="size" if method in (None, "all") else str(method),
        patch_rule=PatchRule(patch_threshold),
        forest=None if classifier is None else read_forest(classifier),
    )
    is_anew = method is not None or rules != LesionRules()
    chosen = next(one for one in SCHEMES if one == scheme)
    patients = stage_source(
        source,
        expected_nodes=nodes,
        scheme=chosen,
        sentinel_only=sentinel,
        call=call if is_anew else None,
    )
    if source.is_dir():
        written = write_patients(patients, source)
        given = {}
    else:
        written = []
        given = dict(read_stage_table(source).stages) if scheme == "camelyon17" else {}
    if out is None:
        out = source / "stages.csv" if source.is_dir() else Path(f"{source.stem}_stages.csv")
    write_stage_table(patients, out)
    if submission is not None:
        write_submission(patients, submission)
    if as_json:
        entries = [{**asdict(item), "statement": item.statement} for item in patients]
        click.echo(json.dumps(entries, indent=2))
        return
    _print(patients, given)
    if method == "all":
        _print_methods(source, call)
    click.echo(f"Written to {out}{_and_more([*written, *([submission] if submission else [])])}.")
    click.echo(DISCLAIMER)


def _print(patients: "Sequence[PatientResult]", given: Mapping[str, str]) -> None:
    for patient in patients:
        click.echo(f"{patient.name}: {patient.describe()}")
        rows = [
            (name, "no result" if node_class is None else node_class)
            for name, node_class in patient.nodes.items()
        ]
        for line in aligned(("node", "class"), rows):
            click.echo(f"  {line}")
        if patient.name in given and given[patient.name] != patient.stage:
            click.echo(f"  The table itself says {given[patient.name]} for {patient.name}.")
        click.echo()
    compared = [patient for patient in patients if patient.name in given]
    if compared:
        same = sum(given[patient.name] == patient.stage for patient in compared)
        click.echo(f"{same} of {len(compared)} patients have the stage that the table itself says.")
    alone = sorted(set(given) - {patient.name for patient in patients})
    if alone:
        click.echo(f"Without nodes in the table, so not staged: {', '.join(alone)}.")


def _print_methods(source: Path, call: "NodeCall") -> None:
    from napari_camelyon.cohort import called_node, find_result_folders
    from napari_camelyon.staging import NODE_METHODS

    methods = [name for name in NODE_METHODS if name != "learned" or call.forest is not None]
    rows = []
    for folder in find_result_folders(source):
        found = [called_node(folder, replace(call, method=name)) for name in methods]
        rows.append((found[0].name, *(one.node_class for one in found)))
    click.echo("\n".join(aligned(("node", *methods), rows)))
    click.echo("All but the first are not validated.\n")


def _and_more(paths: Sequence[Path]) -> str:
    if len(paths) > 3:
        return f" and {len(paths)} files patient.json"
    return "".join(f", {path}" for path in paths)
