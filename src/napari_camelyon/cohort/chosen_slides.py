"""Which slides are meant by files, folders and patterns."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.cohort.annotation_files import ANNOTATION_EXTENSIONS
from napari_camelyon.errors import SlideError
from napari_camelyon.heatmaps import HEATMAP_FOLDER
from napari_camelyon.slides import find_slides, is_slide, natural_order, slide_name

__all__ = ["ChosenSlides", "choose_slides"]

_BESIDE_SLIDES = frozenset({*ANNOTATION_EXTENSIONS, ".json", ".csv", ".txt", ".md5", ".sha256"})
"""Endings of files that usually lie beside slides: no word is lost on them."""
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class ChosenSlides:
    """What files, folders and patterns came to.

    Attributes
    ----------
    slides : tuple of Path
        Absolute, each once, in the order in which they were named; those of a folder or a pattern
        as people sort them.
    notes : tuple of str
        Sentences about what was passed over.
    """

    slides: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def choose_slides(words: Sequence[Path | str]) -> ChosenSlides:
    """Find the slides that are meant.

    A file is taken as it is. A folder means the slides in it, not those deeper down, unless it is
    a slide itself (DICOM, OME-Zarr). A pattern (``*``, ``?``, ``[…]``, and ``**`` for all folders
    below) means the slides among what it matches.

    Raises
    ------
    SlideError
        A folder holds no slide, a pattern matches none, or two slides have the same name and would
        have the same result folder.
    """
    slides: dict[Path, None] = {}
    passed_over: list[Path] = []
    for word in words:
        found, others = _meant_by(str(word))
        slides.update(dict.fromkeys(found))
        passed_over += others
    _refuse_same_names(slides)
    left_out = sorted({path for path in passed_over if path not in slides})
    return ChosenSlides(tuple(slides), tuple(_notes(left_out)))


def _meant_by(word: str) -> tuple[list[Path], list[Path]]:
    """Return the slides that are meant, and the other files that were met on the way."""
    path = Path(word).expanduser()
    if not path.exists() and glob.has_magic(word):
        return _matching(word)
    path = path.absolute()
    if not path.is_dir() or is_slide(path):
        return [path], []
    found = find_slides(path)
    if not found:
        raise SlideError(
            f"{path} is a folder without slides. For those in folders below it, type "
            f"'{Path(word) / '**' / '*'}'."
        )
    return found, _odd_files(entry for entry in path.iterdir() if entry not in found)


def _matching(pattern: str) -> tuple[list[Path], list[Path]]:
    # `Path.glob` takes no absolute pattern.
    names = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    matches = sorted(path for path in (Path(name).absolute() for name in names) if _whole(path))
    dicom = {path for path in matches if path.suffix.lower() == ".dcm"}
    candidates = dict.fromkeys(path.parent if path in dicom else path for path in matches)
    found = sorted((path for path in candidates if is_slide(path)), key=natural_order)
    if not found:
        what = "that is a slide" if matches else "at all"
        raise SlideError(f"The pattern {pattern} matches nothing {what}.")
    return found, _odd_files(path for path in matches if path not in dicom and path not in found)


def _whole(path: Path) -> bool:
    """Whether a path is neither a heatmap nor a part of a Zarr store."""
    return path.name != HEATMAP_FOLDER and not any(".zarr" in part for part in path.parts[:-1])


def _odd_files(paths: Iterable[Path]) -> list[Path]:
    return [
        path
        for path in paths
        if not path.name.startswith(".")
        and path.suffix.lower() not in _BESIDE_SLIDES
        and path.is_file()
    ]


def _notes(left_out: Sequence[Path]) -> Iterator[str]:
    folders = dict.fromkeys(path.parent for path in left_out)
    for folder in folders:
        names = [path.name for path in left_out if path.parent == folder]
        named = ", ".join(names[:_NAMED_AT_MOST]) + (", …" if len(names) > _NAMED_AT_MOST else "")
        one = len(names) == 1
        what = "1 file is no slide and was" if one else f"{len(names)} files are no slides and were"
        yield f"In {folder} {what} left out: {named}."


def _refuse_same_names(slides: Iterable[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in slides:
        # As file systems that do not tell capitals would.
        name = slide_name(path).casefold()
        if name in seen:
            raise SlideError(
                f"{seen[name]} and {path} are both named {slide_name(path)}, so the results of one "
                "would replace those of the other. Predict them into different folders."
            )
        seen[name] = path
