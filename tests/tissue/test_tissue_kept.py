"""The tissue as a person left it: kept beside the slide, found again, believed only if it fits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, annotation_from_region, region_of
from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.slides import open_slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import (
    GROUPS,
    OFF,
    TISSUE,
    choice_of,
    describe_choice,
    find_kept_tissue,
    find_tissue,
    forget_tissue,
    keep_tissue,
    plan_patches,
    switch_piece,
    tissue_choice,
    tissue_mask,
)

PINK, INK = (220, 150, 200), (30, 70, 160)
SPEC = ModelSpec(name="test", patch_px=64, patch_mpp=1.0)


@pytest.fixture(scope="module")
def pixels():
    """Two pieces of tissue, 1.0 × 0.8 mm and 0.6 × 0.8 mm, with ink on the second; 1 µm/px."""
    picture = np.full((1200, 2600, 3), 245, np.uint8)
    speckle = np.random.default_rng(0).integers(-30, 30, (1200, 2600, 1))
    for left, right in ((200, 1200), (1700, 2300)):
        piece = PINK + speckle[200:1000, left:right]
        picture[200:1000, left:right] = np.clip(piece, 0, 255)
    picture[200:600, 2000:2300] = INK
    return picture


@pytest.fixture(scope="module")
def written(make_slide, pixels):
    return make_slide(pixels, mpp=1.0, name="pieces")


@pytest.fixture
def slide(written, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "slides"
    folder.mkdir()
    with open_slide(shutil.copy(written, folder / "pieces.tif")) as opened:
        yield opened


@pytest.fixture
def outlines(slide):
    return find_tissue(slide)


def without_second(slide, outlines):
    choice = choice_of(slide, outlines)
    off = switch_piece(outlines.annotations, choice.found, choice.mask.pixel_px, 2, on=False)
    return replace(outlines, annotations=off)


def test_each_piece_is_an_outline_and_so_is_each_spoilt_area(slide, outlines):
    named = [(one.name, one.group) for one in outlines.annotations]
    assert named == [("piece 1", TISSUE), ("piece 2", TISSUE), ("pen 1", "pen")]
    first, second, pen = (region_of(one) for one in outlines.annotations)
    assert first.area == pytest.approx(0.8e6, rel=0.02)
    assert second.area == pytest.approx(0.6 * 0.8e6 - 0.12e6, rel=0.05)  # ink is no tissue
    assert pen.area > 0.12e6


def test_outlines_give_the_mask_that_they_came_from(slide, outlines):
    found = choice_of(slide, outlines)
    wrong = found.mask.values != tissue_mask(slide).values
    assert wrong.mean() < 0.003
    assert (found.pieces, found.pieces_off, found.leave_out) == (2, 0, ())


def test_a_piece_is_switched_off_and_on_again(slide, outlines):
    left = without_second(slide, outlines)
    choice = choice_of(slide, left)
    assert (choice.pieces, choice.pieces_off, choice.off) == (2, 1, {2})
    assert not choice.mask.values[:, 1500 // 8 :].any()
    np.testing.assert_array_equal(
        choice.mask.values[:, : 1500 // 8],
        choice_of(slide, outlines).mask.values[:, : 1500 // 8],
    )
    again = switch_piece(left.annotations, choice.found, choice.mask.pixel_px, 2, on=True)
    assert [one.group for one in again] == [one.group for one in outlines.annotations]


def test_an_outline_over_two_pieces_is_divided_when_one_goes_off(slide, outlines):
    whole = shapely.MultiPolygon(
        [region_of(one) for one in outlines.annotations if one.group == TISSUE]
    )
    together = AnnotationSet((annotation_from_region(whole, group=TISSUE),), GROUPS)
    left = without_second(slide, replace(outlines, annotations=together))
    assert sorted(one.group for one in left.annotations) == [TISSUE, OFF]
    assert sum(region_of(one).area for one in left.annotations) == pytest.approx(whole.area)
    assert choice_of(slide, left).off == {2}


def test_what_is_painted_becomes_tissue(slide, outlines):
    painted = annotation_from_region(shapely.box(1300, 400, 1500, 600), group=TISSUE)
    more = AnnotationSet((*outlines.annotations, painted), GROUPS)
    choice = choice_of(slide, replace(outlines, annotations=more))
    assert choice.mask.values[500 // 8, 1400 // 8]
    assert not choice_of(slide, outlines).mask.values[500 // 8, 1400 // 8]


# --- kept ----------------------------------------------------------------------------------------


def test_it_is_kept_beside_the_slide_and_found_again(slide, outlines):
    left = replace(
        without_second(slide, outlines), leave_out=("pen", "blur"), min_tissue_fraction=0.6
    )
    path = keep_tissue(slide, left)
    assert path == slide.path.with_name("pieces.tif.tissue.geojson")
    kept = find_kept_tissue(slide)
    assert (kept.path, kept.ignored) == (path, "")
    assert kept.outlines.leave_out == ("pen", "blur")
    assert kept.outlines.looked_for == ("pen", "blur", "fold")
    choice = tissue_choice(slide)
    np.testing.assert_array_equal(choice.mask.values, choice_of(slide, left).mask.values)
    assert choice.kept_in == str(path)
    assert choice.min_tissue_fraction == 0.6
    assert describe_choice(choice) == "1 of 2 pieces, at least 60% tissue, pen and blur left out"


def test_the_file_is_geojson_that_other_programs_read(slide, outlines):
    path = keep_tissue(slide, outlines)
    read = annotations.read(path)
    assert [one.group for one in read] == [TISSUE, TISSUE, "pen"]
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    polygon = shapely.geometry.shape(collection["features"][0]["geometry"])
    assert polygon.area == pytest.approx(0.8e6, rel=0.02)


def test_where_nothing_can_be_written_beside_it_the_cache_folder_holds_it(
    slide, outlines, monkeypatch
):
    real = Path.open

    def refuse(self, *arguments, **named):
        if self.parent == slide.path.parent and "x" in str(arguments):
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    path = keep_tissue(slide, outlines)
    assert slide.path.parent not in path.parents
    assert find_kept_tissue(slide).path == path
    monkeypatch.undo()
    assert list(slide.path.parent.glob("*.geojson")) == []


def test_one_that_is_kept_beside_the_slide_later_takes_the_place_of_that_in_the_cache(
    slide, outlines, monkeypatch
):
    from napari_camelyon.tissue import kept

    def fail(content, path):
        if path.parent == slide.path.parent:
            raise FileWriteError("no room")
        written(content, path)

    written = kept._write
    monkeypatch.setattr(kept, "_write", fail)
    own = keep_tissue(slide, outlines)
    monkeypatch.setattr(kept, "_write", written)
    beside = keep_tissue(slide, outlines)
    assert not own.exists()
    assert find_kept_tissue(slide).path == beside


def test_it_is_believed_only_of_the_same_slide(slide, outlines, make_slide, pixels):
    path = keep_tissue(slide, outlines)
    other = make_slide(pixels[::-1], mpp=1.0, name="other")
    shutil.copy(path, other.with_name("other.tif.tissue.geojson"))
    with open_slide(other) as another:
        kept = find_kept_tissue(another)
        assert kept.outlines is None
        assert "another slide" in kept.ignored
        choice = tissue_choice(another)
    assert choice.kept_in == ""
    assert "another slide" in choice.note


@pytest.mark.parametrize("content", ["", "{", "[]", '{"napari_camelyon": {"schema_version": 1}}'])
def test_a_damaged_file_is_said_and_not_used(slide, outlines, content):
    path = keep_tissue(slide, outlines)
    path.write_text(content, encoding="utf-8")
    assert "cannot be read" in tissue_choice(slide).note


def test_a_newer_file_is_neither_used_nor_overwritten(slide, outlines):
    path = keep_tissue(slide, outlines)
    text = path.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 2')
    path.write_text(text, encoding="utf-8")
    assert "newer" in find_kept_tissue(slide).ignored
    for change in (lambda: keep_tissue(slide, outlines), lambda: forget_tissue(slide)):
        with pytest.raises(ResultError, match="newer"):
            change()
    assert path.read_text(encoding="utf-8") == text


def test_it_can_be_forgotten(slide, outlines):
    keep_tissue(slide, outlines)
    assert forget_tissue(slide)
    assert find_kept_tissue(slide) is None
    assert not forget_tissue(slide)


def test_a_run_can_be_told_to_pass_over_it(slide, outlines):
    keep_tissue(slide, without_second(slide, outlines))
    assert tissue_choice(slide).pieces_off == 1
    assert tissue_choice(slide, use_kept=False).pieces_off == 0


# --- what a run makes of it ----------------------------------------------------------------------


def plan(slide, choice):
    return plan_patches(
        slide,
        SPEC,
        min_tissue_fraction=choice.min_tissue_fraction,
        mask=choice.mask,
        leave_out=choice.leave_out,
        quality=choice.quality,
    )


def test_patches_of_a_piece_that_is_off_are_not_planned(slide, outlines):
    both = plan(slide, choice_of(slide, outlines))
    one = plan(slide, choice_of(slide, without_second(slide, outlines)))
    assert 0 < one.patch_count < both.patch_count
    columns = np.flatnonzero(one.selected.any(axis=0)) * one.grid.stride_x_px
    assert columns.max() < 1300


def test_patches_on_ink_are_left_out_and_counted(slide, outlines):
    painted = annotation_from_region(shapely.box(300, 300, 700, 700), group="pen")
    more = AnnotationSet((*outlines.annotations, painted), GROUPS)
    kept = replace(outlines, annotations=more)
    whole = plan(slide, choice_of(slide, kept))
    left = plan(slide, choice_of(slide, replace(kept, leave_out=("pen",))))
    gone = whole.selected & ~left.selected
    assert left.left_out == {"pen": int(gone.sum())}
    assert left.left_out_sentence == f"{gone.sum()} patches left out (pen {gone.sum()})"
    rows, columns = np.nonzero(gone[:, :16])
    assert rows.min() * 64 <= 300 < (rows.min() + 1) * 64
    # A patch goes when a quarter of it is ink: 64 px patches from 256 to 704.
    assert (columns.min() * 64, (columns.max() + 1) * 64) == (256, 704)
    assert whole.left_out_sentence == ""


def test_what_was_not_looked_for_is_looked_for_when_it_is_to_be_left_out(slide):
    choice = tissue_choice(slide, leave_out=("pen",), min_tissue_fraction=0.25)
    assert set(choice.quality.masks) == {"pen"}
    assert choice.min_tissue_fraction == 0.25
    assert plan(slide, choice).patch_count > 0
    with pytest.raises(ValueError, match="dirt"):
        tissue_choice(slide, leave_out=("dirt",))


def test_a_plan_does_not_leave_out_what_nobody_looked_for(slide):
    with pytest.raises(ValueError, match="fold was not looked for"):
        plan_patches(slide, SPEC, leave_out=("fold",))


def test_a_choice_says_itself_for_the_results(slide, outlines):
    path = keep_tissue(slide, replace(without_second(slide, outlines), leave_out=("pen",)))
    said = json.loads(json.dumps(tissue_choice(slide).describe()))
    assert said["kept_file"] == str(path)
    assert (said["pieces"], said["pieces_off"], said["leave_out"]) == (2, 1, ["pen"])
    assert said["spoilt_mm2"]["pen"] > 0.12
