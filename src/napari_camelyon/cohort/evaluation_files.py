"""What is compared with what: detections, true tumours, and which slides hold tumour."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.cohort.annotation_files import read_annotations
from napari_camelyon.cohort.results import find_result_folders
from napari_camelyon.errors import EvaluationError, ResultError
from napari_camelyon.evaluation import SlideTruth, mask_of_annotations, truth_of_mask
from napari_camelyon.evaluation.truth import EVALUATION_LEVEL
from napari_camelyon.slides import open_slide
from napari_camelyon.staging import read_lesions, read_node

__all__ = [
    "SlideFiles",
    "find_truths",
    "read_detections",
    "read_reference",
    "read_scores",
    "read_truth",
]

Found = list[tuple[float, float, float]]
"""Detections ``(probability, x, y)``, level-0 pixels."""

_TUMOUR = {"tumor", "tumour", "positive"}
_NORMAL = {"normal", "negative"}
EVALUATION_DOWNSAMPLE = 2**EVALUATION_LEVEL
_LEAST_DOWNSAMPLE = 7.5
_COLUMNS = ["probability", "x", "y"]
_OUTLINES = (".xml", ".geojson", ".json")


@dataclass(frozen=True, slots=True)
class SlideFiles:
    """The file that tells a slide's tumours.

    Attributes
    ----------
    slide : str
    path : Path or None
        A mask or outlines; None: the slide is normal.
    """

    slide: str
    path: Path | None


def read_detections(source: Path | str) -> dict[str, Found]:
    """Read the detections of slides.

    Parameters
    ----------
    source : path-like
        A folder with a CSV ``probability,x,y`` for each slide (as CAMELYON16 takes them, with or
        without that header; an empty file says that nothing was found), or one with result
        folders: each lesion is a detection then, with its greatest probability, in the middle of
        its diameter.

    Returns
    -------
    dict of str to list of (probability, x, y)
        By slide.

    Raises
    ------
    EvaluationError
        There is neither, or a row cannot be understood; names the row.
    ResultError
        A result cannot be read.
    """
    source = Path(source)
    if not source.is_dir():
        raise EvaluationError(
            f"{source} is no folder. Give a folder with a CSV of detections for each slide, or one "
            "with results."
        )
    tables = sorted(source.glob("*.csv"))
    if tables:
        return {path.stem: list(_rows(path)) for path in tables}
    try:
        folders = find_result_folders(source)
    except ResultError as error:
        raise EvaluationError(
            f"There are neither tables of detections nor results in {source}."
        ) from error
    found: dict[str, Found] = {}
    for folder in folders:
        name = read_node(folder).name
        if name in found:
            raise EvaluationError(f"There are two results of the slide {name} in {source}.")
        found[name] = [
            (
                lesion.max_probability,
                (lesion.diameter_ends_px[0][0] + lesion.diameter_ends_px[1][0]) / 2,
                (lesion.diameter_ends_px[0][1] + lesion.diameter_ends_px[1][1]) / 2,
            )
            for lesion in read_lesions(folder)
        ]
    return found


def find_truths(
    folder: Path | str, slides: Mapping[str, object], reference: Mapping[str, bool] | None
) -> list[SlideFiles]:
    """Find what tells the tumours of slides.

    Parameters
    ----------
    folder : path-like
        With a mask ``NAME.tif`` or ``NAME_mask.tif``, or outlines ``NAME.xml`` or
        ``NAME.geojson``, for each slide with tumour.
    slides : mapping
        By the names of the slides with detections.
    reference : mapping of str to bool, optional
        Whether each slide holds tumour. None: a slide without a file is normal.

    Raises
    ------
    EvaluationError
        A slide has two files, or its file and the reference contradict each other; a slide of the
        folder or of the reference has no detections.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder of masks or outlines.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".tif", ".tiff", *_OUTLINES):
            continue
        name = path.stem.removesuffix("_mask").removesuffix(".ome")
        if name in files:
            raise EvaluationError(f"{files[name]} and {path} both tell the tumours of {name}.")
        files[name] = path
    expected = set(files) if reference is None else set(reference)
    lacking = sorted(expected - set(slides))
    if lacking:
        raise EvaluationError(
            f"There are no detections of {', '.join(lacking[:5])}"
            f"{f' and {len(lacking) - 5} more' if len(lacking) > 5 else ''}. A slide on which "
            "nothing was found has an empty table."
        )
    for name in sorted(slides):
        if reference is None:
            continue
        if name not in reference:
            raise EvaluationError(f"The slide {name} is not in the reference.")
        if reference[name] != (name in files):
            raise EvaluationError(
                f"The reference says that {name} {'holds' if reference[name] else 'holds no'} "
                f"tumour, but there is {'no file' if reference[name] else 'a file'} of it in "
                f"{folder}."
            )
    return [SlideFiles(name, files.get(name)) for name in sorted(slides)]


