"""Calling nodes by other methods than size, and the learned classifier against scikit-learn."""

import json

import numpy as np
import pytest

from napari_camelyon.errors import ResultError, StagingError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import (
    FEATURE_NAMES,
    NODE_CLASSES,
    NODE_METHODS,
    PatchRule,
    call_node,
    classify_node,
    find_lesions,
    node_features,
    read_forest,
    read_node,
    write_forest,
    write_node,
)
from napari_camelyon.training.node_forest import train_node_forest


def heatmap(values):
    """Cells of 50 by 50 µm, side by side."""
    values = np.asarray(values, dtype=np.float32)
    return Heatmap(Grid(*values.shape, 0, 0, 200, 200, 200, 200), values, (0.25, 0.25))


def with_block(rows, columns, *, value=0.95, side=100):
    values = np.full((side, side), 0.01)
    values[5 : 5 + rows, 5 : 5 + columns] = value
    return heatmap(values)


def test_size_is_the_default_and_what_classifying_says():
    field = with_block(4, 8)
    assert call_node(field, name="n") == classify_node(find_lesions(field), heatmap=field, name="n")
    assert call_node(field).method == NODE_METHODS[0] == "size"


def test_a_cluster_is_called_by_its_extent_and_a_patch_alone_is_ignored():
    assert call_node(with_block(1, 1), method="clusters").node_class == "negative"
    assert call_node(with_block(2, 4), method="clusters").node_class == "itc"  # 0.2 mm
    assert call_node(with_block(2, 5), method="clusters").node_class == "micro"
    assert call_node(with_block(41, 2), method="clusters").node_class == "macro"
    node = call_node(with_block(2, 5), method="clusters")
    assert "longest extends over 0.25 mm" in node.reasons[0]
    assert "never validated" in node.reasons[1]


def test_the_patch_threshold_decides_what_counts():
    field = with_block(2, 5, value=0.75)
    assert call_node(field, method="clusters").node_class == "negative"
    assert call_node(field, method="clusters", patch_rule=PatchRule(0.7)).node_class == "micro"


def test_the_proportion_is_that_of_computed_patches():
    field = with_block(10, 10)
    assert call_node(field, method="proportion").node_class == "micro"  # 1 %
    field.values[20:] = np.nan
    node = call_node(field, method="proportion")
    assert node.node_class == "macro"  # 5 %
    assert "100 of 2000 patches (5.00%)" in node.reasons[0]
    assert call_node(with_block(0, 0), method="proportion").node_class == "negative"


def test_the_area_is_compared_with_discs():
    # A disc of 0.2 mm has 0.0314 mm², twelve and a half cells.
    assert call_node(with_block(3, 4), method="area").node_class == "itc"
    assert call_node(with_block(1, 13), method="area").node_class == "micro"
    assert call_node(with_block(36, 36), method="area").node_class == "macro"


def test_what_is_impossible_is_named():
    with pytest.raises(StagingError, match="no method 'vote'"):
        call_node(with_block(2, 2), method="vote")
    with pytest.raises(StagingError, match="train-node"):
        call_node(with_block(2, 2), method="learned")
    with pytest.raises(StagingError, match="must rise"):
        PatchRule(micro_share=0.5, macro_share=0.1)
    with pytest.raises(StagingError, match="threshold 1"):
        PatchRule(threshold=1)


def test_the_method_is_kept_with_the_node(tmp_path):
    node = call_node(with_block(2, 5), method="area", name="n")
    write_node(node, tmp_path)
    assert read_node(tmp_path).method == "area"
    assert read_node(tmp_path).node_class == node.node_class


def test_features_are_of_the_largest_lesion_at_each_threshold():
    values = np.full((60, 60), 0.01)
    values[5:15, 5:15] = 0.65
    values[30:34, 30:34] = 0.95
    found = dict(zip(FEATURE_NAMES, node_features(heatmap(values)), strict=True))
    assert found["lesions_0.6"] == 2
    assert found["lesions_0.8"] == 1
    assert found["max_probability_0.6"] == pytest.approx(0.65)
    assert found["max_probability_0.8"] == pytest.approx(0.95)
    assert found["positive_share_0.5"] == pytest.approx(116 / 3600)
    assert not any(node_features(with_block(0, 0)))


def made_nodes(count=60):
    rng = np.random.default_rng(6)
    sizes = {"negative": 0, "itc": 2, "micro": 12, "macro": 50}
    features, classes = {}, {}
    for number in range(count):
        kind = NODE_CLASSES[number % 4]
        side = sizes[kind] + int(rng.integers(0, 2)) * (kind != "negative")
        field = with_block(side, side, value=rng.uniform(0.7, 0.99))
        features[f"n{number}"], classes[f"n{number}"] = node_features(field), kind
    return features, classes


def test_a_forest_from_json_says_what_scikit_learn_says(
    tmp_path,
):
    from sklearn.ensemble import RandomForestClassifier

    features, classes = made_nodes()
    trained = train_node_forest(features, classes, trees=20, seed=3)
    assert set(trained.held_out) == set(classes)
    right = np.mean([trained.held_out[name] == classes[name] for name in classes])
    assert right > 0.9
    path = tmp_path / "forest.json"
    write_forest(trained.forest, path)
    back = read_forest(path)

    names = sorted(features)
    table = np.stack([features[name] for name in names])
    oracle = RandomForestClassifier(
        n_estimators=20, min_samples_leaf=2, class_weight="balanced", random_state=3
    ).fit(table, [NODE_CLASSES.index(classes[name]) for name in names])
    ours = np.array([back.probabilities(row) for row in table])
    np.testing.assert_allclose(ours, oracle.predict_proba(table), atol=1e-9)

    node = call_node(with_block(50, 50), method="learned", forest=back)
    assert node.node_class == "macro"
    assert "60 nodes" in node.reasons[0]


def test_nodes_of_one_patient_are_held_out_together():
    features, classes = made_nodes(16)
    alone = train_node_forest(features, classes, patients=dict.fromkeys(classes, "p"), trees=5)
    assert alone.held_out == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(features=["x"]), "other features"),
        (lambda e: e.update(trees=[]), "damaged"),
        (lambda e: e["trees"][0]["left"].__setitem__(0, 0), "damaged"),
        (lambda e: e["trees"][0]["shares"].pop(), "damaged"),
        (lambda e: e["trees"][0]["feature"].__setitem__(0, 999), "damaged"),
    ],
)
def test_a_damaged_forest_is_explained(tmp_path, change, message):
    features, classes = made_nodes(16)
    path = tmp_path / "forest.json"
    write_forest(train_node_forest(features, classes, trees=3).forest, path)
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(ResultError, match=message):
        read_forest(path)


def test_too_few_nodes_are_refused():
    features, classes = made_nodes(6)
    with pytest.raises(StagingError, match="at least 8 nodes"):
        train_node_forest(features, classes)
    with pytest.raises(StagingError, match="n0 has no class"):
        train_node_forest(features, {name: kind for name, kind in classes.items() if name != "n0"})
