"""Slides of a folder and their previews: all of them, nothing else, none opened to be found."""

import shutil

import numpy as np
import pytest

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import find_slides, open_slide, overview, read_preview


@pytest.fixture
def folder(make_slide, noise, tmp_path):
    """A folder as one finds them: slides, other files, folders, a hidden file."""
    slide = make_slide(noise)
    for name in ("node_10.tif", "node_2.tif", "Node_1.tif", "without_extension"):
        shutil.copy(slide, tmp_path / name)
    shutil.copy(slide, tmp_path / ".node_3.tif")
    (tmp_path / "deeper").mkdir()
    shutil.copy(slide, tmp_path / "deeper" / "node_4.tif")
    (tmp_path / "node_5.tif").write_bytes(b"no slide")
    (tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "node_2.xml").write_text("<ASAP_Annotations/>")
    return tmp_path


def test_slides_are_found_by_content_and_sorted_by_number(folder):
    names = [path.name for path in find_slides(folder)]
    assert names == ["Node_1.tif", "node_2.tif", "node_10.tif", "without_extension"]
    assert all(path.is_absolute() for path in find_slides(folder))


def test_a_folder_that_is_not_there_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in ("none", "file"):
        with pytest.raises(SlideError, match=wrong):
            find_slides(tmp_path / wrong)


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe.tif")
    assert find_slides(tmp_path) == []


def test_dicom_files_of_one_slide_count_once(shared_data):
    folder = shared_data / "slides" / "CMU-1-Small-Region-dicom"
    assert find_slides(folder) == [folder]
    assert folder in find_slides(folder.parent)


def test_a_preview_has_picture_and_facts(make_slide, noise):
    path = make_slide(noise, mpp=(0.25, 0.3))
    preview = read_preview(path, 100)
    assert (preview.path, preview.width_px, preview.height_px) == (path, 524, 388)
    assert preview.mpp == pytest.approx((0.25, 0.3), rel=1e-4)
    assert preview.problem == ""
    with open_slide(path) as slide:
        np.testing.assert_array_equal(preview.picture, slide.thumbnail(100))


def test_what_cannot_be_opened_or_read_has_a_problem_instead(damaged_slide, tmp_path):
    (tmp_path / "no.tif").write_bytes(b"no slide")
    for path, size in ((tmp_path / "no.tif", (0, 0)), (damaged_slide, (524, 388))):
        preview = read_preview(path, 100)
        assert preview.picture is None
        assert path.name in preview.problem
        assert (preview.width_px, preview.height_px) == size


def test_the_overview_leaves_out_the_empty_margin(make_leica):
    scanned = np.full((100, 200, 3), 120, dtype=np.uint8)
    scanned[:, :100] = 40
    with open_slide(make_leica(scanned, 2100, 50, (3000, 2000))) as slide:
        picture = overview(slide, 100)
        assert picture.shape == (50, 100, 3)
        # Two grey halves, mixed only where they meet and at the rim.
        assert np.abs(picture[3:-3, 3:45].astype(int) - 40).max() <= 2
        assert np.abs(picture[3:-3, 55:-3].astype(int) - 120).max() <= 2
        assert overview(slide, 1000).shape == (100, 200, 3), "never larger than what was scanned"
