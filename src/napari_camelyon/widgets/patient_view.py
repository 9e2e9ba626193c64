"""The patient in the window: several slides of which one is shown, and what is known of each.

One `PatientView` belongs to a viewer. The docks show it and call the functions here; it computes
nothing itself but asks the rooms below.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Layer
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from psygnal import Signal

from napari_camelyon.annotations import AnnotationSet, annotations_from_layers, place_for_new
from napari_camelyon.annotations import write as write_annotations
from napari_camelyon.cohort import RunFacts, read_prediction, write_patient, write_slide_results
from napari_camelyon.errors import AnnotationError, FileWriteError, ResultError
from napari_camelyon.geometry import Mpp, slide_to_layer, world_placement
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.slides import Slide, keep_mpp, open_slide
from napari_camelyon.staging import (
    Lesion,
    LesionRules,
    NodeResult,
    PatientResult,
    call_node,
    classify_node,
    find_lesions,
)
from napari_camelyon.tissue import PatchGrid, TissueChoice
from napari_camelyon.widgets.annotating import edit_annotations
from napari_camelyon.widgets.annotation_editor import AnnotationEditor, editor_of
from napari_camelyon.widgets.annotation_layers import keep_outlines_readable
from napari_camelyon.widgets.napari_compat import (
    camera,
    canvas_size_px,
    scale_bar,
    slice_before_drawing,
)
from napari_camelyon.widgets.patient_choices import (
    PatientChoices,
    rules_with_threshold,
    stage_of,
)
from napari_camelyon.widgets.portions import Portions
from napari_camelyon.widgets.result_layers import (
    empty_lesion_layers,
    heatmap_layer,
    lesions_in_portions,
    nothing_yet,
    show_other_values,
)
from napari_camelyon.widgets.run_worker import Staged
from napari_camelyon.widgets.slide_layer import (
    SlideDisplay,
    show_whole_slide,
    slide_layer,
    stream_slide,
)
from napari_camelyon.widgets.uncertainty_layers import UNCERTAINTY_LAYERS, uncertainty_layers

__all__ = ["NodeView", "PatientView", "patient_view"]


@dataclass(slots=True)
class NodeView:
    """One slide of the patient, as the window knows it.

    Attributes
    ----------
    slide : Slide
    patch_grid : PatchGrid or None
        Planned when a run starts.
    heatmap : Heatmap or None
        Being filled or complete.
    lesions : list of Lesion
    result : NodeResult or None
    so_far : NodeResult or None
        What a run that goes on has found by now; its class is a lower bound.
    status : str
        A word or two for people: "not run", "running 40 %", "done", "stopped at 40 %", "failed".
    problem : str
        Why it failed, in a sentence; else empty.
    facts : RunFacts or None
        What the run told of itself, for ``run.json``; None for results that were opened.
    tissue : TissueChoice or None
        Where a run looks for tumour, as the "Tissue" dock has it; None leaves that to the run.
    put_away : list of Layer
        The layers of this slide while another one is shown.
    """

    slide: Slide
    patch_grid: PatchGrid | None = None
    heatmap: Heatmap | None = None
    lesions: list[Lesion] = field(default_factory=list)
    result: NodeResult | None = None
    status: str = "not run"
    problem: str = ""
    put_away: list[Layer] = field(default_factory=list)
    tissue: TissueChoice | None = None
    facts: RunFacts | None = None
    so_far: NodeResult | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is at it."""
        return self.status.startswith(("starting", "running", "paused"))


