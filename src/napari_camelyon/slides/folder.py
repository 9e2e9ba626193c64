"""Which slides lie in a folder."""

import re
from pathlib import Path

from napari_camelyon.errors import SlideError
from napari_camelyon.slides.source import is_slide

__all__ = ["find_slides", "natural_order"]


def find_slides(folder: Path | str) -> list[Path]:
    """Return the slides that lie in a folder, not those deeper down.

    Each file is judged by its first bytes and none is opened, so that a folder of 500 slides takes
    a fraction of a second. DICOM files of one slide count once: as the folder that holds them.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of Path
        Absolute; numbers in names are sorted as numbers, so ``node_2`` comes before ``node_10``.

    Raises
    ------
    SlideError
        There is no such folder, or it may not be read.
    """
    folder = Path(folder).expanduser().absolute()
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise SlideError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    dicom = {entry for entry in entries if entry.suffix.lower() == ".dcm"}
    candidates = [entry for entry in entries if entry not in dicom]
    if dicom:
        candidates.append(folder)
    # Opening a pipe would wait for whoever writes to it.
    regular = (path for path in candidates if path.is_file() or path.is_dir())
    return sorted((path for path in regular if is_slide(path)), key=natural_order)


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts paths by name, with the numbers in names as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
