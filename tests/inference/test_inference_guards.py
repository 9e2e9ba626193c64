"""Guards: each is set off by a made case, none by the bundled model on what it was made for."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from napari_camelyon.cohort import PredictRequest, predict_slide
from napari_camelyon.inference import (
    check_before,
    check_probe,
    choose_numeric_path,
    findings,
    look_first,
    new_watch,
    prepare,
    read_patch,
    run,
    watch_batch,
    watch_picture,
)
from napari_camelyon.inference.guards import (
    FIRST_PATCHES,
    LONG_RUN_PATCHES,
    LOOKED_AT_A_BATCH,
    MAX_STAIN_DEG,
    MIN_LOOKED_AT,
)
from napari_camelyon.models import Model, load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.stain import StainFit
from napari_camelyon.synthetic import draw_patches
from napari_camelyon.tissue import plan_patches

SPEC = ModelSpec("made", patch_px=32, patch_mpp=1.0, mean=(0, 0, 0), std=(1, 1, 1))
PINK, PURPLE = (220, 160, 205), (90, 60, 130)


def tissue(nuclei, *, count=1, px=64, seed=0):
    """Pink patches with a share of purple pixels in squares of 4."""
    rng = np.random.default_rng(seed)
    dark = rng.random((count, px // 4, px // 4)) < nuclei
    dark = dark.repeat(4, axis=1).repeat(4, axis=2)
    patches = np.where(dark[..., None], PURPLE, PINK).astype(np.uint8)
    return patches + rng.integers(0, 25, patches.shape, dtype=np.uint8)


def watched(patches, values, threshold=0.5):
    watch = new_watch(replace(SPEC, threshold=threshold))
    for start in range(0, len(patches), 16):
        part = slice(start, start + 16)
        watch_batch(watch, patches[part], np.asarray(values[part], np.float32))
    return watch


def kinds(found):
    return [finding.kind for finding in found]


def varied(count=96):
    return np.concatenate([tissue(i / count / 2, seed=i) for i in range(count)])


# --- before anything is predicted ------------------------------------------------------------


@pytest.fixture
def plain_slide(make_slide):
    with open_slide(make_slide(tissue(0.2, px=512)[0], name="plain", mpp=0.5)) as slide:
        yield slide


def made_model(spec=SPEC, module=None):
    return Model(spec, (module or nn.Identity()).eval(), "made.pt", "0" * 64)


@pytest.mark.parametrize(("patch_mpp", "told"), [(0.25, True), (0.34, False), (1.0, False)])
def test_a_slide_coarser_than_the_model_is_told(plain_slide, patch_mpp, told):
    spec = replace(SPEC, patch_mpp=patch_mpp)
    plan = plan_patches(plain_slide, spec)
    found = check_before(plain_slide, made_model(spec), plan)
    assert kinds(found) == (["spacing"] if told else [])
    if told:
        assert found[0].measured["upsampling"] == 2.0
        assert "0.5 µm" in found[0].sentence
        assert "0.25 µm" in found[0].sentence


def test_a_plan_without_patches_and_one_with_gaps_are_told(plain_slide, make_slide):
    white = np.full((256, 256, 3), 250, np.uint8)
    with open_slide(make_slide(white, name="white", mpp=0.5)) as slide:
        found = check_before(slide, made_model(), plan_patches(slide, SPEC))
    assert kinds(found) == ["grid"]
    assert "No patch" in found[0].sentence
    gaps = plan_patches(plain_slide, SPEC, stride_um=50)
    assert "between them" in check_before(plain_slide, made_model(), gaps)[0].sentence
    assert check_before(plain_slide, made_model(), plan_patches(plain_slide, SPEC)) == ()


def test_a_whole_slide_of_tissue_is_told(make_slide):
    # 512 px of 40 µm: 419 mm², all of it coloured.
    spec = replace(SPEC, patch_px=4, patch_mpp=20.0)
    with open_slide(make_slide(tissue(0.2, px=1024)[0], name="full", mpp=15.0)) as slide:
        found = check_before(slide, made_model(spec), plan_patches(slide, spec))
    assert kinds(found) == ["grid"]
    assert found[0].measured["area_mm2"] == pytest.approx((1.024 * 15) ** 2, abs=0.1)


def test_a_stain_far_from_the_models_is_told(plain_slide):
    plan = plan_patches(plain_slide, SPEC)
    h_angle = math.radians(55)

    def fit_at(angle_deg):
        """A haematoxylin this far from the model's, in the plane of red and green."""
        angle = h_angle + math.radians(angle_deg)
        return StainFit((math.cos(angle), math.sin(angle), 0.0), (0.0, 1.0, 0.0), (1.0, 1.0))

    spec = replace(SPEC, stain=fit_at(0).vectors)
    (far,) = check_before(plain_slide, made_model(spec), plan, stain_fit=fit_at(-MAX_STAIN_DEG - 5))
    assert far.kind == "stain"
    assert "lies 30°" in far.sentence
    near = fit_at(-MAX_STAIN_DEG + 5)
    assert check_before(plain_slide, made_model(spec), plan, stain_fit=near) == ()
    # A model that does not say what it knew.
    assert check_before(plain_slide, made_model(), plan, stain_fit=fit_at(-60)) == ()


