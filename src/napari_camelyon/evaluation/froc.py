"""FROC of detections, as CAMELYON16's official script computes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import EvaluationError
from napari_camelyon.evaluation.truth import SlideTruth

__all__ = [
    "FALSE_POSITIVE_RATES",
    "Detection",
    "Fate",
    "Froc",
    "FrocPoint",
    "Lesion",
    "SlideHits",
    "froc",
    "froc_score",
    "judge_slide",
]

FALSE_POSITIVE_RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a slide at which the sensitivity is read; the score is the mean."""

Fate = Literal["hit", "repeat", "itc", "false positive"]


@dataclass(frozen=True, slots=True)
class Detection:
    """A detection and what became of it.

    Attributes
    ----------
    slide : str
    x_px, y_px : float
        Level-0 pixels.
    probability : float
    fate : {"hit", "repeat", "itc", "false positive"}
        A hit is the most probable one on its tumour, the first where several are; the others on
        it repeat it. Those on isolated tumour cells count for nothing.
    lesion : int or None
        Number of the tumour under it.
    """

    slide: str
    x_px: float
    y_px: float
    probability: float
    fate: Fate
    lesion: int | None


@dataclass(frozen=True, slots=True)
class Lesion:
    """A tumour that counts, and how surely it was found.

    Attributes
    ----------
    slide : str
    number : int
    x_px, y_px : float
        Its centre, level-0 pixels.
    probability : float
        Of the hit; 0 where it was missed.
    """

    slide: str
    number: int
    x_px: float
    y_px: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class SlideHits:
    """What detections come to on one slide.

    Attributes
    ----------
    slide : str
    false_positives : ndarray of float64, shape (n,)
        Their probabilities.
    best : ndarray of float32, shape (tumours,)
        Probability of the hit of each tumour, isolated tumour cells included; 0 without one.
    counted : int
        Tumours that count.
    detections : tuple of Detection
    lesions : tuple of Lesion
    """

    slide: str
    false_positives: NDArray[np.float64]
    best: NDArray[np.float32]
    counted: int
    detections: tuple[Detection, ...]
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True, slots=True)
class FrocPoint:
    """One point of the curve: what detections of at least `threshold` come to.

    The last point, where nothing is detected, has no threshold that a detection reaches: it is
    infinite.
    """

    threshold: float
    false_positives_per_slide: float
    sensitivity: float


@dataclass(frozen=True, slots=True)
class Froc:
    """The curve and its score.

    Attributes
    ----------
    points : tuple of FrocPoint
        The lowest threshold first.
    sensitivities : tuple of float
        At `FALSE_POSITIVE_RATES`, between the points along straight lines.
    score : float
        Their mean.
    slides, tumours : int
        How many slides there are, normal ones included, and tumours that count.
    hits : tuple of SlideHits
        What lies behind the points.
    """

    points: tuple[FrocPoint, ...]
    sensitivities: tuple[float, ...]
    score: float
    slides: int
    tumours: int
    hits: tuple[SlideHits, ...]


def judge_slide(truth: SlideTruth, found: Iterable[tuple[float, float, float]]) -> SlideHits:
    """Say what became of the detections on a slide.

    Parameters
    ----------
    truth : SlideTruth
    found : iterable of (probability, x, y)
        Level-0 pixels. Whole pixels count: fractions are cut off, as the script does.

    Raises
    ------
    EvaluationError
        A probability is no number of 0 to 1, or a detection lies outside of the mask.
    """
    best = np.zeros(truth.tumours, dtype=np.float32)
    under: list[tuple[float, float, float, int]] = []
    for number, (probability, x_px, y_px) in enumerate(found, start=1):
        if not 0 <= probability <= 1:
            raise EvaluationError(
                f"Detection {number} on {truth.slide} has the probability {probability}, which is "
                "no number from 0 to 1."
            )
        lesion = _label_at(truth, number, x_px, y_px)
        under.append((float(probability), float(x_px), float(y_px), lesion))
        if lesion and lesion not in truth.itc:
            best[lesion - 1] = max(best[lesion - 1], np.float32(probability))
    hit: set[int] = set()
    detections = []
    for probability, x_px, y_px, lesion in under:
        fate: Fate = "false positive"
        if lesion in truth.itc:
            fate = "itc"
        elif lesion:
            is_best = np.float32(probability) == best[lesion - 1] and lesion not in hit
            fate = "hit" if is_best and probability > 0 else "repeat"
            hit |= {lesion} if fate == "hit" else set()
        detections.append(Detection(truth.slide, x_px, y_px, probability, fate, lesion or None))
    centres = truth.centres_px or {}
    return SlideHits(
        slide=truth.slide,
        false_positives=np.array(
            [one.probability for one in detections if one.fate == "false positive"]
        ),
        best=best,
        counted=truth.counted,
        detections=tuple(detections),
        lesions=tuple(
            Lesion(truth.slide, number, *centres.get(number, (0.0, 0.0)), float(best[number - 1]))
            for number in range(1, truth.tumours + 1)
            if number not in truth.itc
        ),
    )


