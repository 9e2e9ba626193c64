"""``napari-camelyon evaluate``: predictions against labels, as the challenges score them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.text import DISCLAIMER, aligned
from napari_camelyon.errors import EvaluationError

if TYPE_CHECKING:
    from napari_camelyon.cohort import StageTable
    from napari_camelyon.evaluation import Agreement, Froc, Interval, SlideHits

__all__ = ["evaluate"]

_PATH = click.Path(path_type=Path)
_draws = click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Draws of the bootstrap; 0 leaves the intervals out.",
)
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
_out = click.option("--out", type=_PATH, metavar="JSON", help="Write everything that is known.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(short_help="Compare predictions with labels.")
def evaluate() -> None:
    """Compare predictions with labels, as CAMELYON16 and CAMELYON17 score them.

    A score says how predictions agree with one set of labels. It is no statement on clinical use.
    """


@evaluate.command(short_help="Kappa and confusion of stages, as CAMELYON17.")
@click.argument("predicted", type=_PATH, metavar="DIR|CSV")
@click.argument("truth", type=_PATH, metavar="TRUTH.CSV")
@click.option("--common", is_flag=True, help="Compare what both sides have, and say what is left.")
@_draws
@_seed
@_out
@_json
def stages(
    predicted: Path,
    truth: Path,
    common: bool,
    draws: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare the stages of patients, and the classes of their nodes, with their labels.

    DIR holds results; CSV and TRUTH.CSV are tables patient,stage as CAMELYON17 has them. Patients
    without a row of their own are staged from their nodes. The score of the challenge is the
    quadratic-weighted kappa of the patients.
    """
    from napari_camelyon.cohort import read_stage_table
    from napari_camelyon.evaluation import compare_labels, compare_per_centre
    from napari_camelyon.staging import NODE_CLASSES, STAGES

    true = read_stage_table(truth)
    true_stages, true_nodes = _stages_of(truth, true)
    table = None if predicted.is_dir() else read_stage_table(predicted)
    found_stages, found_nodes = _stages_of(predicted, table)
    left: list[str] = []
    if common:
        found_stages, true_stages, left = _common(found_stages, true_stages)
        found_nodes, true_nodes, more = _common(found_nodes, true_nodes)
        left += more
    patients = compare_labels(found_stages, true_stages, STAGES)
    centres = {name: true.centres.get(name, _centre(name)) for name in true_stages}
    known = {name: centre for name, centre in centres.items() if centre is not None}
    per_centre = compare_per_centre(found_stages, true_stages, STAGES, known)
    nodes = (
        compare_labels(found_nodes, true_nodes, NODE_CLASSES)
        if true_nodes and found_nodes
        else None
    )
    interval = _kappa_interval(found_stages, true_stages, draws, seed)
    entries = {
        "patients": _agreement_entries(patients),
        "kappa_interval": asdict(interval) if interval else None,
        "nodes": _agreement_entries(nodes) if nodes else None,
        "centres": {
            str(centre): {"patients": one.count, "kappa": one.kappa, "accuracy": one.accuracy}
            for centre, one in per_centre.items()
        },
        "left_out": left,
    }
    _write(entries, out)
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    if left:
        click.echo(f"On one side only, so left out: {_listed(left)}.\n")
    _print_agreement("patients", patients, interval)
    if len(per_centre) > 1:
        rows = [
            (str(centre), str(one.count), _score(one.kappa), f"{one.accuracy:.2f}")
            for centre, one in per_centre.items()
        ]
        header = ("centre", "patients", "kappa", "equal")
        click.echo("\n".join(aligned(header, rows, right=header)) + "\n")
    if nodes:
        _print_agreement("nodes", nodes, None)
    click.echo(DISCLAIMER)


