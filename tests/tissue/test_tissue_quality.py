"""Spoilt areas: found where they were drawn, and hardly anywhere on clean tissue.

Every figure asserted here is what was measured, less a margin; docs/decisions.md has them all.
"""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import ndimage

from napari_camelyon.slides import open_slide, read_downsampled
from napari_camelyon.synthetic import plan_patient, write_node_slide
from napari_camelyon.synthetic.artefacts import Artefacts, Bubble, Fold, Stroke
from napari_camelyon.tissue import find_quality, tissue_mask
from napari_camelyon.tissue.focus import blurred_cells, sharpness
from napari_camelyon.tissue.folds import fold_pixels
from napari_camelyon.tissue.ink import ink_pixels
from napari_camelyon.tissue.mask import MIN_COLOUR_SPREAD

MPP = 1.0
INKS = {"blue": (0.10, 0.24, 0.62), "green": (0.08, 0.45, 0.25), "black": (0.06, 0.06, 0.07)}


@pytest.fixture(scope="module")
def node():
    return plan_patient(1, MPP)[4].slide


@pytest.fixture(scope="module")
def spoilt(node, tmp_path_factory):
    """A node with one artefact of each kind, far from each other, and where they lie."""
    x, y = node.plan.x_um, node.plan.y_um
    length, breadth = node.plan.length_um, node.plan.breadth_um
    artefacts = Artefacts(
        seed=5,
        strokes=(Stroke(x + 0.42 * length, y, 0.42 * breadth, -2.2, 1.0, 170.0),),
        folds=(
            Fold(x - 0.3 * length, y - 0.25 * breadth, x - 0.2 * length, y + 0.2 * breadth, 45),
        ),
        defocus=(Bubble(x + 0.05 * length, y - 0.1 * breadth, 230.0),),
    )
    path = tmp_path_factory.mktemp("spoilt") / "spoilt.tif"
    write_node_slide(path, replace(node, artefacts=artefacts))
    return path, artefacts


@pytest.fixture(scope="module")
def clean(node, tmp_path_factory):
    path = tmp_path_factory.mktemp("clean") / "clean.tif"
    write_node_slide(path, replace(node, artefacts=Artefacts()))
    return path


@pytest.fixture(scope="module")
def found(spoilt):
    with open_slide(spoilt[0]) as slide:
        return find_quality(slide)


def overlap(found, kind, truth_um):
    """Share of the truth that was found, and share of what was found that is true."""
    regions = [area.region for area in found.areas if area.kind == kind]
    region = shapely.union_all(shapely.transform(regions, lambda points: points * MPP))
    both = region.intersection(truth_um).area
    return both / truth_um.area, both / region.area


def test_a_pen_stroke_is_found(found, spoilt):
    stroke = spoilt[1].strokes[0]
    angles = np.linspace(stroke.first_angle, stroke.last_angle, 200)
    arc = shapely.LineString(
        np.stack([np.cos(angles), np.sin(angles)], 1) * stroke.radius_um
        + (stroke.x_um, stroke.y_um)
    )
    with open_slide(spoilt[0]) as slide:
        glass = shapely.box(0, 0, slide.width_px * MPP, slide.height_px * MPP)
    recall, precision = overlap(found, "pen", arc.buffer(stroke.width_um / 2) & glass)
    assert recall > 0.97
    assert precision > 0.65  # its soft rim belongs to it


def test_a_place_out_of_focus_is_found(found, spoilt):
    place = spoilt[1].defocus[0]
    # Focus fades over a third of its radius.
    sharp_to = shapely.Point(place.x_um, place.y_um).buffer(1.2 * place.radius_um)
    truth = shapely.Point(place.x_um, place.y_um).buffer(0.8 * place.radius_um)
    recall, _ = overlap(found, "blur", truth)
    _, precision = overlap(found, "blur", sharp_to)
    assert recall > 0.8
    assert precision > 0.9


def test_a_fold_is_found(found, spoilt):
    fold = spoilt[1].folds[0]
    line = shapely.LineString([(fold.x0_um, fold.y0_um), (fold.x1_um, fold.y1_um)])
    # It tapers, so that along its ends there is little of it.
    recall, _ = overlap(found, "fold", line.buffer(fold.width_um / 4))
    _, precision = overlap(found, "fold", line.buffer(fold.width_um))
    assert recall > 0.5
    assert precision > 0.8


def test_clean_tissue_has_none(clean):
    with open_slide(clean) as slide:
        quality = find_quality(slide)
    assert {kind: quality.area_mm2(kind) for kind in quality.masks} == {
        "pen": 0,
        "blur": 0,
        "fold": 0,
    }


def test_polygons_and_masks_agree(found, spoilt):
    for kind, mask in found.masks.items():
        area_mm2 = mask.values.sum() * (mask.pixel_px * MPP / 1000) ** 2
        assert found.area_mm2(kind) == pytest.approx(area_mm2, rel=0.03)


def test_only_what_is_asked_for_is_looked_for(spoilt):
    with open_slide(spoilt[0]) as slide:
        quality = find_quality(slide, kinds=("pen",))
        with pytest.raises(ValueError, match="dirt"):
            find_quality(slide, kinds=("dirt",))
    assert set(quality.masks) == {"pen"}
    assert {area.kind for area in quality.areas} == {"pen"}


def test_progress_is_told_and_can_stop_it(spoilt):
    told = []

    def tell(done, in_all):
        told.append((done, in_all))
        if done == 4:
            raise InterruptedError

    with open_slide(spoilt[0]) as slide:
        find_quality(slide, progress=lambda *step: told.append(step))
        assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
        told.clear()
        with pytest.raises(InterruptedError):
            find_quality(slide, progress=tell)
    assert told[-1][0] == 4


