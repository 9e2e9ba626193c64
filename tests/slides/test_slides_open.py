"""Opening: what a slide says of itself, and one sentence for everything that is none."""

import json
import pickle
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from napari_camelyon.errors import MissingMppError, SlideError
from napari_camelyon.slides import describe, is_slide, open_slide


def sentence(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    """The message names these parts and is one or two plain sentences."""
    message = str(error.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.fixture(scope="module")
def plain(make_slide, noise) -> Path:
    return make_slide(noise, name="patient_000_node_1")


def test_what_a_slide_says(plain):
    with open_slide(plain) as slide:
        assert slide.path == plain
        assert slide.name == "patient_000_node_1"
        assert (slide.width_px, slide.height_px) == (524, 388)
        assert slide.mpp == pytest.approx((0.25, 0.25))
        assert slide.require_mpp() == slide.mpp
        assert slide.mpp_note == "stated by the file"
        assert slide.objective_power is None
        assert slide.bounds_px == (0, 0, 524, 388)
        assert slide.properties["openslide.vendor"] == slide.vendor == "generic-tiff"
        assert len(slide.fingerprint) == 32


def test_relative_path_becomes_absolute(plain, monkeypatch):
    monkeypatch.chdir(plain.parent)
    with open_slide(plain.name) as slide:
        assert slide.path == plain


def test_fingerprint_survives_a_move_and_tells_slides_apart(plain, make_slide, noise, tmp_path):
    copy = shutil.copy(plain, tmp_path / "renamed.tif")
    other = make_slide(255 - noise)
    with open_slide(plain) as a, open_slide(copy) as b, open_slide(other) as c:
        assert a.fingerprint == b.fingerprint != c.fingerprint


def test_describe_is_json(plain):
    with open_slide(plain) as slide:
        facts = json.loads(json.dumps(describe(slide)))
    assert facts["levels"][1] == {
        "width_px": 262,
        "height_px": 194,
        "downsample_x": 2.0,
        "downsample_y": 2.0,
    }
    assert facts["width_mm"] == pytest.approx(524 * 0.25 / 1000)
    assert facts["mpp"] == pytest.approx([0.25, 0.25])


def test_describe_without_pixel_size(make_slide, noise):
    with open_slide(make_slide(noise, mpp=None)) as slide:
        facts = json.loads(json.dumps(describe(slide)))
    assert facts["mpp"] is None
    assert facts["width_mm"] is None


class TestPixelSize:
    def test_anisotropic_is_kept(self, make_slide, noise):
        with open_slide(make_slide(noise, mpp=(0.24, 0.26))) as slide:
            assert slide.mpp == pytest.approx((0.24, 0.26))

    def test_missing_is_explained(self, make_slide, noise):
        with open_slide(make_slide(noise, mpp=None, name="bare")) as slide:
            assert slide.mpp is None
            assert "does not state" in slide.mpp_note
            with pytest.raises(MissingMppError) as error:
                slide.require_mpp()
        sentence(error, "bare.tif", "--mpp", "0.25")

    @pytest.mark.parametrize("absurd", [352.8, 0.01, 25.4])
    def test_implausible_counts_as_missing(self, make_slide, noise, absurd):
        with open_slide(make_slide(noise, mpp=absurd)) as slide:
            assert slide.mpp is None
            assert f"{absurd:g}" in slide.mpp_note
            with pytest.raises(MissingMppError):
                slide.require_mpp()

    @pytest.mark.parametrize("edge", [0.05, 20.0])
    def test_bounds_themselves_are_plausible(self, plain, edge):
        with open_slide(plain, mpp=edge) as slide:
            assert slide.mpp == (edge, edge)

    def test_given_wins_and_says_so(self, plain):
        with open_slide(plain, mpp=(0.5, 0.51)) as slide:
            assert slide.require_mpp() == (0.5, 0.51)
            assert "given by the user" in slide.mpp_note
            assert "0.25" in slide.mpp_note

    @pytest.mark.parametrize("wrong", [0.0, -1.0, 250.0, float("nan"), float("inf")])
    def test_given_nonsense_is_refused(self, plain, wrong):
        with pytest.raises(SlideError) as error:
            open_slide(plain, mpp=wrong)
        sentence(error, "µm/px", "0.25")


class TestNoSlide:
    def test_missing_file(self, tmp_path):
        with pytest.raises(SlideError) as error:
            open_slide(tmp_path / "nothing.svs")
        sentence(error, "nothing.svs", "no slide")
        assert not is_slide(tmp_path / "nothing.svs")

    def test_folder(self, tmp_path):
        with pytest.raises(SlideError) as error:
            open_slide(tmp_path)
        sentence(error, str(tmp_path), "folder")
        assert not is_slide(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"<xml/>", b"II*\0", bytes(5000)])
    def test_something_else(self, tmp_path, content):
        path = tmp_path / "else.tif"
        path.write_bytes(content)
        assert not is_slide(path)
        with pytest.raises(SlideError) as error:
            open_slide(path)
        sentence(error, "else.tif")

    @pytest.mark.skipif(sys.platform == "win32", reason="permissions are not POSIX on Windows")
    def test_forbidden_file(self, plain, tmp_path):
        path = Path(shutil.copy(plain, tmp_path / "secret.tif"))
        path.chmod(0)
        if _readable(path):
            pytest.skip("this user may read everything")
        with pytest.raises(SlideError) as error:
            open_slide(path)
        sentence(error, "secret.tif")

    def test_slide_is_one(self, plain):
        assert is_slide(plain)
        assert is_slide(str(plain))

    @pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.8, 0.99])
    def test_cut_off(self, plain, tmp_path, share):
        content = plain.read_bytes()
        path = tmp_path / "cut.tif"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(SlideError) as error:
            _read_everything(path)
        sentence(error, "cut.tif")

    def test_closed(self, plain):
        slide = open_slide(plain)
        slide.close()
        slide.close()
        with pytest.raises(SlideError) as error:
            slide.read(0, 0, 8, 8)
        sentence(error, "closed")


