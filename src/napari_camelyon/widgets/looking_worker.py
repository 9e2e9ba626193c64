"""What looking closer does in its thread: model, stain and predictor are kept for the next time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_camelyon.cohort import PredictRequest
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.slides import Slide
from napari_camelyon.stain import METHODS, StainFit, StainTransfer, make_transfer, target_stain
from napari_camelyon.tissue import TissueMask, fit_slide_stain, tissue_choice

if TYPE_CHECKING:
    from napari_camelyon.inference import PatchView, Predictor
    from napari_camelyon.models import Model

__all__ = ["Answer", "KeptLook", "Loader", "Question", "answer"]

Loader = Callable[..., "Model"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for; the thread that does it touches no widget."""

    number: int
    request: PredictRequest
    slide: Slide
    point_px: tuple[float, float]
    heatmap: Heatmap | None
    mask: TissueMask | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    question: Question
    seen: "PatchView | None" = None
    model: "Model | None" = None
    error: Exception | None = None


class KeptLook:
    """A model that is ready, for as long as the same one is asked for; used by one thread."""

    def __init__(self, load: Loader | None) -> None:
        self._load = load
        self._asked: object = None
        self._model: Model | None = None
        self._stains: dict[tuple[str, str], tuple[TissueMask | None, StainTransfer]] = {}
        self._predictor: tuple[Model, Predictor] | None = None

    def model(self, request: PredictRequest) -> "Model":
        """Return the model of a request. Raises `ModelError`."""
        if self._load is not None:
            return self._load(request.model, tumour_class=request.tumour_class)
        from napari_camelyon.models import load_model

        asked = (str(request.model), request.tumour_class, _times(request.model))
        if self._model is None or asked != self._asked:
            self._model = None  # two large ones need not be in memory at once
            self._model = load_model(request.model, tumour_class=request.tumour_class)
            self._asked = asked
        return self._model

    def stain(self, question: Question, model: "Model") -> StainTransfer | None:
        """Return the slide's transfer. Raises `StainError` or `SlideError`."""
        method = next((one for one in METHODS if one == question.request.stain), None)
        if method is None:
            return None
        key = (str(question.slide.path), f"{method} {model.sha256}")
        known = self._stains.get(key)
        if known is not None and known[0] is question.mask:
            return known[1]
        fit = fit_slide_stain(question.slide, question.mask or _mask(question.slide), method)
        target = target_stain(model.spec.stain) if isinstance(fit, StainFit) else None
        self._stains[key] = (question.mask, make_transfer(fit, target))
        return self._stains[key][1]

    def predictor(self, model: "Model") -> "Predictor":
        """Return the model on the CPU in float32: it starts at once and leaves a GPU to the run."""
        from napari_camelyon.inference import choose_numeric_path, prepare

        if self._predictor is None or self._predictor[0] is not model:
            self.close()
            path = choose_numeric_path(model, device="cpu", engine="torch", precision="fp32")
            self._predictor = (model, prepare(model, path, batch_size=9))
        return self._predictor[1]

    def close(self) -> None:
        """Let go of the predictor."""
        if self._predictor is not None:
            self._predictor[1].close()
        self._predictor = None


def answer(question: Question, kept: KeptLook, tell: Callable[[int, str], object]) -> Answer:
    """Answer a question; an error is part of the answer.

    Parameters
    ----------
    question : Question
    kept : KeptLook
        Used by one thread at a time.
    tell : callable
        Is given the question's number and what is being done.
    """
    try:
        tell(question.number, "Loading the model …")  # torch too, at the first time
        from napari_camelyon.inference import look_closer

        model = kept.model(question.request)
        if question.request.stain != "none":
            tell(question.number, "Looking for the stain on the tissue …")
        stain = kept.stain(question, model)
        tell(question.number, "Looking …")
        seen = look_closer(
            question.slide,
            model,
            question.point_px,
            heatmap=question.heatmap,
            stride_um=question.request.stride_um,
            stain=stain,
            predictor=kept.predictor(model),
        )
    except Exception as error:  # noqa: BLE001 - told or raised in the window's thread
        return Answer(question, error=error)
    return Answer(question, seen, model)


def _mask(slide: Slide) -> TissueMask:
    """Return the tissue that a run would take: another one gives another fit of the stain."""
    return tissue_choice(slide).mask


def _times(path: Path | str | None) -> tuple[int, ...]:
    """Return when a model's files were changed, so that a new version is loaded anew."""
    if path is None or not Path(path).exists():
        return ()
    beside = (Path(path), Path(path).with_suffix(".json"))
    return tuple(file.stat().st_mtime_ns for file in beside if file.exists())
