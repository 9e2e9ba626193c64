"""What a run over a slide would do: its grid, how many patches, how long. No widget in sight."""

from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.annotations import AnnotationSet
from napari_camelyon.cohort import PredictRequest, choose_run_path
from napari_camelyon.errors import CamelyonError
from napari_camelyon.slides import Slide
from napari_camelyon.tissue import (
    PatchGrid,
    TissueChoice,
    TissueOutlines,
    choice_of,
    find_tissue,
    keep_tissue,
    plan_patches,
)

__all__ = ["Expected", "Looked", "Search", "StoppedError", "look_again", "search"]


class StoppedError(CamelyonError):
    """The person does not want to wait for the tissue any longer."""


@dataclass(slots=True)
class Search:
    """How far a search is; the window reads it while the thread writes it."""

    done: int = 0
    total: int = 0
    stopped: bool = False

    def tell(self, done: int, total: int) -> None:
        """Note a step; raises `StoppedError` once the search was stopped."""
        if self.stopped:
            raise StoppedError("Stopped. Nothing was changed.")
        self.done, self.total = done, total


def search(slide: Slide, progress: Search) -> TissueOutlines:
    """Find the tissue of a slide and its spoilt areas."""
    return find_tissue(slide, progress=progress.tell)


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What a run would do with a choice.

    Attributes
    ----------
    grid : PatchGrid
    model : str
        Name of the model.
    device : str
        What would compute, in words.
    seconds : float or None
        None where this model was never measured on this device.
    """

    grid: PatchGrid
    model: str
    device: str
    seconds: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What follows from outlines.

    Attributes
    ----------
    annotations : AnnotationSet
        From which it follows.
    choice : TissueChoice
    expected : Expected or None
        None where the model cannot be loaded.
    kept : Path or None
        The file, where the outlines were to be kept.
    problem : str
        What went wrong beside that, in a sentence; else empty.
    """

    annotations: AnnotationSet
    choice: TissueChoice
    expected: Expected | None
    kept: Path | None
    problem: str


def look_again(
    slide: Slide, outlines: TissueOutlines, request: PredictRequest, kept_in: str, *, keep: bool
) -> Looked:
    """Make a choice of outlines, plan the patches of the present model, and keep the outlines.

    What cannot be planned or kept is said in the result: the choice holds all the same.

    Raises
    ------
    CamelyonError
        The slide does not know its pixel size, or is gone.
    """
    problem, kept, expected = "", None, None
    if keep:
        try:
            kept = keep_tissue(slide, outlines)
        except CamelyonError as error:
            problem = f"It is not kept: {error}"
    choice = choice_of(slide, outlines, kept_in=str(kept) if kept else kept_in)
    try:
        expected = expect(slide, choice, request)
    except CamelyonError as error:
        problem = problem or str(error)
    return Looked(outlines.annotations, choice, expected, kept, problem)


def expect(slide: Slide, choice: TissueChoice, request: PredictRequest) -> Expected:
    """Plan a run of the present model over a choice, and say how long it takes.

    Raises
    ------
    CamelyonError
        The model cannot be loaded.
    """
    # Importing torch takes seconds; here it happens in a thread.
    from napari_camelyon.inference import expected_rate
    from napari_camelyon.models import load_model, with_method

    model = load_model(request.model, tumour_class=request.tumour_class)
    model = with_method(model, request.method)
    grid = plan_patches(
        slide,
        model.spec,
        stride_um=request.stride_um,
        min_tissue_fraction=choice.min_tissue_fraction,
        mask=choice.mask,
        leave_out=choice.leave_out,
        quality=choice.quality,
    )
    way = choose_run_path(model, grid, request)
    rate = expected_rate(model, way.path, dense=way.dense)
    return Expected(
        grid, model.spec.name, way.path.describe(), grid.patch_count / rate if rate else None
    )
