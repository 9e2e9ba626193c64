"""What a person does with a group: rename, move, delete, give it a meaning; and the menu of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from napari.utils.notifications import show_info, show_warning
from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from napari_camelyon.annotations import (
    Group,
    choose_profile,
    copies_for_group,
    group_deleted,
    group_meaning,
    group_moved,
    group_renamed,
    possible_parents,
    read_profile,
    with_meaning,
    write_profile,
)
from napari_camelyon.annotations.groups import group_tree
from napari_camelyon.annotations.meaning import Meaning
from napari_camelyon.errors import CamelyonError
from napari_camelyon.widgets.annotation_editor import AnnotationEditor

__all__ = [
    "MEANINGS",
    "add_group",
    "copy_selected",
    "delete_group",
    "fill_group_menu",
    "fill_means_menu",
    "open_map",
    "put_under",
    "recolour",
    "rename_group",
    "save_map",
    "say_meaning",
]

MEANINGS: dict[Meaning, str] = {"tumour": "tumour", "cut-out": "cut out", "": "nothing"}
"""What a group can mean, and how that is said."""

# Okabe and Ito's colours (2008), which colour-blind people can tell apart; black left out.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_MAPS = "Map of groups (*.json)"


def add_group(editor: AnnotationEditor) -> str:
    """Define a new group, draw in it from now on, and return its name."""
    names = editor.group_names()
    number = 1
    while f"Group {number}" in names:
        number += 1
    new = Group(f"Group {number}", colour=_COLOURS[len(names) % len(_COLOURS)])
    editor.set_groups("new group", [*editor.now.groups, new])
    editor.draw_in(new.name)
    return new.name


def rename_group(editor: AnnotationEditor, old: str, new: str) -> bool:
    """Give a group another name; return False if that is empty or taken."""
    if not new or new in editor.group_names():
        return False
    editor.edit(f"rename group {old}", group_renamed(editor.now, old, new))
    return True


def recolour(editor: AnnotationEditor, name: str, colour: str) -> None:
    """Give a group a colour, ``#rrggbb``."""
    groups = list(editor.now.groups)
    if all(group.name != name for group in groups):
        groups.append(Group(name))
    groups = [replace(group, colour=colour) if group.name == name else group for group in groups]
    editor.set_groups(f"recolour {name}", groups)


def put_under(editor: AnnotationEditor, name: str, parent: str | None) -> None:
    """Put a group under another one, or under none."""
    try:
        moved = group_moved(editor.now, name, parent)
    except CamelyonError as error:
        editor.report(error)
        return
    where = "out of its group" if parent is None else f"under {parent}"
    editor.edit(f"put {name} {where}", moved)


def delete_group(editor: AnnotationEditor, name: str) -> None:
    """Delete an empty group."""
    try:
        left = group_deleted(editor.now, name)
    except CamelyonError as error:
        editor.report(error)
        return
    editor.edit(f"delete group {name}", left)


def copy_selected(editor: AnnotationEditor, group: str | None) -> None:
    """Put copies of the selected regions into a group and select them."""
    if group in editor.hidden | editor.locked:
        title = "This group" if group is None else f'"{group}"'
        editor.report(
            CamelyonError(f"{title} is hidden or locked. Show and unlock it to copy into it.")
        )
        return
    copies = copies_for_group(editor.now, editor.selected, group)
    if copies:
        editor.add(f"copy to {'no group' if group is None else group}", copies)


def say_meaning(editor: AnnotationEditor, name: str, meaning: Meaning) -> None:
    """Let a group mean something, from now on instead of what the names say."""
    editor.say_meanings(with_meaning(editor.now, editor.own_profile, name, meaning))


def open_map(editor: AnnotationEditor, path: Path) -> None:
    """Let the groups mean what a file says."""
    try:
        profile = read_profile(path)
    except CamelyonError as error:
        editor.report(error)
        return
    editor.say_meanings(profile)
    if not (profile.tumour | profile.cut_out) & set(editor.group_names()):
        spoken_of = ", ".join(sorted(profile.tumour | profile.cut_out))
        show_warning(
            f"{path.name} speaks of {spoken_of}, and none of these groups is here. Nothing means "
            "tumour now."
        )


