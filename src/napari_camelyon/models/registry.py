"""The models that are known by name: the bundled one, those that were added, and public ones.

What is added is copied into a folder of the user, with a fingerprint, the licence and where it
came from. So a model works by name without the network, whatever becomes of the file that it was
added from, and a run that names it means these very weights.
"""

import difflib
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_camelyon.errors import FileWriteError, ModelError, ResultError, TumourClassError
from napari_camelyon.files import (
    atomic_folder,
    data_folder,
    file_sha256,
    read_json_result,
    write_json,
)
from napari_camelyon.models.hub import HUB_PREFIXES, cached_weights, card_licence, fetch, hub_name
from napari_camelyon.models.known import KNOWN_MODELS, KnownModel
from napari_camelyon.models.layouts import CARD, CONFIG, SPEC, WEIGHTS, find_layout, find_weights
from napari_camelyon.models.weight_files import weight_files, weights_sha256
from napari_camelyon.specs import ModelSpec, read_model_spec, spec_from_entries

if TYPE_CHECKING:
    from napari_camelyon.models.loading import Model

__all__ = [
    "BUNDLED_NAME",
    "FoundModel",
    "ListedModel",
    "add_model",
    "find_model",
    "list_models",
    "model_info",
    "remove_model",
]

BUNDLED_NAME = "bundled"
SCHEMA_VERSION = 1

_ENTRY = "entry.json"
_FILES = "files"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that is known by name.

    Attributes
    ----------
    name : str
        What `load_model` and ``--model`` take.
    fetched : bool
        Whether it is on this computer; only then can it be loaded.
    spec : ModelSpec or None
        What it expects; None: not known before it is fetched.
    licence : str or None
        Of the weights, as their publisher says; None: unknown.
    source : str or None
        Where they come from.
    sha256 : str or None
        Of the weights that were added.
    description : str
    added : str or None
        When, in ISO 8601.
    problem : str or None
        Why an added model cannot be used.
    """

    name: str
    fetched: bool
    spec: ModelSpec | None = None
    licence: str | None = None
    source: str | None = None
    sha256: str | None = None
    description: str = ""
    added: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Where a model lies, and what was decided when it was added.

    Attributes
    ----------
    path : Path
        As `open_model` takes it.
    spec : ModelSpec or None
    sha256 : str or None
        What its weights must be; None: whatever they are.
    code_allowed : bool
        Whether loading its objects was allowed, for exactly these weights.
    """

    path: Path
    spec: ModelSpec | None = None
    sha256: str | None = None
    code_allowed: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """What is to be added: where it is opened, the files to copy, and where they come from."""

    opened: Path
    files: tuple[Path, ...]
    origin: str
    licence: str | None = None
    revision: str | None = None
    commit: str | None = None


def list_models() -> list[ListedModel]:
    """Return all models that are known by name: the bundled one, those added, public ones.

    An added model whose entry is damaged is listed with its `problem`.
    """
    added = [_listed_entry(folder) for folder in _entry_folders()]
    there = {model.name for model in added}
    public = [_listed_known(known) for known in KNOWN_MODELS if known.name not in there]
    return [_listed_bundled(), *added, *public]


def model_info(name: str) -> ListedModel:
    """Return what is known of the model of this name.

    Raises
    ------
    ModelError
        There is none.
    """
    for model in list_models():
        if model.name == name:
            return model
    raise _unknown(name)


def find_model(path_or_name: Path | str) -> FoundModel | None:
    """Find a model by where it lies or by its name, without the network.

    Parameters
    ----------
    path_or_name : path-like
        What lies on the disk wins over a model of that name.

    Returns
    -------
    FoundModel or None
        None: the bundled model.

    Raises
    ------
    ModelError
        There is no such model, or it is a public one that was not fetched yet.
    """
    text = str(path_or_name)
    repository = hub_name(text)
    if repository is not None:
        return _find_hub(text, *repository)
    path = Path(path_or_name)
    if path.exists():
        return FoundModel(path)
    if text == BUNDLED_NAME:
        return None
    folder = _models_folder() / text
    if _NAME.fullmatch(text) and folder.is_dir():
        return _found_entry(folder)
    if _known(text) is not None:
        raise ModelError(
            f"The model {text} is not on this computer yet. Fetch it once: napari-camelyon models "
            f"add {text}"
        )
    raise _unknown(text)


