"""A pixel size that a person gave is asked for once, and never used for another slide."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest

from napari_camelyon.errors import FileWriteError, ResultError, SlideError
from napari_camelyon.slides import forget_mpp, keep_mpp, mpp_hint, open_slide


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(folder))
    return folder


@pytest.fixture
def bare(make_slide, noise) -> Path:
    """A slide that does not say how large its pixels are, alone in a folder."""
    return make_slide(noise, mpp=None, name="bare")


def keep(path: Path, mpp, **others) -> Path:
    with open_slide(path) as slide:
        return keep_mpp(slide, mpp, **others)


def mpp_and_note(path: Path, **options) -> tuple[tuple[float, float] | None, str]:
    with open_slide(path, **options) as slide:
        return slide.mpp, slide.mpp_note


def test_kept_beside_the_slide_and_used_from_then_on(bare):
    file = keep(bare, (0.24, 0.26))
    assert file == bare.with_name("bare.tif.camelyon.json")
    mpp, note = mpp_and_note(bare)
    assert mpp == (0.24, 0.26)
    assert "bare.tif.camelyon.json" in note
    assert "the file says nothing" in note
    assert sorted(path.name for path in bare.parent.iterdir()) == [bare.name, file.name]


def test_the_file_is_plain_and_says_who_and_when(bare):
    entries = json.loads(keep(bare, 0.25, by="A. Reader").read_text(encoding="utf-8"))
    with open_slide(bare) as slide:
        assert entries.pop("fingerprint") == slide.fingerprint
        assert f"given by A. Reader on {entries['given'][:10]}" in slide.mpp_note
    assert entries.pop("given").endswith("+00:00")
    assert entries == {"schema_version": 1, "mpp": [0.25, 0.25], "by": "A. Reader"}


def test_what_is_given_now_wins_over_what_was_kept_and_that_over_the_file(make_slide, noise):
    path = make_slide(noise, mpp=0.25)
    assert mpp_and_note(path)[0] == pytest.approx((0.25, 0.25))
    keep(path, 0.3)
    mpp, note = mpp_and_note(path)
    assert mpp == (0.3, 0.3)
    assert "the file says 0.25" in note
    assert mpp_and_note(path, mpp=0.4)[0] == (0.4, 0.4)
    keep(path, 0.35)
    assert mpp_and_note(path)[0] == (0.35, 0.35)


def test_forgotten_is_as_if_never_given(bare):
    before = mpp_and_note(bare)
    keep(bare, 0.25)
    with open_slide(bare) as slide:
        assert forget_mpp(slide)
        assert not forget_mpp(slide)
    assert mpp_and_note(bare) == before
    assert list(bare.parent.iterdir()) == [bare]


def test_a_value_of_another_slide_is_ignored_and_said(bare, make_slide, noise):
    keep(bare, 0.25)
    shutil.copy(make_slide(255 - noise, mpp=None), bare)
    mpp, note = mpp_and_note(bare)
    assert mpp is None
    assert "bare.tif.camelyon.json is ignored" in note
    assert "another slide" in note
    keep(bare, 0.5)
    assert mpp_and_note(bare)[0] == (0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mpp": [0.25, 352.8]}, "cannot be right"),
        ({"mpp": [float("nan"), 0.25]}, "cannot be right"),
        ({"mpp": [0.25]}, "cannot be read"),
        ({"mpp": "0.25"}, "cannot be read"),
        ({"mpp": None}, "cannot be read"),
        ({"schema_version": "one"}, "cannot be read"),
        ({"schema_version": 2}, "newer"),
    ],
)
def test_what_makes_no_sense_is_ignored_and_said(bare, change, reason):
    file = keep(bare, 0.25)
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **change}))
    mpp, note = mpp_and_note(bare)
    assert mpp is None
    assert "is ignored" in note
    assert reason in note


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000, b"3"])
def test_damaged_files_do_not_keep_a_slide_from_opening(bare, content):
    bare.with_name("bare.tif.camelyon.json").write_bytes(content)
    mpp, note = mpp_and_note(bare)
    assert mpp is None
    assert "bare.tif.camelyon.json is ignored" in note
    keep(bare, 0.25)
    assert mpp_and_note(bare)[0] == (0.25, 0.25)


def test_a_file_of_a_newer_version_is_left_alone(bare):
    file = keep(bare, 0.25)
    text = json.dumps({"schema_version": 2, "sizes": "all"})
    file.write_text(text)
    with open_slide(bare) as slide:
        for change in (lambda: keep_mpp(slide, 0.3), lambda: forget_mpp(slide)):
            with pytest.raises(ResultError, match="newer napari-camelyon"):
                change()
    assert file.read_text() == text


@pytest.mark.parametrize("wrong", [0.0, 0.049, 20.1, float("nan"), (0.25, -1.0)])
def test_nonsense_is_not_kept(bare, wrong):
    with open_slide(bare) as slide, pytest.raises(SlideError, match="cannot be right"):
        keep_mpp(slide, wrong)
    assert list(bare.parent.iterdir()) == [bare]


@pytest.mark.skipif(sys.platform == "win32", reason="names have another limit on Windows")
class TestWhereNothingCanBeWritten:
    """Beside a slide whose own name is as long as names can be no file fits, for any user."""

    @pytest.fixture
    def long(self, bare, tmp_path) -> Path:
        return Path(shutil.copy(bare, tmp_path / ("x" * 251 + ".tif")))

    def test_kept_in_the_cache_folder_and_said(self, long, cache):
        file = keep(long, 0.25)
        assert cache in file.parents
        mpp, note = mpp_and_note(long)
        assert mpp == (0.25, 0.25)
        assert str(file) in note
        with open_slide(long) as slide:
            assert forget_mpp(slide)
        assert mpp_and_note(long)[0] is None

    def test_another_slide_of_the_same_size_does_not_get_it(self, long):
        keep(long, 0.25)
        content = bytearray(long.read_bytes())
        content[-1] ^= 1
        long.write_bytes(content)
        assert mpp_and_note(long) == (None, "the file does not state its pixel size")

    def test_nowhere_to_keep_it_is_an_error(self, long, cache):
        cache.write_text("no folder")
        with open_slide(long) as slide, pytest.raises(FileWriteError) as error:
            keep_mpp(slide, 0.25)
        assert str(cache) in str(error.value)

    def test_the_persons_own_wins_until_another_is_kept_beside_the_slide(self, long, bare):
        keep(long, 0.25)
        assert mpp_and_note(bare)[0] == (0.25, 0.25), "the same scan, by its fingerprint"
        keep(bare, 0.3)
        assert mpp_and_note(bare)[0] == (0.3, 0.3)
        assert mpp_and_note(long)[0] is None


@pytest.mark.skipif("os.name == 'nt' or os.geteuid() == 0", reason="nothing is forbidden here")
def test_a_folder_that_may_not_be_written_to(bare, cache):
    bare.parent.chmod(0o500)
    try:
        assert cache in keep(bare, 0.25).parents
        assert mpp_and_note(bare)[0] == (0.25, 0.25)
    finally:
        bare.parent.chmod(0o700)


def test_nothing_is_hashed_where_nothing_is_kept(bare, cache):
    with open_slide(bare) as slide:
        assert "fingerprint" not in vars(slide)
    # A value kept for a slide of another size costs no hash either.
    (cache / "pixel-sizes" / str(bare.stat().st_size + 1)).mkdir(parents=True)
    with open_slide(bare) as slide:
        assert "fingerprint" not in vars(slide)


def test_another_process_gets_it_without_the_file(bare):
    file = keep(bare, 0.25)
    with open_slide(bare) as slide:
        packed = pickle.dumps(slide)
    file.unlink()
    with pickle.loads(packed) as twin:
        assert twin.mpp == (0.25, 0.25)


def test_folders_of_dicom_files_have_it_beside_them(shared_data, tmp_path):
    folder = tmp_path / "slides" / "dicom"
    shutil.copytree(shared_data / "slides" / "CMU-1-Small-Region-dicom", folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700)
    assert keep(folder, 0.5) == folder.with_name("dicom.camelyon.json")
    assert mpp_and_note(folder)[0] == (0.5, 0.5)


def test_hints_are_those_of_common_scanners():
    assert mpp_hint(40)[0] == 0.25
    assert mpp_hint(20)[0] == 0.5
    assert mpp_hint(10)[0] == 1.0
    assert "20×" in mpp_hint(20)[1]
    for strange in (None, 0.0, -5.0, 0.1, 1e9, float("nan"), float("inf")):
        value, reason = mpp_hint(strange)
        assert value == 0.25
        assert "40×" in reason
