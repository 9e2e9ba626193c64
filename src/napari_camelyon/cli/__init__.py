"""The command line, ``napari-camelyon``."""

from napari_camelyon.cli.main import main

__all__ = ["main"]
