"""The pN stage of a patient from the classes of the nodes, with reasons and bounds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from napari_camelyon.errors import StagingError
from napari_camelyon.staging.nodes import NODE_CLASSES, NodeClass, NodeResult, parse_node_class
from napari_camelyon.staging.overrides import (
    Node,
    Override,
    apply_overrides,
    is_outdated,
    overrides_in_force,
)

__all__ = [
    "AJCC_STAGES",
    "EXPECTED_NODES",
    "SCHEMES",
    "STAGES",
    "PatientResult",
    "Scheme",
    "Stage",
    "stage_of_counts",
    "stage_patient",
    "stages_of",
]

Stage = Literal["pN0", "pN0(i+)", "pN1mi", "pN1", "pN2", "pN1a", "pN2a", "pN3a"]
"""A stage of either scheme."""

Scheme = Literal["camelyon17", "ajcc8"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
"""By which rule nodes make a stage: that of the challenge, or of clinics."""

STAGES: tuple[Stage, ...] = ("pN0", "pN0(i+)", "pN1mi", "pN1", "pN2")
"""The stages of CAMELYON17, the lowest first: the order of its kappa."""

AJCC_STAGES: tuple[Stage, ...] = ("pN0", "pN0(i+)", "pN1mi", "pN1a", "pN2a", "pN3a")
"""The stages of AJCC/UICC, 8th edition, breast, that axillary nodes on slides can give.

What else is in its table (internal mammary, infra- and supraclavicular nodes, molecular findings)
is not seen on these slides.
"""

_SENTINEL_NODES_BELOW = 6
"""With this many nodes or more ``(sn)`` is not used (CAP protocol for invasive breast cancer)."""

EXPECTED_NODES = 5
"""Nodes of each patient in CAMELYON17."""


@dataclass(frozen=True, slots=True)
class PatientResult:
    """The pN stage of a patient and what it rests on.

    Attributes
    ----------
    name : str
        Of the patient.
    stage : str
        By the scheme's rule from the nodes that have a class; equal to `lowest`.
    lowest, highest : str
        The stages between which the truth lies whatever the nodes without a result, and the
        unfinished ones, turn out to be.
    possible_stages : tuple of str
        All stages that they allow, the lowest first.
    nodes : mapping of str to str or None
        Class of each node by name; None where there is none.
    unfinished : tuple of str
        Names of nodes whose class is a lower bound only.
    absent : int
        How many expected nodes were not given at all.
    reasons : tuple of str
        Sentences for people.
    scheme : {"camelyon17", "ajcc8"}
        By which rule.
    sentinel : bool
        Whether the stage bears ``(sn)``: only sentinel nodes were taken.
    overrides : tuple of Override
        Everything that persons said of nodes; `nodes` holds what is in force.
    """

    name: str
    stage: Stage
    lowest: Stage
    highest: Stage
    possible_stages: tuple[Stage, ...]
    nodes: Mapping[str, NodeClass | None]
    unfinished: tuple[str, ...]
    absent: int
    reasons: tuple[str, ...]
    scheme: Scheme = "camelyon17"
    sentinel: bool = False
    overrides: tuple[Override, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether no missing or unfinished node can change the stage."""
        return self.lowest == self.highest

    @property
    def statement(self) -> str:
        """The stage as one may say it: "pN1", or "at least pN1mi" while nodes are missing."""
        stage = f"{self.stage}(sn)" if self.sentinel else self.stage
        return stage if self.is_certain else f"at least {stage}"

    def describe(self) -> str:
        """Return the statement with its reasons, for people."""
        return " ".join((f"{self.statement}.", *self.reasons))

    @property
    def counts(self) -> dict[NodeClass, int]:
        """How many nodes have each class."""
        found = Counter(self.nodes.values())
        return {node_class: found[node_class] for node_class in NODE_CLASSES}


