"""A model specification is true to its file, and what cannot be true is refused in a sentence."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import FileWriteError, ModelError
from napari_camelyon.specs import ModelSpec, read_model_spec, write_model_spec

three = st.tuples(*[st.floats(0.01, 1)] * 3)


@st.composite
def specs(draw):
    names = draw(st.lists(st.text(min_size=1), min_size=2, max_size=4).map(tuple))
    patch_px = draw(st.integers(1, 2048))
    centre_px = draw(st.none() | st.integers(1, patch_px))
    meanings = ["any_tumour", "covered_fraction"] + (["centre"] if centre_px else [])
    return ModelSpec(
        name=draw(st.text(min_size=1)),
        patch_px=patch_px,
        patch_mpp=draw(st.floats(0.05, 20)),
        class_names=names,
        tumour_class=draw(st.integers(0, len(names) - 1)),
        activation=draw(st.sampled_from(["softmax", "sigmoid"])),
        mean=draw(three),
        std=draw(three),
        value_meaning=draw(st.sampled_from(meanings)),
        centre_px=centre_px,
        stride_um=draw(st.none() | st.floats(0.1, 1000)),
        threshold=draw(st.floats(0.001, 0.999)),
        description=draw(st.text()),
        architecture=draw(st.text()),
        licence=draw(st.none() | st.text()),
        source=draw(st.none() | st.text()),
        stain=draw(st.none() | st.just(((0.65, 0.704, 0.286), (0.072, 0.99, 0.105)))),
    )


@given(spec=specs())
def test_a_specification_comes_back_as_it_was_written(tmp_path_factory, spec):
    path = tmp_path_factory.mktemp("specs") / "model.json"
    write_model_spec(spec, path)
    assert read_model_spec(path) == spec


def test_the_field_is_the_patch_in_micrometres():
    assert ModelSpec("pcam", patch_px=96, patch_mpp=0.972).field_um == pytest.approx(93.3, abs=0.1)


def test_only_name_and_patch_are_needed(tmp_path):
    (tmp_path / "m.json").write_text('{"name": "m", "patch_px": 128, "patch_mpp": 0.5}')
    assert read_model_spec(tmp_path / "m.json") == ModelSpec("m", 128, 0.5)


VALID = asdict(ModelSpec("m", 128, 0.5, value_meaning="centre", centre_px=32))
NAN = float("nan")

IMPOSSIBLE = [
    ("name", 7, "text as its name"),
    ("description", None, "text as its description"),
    ("patch_px", 0, "patches of 0 px"),
    ("patch_px", 96.0, "patches of 96.0 px"),
    ("patch_px", "96", "patches of '96' px"),
    ("patch_px", True, "patches of True px"),
    ("patch_mpp", 0.01, "0.05–20"),
    ("patch_mpp", 400, "0.05–20"),
    ("patch_mpp", NAN, "0.05–20"),
    ("patch_mpp", "0.5", "0.05–20"),
    ("class_names", "normal", "list of texts"),
    ("class_names", ["normal", 1], "list of texts"),
    ("class_names", [], "names 0 classes"),
    ("class_names", ["tumour"], "names 1 classes"),
    ("tumour_class", 2, "names 2 classes"),
    ("tumour_class", -1, "names 2 classes"),
    ("tumour_class", "tumour", "names 2 classes"),
    ("activation", "relu", "softmax, sigmoid, none"),
    ("activation", ["softmax"], "softmax, sigmoid, none"),
    ("mean", [0.5, 0.5], "three means"),
    ("mean", 0.5, "three means"),
    ("mean", [0.5, 0.5, "0.5"], "three means"),
    ("std", [0.2, 0.2, 0], "three means"),
    ("std", [0.2, 0.2, NAN], "three means"),
    ("value_meaning", "area", "any_tumour, centre, covered_fraction"),
    ("centre_px", None, "needs centre_px"),
    ("centre_px", 0, "centre of 0 px"),
    ("centre_px", 129, "centre of 129 px"),
    ("stride_um", 0, "stride of 0"),
    ("stride_um", NAN, "stride of nan"),
    ("threshold", 0, "between 0 and 1"),
    ("threshold", 1.0, "between 0 and 1"),
    ("threshold", NAN, "between 0 and 1"),
    ("threshold", None, "between 0 and 1"),
    ("architecture", None, "text as its architecture"),
    ("licence", 4, "text as its licence"),
    ("source", ["here"], "text as its source"),
    ("stain", [[0.65, 0.7, 0.29]], "vectors of optical density"),
    ("stain", [[0.65, 0.7, 0.29], [0.07, 0.99]], "vectors of optical density"),
    ("stain", [[0.65, 0.7, 0.29], [0.5, 0.5, 0.5]], "vectors of optical density"),
]


@pytest.mark.parametrize(("entry", "value", "message"), IMPOSSIBLE)
def test_what_cannot_be_true_is_named(tmp_path, entry, value, message):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(VALID | {entry: value}))
    with pytest.raises(ModelError, match=message):
        read_model_spec(path)


def test_one_class_needs_a_sigmoid():
    ModelSpec("m", 128, 0.5, class_names=("tumour",), tumour_class=0, activation="sigmoid")
    with pytest.raises(ModelError, match="softmax is always 1"):
        ModelSpec("m", 128, 0.5, class_names=("tumour",), tumour_class=0)


def test_numbers_of_numpy_are_numbers():
    assert ModelSpec("m", np.int64(128), np.float64(0.5)).field_um == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "one JSON object"),
        (b"{}", "incomplete.*name"),
        (json.dumps(VALID | {"colour": 1}).encode(), "unknown entries: colour"),
    ],
)
def test_files_that_are_no_specification_are_explained(tmp_path, content, message):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_model_spec(path)
    assert str(path) in str(caught.value)


def test_a_missing_specification_is_explained(tmp_path):
    with pytest.raises(ModelError, match="no model specification at"):
        read_model_spec(tmp_path / "model.json")


def test_a_folder_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileWriteError):
        write_model_spec(ModelSpec("m", 128, 0.5), tmp_path / "taken" / "model.json")
