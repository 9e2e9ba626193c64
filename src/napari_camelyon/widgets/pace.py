"""How fast runs were, to say beforehand how long another one will take."""

from dataclasses import replace

from napari_camelyon.cohort import PredictRequest
from napari_camelyon.inference import cost_factor
from napari_camelyon.widgets.patient_view import NodeView
from napari_camelyon.widgets.run_panel import about

__all__ = ["Pace"]


class Pace:
    """What was measured in this window, by what was chosen."""

    def __init__(self) -> None:
        self._predictions_per_s: dict[PredictRequest, float] = {}

    def keep(self, request: PredictRequest, patches_per_s: float) -> None:
        """Remember how fast a run is."""
        if patches_per_s > 0:
            self._predictions_per_s[_what_counts(request)] = patches_per_s * factor_of(request)

    def seconds(self, request: PredictRequest, patches: int) -> float | None:
        """Return how long so many patches will take; None when nothing alike was run."""
        pace = self._predictions_per_s.get(_what_counts(request))
        return None if pace is None else patches * factor_of(request) / pace

    def cost_text(self, request: PredictRequest, node: NodeView | None) -> str:
        """Say what the chosen uncertainty costs; empty when none is chosen."""
        if request.uncertainty == "none":
            return ""
        if request.uncertainty == "ensemble" and not request.ensemble:
            return "Choose one model or more beside the one above."
        text = f"{factor_of(request):g} × the time"
        plan = None if node is None else node.patch_grid
        seconds = None if plan is None else self.seconds(request, plan.patch_count)
        return text if seconds is None else f"{text}, {about(seconds)}"


def factor_of(request: PredictRequest) -> float:
    """Return how often a run predicts every patch."""
    return cost_factor(
        request.uncertainty, samples=request.samples, models=1 + len(request.ensemble)
    )


def _what_counts(request: PredictRequest) -> PredictRequest:
    """Return the choices without those that change nothing of the time for one prediction."""
    return replace(
        request, stride_um=None, min_tissue_fraction=0, leave_out=(), threshold=None, mpp=None,
        uncertainty="none", samples=0, ensemble=(),
    )  # fmt: skip
