"""Pieces of tissue: what is near is one, numbered as one reads, with areas in mm²."""

import numpy as np
import pytest

from napari_camelyon.tissue import TissueMask, find_pieces

PIXEL_PX, MPP = 16.0, (0.5, 0.5)  # 8 µm a pixel


def pieces_of(*boxes, shape=(400, 600), **options):
    values = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        values[top:bottom, left:right] = True
    return find_pieces(TissueMask(values, PIXEL_PX), MPP, **options)


def test_pieces_are_numbered_row_by_row_from_the_left():
    # The second of the upper row lies higher than the first, as pieces on a glass do.
    found = pieces_of((40, 30, 120, 130), (20, 300, 110, 400), (250, 40, 330, 140))
    assert [piece.number for piece in found.pieces] == [1, 2, 3]
    assert [piece.bounds_px[:2] for piece in found.pieces] == [
        (30 * 16, 40 * 16),
        (300 * 16, 20 * 16),
        (40 * 16, 250 * 16),
    ]


@pytest.mark.parametrize(("gap_pixels", "count"), [(20, 1), (60, 2)])
def test_a_gap_of_160_um_does_not_part_a_piece_and_one_of_480_does(gap_pixels, count):
    found = pieces_of((50, 50, 150, 150), (50, 150 + gap_pixels, 150, 250 + gap_pixels))
    assert len(found.pieces) == count


def test_the_gap_is_a_length_and_no_number_of_pixels():
    values = np.zeros((200, 400), bool)
    values[50:150, 50:150] = values[50:150, 180:280] = True
    fine = find_pieces(TissueMask(values, 16.0), (0.5, 0.5))
    coarse = find_pieces(TissueMask(values, 16.0), (2.0, 2.0))
    assert (len(fine.pieces), len(coarse.pieces)) == (1, 2)


def test_areas_and_labels_agree():
    found = pieces_of((0, 0, 100, 100), (200, 300, 300, 400))
    assert [piece.area_mm2 for piece in found.pieces] == pytest.approx([0.64, 0.64])
    assert np.bincount(found.labels.ravel())[1:].tolist() == [10_000, 10_000]


def test_a_fragment_belongs_to_the_nearest_piece():
    found = pieces_of((0, 0, 100, 100), (0, 400, 100, 500), (40, 310, 50, 320))
    assert len(found.pieces) == 2
    assert found.labels[45, 315] == 2
    assert found.pieces[1].bounds_px[0] == 310 * 16


def test_the_only_tissue_is_a_piece_however_small():
    assert len(pieces_of((10, 10, 14, 14)).pieces) == 1


def test_without_tissue_there_is_no_piece():
    found = pieces_of()
    assert found.pieces == ()
    assert not found.labels.any()
