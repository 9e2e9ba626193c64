"""What lies beside a slide: annotations of its name, and results that were kept of it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from napari_camelyon.cohort.annotation_files import ANNOTATION_EXTENSIONS
from napari_camelyon.cohort.results import read_run
from napari_camelyon.errors import ResultError
from napari_camelyon.heatmaps import HEATMAP_FOLDER
from napari_camelyon.slides import slide_name
from napari_camelyon.staging import NodeClass, read_node

__all__ = ["Beside", "FoundResults", "found_beside"]

_SIBLINGS = ("annotations", "lesion_annotations", "results")
"""Folders beside the slide's own in which to look too: the first two are where CAMELYON17 and
CAMELYON16 (https://camelyon17.grand-challenge.org/Data/) keep the outlines of ``images/``."""


@dataclass(frozen=True, slots=True)
class FoundResults:
    """A result folder that bears the name of a slide.

    Attributes
    ----------
    folder : Path
    has_heatmap : bool
        Whether there is a heatmap to show.
    finished : datetime or None
        When the run ended, in UTC; None when the folder does not say.
    model_name : str
        Empty when the folder does not say.
    node_class : str or None
        "negative", "itc", "micro" or "macro"; None when it cannot be read.
    """

    folder: Path
    has_heatmap: bool
    finished: datetime | None
    model_name: str
    node_class: NodeClass | None


@dataclass(frozen=True, slots=True)
class Beside:
    """What was found beside a slide.

    Attributes
    ----------
    annotations : tuple of Path
        Files of the slide's name with an extension of `ANNOTATION_EXTENSIONS`. They were not
        opened.
    results : tuple of FoundResults
        Newest first. Whether they are of this slide and not of another one of the same name tells
        only its fingerprint, which is compared when they are shown.
    """

    annotations: tuple[Path, ...] = ()
    results: tuple[FoundResults, ...] = ()


def found_beside(slide_path: Path | str) -> Beside:
    """Look for annotations and results of a slide.

    Searched are the slide's own folder, the folders in it, and the folders ``annotations``,
    ``lesion_annotations`` and ``results`` beside it. Never raises: what cannot be read was not
    found.

    Parameters
    ----------
    slide_path : path-like
        A slide file, or a folder with the DICOM files of one slide.
    """
    slide = Path(slide_path).expanduser().absolute()
    name = slide_name(slide)
    places = _places(slide)
    names = [f"{name}{extension}" for extension in ANNOTATION_EXTENSIONS]
    names.append(f"{slide.name}.ndpa")  # as NDP.view calls it
    files = [place / file for place in places for file in names]
    results = [_results(place / name) for place in places if _is_file(place / name / "node.json")]
    return Beside(
        annotations=tuple(file for file in files if _is_file(file)),
        results=tuple(sorted(results, key=_age)),
    )


def _places(slide: Path) -> list[Path]:
    own = slide.parent
    try:
        inner = sorted(
            entry for entry in own.iterdir() if not entry.name.startswith(".") and entry.is_dir()
        )
    except OSError:
        inner = []
    outer = [own.parent / name for name in _SIBLINGS]
    # The slide's folder may itself be called "results".
    return list(dict.fromkeys([own, *inner, *outer]))


def _results(folder: Path) -> FoundResults:
    finished, model_name = None, ""
    try:
        run = read_run(folder)
    except ResultError:
        pass
    else:
        finished, model_name = _time(run.finished), run.model_name
    try:
        node_class = read_node(folder).node_class
    except ResultError:
        node_class = None
    return FoundResults(
        folder, _is_file(folder / HEATMAP_FOLDER / "zarr.json"), finished, model_name, node_class
    )


def _age(found: FoundResults) -> float:
    return 0.0 if found.finished is None else -found.finished.timestamp()


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo is not None else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission to look into the folder
        return False
