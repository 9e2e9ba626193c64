"""The run over a slide: exact places, exact pixels, cancelling, errors."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_models import Darkness, write_wsinfer_model
from napari_camelyon.errors import ModelError, SlideError
from napari_camelyon.geometry import Grid
from napari_camelyon.inference import new_heatmap, read_patch, run
from napari_camelyon.inference.patches import cut_patches, read_block
from napari_camelyon.models import Model, load_model
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import PatchRules, plan_patches

MARKS = [(403, 310), (1200, 700), (950, 1105)]  # slide points of the marks' centres


@pytest.fixture(scope="module")
def marked(make_slide):
    """Pink tissue at 0.5 µm/px with three black squares of 96 px."""
    rng = np.random.default_rng(5)
    pixels = np.full((1300, 1500, 3), (220, 160, 205), np.uint8)
    pixels[..., 1] += rng.integers(0, 30, pixels.shape[:2], dtype=np.uint8)
    for x, y in MARKS:
        pixels[y - 48 : y + 48, x - 48 : x + 48] = (40, 5, 40)
    return make_slide(pixels, name="marked", factors=(1, 2, 4), mpp=0.5)


@pytest.fixture(scope="module")
def darkness(tmp_path_factory):
    return load_model(write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark"))


def finished(slide, model, plan, **options):
    return list(run(slide, model, plan, device="cpu", **options))[-1]


@pytest.mark.parametrize("stride_um", [8.0, 13.0, 16.0, 32.0])
@pytest.mark.parametrize(("patch_px", "mpp"), [(32, 1.0), (24, 0.5), (16, 2.0), (40, 0.7)])
def test_cells_stand_for_the_centres_of_what_they_saw(marked, tmp_path, stride_um, patch_px, mpp):
    model = load_model(write_wsinfer_model(tmp_path / "m", patch_px=patch_px, mpp=mpp, centre_px=4))
    with open_slide(marked) as slide:
        plan = plan_patches(slide, model.spec, stride_um=stride_um)
        heatmap = finished(slide, model, plan).heatmap
    for x, y in MARKS:
        cells = np.argwhere(heatmap.values > 0.5)
        centres = heatmap.grid.centres(cells)
        near = centres[np.abs(centres - (x, y)).max(axis=1) < 120]
        # The dark cells are those whose centres lie within the mark; so the middle of their
        # extent is the mark's centre to half a stride, and none lies outside.
        assert len(near)
        assert (np.abs(near - (x, y)) <= 48 + 4 * mpp / 0.5).all()
        middle = (near.min(axis=0) + near.max(axis=0)) / 2
        assert np.abs(middle - (x, y)).max() <= heatmap.grid.stride_x_px / 2 + 1


def test_a_mark_centred_on_a_cell_is_found_in_that_cell_alone(make_slide, darkness):
    # One patch of 64 level-0 px at (5, 7) of a grid with stride 64: its centre is a dark square.
    pixels = np.full((1024, 1024, 3), (220, 160, 205), np.uint8)
    pixels[5 * 64 + 16 : 5 * 64 + 48, 7 * 64 + 16 : 7 * 64 + 48] = 0
    with open_slide(make_slide(pixels, name="one", mpp=0.5)) as slide:
        plan = plan_patches(slide, darkness.spec, min_tissue_fraction=0)
        heatmap = finished(slide, darkness, plan).heatmap
    assert np.argwhere(heatmap.values > 0.5).tolist() == [[5, 7]]
    assert heatmap.grid.centres((5, 7)).tolist() == [7 * 64 + 32, 5 * 64 + 32]


def test_values_equal_a_plain_loop_over_openslide(marked, darkness):
    import openslide

    with open_slide(marked) as slide, openslide.OpenSlide(marked) as plain:
        plan = plan_patches(slide, darkness.spec, stride_um=24)
        heatmap = finished(slide, darkness, plan, batch_size=7).heatmap
        network = Darkness(8)
        for row, column in np.argwhere(plan.selected):
            x, y = plan.grid.corners((row, column)).tolist()
            region = np.asarray(plain.read_region((x, y), 0, (64, 64)).convert("RGB"))
            # Level 1 of the file holds rounded means of 2 × 2 pixels.
            means = region.reshape(32, 2, 32, 2, 3).mean((1, 3), dtype=np.float64)
            inputs = torch.from_numpy(np.floor(means + 0.5).astype(np.float32) / 255)
            with torch.inference_mode():
                value = network(inputs.permute(2, 0, 1)[None]).softmax(1)[0, 1].item()
            assert heatmap.values[row, column] == pytest.approx(value, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    x=st.integers(0, 200),
    y=st.integers(0, 200),
    patch=st.integers(30, 150),
    stride=st.integers(10, 160),
    patch_px=st.sampled_from([16, 32, 50]),
)
def test_a_block_gives_the_pixels_of_single_patches(marked, x, y, patch, stride, patch_px):
    grid = Grid(5, 6, x, y, patch, patch, stride, stride)
    with open_slide(marked) as slide:
        cells = np.argwhere(np.ones(grid.shape, bool))
        block = read_block(slide, grid, cells, patch_px)
        for index in (0, 7, 29):
            single = read_patch(slide, grid, *cells[index], patch_px)
            np.testing.assert_array_equal(block[index], single)


def test_the_fast_cut_equals_the_general_one(marked):
    grid = Grid(3, 3, 128, 64, 64, 64, 32, 32)
    with open_slide(marked) as slide:
        fast = read_block(slide, grid, np.argwhere(np.ones((3, 3), bool)), 32)
        for patch, cell in zip(fast, itertools.product(range(3), range(3)), strict=True):
            x, y = grid.corners(cell).tolist()
            np.testing.assert_array_equal(patch, read_resampled(slide, x, y, 64, 64, 32, 32))


def test_cutting_scales_each_patch_by_itself():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 200
    cut = cut_patches(
        pixels, np.array([[0.0, 0.0], [20.0, 0.0]]), np.array([[20.0, 20.0], [40.0, 20.0]]), 10
    )
    assert (cut[0] == 0).all()
    assert (cut[1] == 200).all()


def test_updates_count_up_and_only_selected_cells_are_filled(marked, darkness):
    with open_slide(marked) as slide:
        plan = plan_patches(slide, darkness.spec)
        updates = list(run(slide, darkness, plan, device="cpu", batch_size=16))
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert done[-1] == updates[0].total == plan.patch_count
    assert updates[-1].seconds_left == 0
    heatmap = updates[-1].heatmap
    assert (np.isnan(heatmap.values) == ~plan.selected).all()
    assert heatmap.computed_share == 1
    assert (heatmap.slide_name, heatmap.model_sha256) == ("marked", darkness.sha256)


def test_cancelling_keeps_what_was_computed_and_a_second_run_goes_on(marked, darkness):
    with open_slide(marked) as slide:
        plan = plan_patches(slide, darkness.spec)
        heatmap = new_heatmap(slide, darkness, plan)
        stop = iter([False, False, True])
        first = list(
            run(slide, darkness, plan, heatmap=heatmap, device="cpu", cancelled=lambda: next(stop))
        )
        assert len(first) == 2
        assert heatmap.computed_cells == 32
        kept = heatmap.values.copy()
        rest = list(run(slide, darkness, plan, heatmap=heatmap, device="cpu"))
        assert rest[-1].total == plan.patch_count - 32
        known = ~np.isnan(kept)
        np.testing.assert_array_equal(heatmap.values[known], kept[known])
        whole = finished(slide, darkness, plan).heatmap
        np.testing.assert_array_equal(heatmap.values, whole.values)


def test_closing_the_generator_stops_the_readers(marked, darkness):
    import threading

    with open_slide(marked) as slide:
        plan = plan_patches(slide, darkness.spec, stride_um=8)
        updates = run(slide, darkness, plan, device="cpu")
        next(updates)
        updates.close()
        names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("read-patches") for name in names)


class TestDamage:
    """One tile of 64 px is damaged; patches of 64 level-0 px see level 1 at 1 µm/px."""

    @pytest.fixture
    def plan_of(self, marked, damage_tile, tmp_path):
        def make(directory: int, *tiles: tuple[int, int]):
            path = tmp_path / "damaged.tif"
            path.write_bytes(marked.read_bytes())
            for column, row in tiles:
                damage_tile(path, column, row, directory)
            return path

        return make

    @pytest.mark.parametrize("backend", ["tiff", "openslide"])
    @pytest.mark.parametrize("stride_um", [13.0, 16.0, 32.0])
    def test_patches_that_touch_it_are_left_out_and_all_others_unchanged(
        self, plan_of, marked, darkness, stride_um, backend
    ):
        path = plan_of(1, (4, 3))
        with open_slide(marked) as slide:
            plan = plan_patches(slide, darkness.spec, stride_um=stride_um)
            expected = finished(slide, darkness, plan).heatmap.values.copy()
        with open_slide(path, backend=backend) as slide:
            updates = list(run(slide, darkness, plan, device="cpu"))
        # The tile covers these level-0 pixels.
        left, top, right, bottom = 4 * 128, 3 * 128, 5 * 128, 4 * 128
        corners = plan.grid.corners(np.argwhere(plan.selected))
        # At a stride of 26 px patches begin on odd pixels of level 0, and see half-pixels more.
        begins, ends = corners // 2 * 2, -(-(corners + 64) // 2) * 2
        touched = ((begins < (right, bottom)) & (ends > (left, top))).all(axis=1)
        heatmap = updates[-1].heatmap
        found = heatmap.values[plan.selected]
        assert 4 <= touched.sum() < len(touched) / 4
        np.testing.assert_array_equal(np.isnan(found), touched)
        np.testing.assert_array_equal(found[~touched], expected[plan.selected][~touched])
        assert updates[-1].damaged == heatmap.damaged_cells == touched.sum()
        assert [update.damaged for update in updates] == sorted(u.damaged for u in updates)
        assert updates[-1].done == updates[-1].total == plan.patch_count

    def test_the_mask_does_not_leave_out_what_a_finer_level_still_holds(
        self, plan_of, marked, darkness
    ):
        # Level 2, from which tissue is found, is damaged; level 1, which the model sees, is not.
        path = plan_of(2, (1, 1), (3, 2))
        with open_slide(marked) as sound, open_slide(path) as slide:
            plan = plan_patches(slide, darkness.spec)
            assert (plan.selected == plan_patches(sound, darkness.spec).selected).all()
            heatmap = finished(slide, darkness, plan).heatmap
        assert heatmap.computed_share == 1
        assert heatmap.damaged_cells == 0

    def test_a_second_run_tries_again_and_fails_only_if_there_is_nothing(
        self, plan_of, marked, darkness
    ):
        path = plan_of(1, (4, 3))
        with open_slide(path) as slide:
            plan = plan_patches(slide, darkness.spec)
            heatmap = finished(slide, darkness, plan).heatmap
            lost = heatmap.damaged_cells
            again = finished(slide, darkness, plan, heatmap=heatmap)
            assert (again.total, again.damaged) == (lost, lost)
        with open_slide(marked) as slide:
            finished(slide, darkness, plan, heatmap=heatmap)
        assert heatmap.damaged_cells == 0
        assert heatmap.computed_share == 1

    @pytest.mark.parametrize("backend", ["tiff", "openslide"])
    def test_a_slide_that_cannot_be_read_at_all_is_an_error(
        self, plan_of, marked, darkness, backend
    ):
        columns, rows = -(-750 // 64), -(-650 // 64)
        path = plan_of(1, *itertools.product(range(columns), range(rows)))
        with open_slide(marked) as slide:
            plan = plan_patches(slide, darkness.spec)
        with (
            open_slide(path, backend=backend) as slide,
            pytest.raises(SlideError, match=rf"All {plan.patch_count} patches .*damaged"),
        ):
            list(run(slide, darkness, plan, device="cpu"))

    def test_a_slide_that_is_gone_is_an_error_not_damage(self, marked, darkness):
        with open_slide(marked) as slide:
            plan = plan_patches(slide, darkness.spec)
            heatmap = new_heatmap(slide, darkness, plan)
            slide.close()
            with pytest.raises(SlideError, match="closed"):
                list(run(slide, darkness, plan, heatmap=heatmap, device="cpu"))


def test_rules_leave_patches_uncomputed(marked, darkness):
    with open_slide(marked) as slide:
        plan = plan_patches(slide, darkness.spec)
        rules = PatchRules(min_intensity_variance=1e9)
        update = finished(slide, darkness, plan, rules=rules)
    assert update.done == plan.patch_count
    assert update.heatmap.computed_cells == 0


def test_a_slide_without_tissue_yields_nothing(make_slide, darkness):
    glass = make_slide(np.full((300, 300, 3), 250, np.uint8), name="glass", mpp=0.5)
    with open_slide(glass) as slide:
        assert list(run(slide, darkness, plan_patches(slide, darkness.spec), device="cpu")) == []


class Broken(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pixels):
        return self.answer.expand(len(pixels), -1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.tensor([[float("nan"), 0.0]]), "no numbers"),
        (torch.zeros(1, 5), "names 2 classes"),
        (torch.zeros(1, 1), "names 2 classes"),
    ],
    ids=["NaN", "five outputs", "one output under softmax"],
)
def test_wrong_outputs_are_refused(marked, tmp_path, answer, message):
    model = Model(ModelSpec("broken", 32, 1.0), Broken(answer), tmp_path / "broken.pt", "0")
    with open_slide(marked) as slide:
        plan = plan_patches(slide, model.spec)
        with pytest.raises(ModelError, match=message):
            next(run(slide, model, plan, device="cpu"))
