"""``napari-camelyon models prove-int8`` and ``measure``: making a model faster, and saying how."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_camelyon.cli.options import mpp_option
from napari_camelyon.cli.text import aligned
from napari_camelyon.errors import ModelError

if TYPE_CHECKING:
    from napari_camelyon.inference import Int8Comparison

__all__ = ["compile_", "measure", "prove_int8"]

_tumour_class_option = click.option(
    "--tumour-class", metavar="NAME", help="Which class is tumour, where the names do not tell."
)


@click.command("prove-int8", short_help="Quantise a model, if it then says the same.")
@click.argument("model", metavar="MODEL")
@click.argument(
    "patches",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="SLIDE|FOLDER|FILE.npz...",
)
@_tumour_class_option
@mpp_option
def prove_int8(
    model: str, patches: tuple[Path, ...], tumour_class: str | None, mpp: float | None
) -> None:
    """Quantise MODEL to 8 bits on real patches, and keep it only if it says the same.

    Patches come from slides (all over the tissue), from a folder of pictures, or from FILE.npz
    with the arrays pixels and labels. In folders named by the model's classes, or with labels, the
    AUC is that of the truth; otherwise it says how well 8 bits rank what 32 bits call tumour.

    One patch in three is quantised on; the others are predicted both ways. The 8-bit network and
    the proof are kept beside the weights only where AUC, values and calls agree; predict then
    takes --precision int8.
    """
    from napari_camelyon.inference import prove_int8 as prove
    from napari_camelyon.inference.proof_patches import gather_patches
    from napari_camelyon.models import load_model

    loaded = load_model(model, tumour_class=tumour_class)
    found = gather_patches(loaded, patches, mpp=mpp)
    source = ", ".join(path.name for path in patches)
    compared = prove(loaded, found.pixels, found.labels, source=source, progress=click.echo)
    click.echo("\n".join(_lines(compared)))


@click.command("compile", short_help="Compile a model for this machine, for all later runs.")
@click.argument("model", metavar="MODEL")
@_tumour_class_option
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True
)
def compile_(model: str, tumour_class: str | None, precision: str) -> None:
    """Compile MODEL for this CPU with torch, in a minute or two, and keep it for all later runs.

    Needs a C++ compiler. Runs that do not use OpenVINO take it by themselves from then on.
    """
    from napari_camelyon.inference import choose_numeric_path
    from napari_camelyon.models import load_model

    loaded = load_model(model, tumour_class=tumour_class)
    path = choose_numeric_path(loaded, device="cpu", engine="compiled", precision=precision)
    click.echo(f"Compiled: {path.describe()}.")


@click.command(short_help="Measure how fast a model is here, in each way it can run.")
@click.argument("model", metavar="MODEL")
@_tumour_class_option
@click.option("--device", metavar="NAME", default="auto", show_default=True)
def measure(model: str, tumour_class: str | None, device: str) -> None:
    """Measure how many patches a second MODEL predicts here, with patches already in memory.

    Each engine and precision takes a second or two; compiled networks are measured where they are
    there. What is found is kept: it chooses the size of
    a batch, and tells the window how long a run will take.
    """
    from napari_camelyon.inference import calibrate, choose_numeric_path
    from napari_camelyon.inference.compiling import is_compiled
    from napari_camelyon.inference.numeric import ENGINES, PRECISIONS
    from napari_camelyon.models import load_model

    loaded = load_model(model, tumour_class=tumour_class)
    rows, refused = [], []
    for engine in ENGINES:
        for precision in PRECISIONS:
            if engine == "compiled" and not is_compiled(loaded, precision):
                continue
            try:
                path = choose_numeric_path(
                    loaded, device=device, engine=engine, precision=precision
                )
                found = calibrate(loaded, path)
            except ModelError as error:
                refused.append(f"{engine} {precision}: {error}")
                continue
            if (path.engine, path.precision) == (engine, precision):
                rate = f"{found.patches_per_s:.0f}"
                rows.append((path.describe(), rate, str(found.batch_size)))
    header = ("numeric path", "patches/s", "batch")
    click.echo("\n".join(aligned(header, rows, right=("patches/s", "batch"))))
    for line in refused:
        click.echo(f"\n{line}")


def _lines(compared: "Int8Comparison") -> list[str]:
    truth = "labels" if compared.labelled else "what fp32 calls tumour"
    auc = f"fp32 {compared.auc_fp32:.4f}, int8 {compared.auc_int8:.4f}"
    most, largest = compared.difference_of_99_percent, compared.max_difference
    spread = f"mean {compared.mean_difference:.4f}, 99 % under {most:.4f}, largest {largest:.4f}"
    crossing = f"{compared.crossing_share:.2%} of the patches"
    return [
        f"Compared on {compared.patches} patches that were not quantised on:",
        f"  AUC against {truth}: {auc}",
        f"  difference of the values: {spread}",
        f"  on the other side of the threshold {compared.threshold:g}: {crossing}",
        "int8 is proven; use it with --precision int8.",
    ]
