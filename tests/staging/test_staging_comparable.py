"""Heatmaps of another model or grid than their neighbours are named."""

import numpy as np
import pytest

from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import check_comparable


def heatmap(*, stride_px=64, mpp=0.25, model="a", sha="1" * 64, meaning="any_tumour"):
    return Heatmap(
        Grid(4, 4, 0, 0, 128, 128, stride_px, stride_px), np.zeros((4, 4), np.float32),
        (mpp, mpp), model_name=model, model_sha256=sha, value_meaning=meaning,
    )  # fmt: skip


def test_heatmaps_that_are_alike_are_nothing_to_tell_of():
    assert check_comparable({}) == ()
    assert check_comparable({"n1": heatmap()}) == ()
    assert check_comparable({"n1": heatmap(), "n2": heatmap(mpp=0.25001)}) == ()


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"model": "b", "sha": "2" * 64}, "model"),
        ({"sha": "2" * 64}, "model"),
        ({"stride_px": 128}, "grid"),
        ({"meaning": "covered_fraction"}, "kind of value"),
    ],
)
def test_the_odd_one_is_named_and_why(other, word):
    nodes = {"n1": heatmap(), "n2": heatmap(**other), "n3": heatmap()}
    (sentence,) = check_comparable(nodes)
    assert sentence.startswith(f"n2 has another {word} (")


def test_a_heatmap_that_does_not_tell_its_model_is_not_held_against_it():
    assert check_comparable({"n1": heatmap(), "n2": heatmap(model="", sha="")}) == ()
