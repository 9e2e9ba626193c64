"""napari's own settings: which reader opens an extension without asking."""

from collections.abc import Iterable

from napari.settings import get_settings

__all__ = ["SLIDE_EXTENSIONS", "default_extensions", "set_default_reader"]

SLIDE_EXTENSIONS = ("tif", "tiff", "svs", "ndpi", "mrxs", "scn", "bif", "xml")
_PLUGIN = "napari-camelyon"


def default_extensions() -> list[str]:
    """Return the extensions, without dot, that napari opens with us without asking."""
    chosen = get_settings().plugins.extension2reader
    return sorted(
        pattern.removeprefix("*.") for pattern, plugin in chosen.items() if plugin == _PLUGIN
    )


def set_default_reader(extensions: Iterable[str], *, on: bool) -> None:
    """Make napari open these extensions with us, or forget that it should.

    A choice that the person made for another plugin is only replaced when switched on here.
    """
    plugins = get_settings().plugins
    chosen = dict(plugins.extension2reader)
    for extension in extensions:
        pattern = f"*.{extension.lower().removeprefix('*').removeprefix('.')}"
        if on:
            chosen[pattern] = _PLUGIN
        elif chosen.get(pattern) == _PLUGIN:
            del chosen[pattern]
    plugins.extension2reader = chosen
    get_settings().save()