def add_model(
    source: Path | str,
    *,
    name: str | None = None,
    spec: ModelSpec | None = None,
    tumour_class: str | None = None,
    patch_mpp: float | None = None,
    licence: str | None = None,
    allow_pickle: bool = False,
) -> ListedModel:
    """Copy a model to where it is found by name, after it was loaded once.

    Parameters
    ----------
    source : path-like
        A file or folder as `load_model` takes them, the name of a public model, or
        ``hf-hub:owner/name``. The last two are fetched.
    name : str, optional
        Default: that of the file, folder, model or repository.
    spec, tumour_class, allow_pickle
        As in `load_model`; kept, so that they need not be said again.
    patch_mpp : float, optional
        µm per pixel of the input, where nothing says so.
    licence : str, optional
        Of the weights, where nothing says so.

    Raises
    ------
    ModelError
        The name is taken or cannot be one, or the model cannot be fetched or loaded.
    TumourClassError
        Which class is tumour has to be said.
    FileWriteError
        The disk is full.
    """
    from napari_camelyon.models.loading import open_model

    text = str(source)
    known = None if Path(source).exists() else _known(text)
    repository = (known.repository, None) if known else hub_name(text)
    if repository is None and not Path(source).exists():
        raise _unknown(text)
    name = name or _default_name(Path(source), known, repository)
    _refuse_name(name)
    taken = _from_hub(*repository) if repository else _from_disk(Path(source))
    spec = spec or (known.spec if known else None)
    if spec is not None and patch_mpp is not None:
        spec = replace(spec, patch_mpp=patch_mpp)
    told = find_layout(taken.opened, spec=spec, tumour_class=tumour_class, patch_mpp=patch_mpp).spec
    if told is not None and known is not None:
        told = _with_known(told, known)
    model = open_model(
        taken.opened,
        spec=told,
        tumour_class=tumour_class,
        patch_mpp=patch_mpp,
        allow_pickle=allow_pickle,
    )
    told = told or model.spec
    kept = replace(
        told,
        name=name,
        tumour_class=model.spec.tumour_class,
        licence=licence or taken.licence or (known.licence if known else None) or told.licence,
        source=told.source or taken.origin,
    )
    _keep(taken, model, kept, code_allowed=allow_pickle)
    return model_info(name)


def remove_model(name: str) -> None:
    """Forget an added model and delete its copy; what it was added from stays.

    Raises
    ------
    ModelError
        There is no added model of this name.
    FileWriteError
        It cannot be deleted.
    """
    if name == BUNDLED_NAME:
        raise ModelError("The bundled model belongs to the program and cannot be removed.")
    folder = _models_folder() / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        if _known(name) is not None:
            raise ModelError(f"The model {name} is not on this computer; nothing to remove.")
        raise _unknown(name)
    try:
        # The entry first: half a folder must not look like a model.
        (folder / _ENTRY).unlink(missing_ok=True)
        shutil.rmtree(folder)
    except OSError as error:
        raise FileWriteError(
            f"The model {name} could not be deleted ({error.strerror or error}). Close programs "
            f"that use it, and delete {folder}."
        ) from error


def _models_folder() -> Path:
    return data_folder() / "models"


def _entry_folders() -> Iterator[Path]:
    folder = _models_folder()
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _listed_bundled() -> ListedModel:
    with as_file(files("napari_camelyon.models") / "bundled") as folder:
        spec = read_model_spec(folder / "spec.json")
        sha256 = file_sha256(folder / "model.safetensors")
    return ListedModel(
        BUNDLED_NAME,
        fetched=True,
        spec=spec,
        # The package's own, of which it is a part.
        licence=spec.licence or "BSD-3-Clause",
        source=spec.source or "napari-camelyon",
        sha256=sha256,
        description=spec.description,
    )


def _listed_known(known: KnownModel) -> ListedModel:
    return ListedModel(
        known.name,
        fetched=False,
        spec=known.spec,
        licence=known.licence,
        source=_address(known.repository),
        description=known.description,
    )


def _listed_entry(folder: Path) -> ListedModel:
    try:
        entry, spec = _read_entry(folder)
    except ModelError as error:
        return ListedModel(folder.name, fetched=False, problem=str(error))
    return ListedModel(
        folder.name,
        fetched=True,
        spec=spec,
        licence=spec.licence,
        source=spec.source,
        sha256=entry["sha256"],
        description=spec.description,
        added=entry.get("added"),
    )


def _found_entry(folder: Path) -> FoundModel:
    entry, spec = _read_entry(folder)
    return FoundModel(
        folder / entry["path"], spec, entry["sha256"], bool(entry.get("code_allowed"))
    )


def _read_entry(folder: Path) -> tuple[dict[str, Any], ModelSpec]:
    path = folder / _ENTRY
    try:
        entry = read_json_result(path, newest_schema=SCHEMA_VERSION)
        spec, where, sha256 = entry["spec"], entry["path"], entry["sha256"]
    except (ResultError, KeyError) as error:
        raise ModelError(
            f"The entry of the model {folder.name} is damaged ({path}). Remove it and add it "
            f"again: napari-camelyon models remove {folder.name}"
        ) from error
    inside = isinstance(where, str) and (folder / where).resolve().is_relative_to(folder.resolve())
    if not inside or not isinstance(sha256, str) or not isinstance(spec, dict):
        raise ModelError(
            f"The entry of the model {folder.name} is damaged ({path}). Remove it and add it again."
        )
    return entry, spec_from_entries(spec, path)


