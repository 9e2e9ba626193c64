"""A person's word on a node over the program's, with a history that forgets nothing.

Entries are only ever added. Taking an override back is an entry too, so that it can be read later
who said what, when and why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from napari_camelyon.errors import StagingError
from napari_camelyon.staging.nodes import NodeClass, NodeResult, parse_node_class

__all__ = [
    "Override",
    "apply_overrides",
    "is_outdated",
    "override_node",
    "overrides_in_force",
    "undo_override",
]

Node = NodeResult | str | None
"""A node's result, its plain class, or None when it failed or is missing."""


@dataclass(frozen=True, slots=True)
class Override:
    """One entry of the history.

    Attributes
    ----------
    action : {"set", "undo"}
        Undo takes back the last override of the node that is in force.
    node : str
        Name of the node.
    node_class : {"negative", "itc", "micro", "macro"} or None
        What holds from now on; None: what the program finds.
    previous : same, or None
        What held before; None: the node had no result.
    computed : same, or None
        What the program had found at the time; None: nothing.
    reason : str
        Why, in the person's words.
    initials : str
        Whose word it is.
    time_utc : str
        When, ISO 8601 in UTC.
    """

    action: Literal["set", "undo"]
    node: str
    node_class: NodeClass | None
    previous: NodeClass | None
    computed: NodeClass | None
    reason: str
    initials: str
    time_utc: str

    def describe(self) -> str:
        """Return the entry as a sentence."""
        when = self.time_utc[:16].replace("T", " ")
        if self.action == "undo":
            return f"{self.initials} took back what was said of {self.node} ({when} UTC)."
        found = f"found {self.computed}" if self.computed else "had no result"
        return (
            f"{self.node} was set to {self.node_class} by {self.initials} ({when} UTC): "
            f"{_as_sentence(self.reason)} The program {found}."
        )


def override_node(
    history: Sequence[Override],
    node: str,
    node_class: str,
    *,
    computed: NodeClass | None,
    reason: str,
    initials: str,
    now: datetime | None = None,
) -> tuple[Override, ...]:
    """Return the history with one more override.

    Parameters
    ----------
    history : sequence of Override
    node : str
    node_class : str
        What the person says it is.
    computed : str or None
        What the program says it is.
    reason, initials : str
        Neither may be empty.
    now : datetime or None
        With a time zone; None: this moment.

    Raises
    ------
    StagingError
        A reason or the initials are missing, or the class is unknown.
    """
    if not reason.strip():
        raise StagingError(
            f"Say why {node} is {node_class}: an override without a reason helps nobody later."
        )
    return (
        *history,
        Override(
            action="set",
            node=node,
            node_class=parse_node_class(node_class, node),
            previous=_in_force(history, node, computed),
            computed=computed,
            reason=reason.strip(),
            initials=_initials(initials),
            time_utc=_time(now),
        ),
    )


def undo_override(
    history: Sequence[Override],
    node: str,
    *,
    computed: NodeClass | None,
    initials: str,
    now: datetime | None = None,
) -> tuple[Override, ...]:
    """Return the history with the last override of a node taken back.

    What held before holds again: an earlier override, or what the program finds.

    Raises
    ------
    StagingError
        There is nothing to take back, or the initials are missing.
    """
    standing = _standing(history).get(node, [])
    if not standing:
        raise StagingError(f"Nobody has set {node}, so there is nothing to take back.")
    before = standing[-2].node_class if len(standing) > 1 else None
    return (
        *history,
        Override(
            action="undo",
            node=node,
            node_class=before,
            previous=standing[-1].node_class,
            computed=computed,
            reason="",
            initials=_initials(initials),
            time_utc=_time(now),
        ),
    )


def overrides_in_force(history: Iterable[Override]) -> dict[str, Override]:
    """Return the override that holds for each node that has one."""
    return {node: entries[-1] for node, entries in _standing(history).items() if entries}


def apply_overrides(nodes: Mapping[str, Node], history: Iterable[Override]) -> dict[str, Node]:
    """Return the nodes with what persons said of them.

    A result keeps its size and lesions; its class is certain then, and complete. A node without a
    result becomes a plain class. Overrides of nodes that are not there change nothing.
    """
    held = overrides_in_force(history)
    return {name: _with(node, held.get(name)) for name, node in nodes.items()}


def is_outdated(override: Override, node: Node) -> bool:
    """Tell whether the program says something else of a node by now than when it was overridden."""
    return _class_of(node) != override.computed


def _with(node: Node, override: Override | None) -> Node:
    if override is None or override.node_class is None:
        return node
    if not isinstance(node, NodeResult):
        return override.node_class
    return replace(
        node,
        node_class=override.node_class,
        possible_classes=(override.node_class,),
        computed_share=None,
        reasons=(override.describe(), *node.reasons),
    )


def _standing(history: Iterable[Override]) -> dict[str, list[Override]]:
    """Return the overrides of each node that were not taken back, the last in force."""
    standing: dict[str, list[Override]] = {}
    for entry in history:
        entries = standing.setdefault(entry.node, [])
        if entry.action == "set":
            entries.append(entry)
        elif entries:
            entries.pop()
    return standing


def _in_force(
    history: Sequence[Override], node: str, computed: NodeClass | None
) -> NodeClass | None:
    held = overrides_in_force(history).get(node)
    return computed if held is None else held.node_class


def _class_of(node: Node) -> str | None:
    return node.node_class if isinstance(node, NodeResult) else node


def _initials(text: str) -> str:
    if not text.strip():
        raise StagingError("Give your initials: an override says whose word it is.")
    return text.strip()


def _time(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