# --- ink -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("under", ["glass", "tissue"])
def test_blue_green_and_black_ink_are_found(clean, ink, under):
    with open_slide(clean) as slide:
        picture = read_downsampled(
            slide, 0, 0, slide.width_px // 8, slide.height_px // 8, factor=8 / MPP
        )
    rows, columns = picture.shape[:2]
    top, left = (4, 4) if under == "glass" else (rows // 2 - 15, columns // 2 - 15)
    place = np.s_[top : top + 30, left : left + 30]
    assert not ink_pixels(picture, 8.0).any()
    picture[place] = picture[place] * np.array(INKS[ink])
    marked = ink_pixels(picture, 8.0)
    assert marked[place].mean() > 0.95
    assert marked.sum() < 2 * 900


@pytest.mark.parametrize(
    ("name", "pixel_um", "inside", "outside"),
    [
        # Corners (x, y) of what is ink beyond doubt, and of what is beyond doubt none.
        (
            "tcga-green-pen",
            4.0,
            [(340, 20), (440, 20), (380, 210), (230, 420), (230, 600), (190, 600), (190, 430)],
            [(510, 20), (740, 20), (740, 600), (400, 600), (420, 300)],
        ),
        (
            "tcga-red-pen",
            4.0,
            [(105, 120), (150, 120), (160, 200), (150, 330), (90, 330), (30, 320), (40, 200)],
            [(200, 150), (460, 80), (460, 440), (230, 440)],
        ),
        (
            "wsi-blue-pen",
            40.0,
            [(148, 62), (172, 66), (172, 72), (148, 70)],
            [(5, 5), (110, 5), (110, 125), (5, 125)],
        ),
    ],
)
def test_real_ink_is_found_and_the_tissue_beside_it_is_not(
    shared_data, name, pixel_um, inside, outside
):
    path = shared_data / "slides" / "pen_thumbnails" / f"{name}.png"
    picture = np.asarray(Image.open(path).convert("RGB"))
    marked = ink_pixels(picture, pixel_um)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]

    def share(corners):
        return marked[shapely.contains_xy(shapely.Polygon(corners), columns, rows)].mean()

    assert share(inside) > 0.97
    assert share(outside) < 0.01


def test_eosin_is_not_taken_for_red_ink_on_any_scanner(shared_data):
    for path in sorted((shared_data / "patches" / "camelyon17_centres").glob("*.jpeg")):
        picture = np.asarray(Image.open(path).convert("RGB").reduce(16))
        assert not ink_pixels(picture, 4.0).any(), path.name


# --- focus ---------------------------------------------------------------------------------------


def tissue_at_1_um(shared_data):
    for path in sorted((shared_data / "patches" / "camelyon17_centres").glob("*.jpeg")):
        yield np.asarray(Image.open(path).convert("RGB"))[:1024, :1024], 4
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        yield slide.read(400, 800, 1024, 1024), 2


@pytest.mark.parametrize(("blur_um", "expected"), [(0.0, 0.0), (0.3, 0.0), (1.3, 1.0), (4.0, 1.0)])
def test_real_tissue_is_sharp_until_it_is_blurred(shared_data, blur_um, expected):
    for pixels, px_a_um in tissue_at_1_um(shared_data):
        sigma = blur_um * px_a_um
        soft = ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0))
        picture = Image.fromarray(soft.astype(np.uint8)).reduce(px_a_um)
        blurred = blurred_cells(*sharpness(np.asarray(picture.convert("L")), 32))
        tissue = np.ptp(pixels, axis=2) > MIN_COLOUR_SPREAD
        side = len(tissue) // len(blurred)
        cells = tissue.reshape(len(blurred), side, -1, side).mean(axis=(1, 3)) > 0.5
        assert blurred[cells].mean() == pytest.approx(expected, abs=0.02)


def test_glass_is_not_judged():
    noise = np.random.default_rng(0).normal(240, 2, (256, 256))
    assert not blurred_cells(*sharpness(ndimage.gaussian_filter(noise, 3), 32)).any()


# --- folds ---------------------------------------------------------------------------------------


def folded(shape_of_dark):
    picture = np.full((200, 200, 3), (200, 130, 170), np.uint8)
    y, x = np.mgrid[:200, :200]
    picture[shape_of_dark(x, y)] = (130, 60, 110)
    return fold_pixels(picture, np.ones((200, 200), bool), 8.0)


def test_a_dark_band_is_a_fold_and_a_dark_disc_is_none():
    band = folded(lambda x, y: (abs(x - y) < 4) & (x > 40) & (x < 160))
    assert band[100, 100]
    assert band.mean() == pytest.approx(0.024, abs=0.006)
    assert not folded(lambda x, y: np.hypot(x - 100, y - 100) < 12).any()
    assert not folded(lambda x, y: (abs(x - 100) < 3) & (abs(y - 100) < 12)).any()


def test_real_clean_tissue_has_next_to_nothing(shared_data):
    for name in ("CMU-1-Small-Region.svs", "c16_mosaic_dev.tif"):
        with open_slide(shared_data / "slides" / name) as slide:
            mask = tissue_mask(slide)
            quality = find_quality(slide, mask)
            tissue_mm2 = mask.values.sum() * (mask.pixel_px * slide.mpp[0] / 1000) ** 2
        assert tissue_mm2 > 0.2
        for kind in quality.masks:
            assert quality.area_mm2(kind) == 0, (name, kind)
