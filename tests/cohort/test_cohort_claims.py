"""Claims: one process a slide, on one computer or on many, whatever dies meanwhile."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import napari_camelyon
from napari_camelyon.cohort import SlideTakenError, read_states
from napari_camelyon.cohort.claims import SILENT_S, claimed, write_batch_file
from napari_camelyon.errors import FileWriteError, ResultError


def state_file(out, name="a") -> Path:
    (path,) = (out / ".batch" / name).glob("*.json")
    return path


def edit(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entries), "utf-8")


def test_a_claim_is_for_one(tmp_path):
    with claimed(tmp_path, "a", "x/a.tif") as claim:
        assert read_states(tmp_path)["a"].state == "running"
        with pytest.raises(SlideTakenError, match=f"process {os.getpid()} on "):
            claimed(tmp_path, "a", "x/a.tif").__enter__()
        with claimed(tmp_path, "b", "x/b.tif"):
            pass
        claim.end("done")
    states = read_states(tmp_path)
    assert (states["a"].state, states["a"].slide_path) == ("done", "x/a.tif")
    # One that says nothing at its end was stopped.
    assert states["b"].state == "stopped"


def test_of_many_at_once_one_gets_it(tmp_path):
    """Each of many threads tries again and again; whoever is in is in alone."""
    inside = []
    entered = threading.Semaphore(0)

    def work(_number):
        for _ in range(50):
            try:
                with claimed(tmp_path, "a", "a.tif"):
                    inside.append(1)
                    assert len(inside) == 1
                    inside.pop()
                    entered.release()
            except SlideTakenError:
                continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert entered.acquire(blocking=False)
    assert len(list((tmp_path / ".batch" / "a").iterdir())) <= 3  # old ones are cleared


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path):
    source = Path(napari_camelyon.__file__).parents[1]
    script = (
        "import sys, os; from napari_camelyon.cohort.claims import claimed\n"
        "held = claimed(sys.argv[1], 'a', 'a.tif'); held.__enter__()\n"
        "os._exit(9)  # as one that is killed"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(source)},
        check=False,
    )
    assert json.loads(state_file(tmp_path).read_text("utf-8"))["state"] == "running"
    assert read_states(tmp_path)["a"].state == "stopped"
    with claimed(tmp_path, "a", "a.tif") as claim:
        assert claim.before.state == "running"


def test_a_later_process_of_the_same_number_is_another(tmp_path):
    with claimed(tmp_path, "a", "a.tif"):
        edit(state_file(tmp_path), process_started_s=1.0)
        with claimed(tmp_path, "a", "a.tif") as second:
            second.hold()


def test_of_another_computer_counts_when_it_last_gave_a_sign(tmp_path):
    with claimed(tmp_path, "a", "a.tif") as first:
        edit(first.path, computer="elsewhere", processes_of="elsewhere pid:[7]")
        with pytest.raises(SlideTakenError, match="elsewhere"):
            claimed(tmp_path, "a", "a.tif").__enter__()
        now = first.path.stat().st_mtime
        os.utime(first.path, (now, now - SILENT_S - 5))
        with claimed(tmp_path, "a", "a.tif") as second:
            second.hold()
            # It was not dead after all: it must not write over the other's results.
            with pytest.raises(SlideTakenError, match="taken over"):
                first.hold()
            second.end("done")
    assert read_states(tmp_path)["a"].state == "done"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1, "colour": 2}'])
def test_a_claim_that_cannot_be_read_is_one_that_is_just_made(tmp_path, content):
    with claimed(tmp_path, "a", "a.tif"):
        pass
    path = state_file(tmp_path)
    path.write_text(content, "utf-8")
    with pytest.raises(SlideTakenError):
        claimed(tmp_path, "a", "a.tif").__enter__()
    now = path.stat().st_mtime
    os.utime(path, (now, now - SILENT_S - 5))
    with claimed(tmp_path, "a", "a.tif"):
        pass


def test_the_list_names_what_waits_and_what_became_of_the_others(tmp_path):
    with claimed(tmp_path, "a", "x/a.tif") as claim:
        claim.end("failed", "It is damaged.")
    path = write_batch_file(tmp_path, {"a": "x/a.tif", "b": "x/b.tif"})
    listed = json.loads(path.read_text("utf-8"))
    assert listed["counts"] == {"failed": 1, "waiting": 1}
    first, second = listed["slides"]
    assert (first["name"], first["state"], first["problem"]) == ("a", "failed", "It is damaged.")
    assert (second["name"], second["state"], second["slide_path"]) == ("b", "waiting", "x/b.tif")


def test_folders_that_cannot_be_used_are_explained(tmp_path):
    assert read_states(tmp_path / "nowhere") == {}
    (tmp_path / "file").write_text("mine")
    with pytest.raises((FileWriteError, ResultError), match="file"):
        claimed(tmp_path / "file", "a", "a.tif").__enter__()
