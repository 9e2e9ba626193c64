"""What is computed at once, and in which order: laws that no run may break."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_camelyon.geometry import Grid
from napari_camelyon.inference.units import (
    give_back,
    look,
    note_values,
    plan_units,
    take_next,
    wait_for,
)


@st.composite
def plans(draw, *, may_be_dense=True):
    rows, columns = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    patch, stride = draw(st.sampled_from([(224, 224), (448, 200), (128, 64), (300, 700)]))
    share = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    selected = rng.random((rows, columns)) < share
    dense = may_be_dense and draw(st.booleans())
    batch = None if dense else draw(st.integers(1, 40))
    grid = Grid(rows, columns, 0, 0, patch, patch, stride, stride)
    return plan_units(grid, selected, 128, batch), selected, batch


def taken(waiting):
    units = []
    while (unit := take_next(waiting)) is not None:
        units.append(unit)
    return units


def all_of(plan):
    return wait_for(plan, np.ones(plan.batch_count, bool))


@settings(max_examples=40)
@given(plans())
def test_every_selected_cell_is_in_one_batch_and_every_batch_is_full_but_the_last(made):
    plan, selected, batch = made
    found = np.zeros(selected.shape, int)
    np.add.at(found, tuple(plan.cells.T), 1)
    np.testing.assert_array_equal(found, selected)
    sizes = np.diff(plan.batch_edges)
    assert sizes.sum() == len(plan.cells)
    if batch is not None:
        assert (sizes[:-1] == batch).all()
    batches = [number for unit in range(plan.unit_count) for number in plan.batches_of(unit)]
    assert batches == list(range(plan.batch_count))
    assert plan.unit_edges.tolist() == [
        *(plan.batch(plan.batches_of(unit)[0]).start for unit in range(plan.unit_count)),
        len(plan.cells),
    ]


@settings(max_examples=40)
@given(plans())
def test_a_block_is_read_in_pieces_that_follow_each_other(made):
    plan, _selected, batch = made
    tall, wide = plan.block_shape
    for block in np.unique(plan.blocks):
        at = np.flatnonzero(plan.blocks == block)
        assert (np.diff(at) == 1).all()
        cells = plan.cells[at] // (tall, wide)
        assert (cells == cells[0]).all()
        extent = np.ptp(plan.grid.corners(plan.cells[at]), axis=0) + plan.grid.patch_width_px
        assert len(at) == 1 or (extent <= 1024 * plan.grid.patch_width_px / 128).all()
        if batch is None:
            assert at[0] in plan.batch_edges
            assert at[-1] + 1 in plan.batch_edges


@settings(max_examples=40)
@given(plans(), st.data())
def test_every_unit_is_taken_once_whatever_is_looked_at_found_or_given_back(made, data):
    plan, _selected, _batch = made
    waiting = all_of(plan)
    units = []
    for _ in range(data.draw(st.integers(0, 30))):
        match data.draw(st.sampled_from(["take", "look", "blink", "find", "give back"])):
            case "take":
                units.append(take_next(waiting))
            case "look":
                x, y = data.draw(st.tuples(st.integers(-99, 9999), st.integers(-99, 9999)))
                look(waiting, (x, y, 2000, 1000))
            case "blink":
                look(waiting, None)
            case "find" if len(plan.cells):
                some = plan.cells[:: data.draw(st.integers(1, 9))]
                note_values(waiting, some, np.full(len(some), data.draw(st.floats(0, 1)), "f4"))
            case "give back" if units and units[-1] is not None:
                give_back(waiting, units.pop())
    units += taken(waiting)
    assert sorted(unit for unit in units if unit is not None) == list(range(plan.unit_count))


@settings(max_examples=40)
@given(plans(), st.integers(0, 12_000), st.integers(0, 12_000), st.integers(1, 6000))
def test_what_is_in_view_comes_before_everything_else(made, x, y, side):
    plan, _selected, _batch = made
    waiting = all_of(plan)
    grid = plan.grid
    note_values(waiting, plan.cells[-1:], np.ones(len(plan.cells[-1:]), "f4"))  # elsewhere
    look(waiting, (x, y, side, side / 2))
    order = taken(waiting)
    patch = np.array([grid.patch_width_px, grid.patch_height_px])

    def is_seen(unit):
        cells = plan.cells[plan.unit_edges[unit] : plan.unit_edges[unit + 1]]
        begin = grid.corners(cells)
        return bool(((begin < (x + side, y + side / 2)) & (begin + patch > (x, y))).all(1).any())

    seen = [is_seen(unit) for unit in order]
    assert seen == sorted(seen, reverse=True)


@settings(max_examples=40)
@given(plans(may_be_dense=False))
def test_without_anything_known_a_sparse_pass_comes_first_and_then_the_curve(made):
    plan, _selected, _batch = made
    order = taken(all_of(plan))
    sparse = list(range(0, plan.unit_count, 16))
    assert order == sparse + [unit for unit in range(plan.unit_count) if unit % 16]


def test_the_sparse_pass_reaches_every_part_of_the_slide():
    plan = plan_units(Grid(192, 192, 0, 0, 9, 9, 9, 9), np.ones((192, 192), bool), 224, 16)
    waiting = all_of(plan)
    cells = [
        plan.cells[plan.unit_edges[unit] : plan.unit_edges[unit + 1]]
        for unit in (take_next(waiting) for _ in range(plan.unit_count // 16))
    ]
    reached = np.zeros((4, 4), bool)
    for row, column in np.concatenate(cells) // 48:
        reached[row, column] = True
    assert reached.all()


def test_neighbours_of_high_values_come_before_the_rest():
    plan = plan_units(Grid(96, 96, 0, 0, 224, 224, 224, 224), np.ones((96, 96), bool), 224, 16)
    waiting = all_of(plan)
    for _ in range(-(-plan.unit_count // 16)):
        take_next(waiting)  # the sparse pass
    note_values(waiting, plan.cells, np.where((plan.cells == (70, 30)).all(1), 0.95, 0.1))
    unit = take_next(waiting)
    cells = plan.cells[plan.unit_edges[unit] : plan.unit_edges[unit + 1]]
    assert np.abs(cells - (70, 30)).max(axis=1).min() <= 8
    note_values(waiting, np.array([[5, 90]]), np.array([np.nan], "f4"))
    assert waiting.suspicion.max() == 3


@pytest.mark.parametrize("side", [1, 2, 5, 16, 33])
def test_blocks_that_follow_each_other_touch(side):
    plan = plan_units(
        Grid(side, side, 0, 0, 1024, 1024, 1024, 1024), np.ones((side, side), bool), 1024, 1
    )
    assert plan.block_shape == (1, 1)
    steps = np.abs(np.diff(plan.cells, axis=0)).sum(axis=1)
    if side.bit_count() == 1:
        assert (steps == 1).all()
    else:  # where the square of the curve is not full it leaves and comes back
        assert np.mean(steps == 1) > 0.9


def test_only_units_with_something_to_do_are_taken():
    plan = plan_units(Grid(20, 20, 0, 0, 224, 224, 224, 224), np.ones((20, 20), bool), 224, 16)
    needed = np.zeros(plan.batch_count, bool)
    needed[[5, 17]] = True
    assert taken(wait_for(plan, needed)) == sorted({5 // 4, 17 // 4})
