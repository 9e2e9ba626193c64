"""Never twice: what is computed outlives the process, torn ends and full disks."""

import json
import multiprocessing
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_models import write_wsinfer_model
from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.inference import (
    CheckpointInUseError,
    NumericPath,
    find_interrupted,
    forget_checkpoints,
    new_heatmap,
    open_checkpoint,
    prepare,
    run,
)
from napari_camelyon.models import load_model
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import PatchGrid, plan_patches

PATH = NumericPath("cpu", "torch", "fp32")
BATCH = 16


@pytest.fixture(scope="module")
def slide(make_slide):
    rng = np.random.default_rng(4)
    coarse = rng.integers(40, 220, (40, 50, 3), dtype=np.uint8)
    path = make_slide(coarse.repeat(16, 0).repeat(16, 1), name="kept", factors=(1, 2), mpp=0.5)
    with open_slide(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return write_wsinfer_model(tmp_path_factory.mktemp("model") / "dark", patch_px=24)


@pytest.fixture(scope="module")
def model(model_folder):
    return load_model(model_folder)


@pytest.fixture(scope="module")
def plan(slide, model):
    return plan_patches(slide, model.spec, stride_um=18, min_tissue_fraction=0)


def kept(folder, slide, model, plan, **other):
    return open_checkpoint(folder, slide, model, plan, PATH, **{"batch_size": BATCH, **other})


def finished(folder, slide, model, plan, **options):
    """Run to the end with a checkpoint; returns the updates."""
    with kept(folder, slide, model, plan) as checkpoint:
        updates = run(
            slide, model, plan, device="cpu", batch_size=BATCH, checkpoint=checkpoint, **options
        )
        return list(updates)


@pytest.fixture(scope="module")
def expected(slide, model, plan):
    return list(run(slide, model, plan, device="cpu", batch_size=BATCH))[-1].heatmap.values


def test_a_second_run_computes_nothing_and_hands_out_everything_at_once(
    tmp_path, slide, model, plan, expected
):
    finished(tmp_path, slide, model, plan)
    (update,) = finished(tmp_path, slide, model, plan)
    assert (update.known, update.done, update.total) == (plan.patch_count, 0, 0)
    assert len(update.cells) == plan.patch_count
    np.testing.assert_array_equal(update.heatmap.values, expected)
    heatmap = new_heatmap(slide, model, plan)
    heatmap.threshold = 0.9
    (again,) = finished(tmp_path, slide, model, plan, heatmap=heatmap)
    assert (again.known, again.heatmap.threshold) == (plan.patch_count, 0.9)
    assert len(list(tmp_path.iterdir())) == 1


@settings(max_examples=25)
@given(share=st.floats(0, 1), damage=st.booleans())
def test_a_file_torn_anywhere_loses_no_whole_batch_and_ends_identically(
    tmp_path_factory, slide, model, plan, expected, share, damage
):
    folder = tmp_path_factory.mktemp("torn")
    finished(folder, slide, model, plan)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    cut = round(share * len(content))
    torn = bytearray(content[:cut])
    if damage and torn:
        torn[-1] ^= 0x40
    file.write_bytes(torn)
    with kept(folder, slide, model, plan) as checkpoint:
        known = checkpoint.known
        # Everything up to the record that is torn, or the one before it, is there.
        whole = plan.patch_count * max(0.0, (cut - 1500) / len(content))
        assert len(known.cells) >= min(whole, plan.patch_count) - 2 * BATCH
        np.testing.assert_array_equal(expected[tuple(known.cells.T)], known.values)
    last = finished(folder, slide, model, plan)[-1]
    np.testing.assert_array_equal(last.heatmap.values, expected)
    assert finished(folder, slide, model, plan)[-1].known == plan.patch_count


def in_a_process(target, *arguments):
    """Start a function of this module in a process of its own, which has torch already."""
    if sys.platform == "win32":
        context = multiprocessing.get_context("spawn")
    else:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["napari_camelyon.inference.engine"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def _opened(slide_path, model_folder):
    model = load_model(model_folder)
    slide = open_slide(slide_path)
    return slide, model, plan_patches(slide, model.spec, stride_um=18, min_tissue_fraction=0)


def _run_killed(folder, slide_path, model_folder, bytes_left, said):
    """Run until so many bytes are written; the write that would exceed them is torn, then -9."""
    real_write = os.write

    def write(descriptor, content):
        nonlocal bytes_left
        written = real_write(descriptor, content[:bytes_left])
        bytes_left -= written
        if not bytes_left:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    slide, model, plan = _opened(slide_path, model_folder)
    os.write = write
    with kept(folder, slide, model, plan) as checkpoint:
        for update in run(
            slide, model, plan, device="cpu", batch_size=BATCH, checkpoint=checkpoint
        ):
            said.write_text(str(update.known + update.done))


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_killed_in_the_middle_of_any_write_it_goes_on_where_it_stopped(
    tmp_path, slide, model, model_folder, plan, expected
):
    said = tmp_path / "said"
    said.write_text("0")
    for bytes_left in np.random.default_rng(7).integers(1, 1700, 6).tolist():
        child = in_a_process(
            _run_killed, tmp_path / "kept", slide.path, model_folder, bytes_left, said
        )
        child.join()
        assert child.exitcode == -signal.SIGKILL
        with kept(tmp_path / "kept", slide, model, plan) as checkpoint:
            known = checkpoint.known
        # What was handed out is kept, and at most one batch more.
        assert 0 <= len(known.cells) - int(said.read_text()) <= BATCH
        np.testing.assert_array_equal(expected[tuple(known.cells.T)], known.values)
    assert 0 < len(known.cells) < plan.patch_count
    predictor = Counting(prepare(model, PATH, batch_size=BATCH))
    last = finished(tmp_path / "kept", slide, model, plan, predictor=predictor)[-1]
    assert sum(predictor.sizes) == plan.patch_count - len(known.cells)
    np.testing.assert_array_equal(last.heatmap.values, expected)


def _hold(folder, slide_path, model_folder, say, hear):
    with kept(folder, *_opened(slide_path, model_folder)):
        say.send("opened")
        hear.recv()


def test_a_second_process_is_told_who_computes_and_takes_over_when_it_ends(
    tmp_path, slide, model, model_folder, plan
):
    hear, say = multiprocessing.Pipe()
    other = in_a_process(_hold, tmp_path, slide.path, model_folder, say, say)
    assert hear.recv() == "opened"
    with pytest.raises(CheckpointInUseError, match=f"by process {other.pid} on .*, since 20"):
        kept(tmp_path, slide, model, plan)
    # In another way it may be computed meanwhile.
    kept(tmp_path, slide, model, plan, batch_size=8).close()
    other.kill()
    other.join()
    kept(tmp_path, slide, model, plan).close()


def test_two_runs_of_one_process_exclude_each_other_as_well(tmp_path, slide, model, plan):
    first = kept(tmp_path, slide, model, plan)
    with pytest.raises(CheckpointInUseError, match=str(os.getpid())):
        kept(tmp_path, slide, model, plan)
    first.close()
    kept(tmp_path, slide, model, plan).close()


@pytest.mark.parametrize(
    "other",
    [
        {"stain_key": "macenko"},
        {"sampling_key": "tta"},
        {"batch_size": 8},
        {"method": "dense"},
        {"path": NumericPath("cpu", "torch", "bf16")},
    ],
    ids=str,
)
def test_another_way_of_computing_knows_nothing_of_this_one(tmp_path, slide, model, plan, other):
    finished(tmp_path, slide, model, plan)
    path = other.pop("path", PATH)
    options = {"batch_size": BATCH, **other}
    with open_checkpoint(tmp_path, slide, model, plan, path, **options) as checkpoint:
        assert len(checkpoint.known.cells) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_another_grid_or_model_is_another_file(tmp_path, slide, model, plan):
    finished(tmp_path, slide, model, plan)
    shifted = PatchGrid(replace(plan.grid, x_px=1), plan.tissue_fraction, plan.selected)
    other_class = replace(model, spec=replace(model.spec, tumour_class=0))
    for other_model, other_plan in (
        (replace(model, sha256="1" * 64), plan),
        (other_class, plan),
        (model, shifted),
    ):
        with kept(tmp_path, slide, other_model, other_plan) as checkpoint:
            assert len(checkpoint.known.cells) == 0


def test_patches_selected_later_are_computed_in_full_batches_and_no_others(
    tmp_path, slide, model, plan, expected
):
    half = plan.selected.copy()
    half[:, half.shape[1] // 2 :] = False
    finished(tmp_path, slide, model, PatchGrid(plan.grid, plan.tissue_fraction, half))
    predicted = Counting(prepare(model, PATH, batch_size=BATCH))
    first = finished(tmp_path, slide, model, plan, predictor=predicted, cancelled=after(3))
    assert first[0].known == half.sum()
    assert first[-1].heatmap.computed_cells == half.sum() + 3 * BATCH
    rest = finished(tmp_path, slide, model, plan, predictor=predicted)
    np.testing.assert_allclose(rest[-1].heatmap.values, expected, atol=1e-6)
    sizes = [*predicted.sizes]
    assert sum(sizes) == plan.patch_count - half.sum()
    assert all(size == BATCH for size in sizes[:-1])


def test_patches_that_are_not_selected_any_more_are_not_handed_out(tmp_path, slide, model, plan):
    finished(tmp_path, slide, model, plan)
    fewer = PatchGrid(plan.grid, plan.tissue_fraction, plan.selected & (plan.grid.rows > 0))
    fewer.selected[::2] = False
    (update,) = finished(tmp_path, slide, model, fewer)
    np.testing.assert_array_equal(~np.isnan(update.heatmap.values), fewer.selected)


class Counting:
    """A predictor that remembers the sizes of its batches."""

    def __init__(self, predictor):
        self.predictor = predictor
        self.sizes = []
        self.batch_size, self.depth, self.path = predictor.batch_size, predictor.depth, PATH

    def submit(self, patches):
        self.sizes.append(len(patches))
        return self.predictor.submit(patches)


def after(batches):
    left = iter(range(batches))
    return lambda: next(left, None) is None


def test_an_interrupted_run_is_found_whatever_its_path(tmp_path, slide, model, plan):
    assert find_interrupted(tmp_path / "nowhere", slide, model, plan) is None
    finished(tmp_path, slide, model, plan, cancelled=after(2))
    other = NumericPath("cpu", "openvino", "bf16")
    with open_checkpoint(tmp_path, slide, model, plan, other, batch_size=8) as checkpoint:
        checkpoint.append(
            np.array([[0, 0], [0, 1]]), np.array([0.5, np.nan], "f4"), {}, batch_size=8
        )
    found = find_interrupted(tmp_path, slide, model, plan)
    assert (found.path, found.batch_size, found.cells) == (PATH, BATCH, 2 * BATCH)
    assert find_interrupted(tmp_path, slide, model, plan, stain_key="macenko") is None
    only = PatchGrid(plan.grid, plan.tissue_fraction, np.zeros_like(plan.selected))
    assert find_interrupted(tmp_path, slide, model, only) is None
    (tmp_path / f"{slide.fingerprint[:16]}-other.cells").write_bytes(b"something else")
    assert find_interrupted(tmp_path, slide, model, plan) == found


def test_what_is_forgotten_is_computed_again_unless_a_run_is_under_way(
    tmp_path, slide, model, plan
):
    assert forget_checkpoints(tmp_path / "nowhere", slide.fingerprint) == 0
    finished(tmp_path, slide, model, plan)
    with kept(tmp_path, slide, model, plan, batch_size=8):
        assert forget_checkpoints(tmp_path, "0" * 32) == 0
        assert forget_checkpoints(tmp_path, slide.fingerprint) == 1
        assert len(list(tmp_path.iterdir())) == 1
    assert finished(tmp_path, slide, model, plan)[0].known == 0


def test_maps_are_kept_and_what_is_no_number_is_not(tmp_path, slide, model, plan):
    cells = np.array([[0, 0], [1, 2], [3, 1]])
    values = np.array([0.25, np.nan, 0.75], "f4")
    spread = np.array([0.1, 0.2, np.nan], "f4")
    with kept(tmp_path, slide, model, plan) as checkpoint:
        checkpoint.append(cells, values, {"uncertainty_total": spread}, batch_size=BATCH)
        checkpoint.append(np.array([[5, 5]]), np.array([0.5], "f4"), {}, batch_size=BATCH)
        checkpoint.append(np.array([[0, 0]]), np.array([0.9], "f4"), {}, batch_size=BATCH)
    with kept(tmp_path, slide, model, plan) as checkpoint:
        known = checkpoint.known
        assert known.cells.tolist() == [[0, 0], [3, 1], [5, 5]]
        assert known.values.tolist() == [0.25, 0.75, 0.5]  # never replaced
        np.testing.assert_array_equal(
            known.maps["uncertainty_total"], np.array([0.1, np.nan, np.nan], "f4")
        )
        update = next(run(slide, model, plan, device="cpu", checkpoint=checkpoint))
    assert update.heatmap.maps["uncertainty_total"][0, 0] == np.float32(0.1)
    assert update.known == 3


def _run_on_a_full_disk(folder, slide_path, model_folder, told, room_again):
    import resource

    slide, model, plan = _opened(slide_path, model_folder)
    problems = []
    with kept(folder, slide, model, plan) as checkpoint:
        for update in run(
            slide, model, plan, device="cpu", batch_size=BATCH, checkpoint=checkpoint
        ):
            problems.append(update.problem)
            if len(problems) == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
            if len(problems) == 20 and room_again:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    np.savez(
        told,
        first=problems[0],
        middle=problems[18],
        last=checkpoint.problem,
        values=update.heatmap.values,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits file sizes as Linux does")
def test_on_a_full_disk_the_run_goes_on_and_says_so(
    tmp_path, slide, model, model_folder, plan, expected
):
    for name, room_again in (("full", False), ("room", True)):
        folder, told = tmp_path / name, tmp_path / f"{name}.npz"
        child = in_a_process(
            _run_on_a_full_disk, folder, slide.path, model_folder, told, room_again
        )
        child.join()
        assert child.exitcode == 0
        with np.load(told) as said:
            assert said["first"] == ""
            assert "disk is full" in str(said["middle"])
            assert ("disk is full" in str(said["last"])) != room_again
            np.testing.assert_array_equal(said["values"], expected)
        resumed = finished(folder, slide, model, plan)
        assert (resumed[0].known == plan.patch_count) == room_again
        np.testing.assert_array_equal(resumed[-1].heatmap.values, expected)


def test_a_file_of_somebody_else_is_not_touched(tmp_path, slide, model, plan):
    finished(tmp_path, slide, model, plan)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"the notes of somebody")
    with pytest.raises(ResultError, match="no store of computed patches"):
        kept(tmp_path, slide, model, plan)
    assert file.read_bytes() == b"the notes of somebody"


def test_a_folder_that_cannot_be_made_is_explained(tmp_path, slide, model, plan):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError, match="file"):
        kept(tmp_path / "file" / "below", slide, model, plan)


def test_the_file_says_in_words_what_it_is_of(tmp_path, slide, model, plan):
    finished(tmp_path, slide, model, plan)
    (file,) = tmp_path.iterdir()
    magic, rest = file.read_bytes().split(b"\n", 1)
    assert magic == b"napari-camelyon cells 1"
    head = json.loads(rest[8 : 8 + int.from_bytes(rest[:4], "little")])
    assert (head["slide"], head["key"]["precision"]) == ("kept", "fp32")
