"""What ``napari-camelyon predict`` takes."""

from pathlib import Path

import click

from napari_camelyon.cli.options import Finite, mpp_option

__all__ = ["predict"]

_PATH = click.Path(path_type=Path)
_ENGINES = ("auto", "torch", "compiled", "openvino", "onnxruntime")
_PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")


@click.command(short_help="Run a model over slides and measure what it finds.")
@click.argument("slides", nargs=-1, required=True, metavar="SLIDE|FOLDER|PATTERN...")
@click.option("--out", required=True, type=_PATH, metavar="DIR", help="Folder for the results.")
@click.option(
    "--model",
    metavar="PATH|NAME",
    help="File or folder of a model, or its name: see models list. "
    "Default: the bundled demonstration model.",
)
@click.option(
    "--tumour-class",
    metavar="NAME",
    help="Which class of the model is tumour, where their names do not tell.",
)
@mpp_option
@click.option(
    "--stride-um",
    # At 4 µm the largest slides already have some 80 million cells.
    type=Finite(4, 10_000),
    metavar="µM",
    help="Distance from patch to patch: 32 or less to measure isolated tumour cells. "
    "Default: the model's own.",
)
@click.option(
    "--threshold",
    type=Finite(0, 1),
    metavar="P",
    help="Probability from which a patch counts as tumour. Default: the model's own. With a new "
    "one alone nothing is computed again.",
)
@click.option(
    "--min-tissue",
    type=Finite(0, 1),
    metavar="SHARE",
    help="Share of a patch that must be tissue, 0–1. Default: as it was kept with the tissue of "
    "the slide, else 0.4.",
)
@click.option(
    "--leave-out",
    type=click.Choice(["pen", "blur", "fold"]),
    multiple=True,
    help="Leave out patches on such areas; may be given several times.",
)
@click.option(
    "--ignore-kept-tissue",
    is_flag=True,
    help="Look for tissue anew, where somebody edited it and kept it beside the slide.",
)
@click.option(
    "--stain",
    type=click.Choice(["none", "macenko", "reinhard"]),
    default="none",
    show_default=True,
    help="Bring each slide to the stain that the model knows, by this method.",
)
@click.option(
    "--uncertainty",
    type=click.Choice(["none", "tta", "mc_dropout", "ensemble"]),
    default="none",
    show_default=True,
    help="Predict each patch several times and write how far the values disagree: turned and "
    "mirrored (8 times), with dropout left on, or by several models.",
)
@click.option(
    "--samples",
    type=click.IntRange(2, 1000),
    metavar="N",
    default=20,
    show_default=True,
    help="Predictions a patch for mc_dropout.",
)
@click.option(
    "--with-model",
    "ensemble",
    metavar="PATH|NAME",
    multiple=True,
    help="Another model of an ensemble; may be given several times.",
)
@click.option(
    "--device",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="auto (the best there is), cpu, cuda, cuda:1 or mps.",
)
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    default="auto",
    show_default=True,
    help="What computes; auto takes the fastest that is exact enough.",
)
@click.option(
    "--precision",
    type=click.Choice(_PRECISIONS),
    default="auto",
    show_default=True,
    help="What it computes in.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "patches", "dense"]),
    default="auto",
    show_default=True,
    help="dense runs a ResNet over whole blocks: many times faster where patches overlap, with "
    "slightly other values. auto does so only with models made for it.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Patches predicted at once. Default: what suits device and model.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Slides predicted at the same time, each by a process of its own. "
    "Default: one for each GPU, else one.",
)
@click.option(
    "--dask",
    "scheduler",
    metavar="SCHEDULER",
    help="Predict on a Dask cluster: the address of its scheduler, or local. Its workers must see "
    "slides and DIR under the same paths.",
)
@click.option("--again", is_flag=True, help="Compute also what is in DIR already.")
def predict(
    slides: tuple[str, ...],
    out: Path,
    model: str | None,
    min_tissue: float | None,
    ignore_kept_tissue: bool,
    ensemble: tuple[str, ...],
    uncertainty: str,
    workers: int | None,
    scheduler: str | None,
    again: bool,
    **chosen: object,
) -> None:
    """Run a model over slides, find lesions, and classify the nodes.

    A FOLDER means the slides in it, a PATTERN such as 'slides/**/*.tif' those that it matches. The
    results of a slide go to DIR/<name of the slide>/: heatmap.zarr, patches.parquet,
    lesions.geojson, node.json and run.json; how it stands with each slide is in DIR/batch.json.
    Several slides are also staged as nodes of one patient (or of several, where they are named
    patient_PPP_node_N as in CAMELYON17).

    What is in DIR already is not computed again, and an interrupted run is taken up where it
    stopped: type the same command again, also on several computers that share DIR at once.

    Ctrl-C stops after the batch at hand and keeps what was computed; a second one stops at once.
    """
    from napari_camelyon.cli.predict import predict_slides
    from napari_camelyon.cohort import BatchTask, PredictRequest

    if bool(ensemble) != (uncertainty == "ensemble"):
        raise click.UsageError("--uncertainty ensemble and --with-model go together.")
    request = PredictRequest(
        model=None if model is None else _whole_path(model),
        min_tissue_fraction=min_tissue,
        use_kept_tissue=not ignore_kept_tissue,
        uncertainty=uncertainty,
        ensemble=tuple(map(_whole_path, ensemble)),
        **chosen,  # type: ignore[arg-type]
    )
    task = BatchTask(out.absolute(), request, again)
    predict_slides(slides, task, workers=workers, scheduler=scheduler)


def _whole_path(model: str) -> str:
    """Return the whole path of a model's file, as workers elsewhere need it; a name stays one."""
    path = Path(model)
    return str(path.absolute()) if path.exists() else model