class PatientView:
    """The slides of one patient in one viewer.

    Attributes
    ----------
    viewer : napari.Viewer
        Held weakly: the view lives as long as its viewer and does not keep it alive.
    nodes : dict of str to NodeView
        By slide name, in the order in which they were opened.
    shown : str or None
        Name of the slide that is in the viewer now.
    rules : LesionRules
        What a person has chosen of what counts as a lesion; its threshold is None, that of the
        model, until somebody chooses another.
    choices : PatientChoices
        What a stage depends on besides results; replaced by `choose`.
    """

    nodes_changed = Signal()
    """A slide came or went."""
    node_updated = Signal(str)
    """The named node has a new status, heatmap or result."""
    shown_changed = Signal()
    tissue_changed = Signal(str)
    """The named node's `tissue` is another one."""
    choices_changed = Signal()
    staged = Signal()
    """The threshold or a result changed, and with it perhaps the stage."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = ref(viewer)
        self.nodes: dict[str, NodeView] = {}
        self.shown: str | None = None
        self.rules = LesionRules()
        self._own_threshold = 0.5
        self.choices = PatientChoices()
        self._arranging = False
        self._filling = Portions()
        slice_before_drawing(viewer)
        viewer.layers.events.inserted.connect(self._on_layer_inserted)
        for layer in list(viewer.layers):
            self._adopt(layer)

    @property
    def threshold(self) -> float:
        """Probability from which a patch counts as tumour."""
        return self.lesion_rules.threshold_of(self._own_threshold)

    @property
    def lesion_rules(self) -> LesionRules:
        """The rules that hold now, with a threshold."""
        return self.rules_for(self._own_threshold)

    def rules_for(self, own_threshold: float) -> LesionRules:
        """Return the rules for a heatmap whose model has this threshold."""
        return rules_with_threshold(self.rules, own_threshold)

    @property
    def viewer(self) -> Viewer:
        """The viewer that shows the patient."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer of this patient was closed.")
        return viewer

    # -- slides ---------------------------------------------------------------------------------

    def open_slide(
        self, path: Path | str, *, mpp: float | Mpp | None = None, show: bool = True
    ) -> NodeView:
        """Open a slide, add it to the patient and perhaps show it. Raises `SlideError`."""
        slide = open_slide(path, mpp=mpp)
        known = self.nodes.get(slide.name)
        if known is not None and known.slide.path == slide.path and mpp is None:
            slide.close()
            if show:
                self.show(known.slide.name)
            return known
        if known is not None:
            self.remove(slide.name)
        node = NodeView(slide, put_away=[slide_layer(slide)])
        self.nodes[slide.name] = node
        if show:
            self.show(slide.name)
        self.nodes_changed.emit()
        return node

    def show(self, name: str) -> None:
        """Bring a slide with all its layers into the viewer and put the others away."""
        node = self.nodes[name]
        if self.shown == name and _layers_of(self.viewer, name):
            return
        keep_outlines_readable(self.viewer)
        with self._arranging_layers():
            self._put_away_shown()
            # Before the slide comes in: layers of different units are not drawn together.
            for layer in list(self.viewer.layers):
                if _meta(layer).get("kind") == "annotation" and _meta(layer).get("slide") is None:
                    _assign_to_slide(layer, node.slide)
            for layer in node.put_away:
                self.viewer.layers.append(layer)
            node.put_away = []
            self.shown = name
            _raise_annotations(self.viewer)
        self._show_whole(node)
        self.shown_changed.emit()

    def remove(self, name: str) -> None:
        """Take a slide out of the patient; its files are untouched."""
        node = self.nodes.pop(name)
        with self._arranging_layers():
            for layer in _layers_of(self.viewer, name):
                self.viewer.layers.remove(layer)
                if "display" in _meta(layer):
                    _meta(layer)["display"].stream.close()
                if (editor := editor_of(layer)) is not None:
                    editor.close(keep_journal=True)
        if self.shown == name:
            self.shown = None
            if self.nodes:
                self.show(next(iter(self.nodes)))
        node.slide.close()
        if not self.nodes:  # what comes next is another patient
            self.choices = replace(
                self.choices, name="", missing=(), kept=(), overrides=(), problems=()
            )
        self.nodes_changed.emit()
        self.staged.emit()

    def clear(self) -> None:
        """Take every slide out, so that another patient can be opened; its threshold is its own."""
        others = [name for name in self.nodes if name != self.shown]
        for name in (*others, *([self.shown] if self.shown else [])):
            self.remove(name)
        self.rules = LesionRules()

    def add_annotations(
        self,
        annotation_set: AnnotationSet,
        *,
        over: str | None = None,
        imported_from: Path | None = None,
    ) -> AnnotationEditor:
        """Show annotations, to be edited, over the slide whose name they bear, else the shown one.

        Without a slide they are kept in slide pixels until one comes. New ones are going to be
        saved beside their slide, under its name, unless something is there.

        Parameters
        ----------
        annotation_set : AnnotationSet
            As read from a file, or made for a new one.
        over : str, optional
            The slide, if it is known.
        imported_from : Path, optional
            The file that they were read from, if it cannot be written; they are new ones then.
        """
        source = None if imported_from is not None else annotation_set.source
        name = over if source is None else source.path.stem
        node = self.nodes.get(name) if name in self.nodes else self.shown_node
        path = None
        if source is None and node is not None:
            path = self._place_for_new(node, imported_from)
        editor = edit_annotations(
            self.viewer,
            replace(annotation_set, source=source),
            path=path,
            imported_from=imported_from,
            slide_name=None if node is None else node.slide.name,
            mpp=None if node is None else node.slide.mpp,
            slide=self._shown_slide,
        )
        with self._arranging_layers(some_leave=False):
            if node is not None and node.slide.name != self.shown:
                node.put_away.append(editor.layer)
                return editor
            self.viewer.layers.append(editor.layer)
            _raise_annotations(self.viewer)
        return editor

    def _place_for_new(self, node: NodeView, imported_from: Path | None) -> Path | None:
        layers = [*self.viewer.layers, *(one for n in self.nodes.values() for one in n.put_away)]
        editors = [editor for layer in layers if (editor := editor_of(layer)) is not None]
        path = place_for_new(node.slide.path, imported_from)
        return None if path in [editor.path for editor in editors] else path

    def _shown_slide(self) -> Slide | None:
        node = self.shown_node
        return None if node is None else node.slide

    def set_mpp(self, name: str, mpp: float) -> None:
        """Give a slide the pixel size that its file does not tell, and keep it for the next time.

        Its layers take on the scale. Where it cannot be kept that is said, and it is used all the
        same. Raises `SlideError` for a size that cannot be right.
        """
        node = self.nodes[name]
        # The layer goes on reading through the slide that it was made of.
        slide = open_slide(node.slide.path, mpp=mpp)
        try:
            keep_mpp(slide, mpp)
        except (FileWriteError, ResultError) as error:
            show_error(f"The pixel size holds until {name} is closed: it cannot be kept. {error}")
        else:
            slide.close()
            slide = open_slide(node.slide.path)
        node.slide = slide
        for layer in (*node.put_away, *_layers_of(self.viewer, name)):
            _assign_to_slide(layer, node.slide)
        if self.shown == name:
            self._show_whole(node)
        self.nodes_changed.emit()

    @property
    def shown_node(self) -> NodeView | None:
        """The node whose slide is in the viewer."""
        return self.nodes.get(self.shown) if self.shown else None

    def display(self, name: str) -> SlideDisplay | None:
        """Return what draws a slide; None if it is not in the viewer."""
        for layer in _layers_of(self.viewer, name):
            if "display" in _meta(layer):
                return _meta(layer)["display"]
        return None

    # -- results --------------------------------------------------------------------------------

    def make_layer_ahead(self, node: NodeView) -> bool:
        """Put one more of the layers that a run is going to fill into the window, with nothing yet.

        Each new layer keeps the window waiting, some for a tenth of a second: less so one at a
        time, before there is anything to follow. False when all are there.
        """
        mpp = node.slide.mpp
        there = {_meta(layer)["kind"] for layer in self._layers_of_kinds(node, _OF_A_RUN)}
        if mpp is None or there.issuperset(_OF_A_RUN):
            return False
        heatmap = nothing_yet(node.slide.name, mpp)
        # The heatmap last: napari shows the controls of the newest, and its opacity is of use.
        for layer in (*empty_lesion_layers(heatmap), heatmap_layer(heatmap)):
            if _meta(layer)["kind"] not in there:
                self._replace_layers(node, (), [layer])
                break
        return True

    def take_empty_layers_away(self, node: NodeView) -> None:
        """Undo `make_layer_ahead` where nothing came of the run."""
        if node.heatmap is None:
            self._replace_layers(node, _OF_A_RUN, [])

    def begin_heatmap(self, node: NodeView, patch_grid: PatchGrid, heatmap: Heatmap) -> None:
        """Put a heatmap that is going to be filled in the place of the old results."""
        node.patch_grid, node.heatmap = patch_grid, heatmap
        node.lesions, node.result, node.problem, node.facts = [], None, "", None
        node.so_far = None
        if self.rules.threshold is None and self._own_threshold != heatmap.threshold:
            self._own_threshold = heatmap.threshold
            self._restage_all()
        there = self._layers_of_kinds(node, ("heatmap",))
        if there:
            show_other_values(there[0], heatmap)
        else:
            self._replace_layers(node, (), [heatmap_layer(heatmap)])
        self._replace_layers(node, ("uncertainty",), [])
        self._show_lesions(node)

    def show_uncertainty(self, node: NodeView) -> bool:
        """Put one more of the uncertainties that a heatmap holds into the window, hidden.

        One at a time, for each new layer keeps the window waiting. False when all are there.
        """
        if node.heatmap is None:
            return False
        there = {_meta(layer)["map"] for layer in self._layers_of_kinds(node, ("uncertainty",))}
        if there >= UNCERTAINTY_LAYERS.keys() & node.heatmap.maps.keys():
            return False
        fresh = [
            layer for layer in uncertainty_layers(node.heatmap) if _meta(layer)["map"] not in there
        ]
        self._replace_layers(node, (), fresh[:1])
        return True

    def show_results(self, name: str, folder: Path | str) -> None:
        """Put results that were kept in a folder in the place of a slide's results.

        Lesions and class follow from the heatmap at the present threshold, as after a run.

        Raises
        ------
        ResultError
            They are damaged, of another slide, or were computed with another pixel size.
        """
        self.put_results(name, folder, *read_prediction(folder))

    def put_results(
        self,
        name: str,
        folder: Path | str,
        heatmap: Heatmap,
        patch_grid: PatchGrid,
        staged: Staged | None = None,
    ) -> None:
        """Do what `show_results` does with results that were read already, in a thread perhaps."""
        node = self.nodes[name]
        slide = node.slide
        if heatmap.slide_fingerprint and heatmap.slide_fingerprint != slide.fingerprint:
            raise ResultError(
                f"The results in {folder} are of another slide that is called "
                f"{heatmap.slide_name} too; they do not fit this one."
            )
        if slide.mpp is None or not np.allclose(heatmap.mpp, slide.mpp, rtol=1e-4):
            here = "is unknown" if slide.mpp is None else f"is {slide.mpp[0]:.4g} µm/px here"
            raise ResultError(
                f"The results in {folder} were computed with {heatmap.mpp[0]:.4g} µm/px, but the "
                f"pixel size of {slide.name} {here}. Set it to that value, or run the model again."
            )
        self.begin_heatmap(node, patch_grid, heatmap)
        while self.show_uncertainty(node):
            pass
        share = heatmap.computed_share
        if share is None:
            node.status = "kept results"
        else:
            node.status = "done" if share == 1 else f"stopped at {share:.0%}"
        self.restage(node, staged)

    def refresh_heatmap(self, node: NodeView) -> None:
        """Draw what was filled into the heatmap since the last time."""
        for layer in _layers_of(self.viewer, node.slide.name):
            if _meta(layer).get("kind") in ("heatmap", "uncertainty"):
                layer.refresh(extent=False, highlight=False)

    def restage(self, node: NodeView, staged: Staged | None = None) -> None:
        """Find the lesions of a node at the present threshold and call its class.

        Parameters
        ----------
        node : NodeView
        staged : Staged, optional
            What the thread of a run has found already; used if it is of the present threshold.
        """
        self._restage_node(node, staged)
        self.staged.emit()

    def _restage_node(self, node: NodeView, staged: Staged | None = None) -> None:
        if node.heatmap is None:
            return
        rules, method, name = self.lesion_rules, self.choices.method, node.slide.name
        node.heatmap.threshold = self.threshold
        if staged is not None and staged.rules == rules:
            node.lesions, node.result = staged.lesions, staged.result
        else:
            node.lesions = find_lesions(node.heatmap, **asdict(rules))
            node.result = classify_node(node.lesions, heatmap=node.heatmap, name=name)
        if node.result.method != method:
            node.result = call_node(node.heatmap, rules, method=method, name=name)
        self._show_lesions(node)
        self.node_updated.emit(node.slide.name)

    def set_threshold(self, threshold: float) -> None:
        """Set the probability from which a patch counts as tumour, and restage every node."""
        self.set_rules(replace(self.rules, threshold=threshold, seed_threshold=None))

    def set_rules(self, rules: LesionRules) -> None:
        """Set what counts as a lesion, and restage every node."""
        self.prepare_rules(rules)
        self._restage_all()

    def prepare_rules(self, rules: LesionRules) -> None:
        """Set what counts as a lesion, for nodes that somebody else is going to `restage`."""
        self.rules = rules

    def _restage_all(self) -> None:
        for node in self.nodes.values():
            if node.result is not None:
                self._restage_node(node)
        self.staged.emit()

    def choose(self, **changes: Any) -> None:
        """Change some of the `choices`, and the stage with them."""
        self.choices = replace(self.choices, **changes)
        self.choices_changed.emit()

    def results(self, *, so_far: bool = False) -> dict[str, NodeResult | None]:
        """Return the result of every node with a slide; with `so_far` also of runs that go on."""
        return {
            name: node.result or (node.so_far if so_far else None)
            for name, node in self.nodes.items()
        }

    def stage(self, *, so_far: bool = False) -> PatientResult | None:
        """Stage the patient from what is known of the nodes; None while that is nothing."""
        return stage_of(self.choices, self.results(so_far=so_far))

    def go_to(self, name: str) -> None:
        """Show a slide and bring the lesion that decides its class to the middle of the canvas."""
        self.show(name)
        node = self.nodes[name]
        lesion = node.result.deciding_lesion if node.result is not None else None
        if lesion is None:
            self._show_whole(node)
            return
        self.look_at(lesion.bounds_px)

    def show_whole(self, name: str) -> None:
        """Show a slide, all of it."""
        self.show(name)
        self._show_whole(self.nodes[name])

    def look_at(self, bounds_px: tuple[float, float, float, float]) -> None:
        """Bring a part of the shown slide to the middle of the canvas, and fill half of it.

        Parameters
        ----------
        bounds_px : tuple of float
            ``(left, top, right, bottom)``, level-0 pixels.
        """
        node = self.shown_node
        if node is None:
            return
        corners = slide_to_layer(np.reshape(bounds_px, (2, 2)))
        scale = np.asarray(world_placement(node.slide.mpp)["scale"])
        (top, left), (bottom, right) = corners * scale
        view = camera(self.viewer)
        view.center = ((top + bottom) / 2, (left + right) / 2)
        height_px, width_px = canvas_size_px(self.viewer)
        # It takes half of the canvas, but no closer than four screen pixels a µm.
        view.zoom = min(0.5 * width_px / (right - left), 0.5 * height_px / (bottom - top), 4.0)

    def save(self, folder: Path | str) -> Path:
        """Write the results of every node that has one, and the patient, into a folder.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        FileWriteError
            It cannot be written.
        """
        for node in self.nodes.values():
            if node.heatmap is None or node.result is None:
                continue
            plan = node.patch_grid
            write_slide_results(
                folder,
                node.heatmap,
                node.lesions,
                node.result,
                slide_path=node.slide.path,
                planned=None if plan is None else plan.selected,
                tissue_fraction=None if plan is None else plan.tissue_fraction,
                parameters=asdict(self.lesion_rules),
                facts=node.facts,
            )
        patient = self.stage()
        if patient is not None:
            write_patient(patient, folder)
        return Path(folder)

    # -- layers ---------------------------------------------------------------------------------

    def show_layers(self, name: str, kinds: Sequence[str], fresh: Sequence[Layer]) -> None:
        """Put layers of a slide in the place of those of some kinds, shown or put away."""
        self._replace_layers(self.nodes[name], kinds, fresh)

    def layers_of(self, name: str, kind: str) -> list[Layer]:
        """Return the layers of one kind of a slide, shown or put away."""
        layers = [*_layers_of(self.viewer, name), *self.nodes[name].put_away]
        return [layer for layer in layers if _meta(layer).get("kind") == kind]

    def set_tissue(self, name: str, tissue: TissueChoice | None) -> None:
        """Say where runs over a slide look for tumour."""
        self.nodes[name].tissue = tissue
        self.tissue_changed.emit(name)

    @property
    def all_is_drawn(self) -> bool:
        """Whether the lesions of every slide are in their layers; many come in portions."""
        return self._filling.is_idle

    def _layers_of_kinds(self, node: NodeView, kinds: Sequence[str]) -> list[Layer]:
        shown = self.shown == node.slide.name
        layers = _layers_of(self.viewer, node.slide.name) if shown else node.put_away
        return [layer for layer in layers if _meta(layer).get("kind") in kinds]

    def _show_lesions(self, node: NodeView) -> None:
        """Draw a node's lesions, in the layers that are there, if they are."""
        heatmap = node.heatmap
        if heatmap is None:
            return
        there = self._layers_of_kinds(node, _OF_LESIONS)
        if len(there) < len(_OF_LESIONS):
            if not node.lesions:
                return
            kinds = [_meta(layer)["kind"] for layer in there]
            fresh = [
                layer for layer in empty_lesion_layers(heatmap) if _meta(layer)["kind"] not in kinds
            ]
            self._replace_layers(node, (), fresh)
            there += fresh
        there.sort(key=lambda layer: _OF_LESIONS.index(_meta(layer)["kind"]))
        self._filling.begin(node.slide.name, self._portions(node, there))

    def _portions(self, node: NodeView, layers: Sequence[Layer]) -> Iterator[None]:
        """Draw a node's lesions until their layers go; the window may be closed meanwhile."""
        for _ in lesions_in_portions(layers, node.lesions):
            yield
            viewer = self._viewer()
            if viewer is None or any(
                layer not in viewer.layers and layer not in node.put_away for layer in layers
            ):
                return

    def _replace_layers(self, node: NodeView, kinds: Sequence[str], fresh: Sequence[Layer]) -> None:
        old = self._layers_of_kinds(node, kinds)
        if not old and not fresh:
            return
        with self._arranging_layers(some_leave=bool(old)):
            if self.shown == node.slide.name:
                for layer in old:
                    self.viewer.layers.remove(layer)
                self.viewer.layers.extend(fresh)
                _raise_annotations(self.viewer)
            else:
                node.put_away = [layer for layer in node.put_away if layer not in old]
                node.put_away.extend(fresh)

    def take_away(self, layer: Layer) -> None:
        """Remove a layer for good, also if it was put away with its slide; it may be gone."""
        for node in self.nodes.values():
            node.put_away = [one for one in node.put_away if one is not layer]
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def save_annotations(self, path: Path | str) -> None:
        """Write the annotations of the shown slide; what nobody edited keeps every byte.

        Raises
        ------
        AnnotationError
            There are none, they come from several files, or the extension is unknown.
        FileWriteError
            The file cannot be written.
        """
        layers = [layer for layer in self.viewer.layers if _meta(layer).get("kind") == "annotation"]
        editors = [editor for layer in layers if (editor := editor_of(layer)) is not None]
        if len(layers) == 1 and editors:
            editors[0].save(Path(path))
            return
        sets: dict[int, AnnotationSet] = {
            id(found): found
            for layer in layers
            if (found := _meta(layer)["annotation_set"]) is not None
        }
        if len(sets) != 1:
            raise AnnotationError(
                "There are no annotations in the window to save."
                if not sets
                else "The annotations in the window come from several files. Remove the layers of "
                "all but one and save again."
            )
        write_annotations(annotations_from_layers(next(iter(sets.values())), layers), path)

    def _show_whole(self, node: NodeView) -> None:
        scale_bar(self.viewer).visible = True
        for layer in _layers_of(self.viewer, node.slide.name):
            if _meta(layer).get("kind") == "slide":
                show_whole_slide(self.viewer, node.slide, layer)

    def _put_away_shown(self) -> None:
        node = self.shown_node
        if node is None:
            return
        node.put_away = _layers_of(self.viewer, node.slide.name)
        for layer in node.put_away:
            self.viewer.layers.remove(layer)

    def _on_layer_inserted(self, event: object) -> None:
        if not self._arranging:
            self._adopt(event.value)

    def _adopt(self, layer: Layer) -> None:
        """Take in a layer that one of our readers has put into the viewer."""
        meta = _meta(layer)
        if meta.get("kind") == "annotation" and meta.get("slide") is None:
            node = self.shown_node
            if node is not None:
                _assign_to_slide(layer, node.slide)
            return
        if meta.get("kind") != "slide" or meta.get("slide") in self.nodes:
            return
        slide = open_slide(str(meta["path"]))
        stream_slide(layer, slide)
        self.nodes[slide.name] = NodeView(slide)
        with self._arranging_layers():
            self._put_away_shown()
            self.shown = slide.name
            for other in list(self.viewer.layers):
                if _meta(other).get("kind") == "annotation" and _meta(other).get("slide") is None:
                    _assign_to_slide(other, slide)
            _raise_annotations(self.viewer)
        self.nodes_changed.emit()
        self.shown_changed.emit()

    @contextmanager
    def _arranging_layers(self, *, some_leave: bool = True) -> Iterator[None]:
        before, self._arranging = self._arranging, True
        try:
            # napari collects all garbage after each layer that leaves, a third of a second; once
            # is enough, and where none can leave it would be once too often.
            layers = self.viewer.layers
            with layers.batched_update() if layers and some_leave else nullcontext():
                yield
        finally:
            self._arranging = before


