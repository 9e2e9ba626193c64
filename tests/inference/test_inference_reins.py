"""A run with somebody at the reins, and with everything going wrong that can."""

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from made_models import write_wsinfer_model
from napari_camelyon.errors import ModelError, SlideError
from napari_camelyon.inference import (
    NumericPath,
    OutOfMemoryError,
    Pending,
    Predicted,
    RunControl,
    new_heatmap,
    new_watch,
    open_checkpoint,
    run,
    run_method,
)
from napari_camelyon.inference.pace import Pace
from napari_camelyon.inference.units import plan_units
from napari_camelyon.models import load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import plan_patches

PATH = NumericPath("cpu", "by hand", "fp32")
BATCH = 16


@pytest.fixture(scope="module")
def slide(make_slide):
    rng = np.random.default_rng(4)
    coarse = rng.integers(40, 220, (96, 120, 3), dtype=np.uint8)
    path = make_slide(coarse.repeat(16, 0).repeat(16, 1), name="large", factors=(1, 2), mpp=0.5)
    with open_slide(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark", patch_px=32))


@pytest.fixture(scope="module")
def plan(slide, model):
    return plan_patches(slide, model.spec, stride_um=8, min_tissue_fraction=0)


class ByHand:
    """Predicts the mean grey of each patch; does what it is told beside."""

    path = PATH
    batch_size = BATCH

    def __init__(self, depth=2, before=lambda patches: None, maps=()):
        self.depth = depth
        self.before = before
        self.maps = maps
        self.in_flight = 0
        self.most_in_flight = 0
        self.sizes = []

    def submit(self, patches):
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return Pending(lambda: self._result(patches))

    def _result(self, patches):
        self.in_flight -= 1
        self.before(patches)
        self.sizes.append(len(patches))
        grey = (patches.mean((1, 2, 3)) / 255).astype(np.float32)
        return Predicted(np.stack([1 - grey, grey], 1), dict.fromkeys(self.maps, grey / 2))

    def close(self):
        raise AssertionError("a run closes only what it has made itself")


@pytest.fixture(scope="module")
def expected(slide, model, plan):
    return list(run(slide, model, plan, predictor=ByHand()))[-1].heatmap.values


def in_view(plan, cells, view):
    begin = plan.grid.corners(cells)
    end = begin + plan.grid.patch_width_px
    x, y, width, height = view
    return ((begin < (x + width, y + height)) & (end > (x, y))).all(axis=1)


def read_units(plan, updates):
    """Return the numbers of the units in the order in which they were handed out."""
    units = plan_units(plan.grid, plan.selected, 32, BATCH)
    number = np.zeros(plan.grid.shape, int)
    for unit in range(units.unit_count):
        cells = units.cells[units.unit_edges[unit] : units.unit_edges[unit + 1]]
        number[tuple(cells.T)] = unit
    order = [int(number[tuple(update.cells[0])]) for update in updates]
    return units, [unit for unit, _batches in itertools.groupby(order)]


@pytest.mark.parametrize("view", [(1500, 1200, 200, 200), (1800, 0, 100, 900), (1500, 10, 30, 30)])
def test_a_look_elsewhere_changes_what_is_read_next(slide, model, plan, expected, view):
    control = RunControl()
    updates = run(slide, model, plan, predictor=ByHand(depth=1), control=control, read_threads=1)
    first = [next(updates) for _ in range(4 * 6)]
    control.look_at(*view)
    rest = list(updates)
    units, order = read_units(plan, first + rest)
    assert sorted(order) == list(range(units.unit_count))
    seen = [
        bool(in_view(plan, units.cells[units.unit_edges[n] : units.unit_edges[n + 1]], view).any())
        for n in order
    ]
    assert not any(seen[:6])
    assert any(seen)
    # One unit may be under way and one read by then; nothing else comes before what is in view.
    last_in_view = len(seen) - seen[::-1].index(True)
    assert last_in_view - 6 - sum(seen) <= 2
    np.testing.assert_array_equal(rest[-1].heatmap.values, expected)


def test_no_order_no_pause_and_no_batch_in_flight_changes_a_value(slide, model, plan, expected):
    rng = np.random.default_rng(2)
    for depth, threads in ((1, 1), (2, 3), (5, 2)):
        control = RunControl()
        predictor = ByHand(depth)
        updates = run(
            slide, model, plan, predictor=predictor, control=control, read_threads=threads
        )
        for update in updates:
            heatmap = update.heatmap
            if rng.random() < 0.2:
                x, y = rng.integers(0, 1500, 2).tolist()
                control.look_at(x, y, 300, 300)
        np.testing.assert_array_equal(heatmap.values, expected)
        assert predictor.most_in_flight == depth
        assert predictor.sizes[:-1].count(BATCH) >= len(predictor.sizes) - 2


def test_a_rest_ends_what_is_under_way_and_goes_on_when_told(slide, model, plan, expected):
    control = RunControl()
    predictor = ByHand(depth=2)
    found, resting = [], threading.Event()
    real_wait = control.wait_while_paused

    def wait():
        resting.set()
        real_wait()

    control.wait_while_paused = wait

    def consume():
        for update in run(slide, model, plan, predictor=predictor, control=control):
            found.append(update)
            if len(found) == 5:
                control.pause()

    thread = threading.Thread(target=consume)
    thread.start()
    resting.wait()
    assert len(found) == 6  # with the one that was under way
    assert predictor.in_flight == 0
    control.go_on()
    thread.join()
    np.testing.assert_array_equal(found[-1].heatmap.values, expected)
    assert found[-1].seconds_left == 0


def test_cancelling_a_rest_ends_the_run(slide, model, plan):
    control = RunControl()
    updates = run(slide, model, plan, predictor=ByHand(), control=control)
    next(updates)
    control.pause()
    control.cancel()
    assert len(list(updates)) == 1  # the one under way is kept


def test_time_left_follows_the_recent_batches_and_leaves_rests_out():
    pace = Pace()
    assert pace.patches_per_s == 0
    assert np.isnan(pace.seconds_for(10))
    assert pace.seconds_for(0) == 0
    pace.note_lasting(16, 60)  # the first one compiles
    for _ in range(100):
        pace.note_lasting(16, 1.0)
    assert pace.patches_per_s == pytest.approx(16)
    assert pace.seconds_for(160) == pytest.approx(10)
    for _ in range(100):
        pace.note_lasting(16, 0.5)
    assert pace.patches_per_s == pytest.approx(32)


def test_memory_holds_few_units_whatever_the_slide(slide, model, plan):
    buffers = {}

    def note(patches):
        whole = patches.base
        buffers[whole.__array_interface__["data"][0]] = whole  # kept, so that no place is reused

    list(run(slide, model, plan, predictor=ByHand(2, note), read_threads=2))
    assert plan.patch_count > 20 * 64
    # Two threads, the unit that is handed out, one ahead, and one for each batch in flight.
    assert 1 <= len(buffers) <= 2 + 2 + 2
    assert all(whole.shape == (64, 32, 32, 3) for whole in buffers.values())


def test_out_of_memory_halves_the_batch_and_goes_on(slide, model, plan, expected, tmp_path):
    def little(patches):
        if len(patches) > 5:
            raise OutOfMemoryError("The device has no room.")

    predictor = ByHand(2, little)
    with open_checkpoint(tmp_path, slide, model, plan, PATH, batch_size=BATCH) as checkpoint:
        updates = list(run(slide, model, plan, predictor=predictor, checkpoint=checkpoint))
    assert [update.batch_size for update in updates] == [4] * len(updates)
    assert set(predictor.sizes) <= {4, 3, 2, 1}
    np.testing.assert_array_equal(updates[-1].heatmap.values, expected)
    assert updates[-1].done == plan.patch_count
    (file,) = tmp_path.iterdir()
    assert b'"batch_size": 4' in file.read_bytes()


def test_no_room_for_a_single_patch_ends_the_run_and_says_so(slide, model, plan):
    def none(patches):
        raise OutOfMemoryError("The device has no room.")

    with pytest.raises(OutOfMemoryError, match="no room"):
        next(run(slide, model, plan, predictor=ByHand(2, none)))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_model_that_fails_on_one_patch_is_told_where_and_all_else_is_kept(
    slide, model, plan, expected, depth, tmp_path
):
    reference = next(run(slide, model, plan, predictor=ByHand(1)))
    values, at, count = np.unique(
        expected[tuple(reference.cells.T)], return_index=True, return_counts=True
    )
    alone = int(np.argmax(count == 1))
    cell, bad = tuple(reference.cells[at[alone]]), values[alone]

    def fail(patches):
        grey = (patches.mean((1, 2, 3)) / 255).astype(np.float32)
        if (grey == bad).any():
            raise ModelError("The model returned values that are no numbers.")

    x, y = plan.grid.corners(cell).tolist()
    heatmap = new_heatmap(slide, model, plan)
    updates = []
    with (
        open_checkpoint(tmp_path, slide, model, plan, PATH, batch_size=BATCH) as checkpoint,
        pytest.raises(ModelError, match=rf"no numbers.*the patch at slide point \({x}, {y}\)"),
    ):
        updates.extend(
            run(
                slide,
                model,
                plan,
                heatmap=heatmap,
                predictor=ByHand(depth, fail),
                checkpoint=checkpoint,
            )
        )
    computed = ~np.isnan(heatmap.values)
    assert computed.sum() == (depth - 1) * BATCH  # those under way
    np.testing.assert_array_equal(heatmap.values[computed], expected[computed])
    with open_checkpoint(tmp_path, slide, model, plan, PATH, batch_size=BATCH) as checkpoint:
        assert len(checkpoint.known.cells) == computed.sum()


def test_a_device_that_goes_away_keeps_everything_before(slide, model, plan, expected):
    calls = iter(range(100))

    def gone(patches):
        if next(calls) >= 7:
            raise ModelError("The device cuda:0 failed.")

    heatmap = new_heatmap(slide, model, plan)
    with pytest.raises(ModelError, match=r"cuda:0 failed.*slide point \(\d+, \d+\)"):
        list(run(slide, model, plan, heatmap=heatmap, predictor=ByHand(2, gone)))
    computed = ~np.isnan(heatmap.values)
    assert computed.sum() == 7 * BATCH
    np.testing.assert_array_equal(heatmap.values[computed], expected[computed])


def test_a_slide_that_disappears_ends_the_run_with_all_it_has_read(slide, model, plan, expected):
    heatmap = new_heatmap(slide, model, plan)
    with open_slide(slide.path) as another:
        updates = run(another, model, plan, heatmap=heatmap, predictor=ByHand(), read_threads=1)
        next(updates)
        another.close()
        with pytest.raises(SlideError, match="closed"):
            list(updates)
    computed = ~np.isnan(heatmap.values)
    assert 4 * BATCH <= computed.sum() < plan.patch_count
    np.testing.assert_array_equal(heatmap.values[computed], expected[computed])


def test_maps_and_classes_fill_the_maps_of_the_heatmap(slide, model, plan, expected):
    update = list(run(slide, model, plan, predictor=ByHand(maps=("uncertainty_total",))))[-1]
    assert list(update.heatmap.maps) == ["uncertainty_total"]
    np.testing.assert_array_equal(update.heatmap.maps["uncertainty_total"], expected / 2)


def test_a_watch_sees_every_batch_and_its_findings_are_handed_out(slide, model, plan):
    class Constant(ByHand):
        def _result(self, patches):
            predicted = super()._result(patches)
            return Predicted(np.full_like(predicted.probabilities, 0.97))

    watch = new_watch(model.spec)
    update = list(run(slide, model, plan, predictor=Constant(), watch=watch))[-1]
    assert update.findings
    assert all(finding.sentence for finding in update.findings)


class Grey(nn.Module):
    """Fully convolutional: an output every 8 px; fails where it is told to."""

    def __init__(self, most_px=10**9, fails=False):
        super().__init__()
        self.most_px, self.fails, self.pictures = most_px, fails, 0

    def dense(self, pixels):
        if pixels.shape[2] * pixels.shape[3] > self.most_px:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if self.fails:
            raise RuntimeError("something is wrong")
        self.pictures += 1
        return nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 8)