def _find_hub(text: str, repository: str, revision: str | None) -> FoundModel:
    source = _address(repository)
    for folder in _entry_folders():
        with suppress(ModelError):
            entry, spec = _read_entry(folder)
            versions = (None, entry.get("revision"), entry.get("commit"))
            if spec.source == source and entry.get("commit") and revision in versions:
                return _found_entry(folder)
    known = next((known for known in KNOWN_MODELS if known.repository == repository), None)
    cached = cached_weights(repository, revision)
    if cached is not None:
        return FoundModel(cached, None if known is None else _cached_spec(cached, known))
    raise ModelError(
        f"{repository} is not on this computer yet. Fetch it once: napari-camelyon models add "
        f"{known.name if known else text}"
    )


def _cached_spec(weights: Path, known: KnownModel) -> ModelSpec | None:
    if known.spec is not None:
        return known.spec
    try:
        told = find_layout(weights).spec
    except TumourClassError:
        return None  # whoever loads it has to say
    return None if told is None else _with_known(told, known)


def _default_name(
    local: Path, known: KnownModel | None, repository: tuple[str, str | None] | None
) -> str:
    if known is not None:
        return known.name
    if repository is not None:
        return repository[0].partition("/")[2]
    resolved = local.resolve()
    return resolved.name if local.is_dir() else resolved.stem


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} cannot be the name of a model: letters, digits, dots, dashes and "
            "underscores, at most 100. Give another with --name."
        )
    if name == BUNDLED_NAME or (_models_folder() / name).exists():
        raise ModelError(
            f"There is a model named {name} already. Give another name with --name, or remove that "
            f"one: napari-camelyon models remove {name}"
        )


def _keep(taken: _Source, model: "Model", spec: ModelSpec, *, code_allowed: bool) -> None:
    """Copy the files of a model that was just loaded, and write its entry."""
    with atomic_folder(_models_folder() / spec.name) as folder:
        inside = folder / _FILES
        inside.mkdir()
        for path in taken.files:
            shutil.copyfile(path, inside / path.name)
        if weights_sha256(inside / model.path.name) != model.sha256:
            raise ModelError(f"{model.path} changed while it was copied. Add it again.")
        opened = inside if taken.opened.is_dir() else inside / taken.opened.name
        entry = {
            "schema_version": SCHEMA_VERSION,
            "path": opened.relative_to(folder).as_posix(),
            "sha256": model.sha256,
            "kind": model.kind,
            "code_allowed": code_allowed,
            "revision": taken.revision,
            "commit": taken.commit,
            "added": datetime.now(UTC).isoformat(timespec="seconds"),
            "spec": asdict(spec),
        }
        write_json(entry, folder / _ENTRY)


def _with_known(spec: ModelSpec, known: KnownModel) -> ModelSpec:
    """Return a specification with what is known besides of a public model."""
    return replace(
        spec,
        name=known.name,
        value_meaning=known.value_meaning,
        centre_px=known.centre_px,
        description=known.description,
        licence=spec.licence or known.licence,
    )


def _from_disk(path: Path) -> _Source:
    weights = find_weights(path)
    files = weight_files(weights)
    if path.is_dir() or weights.name in WEIGHTS:
        described = [weights.parent / name for name in (CONFIG, SPEC, CARD)]
        files += [file for file in described if file.is_file()]
    card = weights.parent / CARD
    licence = card_licence(card) if path.is_dir() else None
    return _Source(path, tuple(files), str(path.resolve()), licence=licence)


def _from_hub(repository: str, revision: str | None) -> _Source:
    fetched = fetch(repository, revision)
    return _Source(
        fetched.weights,
        fetched.files,
        _address(repository),
        licence=fetched.licence,
        revision=revision,
        commit=fetched.commit,
    )


def _address(repository: str) -> str:
    return f"https://huggingface.co/{repository}"


def _known(name: str) -> KnownModel | None:
    return next((known for known in KNOWN_MODELS if known.name == name), None)


def _unknown(text: str) -> ModelError:
    names = [BUNDLED_NAME, *(folder.name for folder in _entry_folders())]
    names += [known.name for known in KNOWN_MODELS]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ModelError(
        f"There is no model at {text}, and none of that name.{hint} Names are listed by: "
        f"napari-camelyon models list (those of the hub begin with {HUB_PREFIXES[0]})."
    )
