"""The stain of a slide is found on its tissue alone, the same each time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_camelyon.errors import StainError
from napari_camelyon.slides import open_slide
from napari_camelyon.stain import METHODS, fit_macenko, stain_distance_deg
from napari_camelyon.synthetic.scanners import CENTRES, scan
from napari_camelyon.tissue import fit_slide_stain, sample_tissue, tissue_mask

SIDE_PX = 512
MPP = 1.0


def tissue_pixels(centre_index: int = 0) -> np.ndarray:
    """Tissue in the made colours of one laboratory: its scanner, without grain and blur."""
    rng = np.random.default_rng(5)
    pigments = np.zeros((SIDE_PX, SIDE_PX, 3), np.float32)
    coarse = rng.uniform(0.15, 1.5, (2, SIDE_PX // 8, SIDE_PX // 8)).astype(np.float32)
    # A third has hardly any haematoxylin, a third hardly any eosin: nuclei and what is between.
    coarse[0, : SIDE_PX // 24] = 0.02
    coarse[1, -(SIDE_PX // 24) :] = 0.02
    pigments[..., :2] = coarse.repeat(8, 1).repeat(8, 2).transpose(1, 2, 0) + 0.15
    return scan(pigments, CENTRES[centre_index], MPP, rng)


@pytest.fixture(scope="module")
def slide_of(make_slide: Callable[..., Path]) -> Callable[[np.ndarray], Path]:
    def slide(tissue: np.ndarray) -> Path:
        pixels = np.full((1024, 1280, 3), 245, np.uint8)
        pixels[200 : 200 + SIDE_PX, 300 : 300 + SIDE_PX] = tissue
        return make_slide(pixels, mpp=MPP, factors=(1, 2, 4))

    return slide


@pytest.mark.parametrize("centre", range(len(CENTRES)))
def test_the_stain_of_every_made_laboratory_is_found(slide_of, centre):
    with open_slide(slide_of(tissue_pixels(centre))) as slide:
        fit = fit_slide_stain(slide, tissue_mask(slide))
    known = (CENTRES[centre].haematoxylin, CENTRES[centre].eosin)
    assert stain_distance_deg(fit, known) < 7
    others = [stain_distance_deg(fit, (other.haematoxylin, other.eosin)) for other in CENTRES]
    assert min(others) == pytest.approx(stain_distance_deg(fit, known), abs=3)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_slide_has_the_same_stain(slide_of, method):
    path = slide_of(tissue_pixels())
    fits = []
    for _ in range(2):
        with open_slide(path) as slide:
            fits.append(fit_slide_stain(slide, tissue_mask(slide), method))
    assert fits[0] == fits[1]


def test_only_tissue_is_sampled(slide_of):
    tissue = tissue_pixels()
    with open_slide(slide_of(tissue)) as slide:
        sampled = sample_tissue(slide, tissue_mask(slide))
    colours = {tuple(colour) for colour in tissue.reshape(-1, 3).tolist()}
    assert len(sampled) > 0.7 * SIDE_PX**2
    assert {tuple(colour) for colour in sampled.tolist()} <= colours


def test_pen_over_tissue_does_not_change_the_stain(slide_of):
    tissue = tissue_pixels()
    with open_slide(slide_of(tissue)) as slide:
        clean = fit_slide_stain(slide, tissue_mask(slide))
    marked = tissue.copy()
    marked[60:110] = (20, 90, 60)
    with open_slide(slide_of(marked)) as slide:
        mask = tissue_mask(slide)
        mask.values[:] = True  # a mask that somebody drew, glass and pen and all
        fit = fit_slide_stain(slide, mask)
    assert stain_distance_deg(fit, clean.vectors) < 2
    # The same pixels without leaving the ink out.
    assert stain_distance_deg(fit_macenko(marked), clean.vectors) > 5


@pytest.mark.parametrize(
    "colour",
    [(255, 255, 255), (0, 0, 0), (190, 110, 160), (20, 90, 60)],
    ids=["empty", "black", "one colour", "pen"],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_slide_without_two_stains_is_told(slide_of, colour, method):
    tissue = np.full((SIDE_PX, SIDE_PX, 3), colour, np.uint8)
    with (
        open_slide(slide_of(tissue)) as slide,
        pytest.raises(StainError, match=r"made: The .*cannot"),
    ):
        fit_slide_stain(slide, tissue_mask(slide), method)


def test_an_unknown_method_is_told(slide_of):
    with (
        open_slide(slide_of(tissue_pixels())) as slide,
        pytest.raises(StainError, match="macenko, reinhard"),
    ):
        fit_slide_stain(slide, tissue_mask(slide), "vahadane")


def test_damaged_parts_are_left_out(make_slide, damage_tile):
    tissue = np.tile(tissue_pixels(), (1, 2, 1))
    path = make_slide(tissue, mpp=MPP, factors=(1,), jpeg=True)
    damage_tile(path, 3, 3)
    with open_slide(path) as slide:
        mask = tissue_mask(slide)
        mask.values[:] = True
        sampled = sample_tissue(slide, mask)
    assert len(sampled) > 0
    assert not (sampled == (255, 0, 255)).all(axis=1).any()


def test_a_slide_of_unknown_pixel_size_has_a_stain_too(make_slide):
    path = make_slide(tissue_pixels(), mpp=None)
    with open_slide(path) as slide:
        assert slide.mpp is None
        fit = fit_slide_stain(slide, tissue_mask(slide))
    known = (CENTRES[0].haematoxylin, CENTRES[0].eosin)
    assert stain_distance_deg(fit, known) < 7


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "c16_mosaic_dev.tif"])
def test_real_slides_have_a_stain_near_the_reference(shared_data, name):
    from napari_camelyon.stain import REFERENCE_STAIN

    with open_slide(shared_data / "slides" / name) as slide:
        fit = fit_slide_stain(slide, tissue_mask(slide))
    assert stain_distance_deg(fit, REFERENCE_STAIN.vectors) < 8
