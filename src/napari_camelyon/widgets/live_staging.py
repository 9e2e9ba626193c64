"""Staging the nodes in the window anew while sliders move and while runs go on.

Nothing here keeps the window waiting: it asks threads and shows what they answer. While a hand
moves a slider, sizes and classes follow (`restage_node`); when it rests, lesions with their
outlines do (`find_lesions`), and then the stages over all thresholds.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Event

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_camelyon.errors import StagingError
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    LesionRules,
    NodeResult,
    Stage,
    StageRange,
    call_node,
    classify_node,
    find_lesions,
    restage_node,
    stages_over_thresholds,
)
from napari_camelyon.widgets.background import in_thread
from napari_camelyon.widgets.patient_choices import PatientChoices, stage_of
from napari_camelyon.widgets.patient_view import NodeView, PatientView
from napari_camelyon.widgets.polite import politely
from napari_camelyon.widgets.run_worker import Staged

__all__ = ["LiveStaging"]

_log = logging.getLogger(__name__)
_Answer = Callable[["_Asked"], "_Asked"]

_SO_FAR_EVERY_S = 2.0
"""How often a run that goes on is asked what it has found by now."""
_BESIDE = 2
_TRIED = tuple(np.arange(0.05, 0.951, 0.05).round(2).tolist())
"""Thresholds that are tried for the stages over all of them."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One node at some rules, and what came of it."""

    node: NodeView
    heatmap: Heatmap
    name: str
    rules: LesionRules
    method: str
    quick: NodeResult | None = None
    whole: Staged | None = None