def dense_model(model, **how):
    spec = replace(model.spec, activation="sigmoid")
    return replace(model, spec=spec, module=Grey(**how), dense_stride_px=8, dense_margin_px=16)


def test_a_block_for_which_there_is_no_room_is_predicted_in_smaller_ones(slide, model, plan):
    large = dense_model(model)
    assert run_method(large, plan.grid) == "dense"
    assert run_method(large, plan.grid, ByHand()) == "patches"
    expected = list(run(slide, large, plan, device="cpu"))[-1].heatmap
    assert expected.method == "dense"
    assert expected.computed_share == 1
    for most_px in (200 * 200, 100 * 100):
        small = dense_model(model, most_px=most_px)
        heatmap = list(run(slide, small, plan, device="cpu"))[-1].heatmap
        np.testing.assert_allclose(heatmap.values, expected.values, atol=1e-6)
    assert small.module.pictures > 64 > large.module.pictures
    with pytest.raises(OutOfMemoryError):
        list(run(slide, dense_model(model, most_px=32 * 32), plan, device="cpu"))


def test_a_block_that_fails_is_told_where(slide, model, plan):
    with pytest.raises(ModelError, match=r"wrong.*block of \d+ patches at slide point \(0, 0\)"):
        list(run(slide, dense_model(model, fails=True), plan, device="cpu"))