def save_map(editor: AnnotationEditor, path: Path) -> None:
    """Write what the groups mean to a file."""
    try:
        write_profile(editor.profile.profile, path)
    except CamelyonError as error:
        editor.report(error)
    else:
        show_info(f"Saved {path}")


# -- menus --------------------------------------------------------------------------------------


def fill_group_menu(
    menu: QMenu,
    editor: AnnotationEditor,
    name: str | None,
    *,
    ask_name: Callable[[], object],
    ask_colour: Callable[[], object],
) -> None:
    """Put into a menu what can be done with a group and with the map of all groups.

    Parameters
    ----------
    menu : QMenu
    editor : AnnotationEditor
    name : str or None
        The group; None for the annotations without one, with which little can be done.
    ask_name, ask_colour : callable
        Begin to ask for another name or colour.
    """
    menu.clear()
    menu.setToolTipsVisible(True)
    if name is not None:
        fill_means_menu(menu.addMenu("Means"), editor, name)
        _fill_parents(menu.addMenu("Put under"), editor, name)
        menu.addAction("Rename").triggered.connect(lambda _on=False: ask_name())
        colour = menu.addAction("Colour …")
        colour.triggered.connect(lambda _on=False: ask_colour())
        delete = menu.addAction("Delete group")
        delete.triggered.connect(lambda _on=False: delete_group(editor, name))
        row = next(row for row in group_tree(editor.now) if row.name == name)
        colour.setEnabled(row.under is None)  # it is drawn in that of the outermost group
        delete.setEnabled(not row.regions and not row.has_subgroups)
        menu.addSeparator()
    by_name = menu.addAction("Meanings by name")
    by_name.setToolTip(choose_profile(editor.now).reason)
    by_name.setCheckable(True)
    by_name.setChecked(editor.own_profile is None)
    by_name.triggered.connect(lambda _on=False: editor.say_meanings(None))
    ask = partial(_ask_for_map, menu.parentWidget(), editor)
    menu.addAction("Open map …").triggered.connect(lambda _on=False: ask(saving=False))
    menu.addAction("Save map …").triggered.connect(lambda _on=False: ask(saving=True))


def fill_means_menu(menu: QMenu, editor: AnnotationEditor, name: str) -> None:
    """Put into a menu what a group can mean."""
    profile, groups = editor.profile.profile, editor.now.groups
    chosen = "tumour" if name in profile.tumour else "cut-out" if name in profile.cut_out else ""
    parent = next((group.parent for group in groups if group.name == name), None)
    inherited = group_meaning(parent, groups, profile)
    titles = dict(MEANINGS)
    if inherited and parent is not None:
        titles[""] = f"as {_literal(parent)}: {MEANINGS[inherited]}"
    for meaning, title in titles.items():
        action = menu.addAction(title)
        action.setCheckable(True)
        action.setChecked(meaning == chosen)
        action.triggered.connect(
            lambda _on=False, meaning=meaning: say_meaning(editor, name, meaning)
        )


def _fill_parents(menu: QMenu, editor: AnnotationEditor, name: str) -> None:
    now = next((group.parent for group in editor.now.groups if group.name == name), None)
    for parent in (None, *possible_parents(editor.now, name)):
        action = menu.addAction("no group" if parent is None else _literal(parent))
        action.setCheckable(True)
        action.setChecked(parent == now)
        action.triggered.connect(lambda _on=False, parent=parent: put_under(editor, name, parent))


def _literal(name: str) -> str:
    return name.replace("&", "&&")  # no key of a menu


def _ask_for_map(parent: QWidget | None, editor: AnnotationEditor, *, saving: bool) -> None:
    folder = "" if editor.path is None else str(editor.path.parent)
    if saving:
        start = str(Path(folder) / "groups.json")
        name, _ = QFileDialog.getSaveFileName(parent, "Save what the groups mean", start, _MAPS)
        if name:
            save_map(editor, Path(name))
    else:
        name, _ = QFileDialog.getOpenFileName(parent, "Open what the groups mean", folder, _MAPS)
        if name:
            open_map(editor, Path(name))