def froc(hits: Sequence[SlideHits]) -> Froc:
    """Return the curve over slides.

    As in the script, the false positives of all slides are divided by the number of all slides;
    thresholds are all probabilities that occur (0 stands for each tumour that was missed and for
    isolated tumour cells) but the lowest; and a last point has nothing detected. Where nothing
    was missed the lowest probability that occurs is one of a detection, and is left out all the
    same: so does the script.

    Parameters
    ----------
    hits : sequence of SlideHits
        One a slide, normal ones included.

    Raises
    ------
    EvaluationError
        A slide is there twice, or no tumour counts.
    """
    names = [one.slide for one in hits]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(f"The slide {twice} is there twice.")
    return _curve(hits)


def _curve(hits: Sequence[SlideHits]) -> Froc:
    tumours = sum(one.counted for one in hits)
    if not tumours:
        raise EvaluationError(
            "No tumour counts on these slides (isolated tumour cells do not), so there is no "
            "sensitivity."
        )
    false = np.sort(np.concatenate([one.false_positives for one in hits]))
    best = np.sort(np.concatenate([one.best for one in hits]))
    thresholds = np.unique(np.concatenate([false, best.astype(np.float64)]))[1:]
    rates = (len(false) - np.searchsorted(false, thresholds)) / len(hits)
    # The script keeps hits in single precision, and compares them so.
    shares = (len(best) - np.searchsorted(best, thresholds.astype(np.float32))) / tumours
    rates, shares = np.append(rates, 0.0), np.append(shares, 0.0)
    at_rates = np.interp(FALSE_POSITIVE_RATES, rates[::-1], shares[::-1])
    return Froc(
        points=tuple(
            FrocPoint(float(threshold), float(rate), float(share))
            for threshold, rate, share in zip(
                np.append(thresholds, np.inf), rates, shares, strict=True
            )
        ),
        sensitivities=tuple(at_rates.tolist()),
        score=float(at_rates.mean()),
        slides=len(hits),
        tumours=tumours,
        hits=tuple(hits),
    )


def froc_score(hits: Sequence[SlideHits]) -> float:
    """Return the score alone; slides may be drawn more than once, as in a bootstrap."""
    return _curve(hits).score


def _label_at(truth: SlideTruth, number: int, x_px: float, y_px: float) -> int:
    if truth.labels is None:
        return 0
    if not (np.isfinite(x_px) and np.isfinite(y_px)):
        raise EvaluationError(
            f"Detection {number} on {truth.slide} has no place: ({x_px}, {y_px})."
        )
    column, row = int(x_px) // truth.downsample, int(y_px) // truth.downsample
    rows, columns = truth.labels.shape
    if not (0 <= row < rows and 0 <= column < columns):
        raise EvaluationError(
            f"Detection {number} on {truth.slide} at ({x_px:g}, {y_px:g}) lies outside of the "
            f"slide's mask ({columns * truth.downsample} × {rows * truth.downsample} level-0 "
            "pixels). Are its coordinates in level-0 pixels?"
        )
    return int(truth.labels[row, column])
