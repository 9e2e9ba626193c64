"""Stain fits and transfers against slow, literal versions of the published formulas."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_camelyon.errors import StainError
from napari_camelyon.stain import (
    REFERENCE_COLOUR,
    REFERENCE_STAIN,
    ColourFit,
    StainFit,
    fit_macenko,
    fit_reinhard,
    make_transfer,
    stain_distance_deg,
    target_stain,
    transfer,
)

RUIFROK = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""Haematoxylin and eosin of Ruifrok & Johnston (2001); pure eosin takes less red light than β."""

MADE = ((0.65, 0.70, 0.29), (0.25, 0.90, 0.36))


def tissue(
    vectors=MADE, *, seed: int = 0, pixels: int = 20_000, strengths=(1.4, 0.9)
) -> NDArray[np.uint8]:
    """Pixels that hold both stains in all proportions, pure ones among them."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.05, 1, (pixels, 2)) * strengths
    amounts[: pixels // 10, 0] = 0
    amounts[pixels // 10 : pixels // 5, 1] = 0
    directions = np.array([np.array(vector) / np.linalg.norm(vector) for vector in vectors])
    return np.clip(np.round(240 * np.exp(-amounts @ directions) - 1), 0, 255).astype(np.uint8)


def literal_macenko(pixels: NDArray[np.uint8]):
    """Macenko et al. 2009, step by step with Python's own arithmetic where it can be had."""
    od = np.array([[-math.log((int(v) + 1) / 240) for v in pixel] for pixel in pixels])
    kept = np.array([row for row in od if min(row) >= 0.15])
    covariance = np.zeros((3, 3))
    mean = [sum(kept[:, i]) / len(kept) for i in range(3)]
    for i in range(3):
        for j in range(3):
            covariance[i, j] = sum(
                (a - mean[i]) * (b - mean[j]) for a, b in zip(kept[:, i], kept[:, j], strict=True)
            ) / (len(kept) - 1)
    values, vectors = np.linalg.eig(covariance)
    first, second = (vectors[:, i] for i in np.argsort(-values)[:2])
    if first.sum() < 0:
        first = -first
    angles = sorted(math.atan2(row @ second, row @ first) for row in kept)
    ends = [np.percentile(angles, q) for q in (1, 99)]
    found = [math.cos(angle) * first + math.sin(angle) * second for angle in ends]
    found.sort(key=lambda vector: -vector[0])
    concentrations = np.array([np.linalg.lstsq(np.array(found).T, row)[0] for row in od])
    return found, np.percentile(concentrations, 99, axis=0), concentrations


@pytest.mark.parametrize(
    "vectors", [RUIFROK, REFERENCE_STAIN.vectors], ids=["ruifrok", "reference"]
)
def test_macenko_is_the_published_method(vectors):
    pixels = tissue(vectors, pixels=3000)
    (haematoxylin, eosin), strengths, concentrations = literal_macenko(pixels)
    fit = fit_macenko(pixels)
    np.testing.assert_allclose(fit.haematoxylin, haematoxylin, atol=1e-4)
    np.testing.assert_allclose(fit.eosin, eosin, atol=1e-4)
    np.testing.assert_allclose(fit.strengths, strengths, rtol=1e-3)

    reference = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
    scaled = concentrations / strengths * [1.9705, 1.0308]
    expected = np.minimum(240 * np.exp(-reference @ scaled.T), 255).T
    got = transfer(pixels, make_transfer(fit))
    # The ports write 240·exp(−OD), which their OD gives I + 1 for, and cut off what follows the
    # point: one grey level more, half a level less.
    assert np.abs(got.astype(float) - np.floor(expected)).max() <= 1