class LiveStaging(QObject):
    """Keeps what the window shows of a patient in step with the sliders and with runs."""

    changed = Signal()
    """`ranges` are other ones."""
    settled = Signal()
    """Every node has its lesions by the rules that hold now."""
    _answered = Signal(object)

    def __init__(self, view: PatientView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self.ranges: tuple[StageRange, ...] = ()
        self._ranges_of: object = None
        self._stop_trying = Event()
        # One thread asks: what is wanted by then it asks when the last answer is there. Some of
        # the work on a node lets go of the interpreter, so nodes are worked on beside each other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="restage")
        self._beside = ThreadPoolExecutor(_BESIDE, thread_name_prefix="restage-node")
        self._busy = self._stopped = False
        self.is_stale = False
        self._wanted = False
        self._unsettled: list[NodeView] = []
        self._looked_at: dict[int, float] = {}
        self._looking = False
        self._answered.connect(self._on_answered)
        view.node_updated.connect(self._look_at_run)

    @property
    def is_busy(self) -> bool:
        """Whether lesions are not, or not yet, those of the rules that hold now."""
        return self.is_stale or self._busy

    def stop(self) -> None:
        """Ask for nothing more, and wait until what was asked is answered."""
        self._stop_trying.set()
        self._wanted, self._unsettled, self._stopped = False, [], True
        for thread in (self._thread, self._beside):
            thread.shutdown(wait=True, cancel_futures=True)

    # -- a slider that moves --------------------------------------------------------------------

    def preview(self, rules: LesionRules) -> None:
        """Show soon what other rules make of the nodes; `settle` is to follow."""
        self._stop_trying.set()
        self._unsettled = []
        self._wanted = self.is_stale = True
        self._view.prepare_rules(rules)
        self._ask_next()

    def settle(self) -> None:
        """Find all lesions anew: of the slide that is shown first, for its outlines are seen."""
        nodes = [node for node in self._view.nodes.values() if node.result and node.heatmap]
        self._unsettled = sorted(nodes, key=lambda node: node is not self._view.shown_node)
        if nodes:
            self._ask_next()
        else:
            self._end()

    def _ask_next(self) -> None:
        if self._busy or self._stopped:
            return
        method = self._view.choices.method
        if self._wanted:
            rules, self._wanted = self._view.lesion_rules, False
            nodes = [node for node in self._view.nodes.values() if node.result is not None]
            self._ask(_previewed, [one for node in nodes if (one := _asked(node, rules, method))])
        elif self._unsettled:
            node = self._unsettled.pop(0)
            if (one := _asked(node, self._view.lesion_rules, method)) is not None:
                self._ask(_settled, [one])

    def _ask(self, answer: _Answer, asked: list[_Asked]) -> None:
        self._busy = True
        self._thread.submit(self._in_thread, answer, asked)

    def _in_thread(self, answer: _Answer, asked: list[_Asked]) -> None:
        answers: list[_Asked] = []
        try:
            answers = list(self._beside.map(answer, asked))
        except Exception:  # noqa: BLE001 - a defect of ours: the log has it, the next is asked
            _log.exception("A node could not be staged anew.")
        with suppress(RuntimeError):  # the window was closed meanwhile
            self._answered.emit(answers)

    def _on_answered(self, answers: Sequence[_Asked]) -> None:
        self._busy = False
        whole = not answers or any(one.whole is not None for one in answers)
        for one in answers:
            name, node = one.node.slide.name, one.node
            if self._view.nodes.get(name) is not node or node.heatmap is not one.heatmap:
                continue  # another run, or another patient
            if one.whole is not None:
                self._view.restage(node, one.whole)
            elif one.quick is not None and node.result is not None:
                node.result = one.quick
                self._view.node_updated.emit(name)
        if not whole:
            self._view.staged.emit()
        if whole and not self._wanted and not self._unsettled:
            self._end()
        self._ask_next()

    def _end(self) -> None:
        self.is_stale = False
        self.settled.emit()
        self.try_thresholds()

    # -- all thresholds -------------------------------------------------------------------------

    def try_thresholds(self) -> None:
        """Look for the stages over all thresholds, unless they are known."""
        view = self._view
        method = view.choices.method
        asked = [
            one
            for node in view.nodes.values()
            if node.result and (one := _asked(node, view.rules, method))
        ]
        rules = replace(view.rules, threshold=None)
        of = (tuple(one.heatmap for one in asked), rules, view.choices)
        if of == self._ranges_of or self.is_busy or self._stopped:
            return
        self._ranges_of = of
        self._stop_trying.set()
        self._stop_trying = stop = Event()
        if not asked:
            self._show_ranges((of, ()))
            return
        in_thread(
            partial(politely, _try_thresholds, of, asked, view.choices, stop),
            receive=self._show_ranges,
        )

    def _show_ranges(self, answer: tuple[object, tuple[StageRange, ...] | None]) -> None:
        of, ranges = answer
        if of != self._ranges_of:
            return
        if ranges is None:  # a slider moved; they are looked for when it rests
            self._ranges_of = None
        elif ranges != self.ranges:
            self.ranges = ranges
            self.changed.emit()

    # -- a run that goes on ---------------------------------------------------------------------

    def _look_at_run(self, name: str) -> None:
        node = self._view.nodes.get(name)
        if node is None or not node.is_running or node.heatmap is None or self._looking:
            return
        now = time.monotonic()
        if now - self._looked_at.get(id(node.heatmap), 0.0) < _SO_FAR_EVERY_S:
            return
        self._looked_at = {id(node.heatmap): now}
        self._looking = True
        # The run goes on filling it.
        seen = replace(node.heatmap, values=node.heatmap.values.copy())
        asked = _Asked(node, seen, name, self._view.rules_for(seen.threshold), "size")
        in_thread(
            partial(politely, _previewed, asked),
            receive=self._on_so_far,
            finished=self._on_looked,
        )

    def _on_so_far(self, answer: _Asked) -> None:
        node = answer.node
        # Its end, or another run, may have come meanwhile.
        if node.result is None and node.is_running and node.heatmap is not None:
            node.so_far = answer.quick
            self._view.node_updated.emit(node.slide.name)
            self._view.staged.emit()

    def _on_looked(self, _nothing: None = None) -> None:
        self._looking = False


def _asked(node: NodeView, rules: LesionRules, method: str) -> _Asked | None:
    if node.heatmap is None:
        return None
    return _Asked(node, node.heatmap, node.slide.name, rules, method)


def _previewed(asked: _Asked) -> _Asked:
    if asked.method != "size":  # the others have no shorter way
        return replace(asked, quick=_called(asked))
    return replace(asked, quick=restage_node(asked.heatmap, asked.rules, name=asked.name).result)


def _settled(asked: _Asked) -> _Asked:
    lesions = find_lesions(asked.heatmap, **asdict(asked.rules))
    result = (
        classify_node(lesions, heatmap=asked.heatmap, name=asked.name)
        if asked.method == "size"
        else _called(asked)
    )
    return replace(asked, whole=Staged(asked.rules, lesions, result))


def _called(asked: _Asked) -> NodeResult:
    return call_node(asked.heatmap, asked.rules, method=asked.method, name=asked.name)


class _StoppedError(Exception):
    """Somebody moves a slider."""


def _try_thresholds(
    of: object, asked: Sequence[_Asked], choices: PatientChoices, stop: Event
) -> tuple[object, tuple[StageRange, ...] | None]:
    def stage_at(threshold: float) -> Stage:
        results: dict[str, NodeResult | None] = {}
        for one in asked:
            if stop.is_set():
                raise _StoppedError
            seed = one.rules.seed_threshold
            rules = replace(
                one.rules,
                threshold=threshold,
                seed_threshold=None if seed is None else max(seed, threshold),
            )
            results[one.name] = _previewed(replace(one, rules=rules)).quick
        staged = stage_of(choices, results)
        if staged is None:
            raise StagingError("There is no node with a result.")
        return staged.stage

    try:
        return of, stages_over_thresholds(stage_at, _TRIED)
    except _StoppedError:
        return of, None
