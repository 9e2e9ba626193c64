"""The commands of ``napari-camelyon``. Heavy imports wait until a command needs them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon import __version__
from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari_camelyon.staging import NodeResult

__all__ = ["main"]

_DISCLAIMER = "Research software, not a medical device."


class _ExplainingGroup(click.Group):
    """Prints the sentence of a CamelyonError instead of a traceback, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CamelyonError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_ExplainingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="napari-camelyon")
def main() -> None:
    """Lymph-node whole-slide images: view, annotate, predict, stage.

    Research software, not a medical device.
    """


@main.command("open")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--mpp", type=float, help="µm per pixel, for slides that do not say.")
def open_(paths: tuple[Path, ...], mpp: float | None) -> None:
    """Open slides and their annotations (PATHS, in any order) in a napari window."""
    from napari_camelyon.cli.window import open_window

    open_window(paths, mpp=mpp)


@main.command()
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(slide: Path, as_json: bool) -> None:
    """Print what is known of SLIDE: size, levels, pixel size, scanner."""
    from napari_camelyon.slides import describe, open_slide

    with open_slide(slide) as opened:
        described = describe(opened)
    if as_json:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    width = max(len(key) for key in described)
    for key, value in described.items():
        click.echo(f"{key.replace('_', ' '):{width}}  {_plain(value)}")


@main.command()
@click.argument("slides", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results."
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="State dict (.safetensors, .pt) or WSInfer folder. Default: the bundled model.",
)
@click.option("--tumour-class", help="Which class of the model is tumour, if names do not tell.")
@click.option("--mpp", type=float, help="µm per pixel, for slides that do not say.")
@click.option("--stride-um", type=float, help="Pitch of the patches. Default: the model's own.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Default: the model's own.")
@click.option(
    "--min-tissue",
    type=click.FloatRange(0, 1),
    default=0.40,
    show_default=True,
    help="Share of tissue that a patch needs.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True)
def predict(
    slides: tuple[Path, ...],
    out: Path,
    model: Path | None,
    tumour_class: str | None,
    mpp: float | None,
    stride_um: float | None,
    threshold: float | None,
    min_tissue: float,
    device: str,
    batch_size: int,
) -> None:
    """Run a model over SLIDES; the results of each go to OUT/<slide name>/."""
    from napari_camelyon.cohort import PredictRequest, predict_to_folder

    request = PredictRequest(
        model_path=model,
        tumour_class=tumour_class,
        mpp=mpp,
        stride_um=stride_um,
        threshold=threshold,
        min_tissue_fraction=min_tissue,
        device=device,
        batch_size=batch_size,
    )
    nodes: dict[str, NodeResult] = {}
    failures = 0
    for path in slides:
        try:
            with click.progressbar(
                length=1, label=path.name, show_pos=True, item_show_func=_progress_text
            ) as bar:

                def show(update: Any, bar: Any = bar) -> None:
                    bar.length = update.total
                    bar.update(len(update.cells), update)

                name, result = predict_to_folder(path, out, request, on_update=show)
        except CamelyonError as error:
            if len(slides) == 1:
                raise
            failures += 1
            click.echo(f"Error: {error}", err=True)
        else:
            nodes[name] = result
    _print_nodes(nodes)
    click.echo(f"Results in {out}. {_DISCLAIMER}")
    if failures:
        raise click.ClickException(f"{failures} of {len(slides)} slides failed; see above.")


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.IntRange(min=1), help="How many nodes a patient has.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stage(source: Path, nodes: int | None, as_json: bool) -> None:
    """Derive the pN stage from SOURCE: a folder of results, or a CSV with patient,stage."""
    from napari_camelyon.cohort import stage_source

    patients = stage_source(source, expected_nodes=nodes)
    if as_json:
        click.echo(json.dumps([asdict(item) for item in patients], indent=2, ensure_ascii=False))
        return
    for patient in patients:
        for name, node_class in patient.nodes.items():
            click.echo(f"  {name}  {node_class or 'no result'}")
        click.echo(f"{patient.name}: {patient.statement}. {' '.join(patient.reasons)}")
    click.echo(_DISCLAIMER)


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-output"))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--headless", is_flag=True, help="Use a virtual screen even if there is a display.")
def demo(out: Path, seed: int, headless: bool) -> None:
    """Generate a synthetic patient, predict its nodes in the window, and stage it."""
    from napari_camelyon.cli.demo import run_demo

    run_demo(out, seed=seed, headless=headless)


@main.command()
@click.option("--report", "as_report", is_flag=True, help="Print a text for a bug report.")
def doctor(as_report: bool) -> None:
    """Look whether this installation works, and say what to do where it does not."""
    from napari_camelyon.cli.doctor import examine, report

    findings = examine()
    if as_report:
        click.echo(report(findings))
    else:
        for item in findings:
            mark = click.style("ok ", fg="green") if item.fine else click.style("BAD", fg="red")
            click.echo(f"{mark} {item.subject}: {item.text}")
    if not all(item.fine for item in findings):
        raise SystemExit(1)


@main.command("default-reader")
@click.argument("extensions", nargs=-1)
@click.option("--off", is_flag=True, help="Let napari ask again.")
def default_reader(extensions: tuple[str, ...], off: bool) -> None:
    """Make napari open files with these EXTENSIONS (tif svs …) through napari-camelyon."""
    from napari_camelyon.widgets.reader_settings import default_extensions, set_default_reader

    if extensions:
        set_default_reader(extensions, on=not off)
    chosen = default_extensions()
    click.echo("napari-camelyon opens by default: " + (", ".join(chosen) or "nothing"))


def _print_nodes(nodes: "dict[str, NodeResult]") -> None:
    width = max((len(name) for name in nodes), default=0)
    for name, result in nodes.items():
        click.echo(f"{name:{width}}  {result.node_class:8}  {' '.join(result.reasons)}")


def _progress_text(update: Any) -> str | None:
    if update is None:
        return None
    return f"{update.patches_per_s:.0f} patches/s"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_plain(item)}" for key, item in value.items())
    return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
