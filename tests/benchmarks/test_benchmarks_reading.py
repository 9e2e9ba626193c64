"""The comparison reads what it says it reads, and says so when somebody reads other pixels."""

import numpy as np
import pytest

SIZE_PX = 700


@pytest.fixture(scope="module")
def slide_path(make_slide):
    pixels = np.random.default_rng(2).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return make_slide(pixels, tile_px=128)


def test_the_table_has_a_row_for_each_order_and_number_of_threads(slide_path, capsys):
    import reading

    reading.compare_peers(slide_path, threads=(1, 2), seconds=0.01, rounds=1)
    text = capsys.readouterr().out
    assert "napari-camelyon against openslide-python: 0 grey levels apart" in text
    table = text[text.index("Times as fast") :].splitlines()[2:]
    assert [line.split()[0] for line in table] == ["tiles"] * 2 + ["patches"] * 2 + ["grid"] * 4
    rate, ratio = (float(table[0].split()[index]) for index in (7, 9))
    assert rate > 0
    assert ratio > 0


def test_every_workload_covers_what_it_is_named_after():
    import reading

    tiles = reading.random_tiles(SIZE_PX, SIZE_PX, 128, seed=0)
    assert sorted(corner for _, _, corners in tiles.blocks for corner in corners) == [
        (x, y) for x in range(0, 640, 128) for y in range(0, 640, 128)
    ]
    for in_blocks in (False, True):
        grid = reading.patch_grid(2000, 1000, seed=1, in_blocks=in_blocks)
        corners = [corner for _, _, corners in grid.blocks for corner in corners]
        assert sorted(corners) == [(x, y) for x in range(0, 1792, 224) for y in range(0, 896, 224)]
    patches = reading.random_patches(SIZE_PX, 300, seed=0)
    places = np.array([corners[0] for _, _, corners in patches.blocks])
    assert places.min() >= 0
    assert (places.max(axis=0) <= (SIZE_PX - 224, 300 - 224)).all()


def test_a_reader_with_other_pixels_is_found_out(slide_path):
    import reading
    from readers import OPENSLIDE, OURS, Opened

    ours, theirs = (reader.open_file(slide_path, 1 << 20) for reader in (OURS, OPENSLIDE))
    assert reading.furthest(ours, theirs, SIZE_PX, SIZE_PX, 128) == 0

    def wrong(*place):
        pixels = theirs.read(*place).copy()
        pixels[3, 5] ^= 4
        return pixels

    assert reading.furthest(Opened(wrong), theirs, SIZE_PX, SIZE_PX, 128) == 4