def test_reinhard_is_the_published_method():
    pixels = tissue(pixels=3000)
    to_lms = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]

    def lab(pixel):
        long, medium, short = (
            math.log(sum(a * float(b) for a, b in zip(row, pixel, strict=True))) for row in to_lms
        )
        return (
            (long + medium + short) / math.sqrt(3),
            (long + medium - 2 * short) / math.sqrt(6),
            (long - medium) / math.sqrt(2),
        )

    labs = np.array([lab(pixel) for pixel in pixels])
    fit = fit_reinhard(pixels)
    np.testing.assert_allclose(fit.means, labs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fit.deviations, labs.std(axis=0), rtol=1e-6)

    dark = np.random.default_rng(6).integers(2, 20, (500, 3)).astype(np.uint8)
    pixels = np.concatenate([pixels, dark])
    labs = np.array([lab(pixel) for pixel in pixels])
    target = REFERENCE_COLOUR
    wanted = (labs - fit.means) / fit.deviations * target.deviations + target.means
    light, a, b = (wanted / np.sqrt([3, 6, 2])).T
    lms = np.exp(np.stack([light + a + b, light + a - b, light - 2 * a], axis=1))
    expected = np.clip(np.linalg.solve(np.array(to_lms), lms.T).T, 0, 255)
    got = transfer(pixels, make_transfer(fit))
    assert np.abs(got.astype(float) - expected).max() <= 0.51


@given(
    blue=st.floats(0.2, 0.6),
    red=st.floats(0.45, 0.75),
    pink=st.floats(0.16, 0.25),  # eosin that takes less red than β in a pixel is passed over
    seed=st.integers(0, 99),
)
def test_known_stains_are_found(blue, red, pink, seed):
    known = ((red, 0.72, blue), (pink, 0.9, 0.35))
    if stain_distance_deg(target_stain(known), known[::-1]) < 15:
        return
    fit = fit_macenko(tissue(known, seed=seed, strengths=(1.6, 1.6)))
    assert stain_distance_deg(fit, known) < 2.5


def test_known_strengths_are_found():
    fit = fit_macenko(tissue(strengths=(1.6, 0.8)))
    # 99 % of what is spread evenly up to the strength.
    np.testing.assert_allclose(fit.strengths, (1.6 * 0.99, 0.8 * 0.99), rtol=0.05)


@pytest.mark.parametrize("fit", [fit_macenko, fit_reinhard])
def test_a_slide_of_the_target_stain_stays_as_it_is(fit):
    pixels = tissue()
    found = fit(pixels)
    same = transfer(pixels, make_transfer(found, found))
    assert np.abs(same.astype(int) - pixels).max() <= 1


def test_two_laboratories_become_one():
    """The same tissue, stained in two ways, looks the same afterwards."""
    one = tissue(MADE, strengths=(1.2, 1.4))
    other = tissue(REFERENCE_STAIN.vectors, strengths=(1.6, 1.0))
    before = np.abs(one.astype(int) - other).mean()
    one, other = (transfer(pixels, make_transfer(fit_macenko(pixels))) for pixels in (one, other))
    assert np.abs(one.astype(int) - other).mean() < before / 4


@pytest.mark.parametrize("fit", [fit_macenko, fit_reinhard])
def test_what_was_transferred_has_the_target_s_stain(fit):
    one, other = tissue(MADE, strengths=(1.2, 1.4)), tissue(seed=1, strengths=(1.4, 1.2))
    target = fit(other)
    found = fit(transfer(one, make_transfer(fit(one), target)))
    if isinstance(found, ColourFit):
        np.testing.assert_allclose(found.means, target.means, atol=0.02)
        np.testing.assert_allclose(found.deviations, target.deviations, rtol=0.05)
        return
    assert stain_distance_deg(found, target.vectors) < 1
    np.testing.assert_allclose(found.strengths, target.strengths, rtol=0.05)


def test_order_and_shape_of_pixels_do_not_matter():
    pixels = tissue(pixels=4096)
    fit = fit_macenko(pixels)
    shuffled = np.random.default_rng(1).permutation(pixels).reshape(64, 64, 3)
    other = fit_macenko(shuffled)
    np.testing.assert_allclose(other.vectors, fit.vectors, atol=1e-6)
    stain = make_transfer(fit)
    image = transfer(pixels.reshape(64, 64, 3), stain)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image.reshape(-1, 3), transfer(pixels, stain))


