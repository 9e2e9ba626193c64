"""A run in its thread, and what the window finds of it whenever it looks.

The thread tells the window nothing: a fast engine yields hundreds of updates a second, and as many
queued signals would be all that the window ever dealt with. It leaves the latest in a `SlideRun`
instead, and the window looks there as often as it can draw.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from napari_camelyon.cohort import Planned
from napari_camelyon.inference import RunControl
from napari_camelyon.staging import Lesion, LesionRules, NodeResult, classify_node, find_lesions
from napari_camelyon.widgets.patient_choices import rules_with_threshold

if TYPE_CHECKING:
    from napari_camelyon.inference import Finding, Update

__all__ = ["SlideRun", "Staged", "carry_out"]


@dataclass(frozen=True, slots=True)
class Staged:
    """What follows from a heatmap by some rules, which have a threshold."""

    rules: LesionRules
    lesions: list[Lesion]
    result: NodeResult


@dataclass(slots=True, eq=False)
class SlideRun:
    """One run over one slide: filled by its thread, looked at by the window.

    Attributes
    ----------
    control : RunControl
        The reins, for the window.
    rules : LesionRules
        To stage by when it ends.
    planned : Planned or None
        None while the model is loaded and tissue looked for.
    update : Update or None
        The latest; earlier ones are of no use, for the heatmap holds what they told.
    findings : tuple of Finding
        What the guards find by now.
    staged : Staged or None
        When it has ended, also where it was stopped.
    """

    control: RunControl
    rules: LesionRules = field(default_factory=LesionRules)
    planned: Planned | None = None
    update: "Update | None" = None
    findings: "tuple[Finding, ...]" = ()
    staged: Staged | None = None


def carry_out(run: SlideRun, steps: "Callable[[], Iterator[Planned | Update]]") -> None:
    """Go through the steps of a run and leave the latest where the window finds it.

    Called in the run's thread; touches no widget. Staging is done here too, for the lesions of a
    large heatmap take longer to find than a window may stand still.

    Parameters
    ----------
    run : SlideRun
    steps : callable
        Returns what `cohort.predict_slide` yields. What that raises is raised.
    """
    for step in steps():
        if isinstance(step, Planned):
            before = run.findings = _findings(step)
            run.planned = step
        else:
            run.findings = before + _findings(step)
            run.update = step
    if run.planned is not None:
        heatmap = run.planned.heatmap
        rules = rules_with_threshold(run.rules, heatmap.threshold)
        lesions = find_lesions(heatmap, **asdict(rules))
        run.staged = Staged(rules, lesions, classify_node(lesions, heatmap=heatmap))


def _findings(step: "Planned | Update") -> "tuple[Finding, ...]":
    return getattr(step, "findings", ())
