"""Files are the old one or the new one; results say which schema they follow."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_camelyon.errors import CamelyonError, FileWriteError, ResultError, SlideError
from napari_camelyon.files import (
    atomic_file,
    atomic_folder,
    cache_folder,
    file_sha256,
    fingerprint,
    read_json_result,
    write_json,
)

MIB = 1 << 20


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- atomic_file -----------------------------------------------------------------------------------


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "result.json"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.suffix == ".json"
        assert temporary.parent == path.parent
    assert path.read_text() == "half"
    assert names_in(path.parent) == ["result.json"]


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyboardInterrupt()])
def test_what_goes_wrong_while_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail_halfway():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["result.json"]


def test_an_error_that_explains_itself_is_not_taken_for_a_failed_write(tmp_path):
    with pytest.raises(SlideError, match="unreadable"), atomic_file(tmp_path / "a.csv"):
        raise SlideError("The slide is unreadable.")
    with pytest.raises(SlideError, match="unreadable"), atomic_folder(tmp_path / "a.zarr"):
        raise SlideError("The slide is unreadable.")
    assert names_in(tmp_path) == []


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    name = "n" * (255 - len(".geojson")) + ".geojson"
    with atomic_file(tmp_path / name) as temporary:
        temporary.write_text("ok")
    assert names_in(tmp_path) == [name]


def test_a_name_without_or_with_many_dots_keeps_its_ending(tmp_path):
    for name in ("plain", "slide.one.tif", ".hidden", "ends."):
        with atomic_file(tmp_path / name) as temporary:
            assert temporary.suffix in (Path(name).suffix, f".part{Path(name).suffix}")
            temporary.write_text(name)
        assert (tmp_path / name).read_text() == name


def test_a_folder_in_the_place_of_the_file_is_explained(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(FileWriteError, match=r"result\.json"):
        write_json({}, tmp_path / "result.json")
    assert names_in(tmp_path) == ["result.json"]


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(FileWriteError, match="taken"):
        write_json({}, tmp_path / "taken" / "result.json")
    with pytest.raises(FileWriteError, match="taken"), atomic_folder(tmp_path / "taken" / "store"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_others_may_read_a_result_as_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_json({}, tmp_path / "result.json")
        with atomic_folder(tmp_path / "store") as fresh:
            (fresh / "chunk").write_text("c")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o750


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_may_not_be_written_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileWriteError, match="not permitted"):
            write_json({}, tmp_path / "result.json")
    finally:
        tmp_path.chmod(0o700)


# -- atomic_folder ---------------------------------------------------------------------------------


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    store = tmp_path / "heatmap.zarr"
    for content in ("one", "two"):
        with atomic_folder(store) as fresh:
            (fresh / content).write_text(content)
    assert names_in(store) == ["two"]
    assert names_in(tmp_path) == ["heatmap.zarr"]


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyboardInterrupt()])
def test_what_goes_wrong_while_filling_leaves_the_old_folder(tmp_path, error):
    store = tmp_path / "heatmap.zarr"
    with atomic_folder(store) as fresh:
        (fresh / "old").write_text("old")

    def fail_halfway():
        with atomic_folder(store) as fresh:
            (fresh / "new").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert names_in(store) == ["old"]
    assert names_in(tmp_path) == ["heatmap.zarr"]


@pytest.mark.parametrize("error", [OSError("a handle is open"), KeyboardInterrupt()])
def test_an_interruption_between_the_two_renames_brings_the_old_folder_back(
    tmp_path, monkeypatch, error
):
    store = tmp_path / "heatmap.zarr"
    with atomic_folder(store) as fresh:
        (fresh / "old").write_text("old")
    rename = Path.rename

    def rename_but_not_the_new_one(self, target):
        if self.name == "new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_but_not_the_new_one)
    expected = FileWriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic_folder(store) as fresh:
        (fresh / "new").write_text("new")
    assert names_in(store) == ["old"]
    assert names_in(tmp_path) == ["heatmap.zarr"]


def test_the_old_folder_survives_even_when_the_way_back_is_barred(tmp_path, monkeypatch):
    store = tmp_path / "heatmap.zarr"
    with atomic_folder(store) as fresh:
        (fresh / "old").write_text("old")
    rename = Path.rename

    def only_move_away(self, target):
        if Path(target).name != "old":
            raise PermissionError(13, "barred")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", only_move_away)
    with pytest.raises(FileWriteError), atomic_folder(store) as fresh:
        (fresh / "new").write_text("new")
    assert [path.read_text() for path in tmp_path.rglob("old/old")] == ["old"]


# -- a full disk -----------------------------------------------------------------------------------

FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from napari_camelyon.errors import FileWriteError
    {imports}
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        {action}
    except FileWriteError as error:
        print(error)
    else:
        sys.exit("was written")
"""


