"""Fetching models from the Hugging Face Hub, once, through its own client and its own cache."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_camelyon.errors import ModelError
from napari_camelyon.models.layouts import CARD, CONFIG, SPEC, WEIGHTS, is_wsinfer_config

__all__ = ["HUB_PREFIXES", "Fetched", "cached_weights", "card_licence", "fetch", "hub_name"]

HUB_PREFIXES = ("hf-hub:", "hf_hub:")
"""What timm writes before the name of a repository; both are understood."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model in the hub's cache.

    Attributes
    ----------
    weights : Path
        The file with its weights.
    files : tuple of Path
        All that belong to it, the weights among them.
    commit : str
        Of the repository, so that the same can be had again.
    licence : str or None
        As its card says.
    """

    weights: Path
    files: tuple[Path, ...]
    commit: str
    licence: str | None


def hub_name(text: str) -> tuple[str, str | None] | None:
    """Take ``hf-hub:owner/name`` or ``hf-hub:owner/name@revision`` apart.

    Returns
    -------
    tuple of str and (str or None), or None
        Repository and revision; None where it is no such name.

    Raises
    ------
    ModelError
        It begins like one, but is none.
    """
    prefix = next((prefix for prefix in HUB_PREFIXES if text.startswith(prefix)), None)
    if prefix is None:
        return None
    name = text.removeprefix(prefix)
    if not _REPOSITORY.fullmatch(name):
        raise ModelError(f"{text!r} is no name of the hub: expected {prefix}owner/name.")
    repository, _, revision = name.partition("@")
    return repository, revision or None


def cached_weights(repository: str, revision: str | None) -> Path | None:
    """Return where the hub's cache keeps a model already; None: nowhere. Never uses the network."""
    if _cached(repository, (CONFIG,), revision) is None:
        return None
    return _cached(repository, WEIGHTS, revision)


def fetch(repository: str, revision: str | None) -> Fetched:
    """Fetch what the hub's cache lacks of a model: configuration, card and one file of weights.

    Parameters
    ----------
    repository : str
        ``owner/name``.
    revision : str or None
        Branch, tag or commit; None: the newest.

    Raises
    ------
    ModelError
        The hub's client is not installed, the network or the model is not there, or it has no
        weights that are known here.
    """
    client = _client(repository)
    config = _fetch(client, repository, CONFIG, revision)
    if config is None:
        raise ModelError(
            f"The repository {repository} has no {CONFIG}; it is no model of WSInfer or timm."
        )
    # All else from the same commit, whatever is published meanwhile.
    commit = config.parent.name
    scripted = is_wsinfer_config(config)
    wanted = [name for name in WEIGHTS if scripted or name != "torchscript_model.pt"]
    weights = _cached(repository, wanted, commit) or next(
        (path for name in wanted if (path := _fetch(client, repository, name, commit))), None
    )
    if weights is None:
        raise ModelError(
            f"The repository {repository} holds none of {', '.join(wanted)}, so it has no weights "
            "that can be loaded here."
        )
    card, spec = (_fetch(client, repository, name, commit, needed=False) for name in (CARD, SPEC))
    files = (config, weights, *(path for path in (card, spec) if path is not None))
    return Fetched(weights, files, commit, card_licence(card) if card else None)


def _client(repository: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(
            f"Fetching {repository} needs the client of the Hugging Face Hub, which comes with "
            "timm. Type: pip install 'napari-camelyon[timm]'"
        ) from error
    return huggingface_hub


def _cached(repository: str, names: Sequence[str], revision: str | None) -> Path | None:
    """Return the first of these files that the hub's cache holds."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return Path(path)
    return None


def _fetch(
    client: Any, repository: str, name: str, revision: str | None, *, needed: bool = True
) -> Path | None:
    """Return the file, from the cache or the hub.

    None where the repository has no such file, or where it is not needed and out of reach.
    """
    from huggingface_hub import errors

    try:
        return Path(client.hf_hub_download(repository, name, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        if not needed:
            return None
        raise ModelError(
            f"{repository} is not on this computer, and the Hugging Face Hub cannot be reached. "
            "Connect to the network once, or copy its folder here and add that: napari-camelyon "
            "models add FOLDER"
        ) from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository} is given only to people who accepted its terms. Accept them on its page "
            "on the Hugging Face Hub, log in with: hf auth login"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        at = f" at {revision}" if revision else ""
        raise ModelError(f"The Hugging Face Hub has no model {repository}{at}.") from error
    except errors.HfHubHTTPError as error:
        raise ModelError(f"The Hugging Face Hub refused {repository} ({error}).") from error
    except OSError as error:
        raise ModelError(f"{repository} could not be fetched ({error}). Try again.") from error


def card_licence(card: Path) -> str | None:
    """Return the licence that a model's card states in its first lines; None: it states none."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    parts = text.split("---", 2)
    found = _LICENCE.search(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    return found[1].strip("'\"") if found else None
