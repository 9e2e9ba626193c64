"""``napari-camelyon default-reader``: for which files napari takes us without asking."""

from collections.abc import Sequence
from importlib.resources import as_file, files

from napari_camelyon.errors import CamelyonError

__all__ = ["choose_default_reader"]


def choose_default_reader(extensions: Sequence[str], *, on: bool) -> list[str]:
    """Switch extensions on or off; return those that are on.

    Parameters
    ----------
    extensions : sequence of str
        With or without dot, in capitals or not. None: only tell.
    on : bool
        Whether napari shall open them with us.

    Raises
    ------
    CamelyonError
        An extension is none that our readers know; nothing is changed then.
    """
    from napari_camelyon.widgets.reader_settings import default_extensions, set_default_reader

    wanted = [extension.lower().removeprefix("*").removeprefix(".") for extension in extensions]
    known = _known_extensions()
    for extension in wanted:
        if extension not in known:
            raise CamelyonError(
                f"{extension!r} is no extension that napari-camelyon reads. Choose from: "
                f"{', '.join(known)}."
            )
    if wanted:
        set_default_reader(wanted, on=on)
    return default_extensions()


def _known_extensions() -> list[str]:
    from npe2 import PluginManifest

    with as_file(files("napari_camelyon") / "napari.yaml") as path:
        readers = PluginManifest.from_file(path).contributions.readers or []
    # napari takes its setting for files only; what ends in .zarr is a folder, and seldom a slide.
    return [
        pattern.removeprefix("*.")
        for reader in readers
        if not reader.accepts_directories
        for pattern in reader.filename_patterns
    ]