def stage_patient(
    nodes: Mapping[str, Node] | Iterable[Node],
    *,
    name: str = "",
    expected_nodes: int | None = EXPECTED_NODES,
    scheme: Scheme = "camelyon17",
    sentinel_only: bool = False,
    overrides: Iterable[Override] = (),
    remarks: Iterable[str] = (),
) -> PatientResult:
    """Derive the pN stage of a patient.

    Parameters
    ----------
    nodes : mapping of str to node, or iterable of nodes
        A node is a `NodeResult`, a plain class ("negative", "itc", "micro", "macro"), or None
        when it failed or is missing. Plain classes in an iterable are named by their place.
    name : str
        Of the patient.
    expected_nodes : int or None
        How many nodes there should be: fewer bound the answer. None: those given are all.
    scheme : {"camelyon17", "ajcc8"}
        By which rule; see `stage_of_counts`.
    sentinel_only : bool
        Only sentinel nodes were taken. With "ajcc8" and fewer than six nodes the stage bears
        ``(sn)`` (AJCC 8th edition; the limit is in the CAP protocol for invasive breast cancer).
    overrides : iterable of Override
        What persons said of nodes: it holds over what is given for them.
    remarks : iterable of str
        Sentences to be added to the reasons, such as those of `check_comparable`.

    Raises
    ------
    StagingError
        There is no node, none has a result, one is given twice, or a class is unknown.
    """
    if scheme not in SCHEMES:
        raise StagingError(f"There is no scheme {scheme!r}; choose one of {', '.join(SCHEMES)}.")
    given, history = _named(nodes), tuple(overrides)
    named = apply_overrides(given, history)
    classes: dict[str, NodeClass | None] = {}
    for node_name, node in named.items():
        if node is None:
            classes[node_name] = None
        elif isinstance(node, NodeResult):
            classes[node_name] = node.node_class
        else:
            classes[node_name] = parse_node_class(node, node_name)
    who = f"of {name} " if name else ""
    if not classes:
        raise StagingError(f"No node {who}was given, so there is no stage to derive.")
    if all(node_class is None for node_class in classes.values()):
        raise StagingError(f"None of the nodes {who}has a result: {', '.join(classes)}.")

    results = {key: node for key, node in named.items() if isinstance(node, NodeResult)}
    unfinished = tuple(key for key, node in results.items() if not node.complete)
    absent = max(0, (expected_nodes or 0) - len(classes))
    stage = _stage([node_class for node_class in classes.values() if node_class], scheme)
    possible = _possible_stages(classes, unfinished, absent, scheme)
    count = len(classes) + absent
    sentinel = sentinel_only and scheme == "ajcc8" and count < _SENTINEL_NODES_BELOW
    return PatientResult(
        name=name,
        stage=stage,
        lowest=possible[0],
        highest=possible[-1],
        possible_stages=possible,
        nodes=classes,
        unfinished=unfinished,
        absent=absent,
        reasons=(
            *_rule_reasons(classes, stage),
            *_sentinel_reasons(sentinel_only, scheme, count),
            *_override_reasons(given, history),
            *_near_limit_reasons(classes, results, stage, scheme),
            *_gap_reasons(classes, unfinished, absent, possible),
            *remarks,
        ),
        scheme=scheme,
        sentinel=sentinel,
        overrides=history,
    )


def stages_of(scheme: Scheme) -> tuple[Stage, ...]:
    """Return the stages of a scheme, the lowest first."""
    return AJCC_STAGES if scheme == "ajcc8" else STAGES


def stage_of_counts(itc: int, micro: int, macro: int, scheme: Scheme = "camelyon17") -> Stage:
    """Return the stage of so many nodes of each class.

    Positive nodes are the micro- and macrometastases, never ITC. None: pN0(i+) with ITC, else
    pN0. No macrometastasis: pN1mi. Otherwise, by the CAMELYON17 rule, pN1 for one to three
    positive nodes and pN2 for four or more, the end of its scale; by AJCC/UICC (8th edition,
    breast, pathological N) pN1a for one to three, pN2a for four to nine, pN3a for ten or more.
    """
    positive = micro + macro
    if positive == 0:
        return "pN0(i+)" if itc else "pN0"
    if macro == 0:
        return "pN1mi"
    if scheme == "camelyon17":
        return "pN1" if positive <= 3 else "pN2"
    return "pN1a" if positive <= 3 else "pN2a" if positive <= 9 else "pN3a"


def _named(nodes: Mapping[str, Node] | Iterable[Node]) -> dict[str, Node]:
    if isinstance(nodes, Mapping):
        return dict(nodes)
    if isinstance(nodes, str):
        raise StagingError(f"A patient's nodes are a list or a mapping, not the word {nodes!r}.")
    named: dict[str, Node] = {}
    for place, node in enumerate(nodes, start=1):
        name = node.name if isinstance(node, NodeResult) and node.name else f"node {place}"
        if name in named:
            raise StagingError(f"The node {name} is given twice; a patient has each node once.")
        named[name] = node
    return named


def _stage(classes: Iterable[NodeClass], scheme: Scheme) -> Stage:
    found = Counter(classes)
    return stage_of_counts(found["itc"], found["micro"], found["macro"], scheme)


def _possible_stages(
    classes: Mapping[str, NodeClass | None],
    unfinished: tuple[str, ...],
    absent: int,
    scheme: Scheme,
) -> tuple[Stage, ...]:
    """Return the stages over everything that missing and unfinished nodes could be."""
    choices: list[tuple[NodeClass, ...]] = [NODE_CLASSES] * absent
    for name, node_class in classes.items():
        if node_class is None:
            choices.append(NODE_CLASSES)
        elif name in unfinished:
            choices.append(NODE_CLASSES[NODE_CLASSES.index(node_class) :])
        else:
            choices.append((node_class,))
    # Only the numbers of each class matter, which keeps this small for any number of nodes.
    reached: set[tuple[int, int, int]] = {(0, 0, 0)}
    for allowed in choices:
        reached = {
            (itc + (kind == "itc"), micro + (kind == "micro"), macro + (kind == "macro"))
            for itc, micro, macro in reached
            for kind in allowed
        }
    stages = {stage_of_counts(*counts, scheme) for counts in reached}
    return tuple(stage for stage in stages_of(scheme) if stage in stages)


