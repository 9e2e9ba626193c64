"""Uncertainty: the laws of its three parts, and where the samples come from."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from napari_camelyon.errors import ModelError
from napari_camelyon.inference import (
    NumericPath,
    choose_numeric_path,
    cost_factor,
    open_checkpoint,
    run,
    sampling_predictor,
)
from napari_camelyon.inference.sampling import SYMMETRIES
from napari_camelyon.inference.uncertainty import combine, symmetric
from napari_camelyon.models import Model
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import plan_patches

SPEC = ModelSpec("made", patch_px=16, patch_mpp=1.0, mean=(0, 0, 0), std=(1, 1, 1))
CPU = NumericPath("cpu", "torch", "fp32")
MAPS = ("uncertainty_total", "uncertainty_aleatoric", "uncertainty_epistemic")


def model_of(module, spec=SPEC, sha256="0" * 64):
    return Model(spec, module.eval(), Path("made.pt"), sha256)


def some_patches(count=5, seed=0, px=16):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, px, px, 3), dtype=np.uint8)


def predict(predictor, patches):
    try:
        return predictor.submit(patches).result()
    finally:
        predictor.close()


def assert_same(one, other):
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.maps.keys() == other.maps.keys()
    for name, values in one.maps.items():
        np.testing.assert_array_equal(values, other.maps[name])


# --- the three parts -------------------------------------------------------------------------


def slow_parts(samples):
    """The formulas, word for word, of one patch."""
    count, classes = len(samples), len(samples[0])
    mean = [math.fsum(sample[k] for sample in samples) / count for k in range(classes)]

    def entropy(p):
        return -math.fsum(x * math.log(x) for x in p if x > 0)

    total = entropy(mean)
    aleatoric = math.fsum(entropy(sample) for sample in samples) / count
    return mean, total, aleatoric, total - aleatoric


@st.composite
def distributions(draw):
    shape = (draw(st.integers(2, 9)), draw(st.integers(1, 4)), draw(st.integers(2, 5)))
    weights = draw(arrays(np.float64, shape, elements=st.floats(0, 1)))
    weights[..., 0] += 1e-3  # a distribution needs some weight
    return weights / weights.sum(axis=-1, keepdims=True)


def spec_of(classes, activation="softmax"):
    names = tuple(f"class {k}" for k in range(classes))
    return replace(SPEC, class_names=names, activation=activation)


@given(distributions())
def test_the_parts_are_what_the_formulas_say(samples):
    found = combine(list(samples), spec_of(samples.shape[2]))
    for patch in range(samples.shape[1]):
        mean, total, aleatoric, epistemic = slow_parts(samples[:, patch].tolist())
        np.testing.assert_allclose(found.probabilities[patch], mean, atol=1e-6)
        measured = [found.maps[name][patch] for name in MAPS]
        np.testing.assert_allclose(measured, [total, aleatoric, epistemic], atol=1e-6)


@given(distributions())
def test_the_total_is_the_sum_of_the_parts_and_none_is_negative(samples):
    total, aleatoric, epistemic = combine(list(samples), spec_of(samples.shape[2])).maps.values()
    np.testing.assert_allclose(total, aleatoric + epistemic, atol=1e-6)
    assert (aleatoric >= 0).all()
    assert (epistemic >= 0).all()
    assert (total <= math.log(samples.shape[2]) + 1e-6).all()


@given(distributions(), st.integers(2, 30))
def test_equal_samples_disagree_about_nothing(samples, count):
    found = combine([samples[0]] * count, spec_of(samples.shape[2]))
    assert (found.maps["uncertainty_epistemic"] == 0).all()
    np.testing.assert_array_equal(found.probabilities, samples[0].astype(np.float32))


def test_sure_and_opposite_samples_disagree_as_much_as_can_be():
    found = combine([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])], SPEC)
    assert [found.maps[name][0] for name in MAPS] == pytest.approx([math.log(2), 0, math.log(2)])


def test_of_a_sigmoid_model_it_is_tumour_against_the_rest():
    spec = replace(spec_of(3, "sigmoid"), tumour_class=2)
    samples = [np.array([[0.9, 0.8, 0.3]]), np.array([[0.1, 0.9, 0.5]])]
    found = combine(samples, spec)
    _, *expected = slow_parts([[0.7, 0.3], [0.5, 0.5]])
    assert [found.maps[name][0] for name in MAPS] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.85, 0.4]], atol=1e-6)


def test_the_cost_is_told_beforehand():
    assert cost_factor("none") == 1
    assert cost_factor("tta") == 8
    assert cost_factor("mc_dropout", samples=20) == 20
    assert cost_factor("ensemble", models=3) == 3


# --- turned and mirrored ---------------------------------------------------------------------


def test_the_eight_symmetries_are_all_there_are():
    picture = np.arange(9).reshape(1, 3, 3)
    seen = [symmetric(picture, index) for index in range(SYMMETRIES)]
    keys = {view.tobytes() for view in seen}
    assert len(keys) == SYMMETRIES
    np.testing.assert_array_equal(seen[0], picture)
    # Closed: one after another is one of them.
    for one, other in itertools.product(range(SYMMETRIES), repeat=2):
        assert symmetric(symmetric(picture, one), other).tobytes() in keys
    # All of them keep neighbours neighbours: the middle stays, corners go to corners.
    assert all(view[0, 1, 1] == 4 for view in seen)
    assert all({view[0, y, x] for y in (0, 2) for x in (0, 2)} == {0, 2, 6, 8} for view in seen)


class LeftIsDark(nn.Module):
    """Sees the left third alone: what it says changes with every turn."""

    def forward(self, pixels):
        grey = pixels[:, :, :, : pixels.shape[3] // 3].mean((1, 2, 3))
        return torch.stack([grey * 9 - 5, 4 - grey * 9], dim=1)


class Average(nn.Module):
    """Sees no direction at all."""

    def forward(self, pixels):
        grey = pixels.mean((1, 2, 3))
        return torch.stack([grey, -grey], dim=1)


def test_augmentation_is_the_mean_over_turned_and_mirrored_patches():
    patches = some_patches()
    patches[:, :, :6] //= 2
    found = predict(sampling_predictor("tta", [model_of(LeftIsDark())], CPU), patches)
    for patch, probabilities, epistemic in zip(
        patches, found.probabilities, found.maps["uncertainty_epistemic"], strict=True
    ):
        turned = [np.rot90(side, k) for side in (patch, np.fliplr(patch)) for k in range(4)]
        pixels = torch.from_numpy(np.stack(turned)).permute(0, 3, 1, 2).float() / 255
        samples = LeftIsDark()(pixels).softmax(1).numpy()
        np.testing.assert_allclose(probabilities, samples.mean(axis=0), atol=1e-5)
        assert epistemic == pytest.approx(slow_parts(samples.astype(float).tolist())[3], abs=1e-5)
        assert epistemic > 1e-3


def test_a_model_that_sees_no_direction_has_no_epistemic_uncertainty_by_turning():
    found = predict(sampling_predictor("tta", [model_of(Average())], CPU), some_patches())
    np.testing.assert_allclose(found.maps["uncertainty_epistemic"], 0, atol=1e-6)
    np.testing.assert_allclose(
        found.maps["uncertainty_total"], found.maps["uncertainty_aleatoric"], atol=1e-6
    )


# --- dropout ---------------------------------------------------------------------------------


class Dropping(nn.Module):
    """One feature behind dropout: a sample's logit is 0 or twice what it is without."""

    def __init__(self, share=0.5):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(share)

    def forward(self, pixels):
        feature = self.dropout(self.norm(pixels).mean((1, 2, 3), keepdim=True)[..., 0, 0])
        return torch.cat([-feature, feature], dim=1)