# --- what the model says of nothing ----------------------------------------------------------


class _Brightness(nn.Module):
    """Calls bright patches tumour."""

    def forward(self, pixels):
        tumour = 20.0 * (pixels.mean((1, 2, 3)) - 0.9)
        return torch.stack([-tumour, tumour], dim=1)


def predictor_of(model):
    path = choose_numeric_path(model, device="cpu", engine="torch", precision="fp32")
    return prepare(model, path)


def test_a_model_that_calls_glass_tumour_is_told_before_the_run():
    (found,) = check_probe(predictor_of(made_model(module=_Brightness())), 0.5)
    assert found.kind == "glass"
    assert "white (0.98)" in found.sentence
    assert "tissue" not in found.sentence.split(":")[1].split(".")[0]
    assert found.measured["probability_white"] == pytest.approx(0.98, abs=0.01)


def test_swapping_the_classes_of_the_bundled_model_is_told_before_the_run():
    model = load_model()
    assert check_probe(predictor_of(model), model.spec.threshold) == ()
    swapped = replace(model, spec=replace(model.spec, tumour_class=0))
    (found,) = check_probe(predictor_of(swapped), model.spec.threshold)
    assert found.kind == "glass"
    assert "swapped" in found.sentence


# --- during the run --------------------------------------------------------------------------


def test_empty_and_uniform_patches_called_tumour_are_told():
    empty = np.full((40, 64, 64, 3), 243, np.uint8)
    uniform = np.full((40, 64, 64, 3), PINK, np.uint8)
    for patches in (empty, uniform):
        (found,) = findings(watched(patches, np.full(40, 0.8)))
        assert found.kind == "glass"
        assert found.measured == {"patches": 40, "called_share": 1.0, "threshold": 0.5}
        assert findings(watched(patches, np.full(40, 0.1))) == ()
    assert findings(watched(empty[:5], np.full(5, 0.8))) == ()  # too few to say


def test_a_constant_output_is_told_and_small_values_that_differ_are_none():
    patches = varied()
    rng = np.random.default_rng(0)
    same = 0.3 + rng.uniform(-1e-3, 1e-3, len(patches))
    assert kinds(findings(watched(patches, same))) == ["constant"]
    # A sure "no" everywhere, as on a node without tumour.
    assert findings(watched(patches, 10 ** rng.uniform(-9, -6, len(patches)))) == ()
    # The same tissue everywhere may well have the same value everywhere.
    alike = tissue(0.3).repeat(len(patches), axis=0)
    assert findings(watched(alike, same)) == ()


def test_tissue_without_nuclei_called_tumour_is_told_as_swapped_classes():
    patches = np.concatenate([tissue(0.0, count=30), tissue(0.4, count=70, seed=1)])
    rng = np.random.default_rng(0)
    order = rng.permutation(100)
    # Half of the cellular tissue is tumour, collagen is none.
    right = np.r_[np.zeros(30), np.arange(70) % 2] * 0.8 + rng.uniform(0.05, 0.15, 100)
    assert findings(watched(patches[order], right[order])) == ()
    found, *_ = findings(watched(patches[order], 1 - right[order]))
    assert found.kind == "swapped"
    assert found.measured["called_poor"] == 1.0
    assert found.measured["called_rich"] == 0.5
    assert found.measured["patches_poor_in_nuclei"] == 30
    assert "100% of 30 patches" in found.sentence


def test_tumour_all_over_is_no_sign_that_classes_are_swapped():
    patches = np.concatenate([tissue(0.0, count=40), tissue(0.4, count=160, seed=1)])
    values = np.r_[np.arange(40) % 5 < 3, np.arange(160) % 10 < 9] * 0.8 + 0.1
    order = np.random.default_rng(0).permutation(200)
    # Of its poorest parts, 60 % are called tumour as well, of the rest 90 %.
    assert kinds(findings(watched(patches[order], values[order]))) == ["everything_tumour"]