def read_truth(files: SlideFiles, found: Found) -> SlideTruth:
    """Read the tumours of a slide, at the level of CAMELYON16's evaluation.

    Parameters
    ----------
    files : SlideFiles
        A mask whose pixels are not 0 where there is tumour, or outlines.
    found : list of (probability, x, y)
        The detections: outlines do not say how large their slide is, so it is taken to reach as far
        as any of these.

    Raises
    ------
    EvaluationError
        A mask has no level for it, has several values, or is empty.
    SlideError, AnnotationError
        The file cannot be read.
    """
    if files.path is None:
        return SlideTruth(files.slide, None)
    if files.path.suffix.lower() in _OUTLINES:
        outlined = read_annotations(files.path, None)
        corners = [annotation.rings[0].max(axis=0) for annotation in outlined if annotation.rings]
        points = [np.array([x, y]) for _, x, y in found if math.isfinite(x) and math.isfinite(y)]
        reach = np.max([np.zeros(2), *corners, *points], axis=0) + 4096
        mask = mask_of_annotations(outlined, (int(reach[0]), int(reach[1])))
    else:
        mask = _read_mask(files.path)
    return truth_of_mask(files.slide, mask)


def read_reference(path: Path | str) -> dict[str, bool]:
    """Read which slides hold tumour, as in CAMELYON16's ``reference.csv``.

    The first column is the slide's name, with or without ``.tif``; some other one says ``Tumor``
    or ``Normal``. Raises `EvaluationError`.
    """
    reference: dict[str, bool] = {}
    for number, cells in _lines(Path(path)):
        words = {cell.strip().lower() for cell in cells[1:]}
        if bool(words & _TUMOUR) == bool(words & _NORMAL):
            if number == 1:
                continue  # the header
            raise EvaluationError(f"Line {number} of {path} says neither Tumor nor Normal.")
        name = cells[0].strip().removesuffix(".tif")
        if name in reference:
            raise EvaluationError(f"Line {number} of {path}: {name} is there a second time.")
        reference[name] = bool(words & _TUMOUR)
    if not reference:
        raise EvaluationError(f"There is no slide in {path}.")
    return reference


def read_scores(path: Path | str) -> dict[str, float]:
    """Read a CSV ``name,probability`` with a score for each slide. Raises `EvaluationError`."""
    scores: dict[str, float] = {}
    for number, cells in _lines(Path(path)):
        try:
            name, value = cells[0].strip().removesuffix(".tif"), float(cells[1])
        except (IndexError, ValueError) as error:
            if number == 1:
                continue
            raise EvaluationError(
                f"Line {number} of {path} is no name and probability: {','.join(cells)!r}."
            ) from error
        if name in scores:
            raise EvaluationError(f"Line {number} of {path}: {name} is there a second time.")
        scores[name] = value
    return scores


def _rows(path: Path) -> Iterator[tuple[float, float, float]]:
    for number, cells in _lines(path):
        try:
            probability, x_px, y_px = map(float, cells)
        except ValueError as error:
            if number == 1 and [cell.strip().lower() for cell in cells] == [
                "probability",
                "x",
                "y",
            ]:
                continue
            raise EvaluationError(
                f"Line {number} of {path} is no detection probability,x,y: {','.join(cells)!r}."
            ) from error
        yield probability, x_px, y_px


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}.") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _read_mask(path: Path) -> NDArray[np.bool_]:
    with open_slide(path) as slide:
        # The level itself, or the next finer one of which every n-th pixel is taken.
        fitting = [
            (round(EVALUATION_DOWNSAMPLE / level.downsample_x), number)
            for number, level in enumerate(slide.levels)
            if _LEAST_DOWNSAMPLE <= level.downsample_x < EVALUATION_DOWNSAMPLE + 0.5
            and abs(np.log2(level.downsample_x) % 1 - 0.5) > 0.5 - 1e-3
        ]
        if not fitting:
            raise EvaluationError(
                f"{path} has no level about {EVALUATION_DOWNSAMPLE} times smaller than its first, "
                "at which CAMELYON16 evaluates. Write the mask as a pyramid (napari-camelyon "
                "annotations mask)."
            )
        step, number = min(fitting)
        level = slide.levels[number]
        pixels = slide.read(0, 0, level.width_px, level.height_px, level=number)[..., 0]
    pixels = pixels[step // 2 :: step, step // 2 :: step]
    values = np.unique(pixels)
    others = values[values > 0]
    if len(others) > 1:
        listed = ", ".join(map(str, values.tolist()))
        raise EvaluationError(
            f"The mask {path} has the values {listed}: which are tumour? Give a mask of 0 and one "
            "other value."
        )
    return np.asarray(pixels > 0)