class TestPickling:
    def test_round_trip(self, plain):
        with open_slide(plain, mpp=0.3) as slide:
            twin = pickle.loads(pickle.dumps(slide))
            with twin:
                assert twin.mpp == (0.3, 0.3)
                assert twin.fingerprint == slide.fingerprint
                np.testing.assert_array_equal(twin.read(9, 5, 60, 50), slide.read(9, 5, 60, 50))

    def test_another_process_opens_its_own(self, plain):
        with (
            open_slide(plain) as slide,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        ):
            theirs = pool.submit(slide.read, 9, 5, 60, 50).result()
            np.testing.assert_array_equal(theirs, slide.read(9, 5, 60, 50))


class TestRealSlides:
    def test_aperio(self, shared_data):
        with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
            assert (slide.width_px, slide.height_px) == (2220, 2967)
            assert slide.mpp == (0.499, 0.499)
            assert slide.objective_power == 20
            assert set(slide.associated_names) == {"label", "macro", "thumbnail"}
            assert slide.associated("macro").shape == (431, 1280, 3)
            with pytest.raises(SlideError) as error:
                slide.associated("portrait")
        sentence(error, "portrait", "label")

    def test_dicom_folder_and_each_of_its_files_are_one_slide(self, shared_data):
        folder = shared_data / "slides" / "CMU-1-Small-Region-dicom"
        assert is_slide(folder)
        with open_slide(folder) as slide:
            assert slide.name == "CMU-1-Small-Region-dicom"
            assert (slide.width_px, slide.height_px) == (2220, 2967)
            expected = slide.read(300, 400, 100, 80)
            for file in sorted(folder.iterdir()):
                assert is_slide(file)
                with open_slide(file) as same:
                    assert same.fingerprint == slide.fingerprint
                    np.testing.assert_array_equal(same.read(300, 400, 100, 80), expected)

    def test_without_mpp(self, shared_data):
        with open_slide(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide:
            assert slide.mpp is None

    def test_absurd_mpp(self, shared_data):
        with open_slide(shared_data / "slides" / "boxes.tiff") as slide:
            assert slide.mpp is None
            assert "352.8" in slide.mpp_note

    def test_unopenable(self, shared_data):
        path = shared_data / "slides" / "unopenable.tiff"
        with pytest.raises(SlideError) as error:
            open_slide(path)
        sentence(error, "unopenable.tiff", "compression")

    def test_unreadable_is_told_at_every_read(self, shared_data):
        with open_slide(shared_data / "slides" / "unreadable.svs") as slide:
            for read in (lambda: slide.read(0, 0, 16, 16), lambda: slide.thumbnail(8)):
                with pytest.raises(SlideError) as error:
                    read()
                sentence(error, "unreadable.svs", "level 0 at x=0, y=0")


def _read_everything(path: Path) -> None:
    with open_slide(path) as slide:
        for level, size in enumerate(slide.levels):
            slide.read(0, 0, size.width_px, size.height_px, level)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True