def test_pale_nuclei_are_nuclei_where_all_are_pale():
    # Tumour of 3 % dark pixels beside tissue of 12 %: poor only against a slide that is dark.
    patches = np.concatenate([tissue(0.03, count=40), tissue(0.12, count=60, seed=1)])
    values = np.r_[np.full(40, 0.9), np.full(60, 0.1)]
    assert findings(watched(patches, values)) == ()


def test_everything_called_tumour_is_told():
    patches = varied()
    values = np.random.default_rng(0).uniform(0.6, 0.95, len(patches))
    found = findings(watched(patches, values))
    assert kinds(found)[-1] == "everything_tumour"
    assert found[-1].measured["called_share"] == 1.0
    assert findings(watched(patches, values, threshold=0.9)) == ()
    few = MIN_LOOKED_AT - 1
    assert findings(watched(patches[:few], values[:few])) == ()


def test_a_run_that_begins_in_a_tumour_is_not_taken_for_one_that_finds_nothing_else():
    watch = new_watch(SPEC, planned=1000)
    for start in range(0, 1000, 10):
        patches = tissue(0.3, count=10, seed=start)
        share = 0.9 if start < 250 else 0.1
        watch_batch(
            watch, patches, np.random.default_rng(start).normal(share, 0.01, 10).astype("f4")
        )
        assert findings(watch) == ()
    assert watch.passed == 1000


def test_findings_are_plain_enough_for_json():
    found = findings(watched(varied(), np.full(96, 0.9)))
    assert found
    for finding in found:
        assert json.loads(json.dumps(asdict(finding), allow_nan=False)) == asdict(finding)
        assert finding.sentence.endswith(".")


def test_nothing_seen_is_nothing_found():
    watch = new_watch(SPEC)
    assert findings(watch) == ()
    watch_batch(watch, tissue(0.2, count=4), np.full(4, np.nan, np.float32))
    watch_batch(watch, tissue(0.2, count=0), np.empty(0, np.float32))
    assert (findings(watch), watch.looked_at) == ((), 0)


@given(st.integers(1, 9000), st.integers(1, 300))
@example(9000, 8)
@settings(max_examples=15)
def test_a_watch_keeps_a_bounded_even_sample(count, batch):
    watch = new_watch(SPEC)
    patches = np.zeros((batch, 4, 4, 3), np.uint8)
    position = np.linspace(0, 1, count, dtype=np.float32)
    for start in range(0, count, batch):
        part = position[start : start + batch]
        watch_batch(watch, patches[: len(part)], part)
    kept = watch._rows[: watch._kept, 0]
    assert len(kept) <= 4096
    assert watch.looked_at >= min(count, LOOKED_AT_A_BATCH)
    assert (np.diff(kept) > 0).all()
    if len(kept) >= 1000:  # both halves of the run count alike
        assert 0.45 < (kept < 0.5).mean() < 0.55
    # No stretch of the run is left out, whatever was dropped.
    edges = np.r_[0, kept, 1]
    assert np.diff(edges).max() <= 2 * max(1, batch, count / 1024) / count + 1e-6


def test_a_picture_is_looked_at_as_its_patches_are():
    picture = np.concatenate(np.split(varied(36).reshape(6, 384, 64, 3), 6), axis=2)[0]
    corners = np.array([(x, y) for y in range(0, 320, 32) for x in range(0, 320, 32)])[:15]
    values = np.random.default_rng(1).random(len(corners), dtype=np.float32)
    as_picture, as_patches = new_watch(SPEC), new_watch(SPEC)
    watch_picture(as_picture, picture, corners, 64, values)
    watch_batch(as_patches, np.stack([picture[y : y + 64, x : x + 64] for x, y in corners]), values)
    assert as_picture.looked_at == as_picture.passed == 15
    np.testing.assert_array_equal(as_picture._rows[:15], as_patches._rows[:15])


def test_a_long_run_is_judged_before_it_begins(make_slide):
    pixels = np.concatenate(
        [np.concatenate(list(tissue(i / 128, count=64, px=32, seed=i)), axis=1) for i in range(64)]
    )
    spec = replace(SPEC, patch_px=16, patch_mpp=0.5)
    bright = predictor_of(made_model(spec, _Everything()))
    with open_slide(make_slide(pixels, name="long", mpp=0.5, factors=(1, 4))) as slide:
        plan = plan_patches(slide, spec)
        assert plan.patch_count >= LONG_RUN_PATCHES
        found = look_first(slide, bright, plan, 0.5)
        assert "everything_tumour" in kinds(found)
        assert found[-1].measured["patches"] == FIRST_PATCHES
        short = replace(plan, selected=plan.selected & (np.arange(plan.grid.rows) < 8)[:, None])
        assert look_first(slide, bright, short, 0.5) == ()


