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
    default=0.40,
    show_default=True,
    help="Share of a patch that must be tissue, 0–1.",
)
@click.option(
    "--stain",
    type=click.Choice(["none", "macenko", "reinhard"]),
    default="none",
    show_default=True,
    help="Bring each slide to the stain that the model knows, by this method.",
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
    min_tissue: float,
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

    path = None if model is None else Path(model)
    request = PredictRequest(
        # A name stays a name; where there is such a file, workers elsewhere need all of its path.
        model=model if path is None or not path.exists() else path.absolute(),
        min_tissue_fraction=min_tissue,
        **chosen,  # type: ignore[arg-type]
    )
    task = BatchTask(out.absolute(), request, again)
    predict_slides(slides, task, workers=workers, scheduler=scheduler)