def dropping(share=0.5, samples=20, path=CPU, module=None):
    model = model_of(module or Dropping(share))
    return sampling_predictor("mc_dropout", [model], path, samples=samples)


def test_dropout_gives_what_it_says():
    white = np.full((40, 16, 16, 3), 255, np.uint8)
    found = predict(dropping(0.5, samples=100), white)
    # Half of the samples say 0.5; half say sigmoid(2 · 2 · 1), as what is kept is doubled.
    scale = 1 / math.sqrt(1 + 1e-5)  # of batch normalisation as it was made
    expected = (0.5 + 1 / (1 + math.exp(-4 * scale))) / 2
    assert found.probabilities[:, 1].mean() == pytest.approx(expected, abs=0.02)
    assert found.probabilities[:, 1].std() > 0.01  # each patch has draws of its own
    assert (found.maps["uncertainty_epistemic"] > 0.05).all()


def test_dropout_is_the_same_to_the_bit_whenever_and_in_whatever_order():
    one, other = some_patches(seed=1), some_patches(seed=2)
    first = dropping()
    torch.manual_seed(1)
    expected = [first.submit(one).result(), first.submit(other).result()]
    first.close()
    second = dropping()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    later = [second.submit(other), second.submit(one)]
    found = [pending.result() for pending in later][::-1]
    second.close()
    for left, right in zip(expected, found, strict=True):
        assert_same(left, right)
    assert torch.equal(before, torch.random.get_rng_state())  # others' numbers are left alone