def _rule_reasons(classes: Mapping[str, NodeClass | None], stage: Stage) -> tuple[str, ...]:
    of_class = {
        kind: [name for name, node_class in classes.items() if node_class == kind]
        for kind in NODE_CLASSES
    }
    positive = len(of_class["micro"]) + len(of_class["macro"])
    known = sum(node_class is not None for node_class in classes.values())
    listed = "; ".join(
        f"{kind}: {', '.join(of_class[kind])}" for kind in ("macro", "micro") if of_class[kind]
    )
    cells = (
        (f"Isolated tumour cells, which do not count: {', '.join(of_class['itc'])}.",)
        if of_class["itc"]
        else ()
    )
    found = f"{positive} of {known} {_nodes(known)} with a result {_are(positive)} positive"
    rule = {
        "pN0": "no node holds tumour",
        "pN0(i+)": "isolated tumour cells only",
        "pN1mi": "micrometastases, but no macrometastasis",
        "pN1": "one to three positive nodes with at least one macrometastasis",
        "pN2": "four or more positive nodes with at least one macrometastasis",
        "pN1a": "one to three positive axillary nodes with at least one macrometastasis",
        "pN2a": "four to nine positive axillary nodes with at least one macrometastasis",
        "pN3a": "ten or more positive axillary nodes with at least one macrometastasis",
    }[stage]
    beyond = (
        ("With ten or more positive nodes AJCC/UICC would say pN3a; CAMELYON17 ends at pN2.",)
        if positive >= 10 and stage == "pN2"
        else ()
    )
    found = f"{found} ({listed})." if listed else f"{found}."
    return (found, *cells, f"{stage}: {rule}.", *beyond)


def _sentinel_reasons(sentinel_only: bool, scheme: Scheme, count: int) -> tuple[str, ...]:
    if not sentinel_only:
        return ()
    if scheme != "ajcc8":
        return ("CAMELYON17 knows no (sn); AJCC/UICC does.",)
    if count >= _SENTINEL_NODES_BELOW:
        return (f"(sn) is not used with {_SENTINEL_NODES_BELOW} or more nodes; there are {count}.",)
    return ("(sn): only sentinel nodes were taken.",)


def _override_reasons(given: Mapping[str, Node], history: Iterable[Override]) -> tuple[str, ...]:
    reasons = []
    for name, override in overrides_in_force(history).items():
        if name not in given:
            reasons.append(f"{override.describe()} It is none of the nodes here, so it is unused.")
            continue
        reasons.append(override.describe())
        node = given[name]
        if is_outdated(override, node):
            now = node.node_class if isinstance(node, NodeResult) else node
            reasons.append(
                f"The program {f'finds {now}' if now else 'has no result'} for {name} now: "
                "look at it again."
            )
    return tuple(reasons)


def _near_limit_reasons(
    classes: Mapping[str, NodeClass | None],
    results: Mapping[str, NodeResult],
    stage: Stage,
    scheme: Scheme,
) -> tuple[str, ...]:
    """Say which nodes would change the stage if their size were at the end of its uncertainty."""
    reasons = []
    for name, result in results.items():
        for other in result.possible_classes:
            others = {**classes, name: other}
            changed = _stage([kind for kind in others.values() if kind], scheme)
            if changed != stage and result.diameter_mm is not None:
                reasons.append(
                    f"{name} measures {result.diameter_mm:.2f} ± {result.margin_mm:.2f} mm: "
                    f"were it {other}, the stage would be {changed}."
                )
    return tuple(reasons)


def _gap_reasons(
    classes: Mapping[str, NodeClass | None],
    unfinished: tuple[str, ...],
    absent: int,
    possible: tuple[Stage, ...],
) -> tuple[str, ...]:
    gaps = []
    failed = [name for name, node_class in classes.items() if node_class is None]
    if failed:
        gaps.append(f"{', '.join(failed)} {'has' if len(failed) == 1 else 'have'} no result.")
    if absent:
        expected = absent + len(classes)
        gaps.append(f"{absent} of the {expected} expected nodes {_are(absent)} not there.")
    if unfinished:
        gaps.append(f"{', '.join(unfinished)} {_are(len(unfinished))} not computed to the end.")
    if gaps and len(possible) > 1:
        gaps.append(f"So the stage is at least {possible[0]} and may be up to {possible[-1]}.")
    elif gaps:
        gaps.append("That cannot change the stage.")
    return tuple(gaps)


def _nodes(count: int) -> str:
    return "node" if count == 1 else "nodes"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