@evaluate.command(short_help="FROC of detections and AUC of slides, as CAMELYON16.")
@click.argument("detections", type=_PATH, metavar="DETECTIONS")
@click.argument("truth", type=_PATH, metavar="TRUTH")
@click.option(
    "--reference",
    type=_PATH,
    metavar="CSV",
    help="Which slides hold tumour, as CAMELYON16's reference.csv. Without it a slide that has no "
    "file in TRUTH is normal.",
)
@click.option(
    "--scores",
    type=_PATH,
    metavar="CSV",
    help="name,probability of each slide, for the AUC. Default: its most probable detection.",
)
@_draws
@_seed
@_out
@_json
def detections(
    detections: Path,
    truth: Path,
    reference: Path | None,
    scores: Path | None,
    draws: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare detections with the tumours of slides.

    DETECTIONS is a folder with NAME.csv (probability,x,y at level 0) for each slide, or one of
    results. TRUTH is a folder with a mask or outlines for each slide that holds tumour.
    """
    from napari_camelyon.cohort import (
        find_truths,
        read_detections,
        read_reference,
        read_scores,
        read_truth,
    )
    from napari_camelyon.evaluation import area_under_roc, froc, judge_slide

    found = read_detections(detections)
    files = find_truths(truth, found, None if reference is None else read_reference(reference))
    with click.progressbar(files, label="Tumours", file=_stderr(), hidden=as_json) as bar:
        hits = [judge_slide(read_truth(one, found[one.slide]), found[one.slide]) for one in bar]
    curve = froc(hits)
    positive = {one.slide: one.path is not None for one in files}
    slide_scores = (
        {name: max((p for p, _, _ in rows), default=0.0) for name, rows in found.items()}
        if scores is None
        else read_scores(scores)
    )
    auc = area_under_roc(slide_scores, positive) if len(set(positive.values())) == 2 else None
    intervals = _froc_intervals(hits, slide_scores, positive, draws, seed)
    entries = _froc_entries(curve, auc, intervals)
    _write(entries, out)
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    _print_froc(curve, auc, intervals, positive)
    click.echo(DISCLAIMER)


def _stages_of(
    source: Path, table: "StageTable | None"
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the stages and node classes; patients without a row are staged from their nodes."""
    from napari_camelyon.cohort import stage_source

    found: dict[str, str] = dict(table.stages) if table is not None else {}
    nodes: dict[str, str] = {}
    if table is None or table.nodes:
        for patient in stage_source(source):
            found.setdefault(patient.name, patient.stage)
            nodes.update({name: one for name, one in patient.nodes.items() if one is not None})
    return found, nodes


def _common(
    one: Mapping[str, str], other: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    names = sorted(set(one) & set(other))
    left = sorted(set(one) ^ set(other))
    return {name: one[name] for name in names}, {name: other[name] for name in names}, left


def _centre(patient: str) -> int | None:
    """Return the centre of a patient named as in CAMELYON17: twenty of each in turn."""
    from napari_camelyon.cohort.naming import is_camelyon17_patient

    return int(patient[-3:]) // 20 if is_camelyon17_patient(patient) else None


def _kappa_interval(
    found: Mapping[str, str], true: Mapping[str, str], draws: int, seed: int
) -> "Interval | None":
    import numpy as np

    from napari_camelyon.evaluation import bootstrap_interval, quadratic_kappa
    from napari_camelyon.staging import STAGES

    if not draws:
        return None
    place: dict[str, int] = {stage: number for number, stage in enumerate(STAGES)}
    pairs = [(place[true[name]], place[found[name]]) for name in sorted(true)]

    def kappa(drawn: Sequence[tuple[int, int]]) -> float | None:
        counts = np.zeros((len(STAGES), len(STAGES)), dtype=np.int64)
        np.add.at(counts, tuple(np.array(drawn).T), 1)
        return quadratic_kappa(counts)

    try:
        return bootstrap_interval(pairs, kappa, draws=draws, seed=seed)
    except EvaluationError:
        return None


def _froc_intervals(
    hits: "Sequence[SlideHits]",
    scores: Mapping[str, float],
    positive: Mapping[str, bool],
    draws: int,
    seed: int,
) -> "dict[str, Interval]":
    from napari_camelyon.evaluation import area_under_roc, bootstrap_interval, froc_score

    if not draws:
        return {}
    found = {"froc": bootstrap_interval(hits, froc_score, draws=draws, seed=seed)}

    def auc(names: Sequence[str]) -> float:
        drawn = {f"{number}": name for number, name in enumerate(names)}
        return area_under_roc(
            {key: scores[name] for key, name in drawn.items()},
            {key: positive[name] for key, name in drawn.items()},
        )

    if len(set(positive.values())) == 2:
        found["auc"] = bootstrap_interval(sorted(positive), auc, draws=draws, seed=seed)
    return found


def _agreement_entries(found: "Agreement") -> dict[str, Any]:
    return {
        "count": found.count,
        "kappa": found.kappa,
        "accuracy": found.accuracy,
        "order": found.confusion.order,
        "confusion": found.confusion.counts.tolist(),
        "cases": [
            {"true": true, "predicted": predicted, "names": names}
            for (true, predicted), names in sorted(found.confusion.cases.items())
        ],
    }


def _froc_entries(
    curve: "Froc", auc: float | None, intervals: "Mapping[str, Interval]"
) -> dict[str, Any]:
    from napari_camelyon.evaluation import FALSE_POSITIVE_RATES

    points = [
        {**asdict(point), "threshold": None if point is curve.points[-1] else point.threshold}
        for point in curve.points
    ]
    return {
        "froc_score": curve.score,
        "sensitivities": {
            f"{rate:g}": share
            for rate, share in zip(FALSE_POSITIVE_RATES, curve.sensitivities, strict=True)
        },
        "slides": curve.slides,
        "tumours": curve.tumours,
        "auc": auc,
        "intervals": {name: asdict(one) for name, one in intervals.items()},
        "points": points,
        "detections": [asdict(one) for hits in curve.hits for one in hits.detections],
        "lesions": [asdict(one) for hits in curve.hits for one in hits.lesions],
    }


def _print_agreement(what: str, found: "Agreement", interval: "Interval | None") -> None:
    kappa = _score(found.kappa)
    if interval is not None:
        kappa += f" ({interval.level:.0%} interval {interval.low:.3f} to {interval.high:.3f})"
    click.echo(
        f"{found.count} {what}: quadratic-weighted kappa {kappa}; {found.accuracy:.1%} equal."
    )
    order = found.confusion.order
    rows = [
        (label, *map(str, row))
        for label, row in zip(order, found.confusion.counts.tolist(), strict=True)
    ]
    for line in aligned(("true \\ predicted", *order), rows, right=order):
        click.echo(f"  {line}")
    for (true, predicted), names in sorted(found.confusion.cases.items()):
        if true != predicted:
            click.echo(f"  {true} taken for {predicted}: {_listed(names)}")
    click.echo()


def _print_froc(
    curve: "Froc",
    auc: float | None,
    intervals: "Mapping[str, Interval]",
    positive: Mapping[str, bool],
) -> None:
    from napari_camelyon.evaluation import FALSE_POSITIVE_RATES

    normal = sum(not one for one in positive.values())
    click.echo(
        f"{curve.slides} slides, {normal} of them normal; {curve.tumours} tumours count "
        "(isolated tumour cells do not)."
    )
    rows = [
        (f"{rate:g}", f"{share:.3f}")
        for rate, share in zip(FALSE_POSITIVE_RATES, curve.sensitivities, strict=True)
    ]
    header = ("false positives a slide", "sensitivity")
    for line in aligned(header, rows, right=header):
        click.echo(f"  {line}")
    click.echo(f"FROC score {curve.score:.4f}{_interval(intervals.get('froc'))}")
    missed = [one for hits in curve.hits for one in hits.lesions if one.probability == 0]
    click.echo(f"Never found at any threshold: {len(missed)} of {curve.tumours} tumours.")
    if auc is None:
        click.echo("AUC of slides: not defined, for all slides are of one kind.")
    else:
        click.echo(f"AUC of slides {auc:.4f}{_interval(intervals.get('auc'))}")


def _interval(found: "Interval | None") -> str:
    if found is None:
        return ""
    return f" ({found.level:.0%} interval {found.low:.3f} to {found.high:.3f})"


def _score(kappa: float | None) -> str:
    return "not defined (all labels are one)" if kappa is None else f"{kappa:.4f}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _write(entries: dict[str, Any], out: Path | None) -> None:
    if out is not None:
        from napari_camelyon.files import write_json

        write_json({"schema_version": 1, **entries, "note": DISCLAIMER}, out)


def _stderr() -> Any:
    import sys

    return sys.stderr