def run_on_full_disk(folder: Path, imports: str, action: str) -> str:
    """Run an action where no file can grow beyond 100 kB; return the message of its error."""
    program = textwrap.dedent(FULL_DISK).format(imports=imports, action=action)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_rlimit = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="file sizes are limited as Linux does it"
)


@needs_rlimit
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    (tmp_path / "result.json").write_text("old")
    message = run_on_full_disk(
        tmp_path,
        "from napari_camelyon.files import write_json",
        "write_json({'text': 'x' * 1_000_000}, folder / 'result.json')",
    )
    assert "disk is full" in message
    assert "result.json" in message
    assert (tmp_path / "result.json").read_text() == "old"
    assert names_in(tmp_path) == ["result.json"]


@needs_rlimit
def test_a_full_disk_leaves_the_old_folder_and_says_so(tmp_path):
    with atomic_folder(tmp_path / "store") as fresh:
        (fresh / "old").write_text("old")
    message = run_on_full_disk(
        tmp_path,
        "from napari_camelyon.files import atomic_folder",
        "with atomic_folder(folder / 'store') as f: (f / 'big').write_bytes(bytes(1_000_000))",
    )
    assert "disk is full" in message
    assert names_in(tmp_path / "store") == ["old"]
    assert names_in(tmp_path) == ["store"]


# -- JSON results ----------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(entries=st.dictionaries(st.text(), json_values))
def test_json_comes_back_as_it_was_written(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("json") / "r.json"
    entries["schema_version"] = 1
    write_json(entries, path)
    assert read_json_result(path, newest_schema=3) == entries


def test_json_is_utf8_with_unix_line_ends_and_readable(tmp_path):
    write_json({"name": "Knötchen"}, tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == '{\n  "name": "Knötchen"\n}\n'.encode()


def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"probability": float("nan")}, tmp_path / "r.json")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b'{"schema_version": 1', "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1]", "one JSON object"),
        (b"{}", "which schema"),
        (b'{"schema_version": true}', "which schema"),
        (b'{"schema_version": "1"}', "which schema"),
        (b'{"schema_version": 0}', "which schema"),
        (b'{"schema_version": 2}', "newer napari-camelyon"),
    ],
)
def test_damaged_results_are_explained(tmp_path, content, message):
    path = tmp_path / "node.json"
    path.write_bytes(content)
    with pytest.raises(ResultError, match=message) as caught:
        read_json_result(path, newest_schema=1)
    assert str(path) in str(caught.value)


def test_a_missing_result_is_explained(tmp_path):
    with pytest.raises(ResultError, match=r"no node\.json"):
        read_json_result(tmp_path / "node.json", newest_schema=1)


# -- fingerprints ----------------------------------------------------------------------------------


def test_a_fingerprint_sees_start_middle_end_and_size(tmp_path):
    size = 9 * MIB
    content = bytearray(size)
    path = tmp_path / "slide.tif"
    path.write_bytes(content)
    plain = fingerprint(path)
    assert len(plain) == 32
    assert set(plain) <= set("0123456789abcdef")
    for place in (0, MIB - 1, size // 2, size // 2 + MIB - 1, size - MIB, size - 1):
        content[place] = 1
        path.write_bytes(content)
        assert fingerprint(path) != plain, place
        content[place] = 0
    path.write_bytes(content + b"\0")
    assert fingerprint(path) != plain
    path.write_bytes(content)
    assert fingerprint(path) == plain


@given(content=st.binary(max_size=100))
def test_small_files_have_fingerprints_that_tell_them_apart(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("small")
    (folder / "a").write_bytes(content)
    (folder / "b").write_bytes(content + b"\0")
    (folder / "c").write_bytes(bytes(255 - byte for byte in content) or b"x")
    marks = {fingerprint(folder / name) for name in "abc"}
    assert len(marks) == 3


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected


# -- the cache -------------------------------------------------------------------------------------


def test_the_cache_goes_where_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    assert (tmp_path / "cache").is_dir()


def test_a_cache_that_cannot_be_made_is_explained(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "taken"))
    with pytest.raises(FileWriteError, match="taken"):
        cache_folder()


def test_every_error_is_a_camelyon_error_and_an_ordinary_one():
    assert issubclass(FileWriteError, CamelyonError)
    assert issubclass(FileWriteError, OSError)
