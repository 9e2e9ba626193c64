"""``napari-camelyon models``: which models there are by name, and adding and removing them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_camelyon.cli.speed import compile_, measure, prove_int8
from napari_camelyon.cli.text import aligned
from napari_camelyon.errors import CamelyonError

if TYPE_CHECKING:
    from napari_camelyon.models import ListedModel
    from napari_camelyon.specs import ModelSpec

__all__ = ["models"]


@click.group(short_help="List, add and remove models that have a name.")
def models() -> None:
    """List, add and remove models that have a name, for --model.

    Added models are copied and work without the network from then on. Nothing but add uses the
    network, and only for public models.
    """


@models.command("list", short_help="List all models that are known by name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_(as_json: bool) -> None:
    """List the bundled model, those that were added, and public ones that can be fetched."""
    from napari_camelyon.models import list_models

    listed = list_models()
    if as_json:
        click.echo(_json([_entries(model) for model in listed]))
        return
    header = ("name", "here", "patch px", "µm/px", "licence", "hash", "source")
    rows = [
        (
            model.name,
            "damaged" if model.problem else "yes" if model.fetched else "not fetched",
            "–" if model.spec is None else str(model.spec.patch_px),
            "–" if model.spec is None else f"{model.spec.patch_mpp:.4g}",
            model.licence or "unknown",
            "–" if model.sha256 is None else model.sha256[:12],
            (model.source or "unknown").removeprefix("https://"),
        )
        for model in listed
    ]
    click.echo("\n".join(aligned(header, rows, right=("patch px", "µm/px"))))
    for model in listed:
        if model.problem:
            click.echo(f"\n{model.problem}")
    if not all(model.fetched or model.problem for model in listed):
        click.echo("\nPublic models are fetched by: napari-camelyon models add NAME")


@models.command(short_help="Say what is known of a model.")
@click.argument("model", metavar="NAME|PATH")
@click.option("--tumour-class", metavar="NAME", help="Which class of a model at PATH is tumour.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def info(model: str, tumour_class: str | None, as_json: bool) -> None:
    """Say what is known of a model: what it expects, what its values mean, licence and source.

    A model at PATH is loaded for that; one with a NAME is not.
    """
    if tumour_class is not None and not _is_path(model):
        raise click.UsageError(
            "--tumour-class is for a model at PATH; one with a NAME has its own."
        )
    found = _loaded(model, tumour_class) if _is_path(model) else _named(model)
    if as_json:
        click.echo(_json(_entries(found)))
        return
    if found.problem:
        raise CamelyonError(found.problem)
    click.echo("\n".join(_lines(found)))


@models.command(short_help="Give a model a name, and keep it.")
@click.argument("source", metavar="PATH|NAME|hf-hub:OWNER/NAME")
@click.option("--name", metavar="NAME", help="Default: that of the file, folder or repository.")
@click.option(
    "--tumour-class",
    metavar="NAME",
    help="Which class of the model is tumour, where their names do not tell.",
)
@click.option(
    "--patch-mpp",
    type=click.FloatRange(0.05, 20),
    metavar="µM/PX",
    help="At which spacing the model was trained, where its files do not say.",
)
@click.option("--licence", metavar="TEXT", help="Of the weights, where nothing says so.")
@click.option(
    "--allow-code",
    is_flag=True,
    help="Load pickled Python objects. DANGER: such a file can run any program with your rights; "
    "only for files of people that you trust.",
)
def add(
    source: str,
    name: str | None,
    tumour_class: str | None,
    patch_mpp: float | None,
    licence: str | None,
    allow_code: bool,
) -> None:
    """Copy a model to where it is found by name, with its hash, licence and source.

    PATH is a state dict (.safetensors, .pt, .pth), a TorchScript program, an exported program
    (.pt2), an ONNX model, or a folder of WSInfer or timm. NAME is a public model that the command
    list shows; it is fetched, as hf-hub:OWNER/NAME is. The model is loaded once to see that it
    works.
    """
    from napari_camelyon.models import add_model

    added = add_model(
        source,
        name=name,
        tumour_class=tumour_class,
        patch_mpp=patch_mpp,
        licence=licence,
        allow_pickle=allow_code,
    )
    click.echo("\n".join(_lines(added)))
    click.echo(f"\nUse it with: --model {added.name}")


@models.command(short_help="Forget a model and delete its copy.")
@click.argument("name")
def remove(name: str) -> None:
    """Forget an added model and delete its copy; what it was added from stays."""
    from napari_camelyon.models import remove_model

    remove_model(name)
    click.echo(f"Removed {name}.")


def _is_path(model: str) -> bool:
    return Path(model).exists() or model.startswith(("hf-hub:", "hf_hub:"))


def _named(name: str) -> "ListedModel":
    from napari_camelyon.models import model_info

    return model_info(name)


models.add_command(compile_)
models.add_command(measure)
models.add_command(prove_int8)


def _loaded(path: str, tumour_class: str | None) -> "ListedModel":
    from napari_camelyon.models import ListedModel, load_model

    model = load_model(path, tumour_class=tumour_class)
    spec = model.spec
    return ListedModel(
        spec.name,
        fetched=True,
        spec=spec,
        licence=spec.licence,
        source=spec.source or str(model.path),
        sha256=model.sha256,
        description=spec.description,
    )


def _entries(model: "ListedModel") -> dict[str, Any]:
    return asdict(model)


def _lines(model: "ListedModel") -> list[str]:
    entries = {
        "name": model.name,
        "here": "yes" if model.fetched else "no: napari-camelyon models add " + model.name,
        "description": model.description or "–",
        **({} if model.spec is None else _spec_entries(model.spec)),
        "licence": model.licence or "unknown",
        "source": model.source or "unknown",
        "SHA-256": model.sha256 or "–",
        "added": model.added or "–",
    }
    width = max(map(len, entries))
    return [f"{name:{width}}  {text}" for name, text in entries.items()]


def _spec_entries(spec: "ModelSpec") -> dict[str, str]:
    meaning = {
        "any_tumour": "tumour anywhere in the patch",
        "centre": f"tumour in the central {spec.centre_px} px",
        "covered_fraction": "the share of the patch that is tumour",
    }
    stride = "side by side" if spec.stride_um is None else f"every {spec.stride_um:g} µm"
    return {
        "network": spec.architecture or "–",
        "patch": f"{spec.patch_px} px at {spec.patch_mpp:.4g} µm/px ({spec.field_um:.4g} µm)",
        "stride": stride,
        "classes": ", ".join(spec.class_names),
        "tumour": spec.class_names[spec.tumour_class],
        "outputs": spec.activation,
        "value": meaning[spec.value_meaning],
        "threshold": f"{spec.threshold:g}",
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