def test_batches_that_hardly_differ_have_draws_of_their_own():
    white = np.full((8, 16, 16, 3), 255, np.uint8)
    other = white.copy()
    other[-1, -1, -1] = 254
    predictor = dropping()
    one, two = (predictor.submit(patches).result() for patches in (white, other))
    predictor.close()
    assert np.abs(one.probabilities - two.probabilities)[:-1].max() > 0.01


def test_only_dropout_is_left_on():
    module = Dropping(1e-9)
    patches = some_patches()
    module.norm.running_mean += 0.1
    plain = module.eval()(torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255)
    found = predict(dropping(module=module, samples=3), patches)
    np.testing.assert_allclose(found.probabilities, plain.softmax(1).detach(), atol=1e-5)
    assert not module.training
    assert not module.dropout._forward_hooks  # the model itself is left as it was
    torch.testing.assert_close(module.norm.running_mean, torch.full((3,), 0.1))


def test_dropout_survives_folding_and_half_precision():
    # Batch normalisation behind a convolution is folded, by tracing the network.
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    patches = some_patches()
    for precision in ("fp32", "bf16"):
        path = NumericPath("cpu", "torch", precision)
        found = predict(dropping(module=module, path=path), patches)
        assert (found.maps["uncertainty_epistemic"] > 1e-5).all()
        assert_same(found, predict(dropping(module=module, path=path), patches))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, pixels):
        return Average()(pixels)


def test_models_that_cannot_drop_are_refused():
    with pytest.raises(ModelError, match="no dropout layers"):
        dropping(module=Average())
    with pytest.raises(ModelError, match="no dropout layers"):
        dropping(0.0)
    program = replace(model_of(Dropping()), kind="torchscript")
    with pytest.raises(ModelError, match=r"is a program \(torchscript\)"):
        sampling_predictor("mc_dropout", [program], CPU)
    with pytest.raises(ModelError, match="at least 2 samples"):
        dropping(samples=1)
    with pytest.raises(ModelError, match="engine torch only, not openvino"):
        dropping(path=NumericPath("cpu", "openvino", "bf16"))
    with pytest.raises(ModelError, match="take no part"):
        predict(dropping(module=Unused()), some_patches())


# --- ensembles -------------------------------------------------------------------------------