_VIEWS: WeakKeyDictionary[Viewer, PatientView] = WeakKeyDictionary()


def patient_view(viewer: Viewer) -> PatientView:
    """Return the patient that belongs to a viewer, made on first use."""
    # napari hands plugins a proxy, another one each time; the viewer behind it is what lasts.
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _VIEWS:
        _VIEWS[viewer] = PatientView(viewer)
    return _VIEWS[viewer]


def _meta(layer: Layer) -> dict[str, Any]:
    return layer.metadata.get("napari_camelyon", {})


def _layers_of(viewer: Viewer, name: str) -> list[Layer]:
    return [layer for layer in viewer.layers if _meta(layer).get("slide") == name]


def _assign_to_slide(layer: Layer, slide: Slide) -> None:
    """Give annotations that were opened alone the scale and units of their slide."""
    placement = world_placement(slide.mpp)
    layer.scale, layer.units = placement["scale"], placement["units"]
    layer.metadata["napari_camelyon"]["slide"] = slide.name
    editor = editor_of(layer)
    if editor is not None:
        editor.mpp = slide.mpp


def _raise_annotations(viewer: Viewer) -> None:
    """Keep our layers in the order of `_ORDER`, from bottom to top."""
    ours = sorted(
        (layer for layer in viewer.layers if _meta(layer)),
        key=lambda layer: _place_of(str(_meta(layer).get("kind"))),
    )
    for index, layer in enumerate(ours):
        viewer.layers.move(viewer.layers.index(layer), index)


_OF_LESIONS = ("lesions", "diameters")
_OF_A_RUN = ("heatmap", *_OF_LESIONS)

_ORDER = (
    "slide",
    "stain preview",
    "planned",
    "heatmap",
    "uncertainty",
    "tissue",
    "lesions",
    "diameters",
    "annotation",
    "comparison",
)


def _place_of(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
