"""Comparing and adjudicating two files, against laws, sums by hand and slow literal readings."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_camelyon import annotations
from napari_camelyon.errors import AnnotationError, ResultError
from napari_camelyon.files import file_sha256
from napari_camelyon.geometry import layer_to_slide

MPP = (0.25, 0.5)


def square(x, y, side, *, group="Tumor", name="", height=None):
    height = side if height is None else height
    ring = np.array([(x, y), (x + side, y), (x + side, y + height), (x, y + height)], float)
    return annotations.make_annotation("polygon", ring, group=group, name=name)


def set_of(*members):
    groups = dict.fromkeys(one.group for one in members if one.group)
    return annotations.AnnotationSet(tuple(members), tuple(map(annotations.Group, groups)))


def compared(first, second, mpp=(1.0, 1.0), **rule):
    return annotations.compare(set_of(*first), set_of(*second), mpp, **rule)


def kinds(comparison):
    return [difference.kind for difference in annotations.differences(comparison)]


PLACES = st.floats(0, 40).map(lambda value: round(value, 3))
SIDES = st.floats(1, 20).map(lambda value: round(value, 3))
SQUARES = st.builds(
    square, PLACES, PLACES, SIDES, height=SIDES, group=st.sampled_from(["Tumor", "Exclusion"])
)
RINGS = st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=9).map(
    lambda rows: annotations.make_annotation("polygon", np.array(rows, float), group="Tumor")
)
OUTLINES = st.lists(st.one_of(SQUARES, RINGS), max_size=5)


# --- laws --------------------------------------------------------------------------------------


@given(OUTLINES)
def test_a_set_agrees_with_itself_whatever_its_outlines_look_like(members):
    comparison = compared(members, members, MPP)
    regions = [one for one in members if not annotations.region_of(one).is_empty]
    assert len(comparison.pairs) == len(regions) == comparison.first_count
    assert sum(pair.dice for pair in comparison.pairs) == pytest.approx(len(regions))
    # Two outlines of one region may be paired crosswise.
    assert all(pair.hausdorff_um == pytest.approx(0, abs=1e-6) for pair in comparison.pairs)
    assert all(pair.mean_distance_um == pytest.approx(0, abs=1e-6) for pair in comparison.pairs)
    assert comparison.only_in_first == comparison.only_in_second == ()
    assert comparison.regroupings == ()
    assert annotations.differences(comparison) == ()
    if comparison.first_tumour_mm2 > 0:
        assert comparison.tumour_dice == pytest.approx(1)
        assert comparison.tumour_iou == pytest.approx(1)
    else:
        assert comparison.tumour_dice is None


@given(OUTLINES, OUTLINES)
def test_swapping_the_files_swaps_the_answer(members, others):
    here, there = compared(members, others, MPP), compared(others, members, MPP)
    total = sum(pair.iou for pair in here.pairs)
    assert total == pytest.approx(sum(pair.iou for pair in there.pairs))
    assert (here.tumour_dice is None) == (there.tumour_dice is None)
    if here.tumour_dice is not None:
        assert here.tumour_dice == pytest.approx(there.tumour_dice)
    mirrored = {"only in A": "only in B", "only in B": "only in A"}
    mirrored |= {"split": "merged", "merged": "split"}
    pairs = {(pair.first[0].number, pair.second[0].number) for pair in here.pairs}
    # Where two ways to pair are equally good, either may be taken.
    assume(pairs == {(pair.second[0].number, pair.first[0].number) for pair in there.pairs})
    assert sorted(mirrored.get(kind, kind) for kind in kinds(here)) == sorted(kinds(there))


@given(OUTLINES, OUTLINES)
def test_every_region_is_agreed_on_or_in_exactly_one_difference(members, others):
    comparison = compared(members, others)
    found = annotations.differences(comparison)
    for side, count in (("first", comparison.first_count), ("second", comparison.second_count)):
        numbers = [
            region.number for one in (*found, *comparison.agreeing) for region in getattr(one, side)
        ]
        assert len(numbers) == len(set(numbers)) == count
    assert len({one.key for one in found}) == len(found)


@given(OUTLINES, OUTLINES, st.sampled_from([0.05, 0.1, 0.4]))
def test_pairs_have_the_greatest_sum_of_overlaps(members, others, min_iou):
    """All ways to pair are tried literally."""
    regions = [
        [(one, r) for one in side if not (r := annotations.region_of(one)).is_empty]
        for side in (members, others)
    ]

    def gain(ours, theirs):
        common = ours[1].intersection(theirs[1]).area
        iou = common / (ours[1].area + theirs[1].area - common)
        enough = min_iou if ours[0].group == theirs[0].group else 0.5
        return iou if common > 1e-4 and iou >= enough else 0.0

    table = np.array([[gain(a, b) for b in regions[1]] for a in regions[0]])
    table = table.reshape(len(regions[0]), len(regions[1]))
    table = table if len(table) <= table.shape[1] else table.T
    best = max(
        sum(row[column] for row, column in zip(table, columns, strict=True))
        for columns in itertools.permutations(range(table.shape[1]), len(table))
    )
    comparison = compared(members, others, min_iou=min_iou)
    assert sum(pair.iou for pair in comparison.pairs) == pytest.approx(best, abs=1e-3)


@given(
    st.one_of(SQUARES, RINGS), st.one_of(SQUARES, RINGS), st.sampled_from([(1.0, 1.0), (0.25, 3.0)])
)
def test_distances_are_those_of_very_many_points(one, other, mpp):
    regions = annotations.region_of(one), annotations.region_of(other)
    assume(not regions[0].is_empty and not regions[1].is_empty)
    found = annotations.boundary_distance(*regions, mpp)
    lines = [shapely.transform(r.boundary, lambda points: points * mpp) for r in regions]
    # GEOS takes points only: a thousand an edge, of which none is longer than 130 µm.
    expected = shapely.hausdorff_distance(*lines, densify=0.001)
    assert expected - 0.011 <= found.hausdorff_um <= expected + 0.14
    assert found.mean_um == pytest.approx(mean_distance(*lines), abs=2.5)


def mean_distance(line, other):
    """Mean over short pieces of both lines, each taken at its middle."""
    total, length = 0.0, 0.0
    for here, there in ((line, other), (other, line)):
        for part in shapely.get_parts(shapely.segmentize(here, 0.2)):
            points = shapely.get_coordinates(part)
            lengths = np.hypot(*np.diff(points, axis=0).T)
            middles = shapely.points((points[1:] + points[:-1]) / 2)
            total += (shapely.distance(middles, there) * lengths).sum()
            length += lengths.sum()
    return total / length


# --- by hand -----------------------------------------------------------------------------------


def test_a_shifted_square_is_as_far_as_it_was_shifted():
    comparison = compared([square(0, 0, 4000)], [square(400, 0, 4000)], (0.25, 0.5))
    (pair,) = comparison.pairs
    assert pair.hausdorff_um == pytest.approx(100)
    # 1000 × 2000 µm: the outer side is 100 µm away all along, the inner one less where the
    # other's corners are near, and of upper and lower edge all but the last 100 µm coincide.
    outer, inner, upper = 2000 * 100, 2000 * 100 - 2 * 100 * 100 / 2, 100 * 100 / 2
    assert pair.mean_distance_um == pytest.approx((outer + inner + 2 * upper) / 6000)
    assert pair.dice == pytest.approx(0.9)
    assert pair.iou == pytest.approx(3600 / 4400)
    assert pair.first_mm2 == pair.second_mm2 == pytest.approx(2.0)
    assert comparison.tumour_dice == pytest.approx(0.9)
    assert comparison.common_tumour_mm2 == pytest.approx(1.8)


def test_the_farthest_point_may_lie_in_the_middle_of_an_edge():
    # All corners of the bar lie on corners of its two ends.
    bar = shapely.box(0, 0, 100, 10)
    ends = shapely.MultiPolygon([shapely.box(0, 0, 10, 10), shapely.box(90, 0, 100, 10)])
    assert annotations.boundary_distance(bar, ends, (1, 1)).hausdorff_um == pytest.approx(40)
    assert annotations.boundary_distance(ends, bar, (3, 1)).hausdorff_um == pytest.approx(120)


def test_tumour_in_one_file_and_cut_out_in_the_other_is_a_difference_of_groups():
    comparison = compared([square(0, 0, 100)], [square(1, 0, 100, group="Exclusion")])
    (difference,) = annotations.differences(comparison)
    assert difference.kind == "group"
    assert "“Tumor”" in difference.sentence
    assert "“Exclusion”" in difference.sentence
    assert difference.differs_mm2 == pytest.approx(101 * 100 / 1e6)


def test_other_names_of_one_meaning_are_no_difference_and_other_groups_without_one_are():
    assert not annotations.differences(compared([square(0, 0, 9)], [square(0, 0, 9, group="_0")]))
    found = kinds(compared([square(0, 0, 9, group="fat")], [square(0, 0, 9, group="vein")]))
    assert found == ["group"]


def test_a_hole_is_not_taken_for_the_tumour_around_it():
    tumour, hole = square(0, 0, 100), square(20, 20, 60, group="Exclusion")
    comparison = compared([tumour, hole], [square(0, 0, 100)])
    assert [pair.dice for pair in comparison.pairs] == [1]
    assert kinds(comparison) == ["only in A"]
    assert comparison.first_tumour_mm2 == pytest.approx((100**2 - 60**2) / 1e6)


@pytest.mark.parametrize("swapped", [False, True])
def test_one_region_drawn_as_several_is_said_so(swapped):
    whole = [square(0, 0, 300, height=100)]
    parts = [square(0, 0, 95, height=100), square(100, 0, 95, height=100), square(205, 5, 90)]
    sides = (parts, whole) if swapped else (whole, parts)
    comparison = compared(*sides)
    (difference,) = annotations.differences(comparison)
    assert difference.kind == ("merged" if swapped else "split")
    assert len(difference.first) + len(difference.second) == 4
    said = "3 regions of A are one region of B" if swapped else "One region of A is 3 regions of B"
    assert difference.sentence.startswith(said)
    covered = 2 * 95 * 100 + 90 * 90
    assert difference.dice == pytest.approx(2 * covered / (covered + 300 * 100))
    assert comparison.only_in_first == comparison.only_in_second == ()


def test_an_island_in_a_hole_is_no_piece_of_the_tumour_around_it():
    outer, hole = square(0, 0, 100), square(20, 20, 60, group="Exclusion")
    island = square(40, 40, 20)
    assert kinds(compared([outer], [outer, hole, island])) == ["only in B", "only in B"]


def test_marks_are_counted_and_not_compared():
    dot = annotations.make_annotation("dot", [(5, 5)], group="Tumor")
    broken = annotations.make_annotation("polygon", [(5, 5), (6, 6)], group="Tumor")
    comparison = compared([square(0, 0, 9), dot, broken], [square(0, 0, 9)])
    assert (comparison.first_left_out, comparison.second_left_out) == (2, 0)
    assert annotations.differences(comparison) == ()


def test_differences_come_worst_first_or_from_top_to_bottom():
    comparison = compared([square(0, 50, 10), square(40, 0, 20)], [square(0, 90, 30)])
    worst = annotations.differences(comparison)
    assert [one.size_mm for one in worst] == pytest.approx(
        [side * 2**0.5 / 1000 for side in (30, 20, 10)]
    )
    reading = annotations.differences(comparison, order="reading")
    assert [one.bounds_px[1] for one in reading] == [0, 50, 90]
    assert set(worst) == set(reading)


@pytest.mark.parametrize(
    ("mpp", "rule"), [((0, 1), {}), ((1, np.nan), {}), ((1, 1), {"min_iou": 0})]
)
def test_nonsense_is_refused(mpp, rule):
    with pytest.raises(ValueError, match=r"positive|between"):
        compared([], [], mpp, **rule)


def test_real_files_agree_with_themselves_and_notice_what_was_moved(shared_data):
    first = annotations.read(shared_data / "annotations/asap_c16/test_026.xml")
    assert annotations.differences(annotations.compare(first, first, (0.25, 0.25))) == ()
    moved = first.annotations[0]
    second = annotations.replace_annotation(first, replace(moved, points=moved.points + 1e5))
    comparison = annotations.compare(first, second, (0.25, 0.25))
    assert sorted(kinds(comparison)) == ["only in A", "only in B"]


def test_the_outlines_of_a_region_are_closed_paths_and_marks_have_none():
    with_hole = annotations.annotation_from_region(
        shapely.box(0, 0, 10, 10) - shapely.box(2, 2, 4, 4), group="Tumor"
    )
    outer, hole = annotations.closed_paths(with_hole)
    for path, corners in ((outer, {(0, 0), (10, 10)}), (hole, {(2, 2), (4, 4)})):
        assert (path[0] == path[-1]).all()
        assert corners < set(map(tuple, layer_to_slide(path)))
    assert annotations.closed_paths(annotations.make_annotation("dot", [(1, 1)])) == []


# --- adjudicating ------------------------------------------------------------------------------


@pytest.fixture
def two_files(tmp_path):
    """A and B: one outline alike, one that differs, one of each alone, and a mark in each."""
    a = [
        square(0, 0, 100, name="alike"),
        square(200.1234567890123, 0, 100, name="differs"),
        square(400, 0, 100, name="only A"),
        annotations.make_annotation("dot", [(1, 2)], name="mark of both"),
    ]
    b = [
        square(1, 0, 100, name="alike in B"),
        square(260.9876543210987, 0, 100, name="differs in B"),
        square(600, 0, 100, name="only B"),
        square(0, 600, 50, name="other class", group="normal tissue"),
        annotations.make_annotation("dot", [(1, 2)], name="mark of both"),
        annotations.make_annotation("dot", [(3, 4)], name="mark of B"),
    ]
    paths = tmp_path / "a" / "slide.xml", tmp_path / "b" / "slide.xml"
    for path, members in zip(paths, (a, b), strict=True):
        path.parent.mkdir()
        annotations.write(set_of(*members), path)
    return paths


def begun(two_files):
    return annotations.begin_adjudication(*two_files, (0.25, 0.25))


def by_name(adjudication, name):
    for one in adjudication.differences:
        if any(region.name == name for region in (*one.first, *one.second)):
            return one
    raise AssertionError(name)


def third(adjudication):
    return annotations.adjudicate(
        adjudication.first,
        adjudication.second,
        adjudication.comparison,
        adjudication.current.values(),
    )


def names(annotation_set):
    return [one.name for one in annotation_set]


def test_undecided_differences_stay_as_in_a_and_are_named(two_files):
    adjudication = begun(two_files)
    assert len(adjudication.differences) == 4
    result = third(adjudication)
    assert names(result) == ["alike", "differs", "only A", "mark of both", "mark of B"]
    written = json.loads(annotations.write_decisions(adjudication).read_text("utf-8"))
    assert written["undecided"] == 4
    assert [one["chosen"] for one in written["differences"]] == ["undecided"] * 4
    assert "only B" in [one["b"][0]["name"] for one in written["differences"] if one["b"]]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("A", ["alike", "differs"]),
        ("B", ["alike", "differs in B"]),
        ("both", ["alike", "differs", "differs in B"]),
        ("neither", ["alike"]),
        ("A ∪ B", ["alike", "differs"]),
        ("A ∩ B", ["alike", "differs"]),
    ],
)
def test_what_is_chosen_is_what_is_written(two_files, chosen, expected):
    adjudication = begun(two_files)
    difference = by_name(adjudication, "differs")
    adjudication = annotations.decide(adjudication, difference, chosen, "MK")
    result = third(adjudication)
    assert sorted(one.name for one in result if one.name.startswith(("alike", "differs"))) == (
        expected
    )
    if "B" in chosen and chosen != "B":
        (joined,) = (one for one in result if one.name == "differs")
        left, right = 200.1234567890123, 260.9876543210987
        width = 100 + right - left if chosen == "A ∪ B" else 100 - right + left
        assert annotations.region_of(joined).area == pytest.approx(width * 100)
        assert joined.group == "Tumor"


def test_what_is_taken_keeps_every_digit_through_the_file(two_files, tmp_path):
    adjudication = begun(two_files)
    for name, chosen in (("differs", "both"), ("only B", "B"), ("other class", "B")):
        adjudication = annotations.decide(adjudication, by_name(adjudication, name), chosen, "MK")
    done = annotations.save_adjudicated(adjudication, tmp_path / "third.xml")
    written = annotations.read(done.out)
    for source in (adjudication.first, adjudication.second):
        for one in source:
            same = [other for other in written if other.name == one.name]
            if one.name in {"alike in B", "mark of both"}:
                continue
            assert len(same) == 1, one.name
            assert_array_equal(same[0].points, one.points)
    assert names(written).count("mark of both") == 1
    assert "normal tissue" in [group.name for group in written.groups]
    # What was taken of A was not written anew.
    lines = two_files[0].read_text("utf-8").splitlines()
    kept = done.out.read_text("utf-8")
    assert all(line in kept for line in lines[2:20])


def test_the_trace_is_read_back_and_work_goes_on(two_files):
    adjudication = begun(two_files)
    difference = by_name(adjudication, "only A")
    adjudication = annotations.decide(adjudication, difference, "A", " MK ", "clear “case”\nof µ")
    adjudication = annotations.decide(adjudication, difference, "B", "MK")
    path = annotations.write_decisions(adjudication)
    assert path == two_files[0].with_name("slide.adjudicated.decisions.json")
    trace = annotations.read_decisions(path)
    assert trace.decisions == adjudication.decisions
    assert trace.first_sha256 == file_sha256(two_files[0])
    assert trace.second_sha256 == file_sha256(two_files[1])
    again = begun(two_files)
    assert again.out == adjudication.out
    assert again.decisions == adjudication.decisions
    assert again.current[difference.key].chosen == "B"
    taken_back = annotations.decide(again, difference, "undecided", "MK")
    assert taken_back.current == {}
    assert "only A" in names(third(taken_back))


def test_decisions_outlive_changes_elsewhere_in_the_files(two_files):
    adjudication = begun(two_files)
    for name in ("only A", "differs"):
        adjudication = annotations.decide(adjudication, by_name(adjudication, name), "B", "MK")
    annotations.write_decisions(adjudication)
    changed = annotations.read(two_files[1])
    moved = next(one for one in changed if one.name == "differs in B")
    moved = replace(moved, points=moved.points + 3)
    annotations.write(annotations.replace_annotation(changed, moved), two_files[1])
    again = begun(two_files)
    assert again.out == adjudication.out
    assert set(again.current) == {by_name(again, "only A").key}
    assert len(again.decisions) == 2, "what no longer fits is not forgotten"
    saved = annotations.save_adjudicated(again, again.out)
    assert "only A" not in names(annotations.read(saved.out))


def test_decisions_on_other_files_are_left_alone(two_files, tmp_path):
    adjudication = begun(two_files)
    adjudication = annotations.decide(adjudication, by_name(adjudication, "only A"), "B", "MK")
    first = annotations.write_decisions(adjudication)
    other = tmp_path / "c.xml"
    annotations.write(set_of(square(7, 7, 7)), other)
    beside = annotations.begin_adjudication(two_files[0], other, (0.25, 0.25))
    assert beside.decisions == ()
    assert annotations.decisions_path(beside.out) != first
    first.write_text("{")
    assert begun(two_files).out != adjudication.out


def test_a_decision_is_refused_that_makes_no_sense(two_files):
    adjudication = begun(two_files)
    alone = by_name(adjudication, "only A")
    with pytest.raises(AnnotationError, match="initials"):
        annotations.decide(adjudication, alone, "A", "  ")
    with pytest.raises(AnnotationError, match="cannot be chosen"):
        annotations.decide(adjudication, alone, "A ∪ B", "MK")
    stray = annotations.Decision("nothing", "A", "MK", "2026-01-01T00:00:00+00:00")
    with pytest.raises(AnnotationError, match="no difference"):
        annotations.adjudicate(
            adjudication.first, adjudication.second, adjudication.comparison, [stray]
        )
    with pytest.raises(AnnotationError, match="other annotations"):
        annotations.adjudicate(
            annotations.AnnotationSet(), adjudication.second, adjudication.comparison, []
        )
    with pytest.raises(AnnotationError, match="twice"):
        annotations.begin_adjudication(two_files[0], two_files[0], (1.0, 1.0))
    for source in two_files:
        before = source.read_bytes()
        with pytest.raises(AnnotationError, match="another name"):
            annotations.save_adjudicated(adjudication, source)
        assert source.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "something"},
        {"decisions": [{"difference": "x"}]},
        {"decisions": [{"difference": "x", "chosen": "C", "by": "", "when": "", "note": ""}]},
        {"decisions": [{"difference": "x", "chosen": "A", "by": 3, "when": "", "note": ""}]},
        {"first": {"path": 3, "sha256": None}},
        {"first": None},
        {"schema_version": 99},
    ],
)
def test_a_damaged_trace_is_refused_with_a_sentence(two_files, change):
    path = annotations.write_decisions(begun(two_files))
    entries = json.loads(path.read_text("utf-8")) | change
    path.write_text(json.dumps(entries), "utf-8")
    with pytest.raises(ResultError, match=path.name):
        annotations.read_decisions(path)
