"""The cells as drawn have the sizes that are documented."""

from dataclasses import replace

import numpy as np
import pytest

from napari_camelyon.synthetic.cells import CELL_TYPES, RED_CELL_UM, draw_phenotype
from napari_camelyon.synthetic.sprites import FOLLOWING_FIBRES, draw_bank, draw_cell

MPP = 0.12


def diameter_um(layer):
    """Return the equivalent diameter of what a layer covers."""
    area_um2 = float((1 - layer.clear[..., 0]).sum()) * MPP**2
    return 2 * np.sqrt(area_um2 / np.pi)


@pytest.mark.parametrize("name", [name for name in CELL_TYPES if name not in ("red", "tingible")])
def test_nuclei_measure_what_the_table_says(name):
    rng = np.random.default_rng(0)
    cell = replace(CELL_TYPES[name], ghosts=0.0)  # of those the section holds but a cap
    drawn = [draw_cell(name, cell, MPP, 0.4, rng) for _ in range(60)]
    diameters = [diameter_um(sprite.nucleus) for sprite in drawn]
    assert np.mean(diameters) == pytest.approx(cell.nucleus_um, rel=0.1)


def test_red_cells_have_no_nucleus_and_their_size():
    rng = np.random.default_rng(0)
    drawn = [draw_cell("red", CELL_TYPES["red"], MPP, 0.0, rng) for _ in range(60)]
    assert all(sprite.nucleus is None for sprite in drawn)
    diameters = [diameter_um(sprite.body) for sprite in drawn]
    assert np.mean(diameters) == pytest.approx(RED_CELL_UM, rel=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2, 2.4])
def test_spindles_point_where_they_are_told(angle):
    rng = np.random.default_rng(1)
    sprite = draw_cell("fibroblast", CELL_TYPES["fibroblast"], MPP, angle, rng)
    cover = 1 - sprite.nucleus.clear[..., 0]
    y, x = (
        np.mgrid[: cover.shape[0], : cover.shape[1]] - (np.array(cover.shape) // 2)[:, None, None]
    )
    covariance = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=cover.ravel())
    long_x, long_y = np.linalg.eigh(covariance)[1][:, 1]
    difference = (np.arctan2(long_y, long_x) - angle + np.pi / 2) % np.pi - np.pi / 2
    assert abs(difference) < 0.15


@pytest.mark.parametrize("mpp", [0.243, 0.486, 1.0])
def test_coverage_is_a_share_and_fades_out_before_the_border(mpp):
    rng = np.random.default_rng(2)
    for name, cell in draw_phenotype(rng).types.items():
        sprite = draw_cell(name, cell, mpp, 1.0, rng)
        for layer in (sprite.body, sprite.nucleus):
            if layer is None:
                continue
            assert layer.clear.min() >= -1e-6
            assert layer.clear.max() <= 1 + 1e-6
            assert (layer.densities >= -1e-6).all()
            border = np.concatenate([layer.clear[0], layer.clear[-1], layer.clear[:, 0]])
            assert border.min() > 0.9, name


def test_a_bank_gives_the_direction_that_was_asked_for():
    rng = np.random.default_rng(3)
    bank = draw_bank({name: CELL_TYPES[name] for name in FOLLOWING_FIBRES}, MPP, rng, copies=16)
    for angle in (0.0, np.pi / 2, -np.pi / 2, np.pi):
        cover = 1 - bank.pick("fibroblast", 0.3, angle).nucleus.clear[..., 0]
        wide, tall = cover.any(axis=0), cover.any(axis=1)
        across, down = (cover > 0.5).any(axis=0).sum(), (cover > 0.5).any(axis=1).sum()
        assert (across > down) == (abs(np.cos(angle)) > 0.5)
        assert wide.any()
        assert tall.any()


def test_patients_differ_and_a_seed_repeats_one():
    first, again, other = (draw_phenotype(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for seed in range(30):
        tumour = draw_phenotype(np.random.default_rng(seed)).types["tumour"]
        assert 5.5 < tumour.nucleus_um < 15.5
