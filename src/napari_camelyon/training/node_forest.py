"""Training the learned call of nodes: a random forest over features of heatmaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import StagingError
from napari_camelyon.staging import NODE_CLASSES, NodeClass
from napari_camelyon.staging.learned_node import NodeForest, Tree

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

__all__ = ["TrainedForest", "train_node_forest"]

_LEAST_NODES = 8
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class TrainedForest:
    """A forest, and how it did on nodes that it had not seen.

    Attributes
    ----------
    forest : NodeForest
        Trained on all nodes.
    held_out : mapping of str to str
        For each node, what a forest says that was trained without its patient.
    """

    forest: NodeForest
    held_out: Mapping[str, NodeClass]


def train_node_forest(
    features: Mapping[str, NDArray[np.float64]],
    classes: Mapping[str, NodeClass],
    *,
    patients: Mapping[str, str] | None = None,
    trees: int = 200,
    seed: int = 0,
    model_sha256: str = "",
) -> TrainedForest:
    """Train a forest, and say how it does on patients that it has not seen.

    Parameters
    ----------
    features : mapping of str to ndarray of float64, shape (35,)
        From `napari_camelyon.staging.node_features`, by node.
    classes : mapping of str to str
        The true class of each.
    patients : mapping of str to str, optional
        Whose node each is: those of one patient are held out together. None: each is its own.
    trees : int
    seed : int
        The same seed and nodes give the same forest.
    model_sha256 : str
        Whose heatmaps they are.

    Raises
    ------
    StagingError
        scikit-learn is missing, names do not fit, or there are fewer than eight nodes or two
        classes.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise StagingError(
            "Training needs scikit-learn. Install it with: pip install 'napari-camelyon[learn]'."
        ) from error
    names = sorted(features)
    if set(names) != set(classes):
        odd = sorted(set(names) ^ set(classes))[0]
        raise StagingError(f"{odd} has no {'class' if odd in features else 'heatmap'}.")
    if len(names) < _LEAST_NODES or len(set(classes.values())) < 2:
        raise StagingError(
            f"A classifier needs at least {_LEAST_NODES} nodes of two classes; there are "
            f"{len(names)} of {len(set(classes.values()))}."
        )
    table = np.stack([features[name] for name in names])
    truth = np.array([NODE_CLASSES.index(classes[name]) for name in names])
    groups = [name if patients is None else patients[name] for name in names]

    def fitted(rows: Sequence[int] | NDArray[np.intp]) -> NodeForest:
        forest = RandomForestClassifier(
            n_estimators=trees, min_samples_leaf=2, class_weight="balanced", random_state=seed
        )
        forest.fit(table[rows], truth[rows])
        kinds = [int(kind) for kind in forest.classes_]
        made = tuple(_tree(one, kinds) for one in forest.estimators_)
        return NodeForest(made, len(rows), model_sha256)

    held_out: dict[str, NodeClass] = {}
    folds = min(_FOLDS, len(set(groups)))
    for seen, unseen in GroupKFold(folds).split(table, truth, groups) if folds > 1 else ():
        part = fitted(seen)
        for row in unseen.tolist():
            held_out[names[row]] = NODE_CLASSES[int(part.probabilities(table[row]).argmax())]
    return TrainedForest(fitted(np.arange(len(names))), held_out)


def _tree(fitted: "DecisionTreeClassifier", kinds: Sequence[int]) -> Tree:
    tree = fitted.tree_
    shares = np.zeros((tree.node_count, len(NODE_CLASSES)))
    values = tree.value[:, 0, :]
    shares[:, kinds] = values / values.sum(axis=1, keepdims=True)
    is_leaf = tree.children_left < 0
    return Tree(
        feature=np.where(is_leaf, -1, tree.feature).astype(np.int64),
        limit=np.where(is_leaf, 0.0, tree.threshold),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        shares=shares,
    )
