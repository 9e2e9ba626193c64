"""Where what a person said of a slide is kept: beside it, else in the cache folder.

It goes to ``<name of the slide file><ending>`` next to the slide. Where nothing can be written
there it goes to the cache folder, under the slide's fingerprint; what lies there is the person's
own and wins over what lies beside the slide.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.errors import FileWriteError
from napari_camelyon.files import cache_folder

__all__ = ["KeptPlace", "forget_files", "is_there", "keep_file", "kept_files", "remove_file"]


@dataclass(frozen=True, slots=True)
class KeptPlace:
    """The two places for one kind of thing.

    Attributes
    ----------
    ending : str
        Of the file beside the slide, after the slide's whole name.
    drawer : str
        Folder in the cache folder.
    cache_ending : str
        Of the file there, after the slide's fingerprint.
    """

    ending: str
    drawer: str
    cache_ending: str

    def beside(self, slide_path: Path) -> Path:
        """Return the file beside a slide."""
        return slide_path.with_name(f"{slide_path.name}{self.ending}")

    def in_cache(self, slide_path: Path, fingerprint: str) -> Path:
        """Return the file in the cache folder; raises `FileWriteError` without such a folder."""
        return self.drawer_of(slide_path) / f"{fingerprint}{self.cache_ending}"

    def drawer_of(self, slide_path: Path) -> Path:
        """Return the folder of what is kept for slides of this size in bytes.

        Whether it exists says without a fingerprint that nothing is kept for almost every slide.
        """
        size = str(slide_path.stat().st_size) if slide_path.is_file() else "folder"
        return cache_folder() / self.drawer / size


def kept_files(
    place: KeptPlace, slide_path: Path, fingerprint: Callable[[], str]
) -> Iterator[Path]:
    """Yield the files that are there for a slide, the person's own one first.

    Parameters
    ----------
    place : KeptPlace
    slide_path : Path
    fingerprint : callable
        Returns the slide's fingerprint. Called only when there is something to compare it with,
        for it costs more than opening a slide.

    Raises
    ------
    SlideError
        The fingerprint was needed and the slide cannot be read.
    """
    try:
        folder = place.drawer_of(slide_path)
        has_own = folder.is_dir()
    except (FileWriteError, OSError):  # no cache folder, so nothing in it
        has_own = False
    if has_own and is_there(own := place.in_cache(slide_path, fingerprint())):
        yield own
    if is_there(beside := place.beside(slide_path)):
        yield beside


def keep_file(
    place: KeptPlace,
    slide_path: Path,
    fingerprint: Callable[[], str],
    write: Callable[[Path], object],
) -> Path:
    """Write what is kept of a slide beside it, or into the cache folder where that cannot be.

    Parameters
    ----------
    place : KeptPlace
    slide_path : Path
    fingerprint : callable
        Returns the slide's fingerprint.
    write : callable
        Writes the file that it is given.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    FileWriteError
        It can be written to neither place.
    SlideError
        The slide is gone.
    """
    beside = place.beside(slide_path)
    try:
        write(beside)
    except FileWriteError:
        own = place.in_cache(slide_path, fingerprint())
        write(own)
        return own
    with suppress(FileWriteError):  # without a cache folder nothing is kept in it
        remove_file(place.in_cache(slide_path, fingerprint()))
    return beside


def forget_files(place: KeptPlace, slide_path: Path, fingerprint: Callable[[], str]) -> bool:
    """Remove what is kept of a slide, at both places, and say whether anything was.

    Raises
    ------
    FileWriteError
        It cannot be removed.
    SlideError
        The slide is gone.
    """
    in_cache = remove_file(place.in_cache(slide_path, fingerprint()))
    return remove_file(place.beside(slide_path)) or in_cache


def is_there(path: Path) -> bool:
    """Whether a file exists, as far as can be seen."""
    try:
        path.stat()
    except OSError:  # also when its name is longer than names can be
        return False
    return True


def remove_file(path: Path) -> bool:
    """Remove a file and say whether it was there; raises `FileWriteError`."""
    if not is_there(path):
        return False
    try:
        path.unlink()
    except OSError as error:
        raise FileWriteError(
            f"{path} cannot be removed ({error.strerror}). Remove it yourself, or ask who may."
        ) from error
    return True
