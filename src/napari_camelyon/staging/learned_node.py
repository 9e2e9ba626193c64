"""A random forest over features of heatmaps, as plain JSON: applied here, made in training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import ResultError
from napari_camelyon.files import read_json_result, write_json
from napari_camelyon.staging.node_features import FEATURE_NAMES
from napari_camelyon.staging.nodes import NODE_CLASSES

__all__ = ["NodeForest", "Tree", "read_forest", "write_forest"]

_NEWEST_SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A decision tree; arrays hold one entry a node of it, the root first.

    Attributes
    ----------
    feature : ndarray of int64, shape (n,)
        Which feature is asked; -1 in leaves.
    limit : ndarray of float64, shape (n,)
        At most this goes to the left.
    left, right : ndarray of int64, shape (n,)
        What comes next; -1 in leaves.
    shares : ndarray of float64, shape (n, 4)
        Of the classes, the least first.
    """

    feature: NDArray[np.int64]
    limit: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    shares: NDArray[np.float64]

    def leaf(self, features: NDArray[np.float64]) -> int:
        """Return the leaf that features lead to."""
        place = 0
        while self.feature[place] >= 0:
            goes_left = features[self.feature[place]] <= self.limit[place]
            place = int(self.left[place] if goes_left else self.right[place])
        return place


@dataclass(frozen=True, slots=True, eq=False)
class NodeForest:
    """Trees whose shares are averaged.

    Attributes
    ----------
    trees : tuple of Tree
    nodes : int
        How many lymph nodes it was trained on.
    model_sha256 : str
        Whose heatmaps they were; empty when unknown.
    """

    trees: tuple[Tree, ...]
    nodes: int
    model_sha256: str = ""

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean shares of the classes, shape (4,)."""
        # scikit-learn asks in single precision.
        asked = features.astype(np.float32).astype(np.float64)
        return np.asarray(np.mean([tree.shares[tree.leaf(asked)] for tree in self.trees], axis=0))


def write_forest(forest: NodeForest, path: Path | str) -> None:
    """Write a forest as JSON. Raises `FileWriteError`."""
    trees = [
        {
            "feature": tree.feature.tolist(),
            "limit": tree.limit.tolist(),
            "left": tree.left.tolist(),
            "right": tree.right.tolist(),
            "shares": tree.shares.tolist(),
        }
        for tree in forest.trees
    ]
    write_json(
        {
            "schema_version": _NEWEST_SCHEMA,
            "features": FEATURE_NAMES,
            "classes": NODE_CLASSES,
            "nodes": forest.nodes,
            "model_sha256": forest.model_sha256,
            "trees": trees,
            "note": "Not validated. Research software, not a medical device.",
        },
        path,
    )


def read_forest(path: Path | str) -> NodeForest:
    """Read a forest.

    Raises
    ------
    ResultError
        It is missing, damaged, of other features, or follows a newer schema.
    """
    path = Path(path)
    entries = read_json_result(path, newest_schema=_NEWEST_SCHEMA)
    if tuple(entries.get("features", ())) != FEATURE_NAMES:
        raise ResultError(f"{path} was made of other features. Train the classifier again.")
    try:
        trees = tuple(_tree(one) for one in entries["trees"])
        if not trees or tuple(entries["classes"]) != NODE_CLASSES:
            raise ValueError("no trees, or other classes")
        return NodeForest(trees, int(entries["nodes"]), str(entries["model_sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path} is damaged ({error}). Train the classifier again.") from error


def _tree(entries: dict[str, Any]) -> Tree:
    feature = np.array(entries["feature"], dtype=np.int64)
    left = np.array(entries["left"], dtype=np.int64)
    right = np.array(entries["right"], dtype=np.int64)
    limit = np.array(entries["limit"], dtype=np.float64)
    shares = np.array(entries["shares"], dtype=np.float64)
    count = len(feature)
    inner = feature >= 0
    places = np.arange(count)
    # Children come after their parent, so that no tree leads in a circle.
    fits = (
        count > 0
        and limit.shape == left.shape == right.shape == (count,)
        and shares.shape == (count, len(NODE_CLASSES))
        and (feature < len(FEATURE_NAMES)).all()
        and all(
            (child[inner] > places[inner]).all() and (child[inner] < count).all()
            for child in (left, right)
        )
    )
    if not fits:
        raise ValueError("a tree does not hold together")
    return Tree(feature, limit, left, right, shares)
