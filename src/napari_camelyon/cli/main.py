"""The commands of ``napari-camelyon``. Heavy imports wait until a command needs them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from napari_camelyon import __version__
from napari_camelyon.cli import annotations
from napari_camelyon.cli.calibrating import calibrate
from napari_camelyon.cli.compare import compare
from napari_camelyon.cli.evaluating import evaluate
from napari_camelyon.cli.measuring import measure
from napari_camelyon.cli.models import models
from napari_camelyon.cli.options import mpp_option, plausible_pair
from napari_camelyon.cli.predicting import predict
from napari_camelyon.cli.reporting import report
from napari_camelyon.cli.staging import stage
from napari_camelyon.cli.text import alignment_lines, pixel_size, slide_lines
from napari_camelyon.cli.train_node import train_node
from napari_camelyon.errors import CamelyonError

__all__ = ["main"]

_PATH = click.Path(path_type=Path)


class _ExplainingGroup(click.Group):
    """Prints a sentence instead of a traceback wherever something is not a defect of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CamelyonError as error:
            raise click.ClickException(str(error)) from error
        except ImportError as error:
            raise click.ClickException(_broken_installation(error)) from error
        except RuntimeError as error:
            # What torchvision says beside a torch of another build, once it is needed.
            if "torchvision::" not in str(error):
                raise
            raise click.ClickException(_broken_installation(error)) from error
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            ctx.exit(130)


@click.group(cls=_ExplainingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="napari-camelyon")
def main() -> None:
    """Look at, annotate, predict and stage slides of lymph nodes.

    Research software, not a medical device.
    """


@main.command("open", short_help="Open slides and annotations in a window.")
@click.argument("paths", nargs=-1, type=_PATH, metavar="[SLIDE|XML]...")
@mpp_option
def open_(paths: tuple[Path, ...], mpp: float | None) -> None:
    """Open slides and their annotations in a napari window, in any order.

    Annotations are XML of ASAP or ImageScope, or GeoJSON; each file finds the slide of its own
    name. Without arguments the window opens empty.
    """
    from napari_camelyon.cli.window import open_window

    open_window(paths, mpp=mpp)


@main.command(short_help="Say what is known of a slide.")
@click.argument("slide", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--check-alignment",
    is_flag=True,
    help="Measure how far each level lies from level 0.",
)
def info(slide: Path, as_json: bool, check_alignment: bool) -> None:
    """Say what is known of SLIDE: size, size of a pixel, levels, format."""
    from napari_camelyon.slides import describe, open_slide

    with open_slide(slide) as opened:
        facts = describe(opened)
        offsets = opened.alignment_error() if check_alignment else None
    if as_json:
        if offsets is not None:
            facts["alignment"] = [asdict(offset) for offset in offsets]
        click.echo(_json(facts))
        return
    lines = slide_lines(facts)
    if offsets is not None:
        lines += ["", *alignment_lines(offsets)]
    click.echo("\n".join(lines))


@main.command("mpp", short_help="Say or keep how large the pixels of a slide are.")
@click.argument("slide", type=_PATH)
@click.option(
    "--set",
    "given",
    metavar="X[,Y]",
    callback=plausible_pair,
    help="Keep this size, µm/px, beside the slide: it is used from now on.",
)
@click.option("--by", metavar="NAME", help="Who says so; kept with --set.")
@click.option("--forget", is_flag=True, help="Forget what was kept: the file's own word counts.")
def mpp_(slide: Path, given: tuple[float, float] | None, by: str | None, forget: bool) -> None:
    """Say how large the pixels of SLIDE are and where that comes from.

    With --set it is kept in SLIDE.camelyon.json, or in the cache folder where nothing can be
    written beside the slide.
    """
    from napari_camelyon.slides import forget_mpp, keep_mpp, mpp_hint, open_slide

    if forget and given is not None:
        raise click.UsageError("Give --set or --forget, not both.")
    if by and given is None:
        raise click.UsageError("--by goes with --set.")
    with open_slide(slide) as opened:
        if given is not None:
            keep_mpp(opened, given, by=by)
        elif forget and not forget_mpp(opened):
            click.echo("Nothing was kept.")
    with open_slide(slide) as opened:
        click.echo(pixel_size(opened.mpp, opened.mpp_note))
        if opened.mpp is None:
            click.echo(f"A hint, not a value: {mpp_hint(opened.objective_power)[1]}.")


main.add_command(compare)
main.add_command(models)


main.add_command(predict)


main.add_command(calibrate)
main.add_command(evaluate)
main.add_command(measure)
main.add_command(report)
main.add_command(stage)
main.add_command(train_node)


@main.command(short_help="Show the whole way on generated slides.")
@click.option(
    "--out",
    type=_PATH,
    metavar="DIR",
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the screenshots.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Another number makes another patient.",
)
@click.option("--headless", is_flag=True, help="Use a virtual screen even if there is a display.")
def demo(out: Path, seed: int, headless: bool) -> None:
    """Generate a synthetic patient, predict its nodes in the window, and stage it.

    Without a display this happens on a virtual screen, and screenshots are saved.
    """
    from napari_camelyon.cli.demo import run_demo

    run_demo(out, seed=seed, headless=headless)


@main.command(short_help="Look whether this installation works.")
@click.option("--report", "as_report", is_flag=True, help="Print a text for a bug report.")
def doctor(as_report: bool) -> None:
    """Look whether this installation works, and say what to do where it does not.

    The text that --report prints names versions and findings, but no personal paths.
    """
    from napari_camelyon.cli.doctor import examine, lines, report

    findings = examine()
    if as_report:
        click.echo(report(findings))
    else:
        for item, line in zip(findings, lines(findings), strict=True):
            click.echo(line if item.fine else click.style(line, fg="red"))
    bad = sum(not item.fine for item in findings)
    if bad:
        raise click.ClickException(
            "One thing needs attention: see BAD above."
            if bad == 1
            else f"{bad} things need attention: see BAD above."
        )


@main.command("default-reader", short_help="Make napari open slides with this plugin unasked.")
@click.argument("extensions", nargs=-1, metavar="[EXTENSION]...")
@click.option("--off", is_flag=True, help="Let napari ask again.")
def default_reader(extensions: tuple[str, ...], off: bool) -> None:
    """Make napari open files with an EXTENSION (tif svs xml …) through napari-camelyon.

    Without arguments it says for which extensions that is so. The choice is kept in napari's own
    settings.
    """
    from napari_camelyon.cli.readers import choose_default_reader

    chosen = choose_default_reader(extensions, on=not off)
    click.echo("napari opens with napari-camelyon, unasked: " + (", ".join(chosen) or "nothing"))


for _command in (annotations.convert, annotations.check, annotations.repair):
    main.add_command(_command)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _broken_installation(error: Exception) -> str:
    return f"This installation is broken ({error}). Type: napari-camelyon doctor"