class _Everything(nn.Module):
    def forward(self, pixels):
        tumour = 2 + pixels.mean((1, 2, 3))
        return torch.stack([-tumour, tumour], dim=1)


@pytest.mark.parametrize("method", ["dense", "patches"])
def test_a_run_looks_at_what_it_predicts(make_slide, method):
    pixels = np.concatenate([tissue(i / 16, px=1024, seed=i)[0, :64] for i in range(16)])
    model = load_model()
    if method == "patches":
        model = made_model(replace(model.spec, patch_px=64), _Everything())
    with open_slide(make_slide(pixels, name="watched", mpp=0.486)) as slide:
        plan = plan_patches(slide, model.spec)
        watch = new_watch(model.spec, 0.001, planned=plan.patch_count)
        *_, last = run(slide, model, plan, device="cpu", watch=watch)
    assert last.heatmap.method == method
    assert watch.passed == plan.patch_count
    assert watch.looked_at >= MIN_LOOKED_AT
    # Everything is tumour at this threshold, and the share of nuclei was seen to vary.
    assert "everything_tumour" in kinds(last.findings)
    nuclei = watch._rows[: watch._kept, 3]
    assert np.ptp(nuclei) > 0.5
    assert nuclei.max() <= 1


# --- the bundled model on what it is for -----------------------------------------------------


@pytest.mark.parametrize(("seed", "tumour_share"), [(1002, 0.0), (1007, 0.15), (1004, 1.0)])
def test_the_bundled_model_sets_nothing_off_on_generated_tissue(seed, tumour_share):
    model = load_model()
    predictor = predictor_of(model)
    pixels = draw_patches(seed, 64, tumour_share=tumour_share).pixels
    values = predicted(predictor, pixels)
    assert findings(watched(pixels, values, model.spec.threshold)) == ()


def test_swapped_classes_of_the_bundled_model_are_told_on_generated_normal_tissue():
    model = load_model()
    pixels = draw_patches(1002, 64, tumour_share=0.0).pixels
    values = 1 - predicted(predictor_of(model), pixels)
    assert "everything_tumour" in kinds(findings(watched(pixels, values, model.spec.threshold)))


def test_the_bundled_model_sets_nothing_off_on_real_tissue(shared_data):
    model = load_model()
    predictor = predictor_of(model)
    px = model.spec.patch_px
    with open_slide(shared_data / "slides" / "c16_mosaic_dev.tif") as slide:
        plan = plan_patches(slide, model.spec)
        assert check_before(slide, model, plan) == ()
        cells = np.argwhere(plan.selected)[::4]
        mosaic = np.stack([read_patch(slide, plan.grid, *cell, px) for cell in cells])
    assert findings(watched(mosaic, predicted(predictor, mosaic), model.spec.threshold)) == ()
    for path in sorted((shared_data / "patches" / "camelyon17_centres").glob("*.jpeg")):
        tile = np.asarray(Image.open(path))[: 7 * 256, : 7 * 256]
        halved = tile.reshape(7 * 128, 2, 7 * 128, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
        patches = halved.reshape(7, 128, 7, 128, 3).swapaxes(1, 2).reshape(49, 128, 128, 3)
        values = predicted(predictor, patches)
        assert findings(watched(patches, values, model.spec.threshold)) == ()
        assert "everything_tumour" in kinds(
            findings(watched(patches, 1 - values, model.spec.threshold))
        )


def predicted(predictor, patches):
    return np.concatenate(
        [
            predictor.submit(np.ascontiguousarray(patches[i : i + 16])).result().probabilities[:, 1]
            for i in range(0, len(patches), 16)
        ]
    )


def test_a_run_in_blocks_is_asked_about_nothing_before_it_begins(make_slide):
    model = load_model()
    swapped = replace(model, spec=replace(model.spec, tumour_class=0))
    with open_slide(make_slide(tissue(0.2, px=512)[0], name="blocks", mpp=0.486)) as slide:
        for one, expected in ((model, []), (swapped, ["glass"])):
            steps = predict_slide(slide, PredictRequest(), load=lambda *_, one=one, **__: one)
            planned = next(steps)  # the bundled model is run over whole blocks
            steps.close()
            assert kinds(planned.findings) == expected
