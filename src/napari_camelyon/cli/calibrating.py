"""``napari-camelyon calibrate``: how far scores can be believed, and sets with a coverage."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned
from napari_camelyon.errors import CalibrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_camelyon.staging import NodeClass, Stage

__all__ = ["calibrate"]

_PATH = click.Path(path_type=Path)


@click.group(short_help="Calibrate probabilities on cases of known class.")
def calibrate() -> None:
    """Calibrate probabilities on cases of known class.

    What is fitted holds for cases like these, and says nothing of others.
    """


@calibrate.command(short_help="Nodes, and the patients they belong to.")
@click.argument("source", type=_PATH, metavar="DIR|CSV")
@click.option(
    "--labels",
    type=_PATH,
    metavar="CSV",
    help="For a folder of results: the table patient,stage with the true classes of nodes.",
)
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="How often sets shall hold the truth.",
)
@click.option("--out", type=_PATH, metavar="JSON", default=Path("calibration.json"))
def nodes(source: Path, labels: Path | None, coverage: float, out: Path) -> None:
    """Fit a temperature and conformal sets on nodes of known class, and write them to JSON.

    CSV has a row for each node: node,true,p_negative,p_itc,p_micro,p_macro. DIR holds results.
    Nodes named as in CAMELYON17 make patients, which are calibrated too where all five are there.
    """
    from napari_camelyon.calibration import (
        apply_temperature,
        brier_score,
        expected_calibration_error,
    )
    from napari_camelyon.staging import NODE_CLASSES, fit_node_calibration, write_calibration

    if source.is_dir():
        probabilities, classes, model = _of_results(source, labels)
    else:
        probabilities, classes, model = *_of_table(source), ""
    patients, stages = _patients(classes)
    fitted = fit_node_calibration(
        probabilities,
        classes,
        coverage=coverage,
        patients=patients,
        stages=stages,
        model_sha256=model,
    )
    names = sorted(probabilities)
    table = [list(map(float, probabilities[name])) for name in names]  # type: ignore[arg-type]
    truth = [NODE_CLASSES.index(classes[name]) for name in names]
    after = apply_temperature(table, fitted.temperature)
    scores = {
        "ECE before": expected_calibration_error(table, truth),
        "ECE after": expected_calibration_error(after, truth),
        "Brier before": brier_score(table, truth),
        "Brier after": brier_score(after, truth),
    }
    write_calibration(fitted, out, scores=scores)
    click.echo(f"{fitted.nodes} nodes, {fitted.patients} whole patients; coverage {coverage:.0%}.")
    _print_scores(fitted.temperature, scores, after, truth)
    for what, quantile in (("node", fitted.node_quantile), ("patient", fitted.patient_quantile)):
        if quantile is None:
            click.echo(f"No {what} is complete, so there are no sets for {what}s.")
        elif quantile > 1:
            click.echo(
                f"Too few {what}s for sets with a coverage of {coverage:.0%}: they hold everything."
            )
        else:
            click.echo(
                f"A {what}'s set holds what has a probability of {1 - quantile:.3f} or more."
            )
    click.echo(f"Written to {out}. It holds for cases like these, and was measured on themselves.")
    click.echo(DISCLAIMER)


@calibrate.command(short_help="Scores of patches.")
@click.argument("table", type=_PATH, metavar="CSV")
def patches(table: Path) -> None:
    """Print temperature, reliability, ECE and Brier score of patches.

    CSV has a row for each patch: probability,label (1 for tumour, 0 for none).
    """
    from napari_camelyon.calibration import (
        apply_temperature,
        brier_score,
        expected_calibration_error,
        fit_temperature,
    )

    rows = list(_rows(table, ("probability", "label")))
    probabilities = [_number(row, "probability", where) for where, row in rows]
    labels = [int(_number(row, "label", where)) for where, row in rows]
    temperature = fit_temperature(probabilities, labels)
    after = apply_temperature(probabilities, temperature)
    scores = {
        "ECE before": expected_calibration_error(probabilities, labels),
        "ECE after": expected_calibration_error(after, labels),
        "Brier before": brier_score(probabilities, labels),
        "Brier after": brier_score(after, labels),
    }
    click.echo(f"{len(labels)} patches, {sum(labels)} of them tumour.")
    _print_scores(temperature, scores, after, labels)
    click.echo(DISCLAIMER)


def _print_scores(
    temperature: float, scores: Mapping[str, float], after: "ArrayLike", labels: Sequence[int]
) -> None:
    from napari_camelyon.calibration import reliability

    said = "too sure" if temperature > 1 else "not sure enough"
    click.echo(f"Temperature {temperature:.3f}: the scores were {said}.")
    for name in ("ECE", "Brier"):
        before, then = scores[f"{name} before"], scores[f"{name} after"]
        click.echo(f"  {name:5} {before:.4f}, after scaling {then:.4f}")
    found = reliability(after, labels)
    rows = [
        (f"{low:.1f} to {high:.1f}", str(count), f"{confidence:.3f}", f"{accuracy:.3f}")
        for low, high, count, confidence, accuracy in zip(
            found.edges[:-1], found.edges[1:], found.counts, found.confidence, found.accuracy,
            strict=True,
        )
        if count
    ]  # fmt: skip
    header = ("confidence", "cases", "mean", "right")
    for line in aligned(header, rows, right=header[1:]):
        click.echo(f"  {line}")


def _of_table(
    path: Path,
) -> "tuple[dict[str, ArrayLike], dict[str, NodeClass]]":
    from napari_camelyon.staging import NODE_CLASSES, parse_node_class

    columns = [f"p_{kind}" for kind in NODE_CLASSES]
    probabilities: dict[str, ArrayLike] = {}
    classes: dict[str, NodeClass] = {}
    for where, row in _rows(path, ("node", "true", *columns)):
        name = row["node"]
        if name in classes:
            raise CalibrationError(f"{where}: {name} is there a second time.")
        probabilities[name] = [_number(row, column, where) for column in columns]
        classes[name] = parse_node_class(row["true"], f"{where}: {name}")
    return probabilities, classes


def _of_results(
    folder: Path, labels: Path | None
) -> "tuple[dict[str, ArrayLike], dict[str, NodeClass], str]":
    from napari_camelyon.cohort import find_result_folders, read_run, read_stage_table
    from napari_camelyon.staging import node_probabilities, read_lesions, read_node

    if labels is None:
        raise CalibrationError("Give the true classes of the nodes with --labels.")
    true = {
        name: kind
        for members in read_stage_table(labels).nodes.values()
        for name, kind in members.items()
    }
    probabilities: dict[str, ArrayLike] = {}
    models = set()
    for found in find_result_folders(folder):
        name = read_node(found).name
        if name not in true:
            raise CalibrationError(f"{labels} does not say what {name} is.")
        if name in probabilities:
            raise CalibrationError(f"There are two results of the node {name} in {folder}.")
        probabilities[name] = node_probabilities(read_lesions(found))
        models.add(read_run(found).model_sha256)
    if len(models) > 1:
        raise CalibrationError(
            f"The results in {folder} are of {len(models)} models; a calibration holds for one."
        )
    return probabilities, {name: true[name] for name in probabilities}, models.pop()


def _patients(
    classes: "Mapping[str, NodeClass]",
) -> "tuple[dict[str, list[str]], dict[str, Stage]]":
    """Return the whole patients of CAMELYON17 with their stages."""
    from napari_camelyon.cohort import patient_of_node
    from napari_camelyon.staging import EXPECTED_NODES, stage_patient

    members: dict[str, list[str]] = {}
    for name in classes:
        patient = patient_of_node(name)
        if patient is not None:
            members.setdefault(patient, []).append(name)
    whole = {name: nodes for name, nodes in members.items() if len(nodes) == EXPECTED_NODES}
    stages = {
        name: stage_patient({node: classes[node] for node in nodes}, name=name).stage
        for name, nodes in whole.items()
    }
    return whole, stages


def _rows(path: Path, columns: Sequence[str]) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    lacking = [column for column in columns if column not in (reader.fieldnames or ())]
    if lacking:
        raise CalibrationError(f"{path} has no column {', '.join(lacking)}.")
    for row in reader:
        yield f"Line {reader.line_num} of {path}", row


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    try:
        return float(row[column] or "")
    except ValueError as error:
        raise CalibrationError(f"{where}: {column} is {row[column]!r}, no number.") from error