class Says(nn.Module):
    """Gives every patch the same logits."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([float(logit) for logit in logits]))

    def forward(self, pixels):
        return self.logits.expand(len(pixels), -1)


def ensemble(*models):
    return sampling_predictor("ensemble", models, CPU)


def test_an_ensemble_is_the_mean_of_its_models_by_their_classes():
    first = model_of(Says(0, 1))
    swapped = model_of(
        Says(3, 0), replace(SPEC, class_names=("carcinoma", "benign"), tumour_class=0)
    )
    one_logit = model_of(Says(-0.5), replace(SPEC, activation="sigmoid"))
    in_turn = [first, swapped, one_logit], [swapped, first, one_logit]
    for models, column in zip(in_turn, (1, 0), strict=True):
        found = predict(ensemble(*models), some_patches())
        assert_mean_of_three(found, column)


def assert_mean_of_three(found, tumour_column):
    tumour = [1 / (1 + math.exp(-x)) for x in (1, 3, -0.5)]
    mean, *parts = slow_parts([[1 - p, p] for p in tumour])
    ordered = mean if tumour_column == 1 else mean[::-1]
    np.testing.assert_allclose(found.probabilities, [ordered] * 5, atol=1e-6)
    for name, expected in zip(MAPS, parts, strict=True):
        np.testing.assert_allclose(found.maps[name], expected, atol=1e-6)


def test_classes_of_several_models_are_put_in_the_first_models_order():
    names = ("normal", "tumour", "stroma")
    first = model_of(Says(0, 1, 2), replace(SPEC, class_names=names))
    other = model_of(
        Says(2, 0, 1), replace(SPEC, class_names=("stroma", "normal", "tumour"), tumour_class=2)
    )
    found = predict(ensemble(first, other), some_patches())
    expected = torch.tensor([0.0, 1, 2]).softmax(0)
    np.testing.assert_allclose(found.probabilities, expected.expand(5, -1), atol=1e-6)
    np.testing.assert_allclose(found.maps["uncertainty_epistemic"], 0, atol=1e-6)


class Width(nn.Module):
    """Says how many pixels it was given, and their mean."""

    def forward(self, pixels):
        logit = pixels.mean((1, 2, 3)) + pixels.shape[3]
        return torch.stack([torch.zeros_like(logit), logit - 8], dim=1)


def test_a_model_of_fewer_pixels_gets_the_same_field_averaged():
    patches = some_patches(px=16)
    half = model_of(Width(), replace(SPEC, patch_px=8, patch_mpp=2.0))
    found = predict(ensemble(model_of(Says(0, 0)), half), patches)
    blocks = patches.reshape(5, 8, 2, 8, 2, 3).mean(axis=(2, 4)) / 255
    logits = blocks.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(
        found.probabilities[:, 1], (0.5 + 1 / (1 + np.exp(-logits))) / 2, atol=1e-3
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patch_mpp": 1.1}, "16.0 and 17.6 µm"),
        ({"patch_px": 32, "patch_mpp": 0.5}, "more pixels first"),
        ({"value_meaning": "covered_fraction"}, "mean neither"),
        ({"value_meaning": "centre", "centre_px": 4}, "mean neither"),
        ({"class_names": ("a", "tumour", "c")}, "their classes are"),
    ],
)
def test_models_that_do_not_go_together_are_refused(changes, reason):
    other = model_of(Average(), replace(SPEC, name="other", **changes))
    with pytest.raises(ModelError, match=reason):
        ensemble(model_of(Average()), other)


def test_what_makes_no_sense_is_refused():
    model = model_of(Average())
    with pytest.raises(ModelError, match="at least two"):
        ensemble(model)
    with pytest.raises(ModelError, match="that of one model"):
        sampling_predictor("tta", [model, model], CPU)
    with pytest.raises(ModelError, match="Choose one of: none, tta, mc_dropout, ensemble"):
        sampling_predictor("guess", [model], CPU)


def test_keys_tell_apart_what_gives_other_values():
    model, other = model_of(Average()), model_of(Average(), sha256="1" * 64)
    third = model_of(Average(), sha256="2" * 64)
    made = [
        sampling_predictor("tta", [model], CPU),
        dropping(samples=10),
        dropping(samples=20),
        ensemble(model, other),
        ensemble(model, third),
    ]
    assert len({predictor.sampling_key for predictor in made}) == len(made)
    for predictor in made:
        predictor.close()


@pytest.mark.parametrize("kind", ["tta", "mc_dropout"])
def test_an_interrupted_run_ends_with_the_same_maps(make_slide, tmp_path, kind):
    pixels = np.random.default_rng(3).integers(90, 220, (256, 256, 3), dtype=np.uint8)
    pixels[..., 1] //= 2
    model = model_of(Dropping())
    with open_slide(make_slide(pixels, name="noise", mpp=1.0, factors=(1,))) as slide:
        plan = plan_patches(slide, SPEC)

        def going(folder):
            predictor = sampling_predictor(kind, [model], CPU, samples=5, batch_size=8)
            key = predictor.sampling_key
            with open_checkpoint(
                folder, slide, model, plan, CPU, sampling_key=key, batch_size=8, method="patches"
            ) as kept:
                yield from run(slide, model, plan, predictor=predictor, checkpoint=kept)
            predictor.close()

        *_, whole = going(tmp_path / "whole")
        broken = going(tmp_path / "broken")
        for _ in range(5):
            partly = next(broken)
        broken.close()
        *_, resumed = going(tmp_path / "broken")
    assert 0 < partly.heatmap.computed_cells < plan.patch_count
    assert resumed.known == partly.heatmap.computed_cells
    np.testing.assert_array_equal(whole.heatmap.values, resumed.heatmap.values)
    assert set(MAPS) <= set(whole.heatmap.maps)
    for name, values in whole.heatmap.maps.items():
        np.testing.assert_array_equal(values, resumed.heatmap.maps[name])
        assert not np.isnan(values[plan.selected]).any()


def test_a_sampling_predictor_stands_in_for_a_plain_one():
    path = choose_numeric_path(model_of(Average()), device="cpu", engine="torch", precision="fp32")
    predictor = sampling_predictor("tta", [model_of(Average())], path, batch_size=4)
    assert (predictor.batch_size, predictor.path) == (4, path)
    assert predictor.depth >= 1
    assert predictor.model.spec == SPEC
    predictor.close()
