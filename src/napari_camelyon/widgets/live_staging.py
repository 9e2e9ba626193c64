"""Staging the nodes in the window anew: at once where it is quick, in a thread where it is not."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from qtpy.QtCore import QObject, Signal

from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import NodeResult, StageRange, classify_node, find_lesions
from napari_camelyon.widgets.background import Latest, in_thread
from napari_camelyon.widgets.patient_view import NodeView, PatientView
from napari_camelyon.widgets.polite import politely
from napari_camelyon.widgets.run_worker import Staged

__all__ = ["LiveStaging"]

_SO_FAR_EVERY_S = 2.0
"""How often a run that goes on is asked what it has found by now."""


class LiveStaging(QObject):
    """Keeps what the window shows of a patient in step with the sliders and with runs."""

    changed = Signal()
    """`ranges` are other ones."""
    settled = Signal()
    """Every node is staged by what is chosen now."""

    def __init__(self, view: PatientView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._whole = Latest(self)
        self._looked_at: dict[int, float] = {}
        self._looking = False
        self.ranges: tuple[StageRange, ...] = ()
        view.node_updated.connect(self._look_at_run)

    @property
    def is_busy(self) -> bool:
        """Whether nodes are being staged anew."""
        return self._whole.is_busy

    def preview(self, threshold: float) -> None:
        """Show at once what another threshold makes of the nodes; `settle` is to follow."""
        self._view.threshold = threshold

    # -- a slider at rest -----------------------------------------------------------------------

    def settle(self) -> None:
        """Find all lesions anew: of the slide that is shown first, for its outlines are seen."""
        nodes = [node for node in self._view.nodes.values() if node.result is not None]
        nodes.sort(key=lambda node: node is not self._view.shown_node)
        self._next(nodes)

    def _next(self, nodes: Sequence[NodeView]) -> None:
        if not nodes:
            self._whole.drop()
            self.settled.emit()
            return
        first = nodes[0]
        heatmap = first.heatmap
        if heatmap is None:
            self._next(nodes[1:])
            return
        self._whole.call(
            _stage,
            heatmap,
            self._view.threshold,
            first.slide.name,
            receive=partial(self._on_staged, first, nodes[1:]),
            fail=lambda error: None,
        )

    def _on_staged(self, node: NodeView, rest: Sequence[NodeView], staged: Staged) -> None:
        if self._view.nodes.get(node.slide.name) is node and node.result is not None:
            self._view.restage(node, staged)
        self._next(rest)

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
        in_thread(
            partial(politely, _look, node, seen, self._view.threshold),
            receive=self._on_so_far,
            finished=self._on_looked,
        )

    def _on_so_far(self, looked: "_Looked") -> None:
        node = looked.node
        # Another run, or its end, may have come meanwhile.
        if node.result is None and node.is_running and node.heatmap is not None:
            node.so_far = looked.staged.result
            self._view.node_updated.emit(node.slide.name)
            self._view.staged.emit()

    def _on_looked(self, _nothing: None = None) -> None:
        self._looking = False


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a run has found by now."""

    node: NodeView
    staged: Staged


def _look(node: NodeView, heatmap: Heatmap, threshold: float) -> _Looked:
    return _Looked(node, _stage(heatmap, threshold, node.slide.name))


def _stage(heatmap: Heatmap, threshold: float, name: str) -> Staged:
    lesions = find_lesions(heatmap, threshold=threshold)
    result: NodeResult = classify_node(lesions, heatmap=heatmap, name=name)
    return Staged(threshold, lesions, result)