def noise(colour, spread):
    rng = np.random.default_rng(3)
    return np.clip(rng.normal(colour, spread, (5000, 3)), 0, 255).astype(np.uint8)


BAD = {
    "nothing": np.empty((0, 3), np.uint8),
    "a few pixels": tissue(pixels=50),
    "glass": noise(244, 2),
    "black": np.zeros((5000, 3), np.uint8),
    "white": np.full((5000, 3), 255, np.uint8),
    "one colour": np.full((5000, 3), (190, 120, 160), np.uint8),
    "one colour with noise": noise((190, 120, 160), 1),
    "grey": np.repeat(np.random.default_rng(4).integers(30, 200, (5000, 1)), 3, 1).astype(np.uint8),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_stain_is_refused_in_words(name):
    with pytest.raises(StainError, match=r"cannot be found.*without stain normalisation"):
        fit_macenko(BAD[name])
    with pytest.raises(StainError, match=r"cannot be measured.*without stain normalisation"):
        fit_reinhard(BAD[name])


def test_glass_among_tissue_does_not_change_the_stains():
    pixels = tissue()
    fit = fit_macenko(np.concatenate([pixels, noise(246, 3), noise(246, 3)]))
    assert stain_distance_deg(fit, fit_macenko(pixels).vectors) < 0.1


@pytest.mark.parametrize("fit", [fit_macenko, fit_reinhard])
def test_every_colour_has_a_result(fit):
    """Black, white and colours that no stain has: no value wraps round or is missing."""
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    with np.errstate(all="raise", under="ignore"):
        result = transfer(corners, make_transfer(fit(tissue())))
    assert result.dtype == np.uint8
    assert result[0].max() < 40  # black stays dark
    assert result[-1].min() > 200  # white stays bright


def test_brighter_pixels_stay_brighter():
    """More of both stains is never lighter, for as long as anything is left."""
    amounts = np.linspace(0.1, 1.5, 40)[:, None] * (np.array(MADE[0]) + np.array(MADE[1])) / 2
    pixels = np.round(240 * np.exp(-amounts) - 1).astype(np.uint8)
    stain = make_transfer(fit_macenko(tissue()))
    assert (np.diff(transfer(pixels, stain).astype(int), axis=0) <= 0).all()


def test_a_transfer_is_known_by_its_key():
    stain = make_transfer(fit_macenko(tissue()))
    assert pickle.loads(pickle.dumps(stain)) == stain
    assert pickle.loads(pickle.dumps(stain)).key == stain.key
    assert make_transfer(fit_macenko(tissue())).key == stain.key
    others = {
        make_transfer(fit_macenko(tissue(seed=1))).key,
        make_transfer(stain.source, target_stain(MADE)).key,
        make_transfer(fit_reinhard(tissue())).key,
    }
    assert len(others | {stain.key}) == 4
    assert stain.key.startswith("macenko-")
    assert stain.describe()["target"]["strengths"] == (1.9705, 1.0308)


def test_the_distance_is_an_angle():
    fit = StainFit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0))
    assert stain_distance_deg(fit, ((2.0, 0.0, 0.0), (0.0, 0.5, 0.0))) == 0
    turned = (math.cos(math.radians(12)), 0.0, math.sin(math.radians(12)))
    assert stain_distance_deg(fit, (turned, (0, 1, 0))) == pytest.approx(12)
    assert stain_distance_deg(fit, ((1, 0, 0), (0, 1, 1))) == pytest.approx(45)


@pytest.mark.parametrize(
    "known",
    [
        ((1, 2, 3),),
        ((0, 0, 0), (1, 1, 1)),
        ((1, 1, 1), (2, 2, 2)),
        ((1, 2), (3, 4)),
        ((float("nan"), 1, 1), (1, 0, 0)),
    ],
)
def test_a_model_with_an_impossible_stain_is_refused(known):
    with pytest.raises(StainError, match="specification"):
        target_stain(known)


def test_methods_do_not_mix():
    with pytest.raises(StainError, match="target of another"):
        make_transfer(fit_macenko(tissue()), ColourFit((1, 1, 1), (1, 1, 1)))
