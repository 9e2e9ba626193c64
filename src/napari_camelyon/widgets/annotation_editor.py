"""The annotations of one slide while a person edits them: what is selected, undone, saved.

One `AnnotationEditor` belongs to one napari layer, which stands for the whole file. Tools and the
"Annotate" dock call it; what an edit makes of an outline is computed in the room `annotations`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from napari.layers import Shapes
from napari.layers.base import ActionType
from napari.utils.events import Event
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_camelyon.annotations import (
    ASAP_DEFAULT_COLOUR,
    Annotation,
    AnnotationSet,
    Change,
    Group,
    GroupProfile,
    History,
    Journal,
    ProfileChoice,
    add_annotations,
    annotations_from_layers,
    brought_back,
    can_be_saved,
    do,
    end_journal,
    find_unsaved,
    first_changes,
    group_colour,
    group_names,
    is_saved,
    mark_saved,
    note_saved,
    profile_for,
    record,
    redo,
    remove_annotations,
    renamed_in_profile,
    resume_journal,
    save,
    undo,
    with_groups,
    with_subgroups,
)
from napari_camelyon.annotations.drawing import Outlines, outlines_of, pick, update_outlines
from napari_camelyon.errors import FileWriteError
from napari_camelyon.geometry import Mpp, world_placement

__all__ = ["AnnotationEditor", "editor_of", "own_profile"]


class AnnotationEditor:
    """A set of annotations that is being edited.

    Attributes
    ----------
    layer : napari.layers.Shapes
        Stands for the set in the viewer; its own list of shapes stays empty. Its metadata hold the
        set as it is now, for whoever writes the layer.
    history : History
    outlines : Outlines
        What is drawn.
    path : Path or None
        The file; None until it is known where to save.
    imported_from : Path or None
        The file that new annotations were read from, which cannot be written.
    selected : tuple of str
        Ids; the last one is the one that tools work on.
    hidden, locked : set of (str or None)
        Groups that are not drawn, and groups that cannot be picked or changed.
    draw_group : str or None
        The group of what is drawn next.
    keep : callable or None
        Writes a set to a place of its own and returns the file, for what is no annotation file (the
        tissue of a slide); such a set has neither a journal nor older versions.
    own_profile : GroupProfile or None
        What the person said the groups mean; None while that goes by their names. It is kept as
        long as the annotations are open, and never written into their file.
    """

    changed = Signal(object)
    """An edit, an undo or a redo was done; a `Change`."""
    selection_changed = Signal()
    groups_shown_changed = Signal()
    """Other groups are hidden or locked now, another one is drawn in, or they mean something
    else."""
    saved = Signal()

    def __init__(
        self,
        annotation_set: AnnotationSet,
        *,
        path: Path | None = None,
        imported_from: Path | None = None,
        slide_name: str | None = None,
        mpp: Mpp | None = None,
        recovered: History | None = None,
        kind: str = "annotation",
        keep: Callable[[AnnotationSet], Path] | None = None,
    ) -> None:
        source = annotation_set.source
        self.path = path if source is None else source.path
        self.imported_from = imported_from
        self.keep = keep
        self._began_with = annotation_set
        self._way_to_first: tuple[Change, ...] = ()
        if source is None and recovered is None:
            # No file holds these: the journal has to.
            self._began_with = AnnotationSet()
            self._way_to_first = first_changes(annotation_set, imported_from)
        self.history = recovered or History(
            annotation_set, saved=None if source is None else annotation_set
        )
        self.mpp = mpp
        self.outlines: Outlines = outlines_of(self.history.now)
        self.selected: tuple[str, ...] = ()
        self.hidden: set[str | None] = set()
        self.locked: set[str | None] = set()
        self.own_profile: GroupProfile | None = None
        self._names = self.group_names()
        self.draw_group: str | None = self._names[0] if self._names else None
        self._on_disk = None if source is None else source.raw
        self._journal: Journal | None = None
        self._way_to_saved: tuple[Change, ...] = self._way_to_first
        if keep is not None:
            mark_saved(self.history)
        elif self.path is not None and recovered is None:
            self._journal = Journal(self.path, self._began_with)
        elif self.path is not None:
            unsaved = find_unsaved(self.path)
            if unsaved is None or not unsaved.file_changed:
                self._on_disk = self.path.read_bytes() if self.path.exists() else None
            self._journal = resume_journal(self.path, annotation_set)
        self._warned = False
        self.layer = Shapes(
            ndim=2,
            name=kind if keep is not None else _title(slide_name, self.path),
            opacity=1.0,
            metadata={
                "napari_camelyon": {
                    "kind": kind,
                    "slide": slide_name,
                    "group": None,
                    "annotation_set": self.history.now,
                    "rings": (),
                    "editor": self,
                }
            },
            **world_placement(mpp),
        )
        self.layer.events.data.connect(self._on_shapes)

    # -- what there is --------------------------------------------------------------------------

    @property
    def now(self) -> AnnotationSet:
        """The set as it is now."""
        return self.history.now

    @property
    def is_saved(self) -> bool:
        """Whether the file holds the set as it is now."""
        return is_saved(self.history)

    @property
    def selected_annotations(self) -> list[Annotation]:
        """The selected annotations, in the order in which they were selected."""
        known = self.outlines.annotations
        return [known[key] for key in self.selected if key in known]

    @property
    def current(self) -> Annotation | None:
        """The one that tools work on."""
        selected = self.selected_annotations
        return selected[-1] if selected else None

    def group_names(self) -> list[str | None]:
        """Return the groups in the order of the file; None, last, for annotations without."""
        return group_names(self.now)

    @property
    def profile(self) -> ProfileChoice:
        """What the groups mean, as the person said or by their names, and why."""
        return profile_for(self.now, self.own_profile)

    def colour(self, group: str | None) -> str:
        """Return the colour in which a group is drawn, ``#rrggbb``."""
        return group_colour(group, self.now.groups) or ASAP_DEFAULT_COLOUR

    def is_editable(self, annotation: Annotation) -> bool:
        """Whether its group is neither locked nor hidden."""
        return annotation.group not in self.locked | self.hidden

    # -- selecting ------------------------------------------------------------------------------

    def pick(self, at_xy: tuple[float, float], within_px: float) -> str | None:
        """Return the annotation at a slide point; hidden and locked groups are passed over."""
        out_of_reach = self.locked | self.hidden
        skip = (
            {key for key, a in self.outlines.annotations.items() if a.group in out_of_reach}
            if out_of_reach
            else ()
        )
        return pick(self.outlines, at_xy, within_px, skip)

    def select(self, ids: Iterable[str]) -> None:
        """Select annotations; the last one becomes the current one."""
        known = tuple(dict.fromkeys(key for key in ids if key in self.outlines.annotations))
        if known != self.selected:
            self.selected = known
            self.selection_changed.emit()

    def hide(self, group: str | None, hidden: bool) -> None:
        """Draw a group and the groups in it no more, or again."""
        names = with_subgroups([group], self.now.groups)
        self.hidden = self.hidden | names if hidden else self.hidden - names
        self._leave_out_of_reach()

    def lock(self, group: str | None, locked: bool) -> None:
        """Protect a group and the groups in it from being picked and changed, or no more."""
        names = with_subgroups([group], self.now.groups)
        self.locked = self.locked | names if locked else self.locked - names
        self._leave_out_of_reach()

    def say_meanings(self, profile: GroupProfile | None) -> None:
        """Let the groups mean what the person says; None lets their names decide."""
        self.own_profile = profile
        self.groups_shown_changed.emit()

    def draw_in(self, group: str | None) -> None:
        """Let what is drawn next belong to a group."""
        self.draw_group = group
        self.groups_shown_changed.emit()

    def _leave_out_of_reach(self) -> None:
        self.select(a.id for a in self.selected_annotations if self.is_editable(a))
        self.groups_shown_changed.emit()

    # -- editing --------------------------------------------------------------------------------

    def edit(self, label: str, after: AnnotationSet) -> None:
        """Take over an edited set as one step that can be undone."""
        self._take_over(do(self.history, after, label))

    def replace(
        self, label: str, changed: Collection[Annotation], gone: Collection[str] = ()
    ) -> None:
        """Put changed annotations in the place of those of their ids, and remove some."""
        new = {annotation.id: annotation for annotation in changed}
        annotations = tuple(
            new.pop(old.id, old) for old in self.now if old.id not in gone or old.id in new
        )
        after = replace(self.now, annotations=annotations)
        self.edit(label, add_annotations(after, new.values()))

    def add(self, label: str, new: Collection[Annotation]) -> None:
        """Add annotations at the end and select them."""
        self.edit(label, add_annotations(self.now, new))
        self.select(annotation.id for annotation in new)

    def _on_shapes(self, event: Event) -> None:
        if event.action == ActionType.ADDED and len(self.layer.data):
            QTimer.singleShot(0, self._take_shapes)  # napari is not done with the shape yet

    def _take_shapes(self) -> None:
        """Make annotations of what a person has drawn with napari's own tools, or pasted."""
        drawn = annotations_from_layers(AnnotationSet(), [self.layer])
        self.layer.selected_data = set()
        with self.layer.events.data.blocker():
            self.layer.data = []
        self.add("draw", [replace(new, group=self.draw_group) for new in drawn])

    def remove_selected(self) -> None:
        """Delete what is selected."""
        ids = {annotation.id for annotation in self.selected_annotations}
        if ids:
            what = "region" if len(ids) == 1 else f"{len(ids)} regions"
            self.edit(f"delete {what}", remove_annotations(self.now, ids))

    def restore(self, old: AnnotationSet) -> None:
        """Take over what an older version of the file held; undoing leads back."""
        self.edit("restore older version", brought_back(old, self.now))

    def set_groups(self, label: str, groups: Iterable[Group]) -> None:
        """Define other groups than those of now."""
        self.edit(label, with_groups(self.now, groups))

    def undo(self) -> None:
        """Take the last edit back."""
        self._take_over(undo(self.history))

    def redo(self) -> None:
        """Do again what was undone."""
        self._take_over(redo(self.history))

    def _take_over(self, change: Change | None) -> None:
        if change is None or change.is_empty:
            return
        update_outlines(self.outlines, self.now)
        self._follow_groups(change)
        self.layer.metadata["napari_camelyon"]["annotation_set"] = self.now
        self._record(change)
        gone = [key for key in self.selected if key not in self.outlines.annotations]
        if gone:
            self.select(key for key in self.selected if key not in gone)
        self.changed.emit(change)

    def _follow_groups(self, change: Change) -> None:
        """Keep what was said of a group when it gets another name, also by undoing that."""
        before, names = self._names, self.group_names()
        self._names = names
        gone = [name for name in before if name is not None and name not in names]
        new = [name for name in names if name is not None and name not in before]
        defined_before = () if change.groups is None else change.groups[0]
        if len(gone) == len(new) == 1 and before.index(gone[0]) == names.index(new[0]):
            self._carry_over(gone[0], new[0])
        elif self.draw_group in gone and self.draw_group in {g.name for g in defined_before}:
            self.draw_group = names[0] if names else None

    def _carry_over(self, old: str, new: str) -> None:
        for marked in (self.hidden, self.locked):
            if old in marked:
                marked.remove(old)
                marked.add(new)
        if self.draw_group == old:
            self.draw_group = new
        if self.own_profile is not None:
            self.own_profile = renamed_in_profile(self.own_profile, old, new)

    def _record(self, change: Change) -> None:
        journal = self._journal
        if journal is None:
            return
        try:
            if not journal.begun:  # it tells the whole story, so that undo works after a crash too
                for earlier in self._way_to_saved:
                    record(journal, earlier)
                if self._on_disk is not None:
                    note_saved(journal, self._on_disk)
            record(journal, change)
        except FileWriteError as error:
            if not self._warned:  # once is enough: it will be so for every edit
                show_warning(str(error))
            self._warned = True

    # -- the file -------------------------------------------------------------------------------

    def warn_if_read_only(self) -> None:
        """Say, before work is done in vain, if the file cannot be written."""
        if self.keep is not None:  # it finds another place by itself
            return
        trouble = can_be_saved(self.path) if self.path is not None else ""
        if trouble:
            show_warning(f"{trouble} Save under another name before you begin.")

    def save(self, path: Path | None = None, *, anyway: bool = False) -> None:
        """Write the set to its file or to another one, which is its file from then on.

        Parameters
        ----------
        path : Path, optional
            The other file; the person has agreed that it is overwritten.
        anyway : bool
            Overwrite what another program wrote meanwhile.

        Raises
        ------
        FileChangedError
            Another program has changed the file.
        AnnotationError, FileWriteError
            It cannot be written.
        """
        if self.keep is not None and (path is None or path == self.path):
            self.note_kept(self.now, self.keep(self.now))
            return
        target = path or self.path
        assert target is not None, "the dock asks for a name first"
        elsewhere = target != self.path
        if self.keep is not None:  # a copy for others
            save(self.now, target, expected=None, anyway=True)
            return
        self._on_disk = save(self.now, target, expected=self._on_disk, anyway=anyway or elsewhere)
        mark_saved(self.history)
        self._begin_journal(target)
        self.layer.name = _title(self.layer.metadata["napari_camelyon"]["slide"], target)
        self.saved.emit()

    def note_kept(self, annotation_set: AnnotationSet, path: Path) -> None:
        """Note that `keep` has written a set, which may not be the present one any more."""
        self.path = path
        if annotation_set is self.now:
            mark_saved(self.history)
        self.saved.emit()

    def _begin_journal(self, file: Path) -> None:
        """Keep edits safe beside a file that holds the set as it is; nothing is written yet."""
        if self._journal is not None:
            end_journal(self._journal, keep=False)
        self.path = file
        self._journal = Journal(file, self._began_with)
        self._way_to_saved = (*self._way_to_first, *self.history.done)

    def close(self, *, keep_journal: bool = False) -> None:
        """Let go of the files. What is not saved stays in the journal only if that is wanted."""
        if self._journal is not None:
            end_journal(self._journal, keep=keep_journal and not self.is_saved)

    def report(self, error: Exception) -> None:
        """Show an error as a sentence."""
        show_error(str(error))


def editor_of(layer: object) -> AnnotationEditor | None:
    """Return the editor that a layer belongs to, if it belongs to one."""
    metadata = getattr(layer, "metadata", {})
    found: AnnotationEditor | None = metadata.get("napari_camelyon", {}).get("editor")
    return found


def own_profile(
    layers: Iterable[object], slide_name: str, paths: Sequence[Path]
) -> GroupProfile | None:
    """Return what the person said the groups mean, for some files of a slide.

    Taken is what was said in the window of the first of these files that is open; of files that
    are not, what was said of any annotations of the slide. None if nothing was said.
    """
    editors = [
        editor
        for layer in layers
        if (editor := editor_of(layer)) is not None and editor.own_profile is not None
    ]
    open_files = {editor.path.absolute(): editor for editor in editors if editor.path is not None}
    here = [
        editor
        for editor in editors
        if editor.layer.metadata["napari_camelyon"]["slide"] == slide_name
    ]
    fitting = [open_files[path] for path in paths if path in open_files] + here
    return fitting[0].own_profile if fitting else None


def _title(slide_name: str | None, path: Path | None) -> str:
    if path is not None:
        return path.name
    return "annotations" if slide_name is None else f"{slide_name} annotations"
