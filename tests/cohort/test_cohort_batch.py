"""Batches: in this process, in several, and on several computers at once."""

import multiprocessing
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from made_models import write_wsinfer_model
from napari_camelyon.cohort import (
    Attempt,
    BatchTask,
    Progress,
    predict_to_folder,
    read_states,
    run_batch,
)
from napari_camelyon.cohort.claims import claimed
from napari_camelyon.heatmaps import read_heatmap
from napari_camelyon.inference import RunControl


@pytest.fixture(scope="module")
def slides(slide_with) -> list[Path]:
    return [slide_with(f"node_{length}", length) for length in (0, 300, 1200)]


def attempts_of(steps) -> dict[str, Attempt]:
    return {step.slide.stem: step for step in steps if isinstance(step, Attempt)}


def test_each_slide_is_begun_tells_how_far_it_is_and_ends(slides, request_for, tmp_path):
    steps = list(run_batch(slides, BatchTask(tmp_path, request_for())))
    for path in slides:
        own = [step for step in steps if step.slide == path]
        assert own[0] == Progress(path)
        assert isinstance(own[-1], Attempt)
        told = own[-2]
        assert told.done == told.total == own[-1].outcome.planned
    assert [attempt.outcome.node.node_class for attempt in attempts_of(steps).values()] == [
        "negative", "itc", "micro"
    ]  # fmt: skip


def test_a_bad_slide_stops_no_other(slides, request_for, slide_with, tmp_path):
    unsized = slide_with("unsized", 300, mpp=None)
    missing = tmp_path / "missing.tif"
    steps = run_batch([unsized, missing, *slides], BatchTask(tmp_path, request_for()))
    attempts = attempts_of(steps)
    assert [attempt.state for attempt in attempts.values()] == ["failed", "failed", *3 * ["done"]]
    assert "--mpp" in attempts["unsized"].problem
    assert "missing.tif" in attempts["missing"].problem
    assert not attempts["missing"].hits_all
    states = read_states(tmp_path)
    assert states["missing"].problem == attempts["missing"].problem
    # The next run tries what failed again, and nothing else.
    attempts = attempts_of(run_batch([missing, *slides], BatchTask(tmp_path, request_for())))
    assert attempts["missing"].state == "failed"
    assert {attempt.outcome.how for attempt in attempts.values() if attempt.outcome} == {"kept"}


class Broken(torch.nn.Module):
    """Gives what is no number for every patch, or only for those with something dark in them."""

    def __init__(self, only_dark: bool) -> None:
        super().__init__()
        self.only_dark = only_dark

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = pixels.mean((1, 2, 3))
        values = torch.stack([20 * grey - 10, 10 - 20 * grey], dim=1)
        if self.only_dark:
            return torch.where(grey[:, None] < 0.3, torch.nan, values)
        return values * torch.nan


@pytest.mark.parametrize("only_dark", [False, True])
def test_a_broken_model_ends_the_batch_where_it_is_broken_for_all(
    slides, request_for, tmp_path, only_dark
):
    model = write_wsinfer_model(tmp_path / "model")
    weights = str(model / "torchscript_model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what the zoo is made of
        torch.jit.save(torch.jit.script(Broken(only_dark)), weights)
    task = BatchTask(tmp_path / "out", request_for(model=model))
    attempts = attempts_of(run_batch(slides, task))
    if not only_dark:
        (only,) = attempts.values()
        assert (only.state, only.hits_all) == ("failed", True)
        return
    assert [attempt.state for attempt in attempts.values()] == ["done", "failed", "failed"]
    assert not attempts["node_300"].hits_all


def test_a_slide_that_another_process_predicts_is_left_to_it(slides, request_for, tmp_path):
    with claimed(tmp_path, "node_300", slides[1]):
        attempts = attempts_of(run_batch(slides, BatchTask(tmp_path, request_for())))
    assert [attempt.state for attempt in attempts.values()] == ["done", "taken", "done"]
    assert f"process {os.getpid()}" in attempts["node_300"].problem


def test_a_cancelled_batch_goes_on_where_it_was(slides, request_for, tmp_path):
    control = RunControl()
    seen = []
    for step in run_batch(slides, BatchTask(tmp_path, request_for()), control=control):
        seen.append(step)
        if step.slide == slides[1] and isinstance(step, Progress) and step.done:
            control.cancel()
    attempts = attempts_of(seen)
    assert [attempt.state for attempt in attempts.values()] == ["done", "stopped"]
    attempts = attempts_of(run_batch(slides, BatchTask(tmp_path, request_for())))
    assert [attempt.outcome.how for attempt in attempts.values()] == [
        "kept", "continued", "computed"
    ]  # fmt: skip


def same_values(first: Path, second: Path, slides) -> bool:
    return all(
        np.array_equal(
            read_heatmap(first / path.stem).values,
            read_heatmap(second / path.stem).values,
            equal_nan=True,
        )
        for path in slides
    )


def test_several_processes_give_the_same_as_one(slides, request_for, slide_with, tmp_path):
    unsized = slide_with("unsized", 300, mpp=None)
    for path in slides:
        predict_to_folder(path, tmp_path / "one", request_for())
    task = BatchTask(tmp_path / "many", request_for())
    steps = list(run_batch([unsized, *slides], task, workers=2))
    attempts = attempts_of(steps)
    assert attempts["unsized"].state == "failed"
    assert all(attempts[path.stem].state == "done" for path in slides)
    assert same_values(tmp_path / "one", tmp_path / "many", slides)
    processes = {state.process for state in read_states(tmp_path / "many").values()}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert not multiprocessing.active_children()


@pytest.fixture(scope="module")
def long_slide(make_slide) -> Path:
    """Enough patches at a small stride that a run can be met on its way."""
    pixels = np.full((2048, 2048, 3), (220, 160, 205), np.uint8)
    pixels[500:800, 500:800] = (60, 5, 60)
    return make_slide(pixels, name="long", mpp=0.5, tile_px=256)


def test_a_process_that_is_killed_is_replaced_and_its_slide_goes_on(
    slides, long_slide, request_for, tmp_path
):
    task = BatchTask(tmp_path / "out", request_for(stride_um=8.0))
    killed = 0
    steps = run_batch([long_slide, slides[0]], task, workers=2)
    seen = []
    for step in steps:
        seen.append(step)
        begun = isinstance(step, Progress) and step.slide == long_slide and step.done
        if begun and not killed:
            killed = read_states(task.out)["long"].process
            os.kill(killed, signal.SIGKILL)
    attempts = attempts_of(seen)
    assert attempts["long"].outcome.how == "continued"
    assert attempts["long"].outcome.known > 0
    assert {attempt.state for attempt in attempts.values()} == {"done"}
    predict_to_folder(long_slide, tmp_path / "one", request_for(stride_um=8.0))
    assert same_values(tmp_path / "one", task.out, [long_slide])


def test_a_slide_that_kills_its_process_each_time_fails_with_a_sentence(
    slides, long_slide, request_for, tmp_path
):
    task = BatchTask(tmp_path, request_for(stride_um=8.0))
    killed = set()
    seen = []
    for step in run_batch([long_slide, slides[0]], task, workers=2):
        seen.append(step)
        if isinstance(step, Progress) and step.slide == long_slide and step.done < step.total:
            process = read_states(tmp_path)["long"].process
            if process not in killed and psutil.pid_exists(process):
                killed.add(process)
                os.kill(process, signal.SIGKILL)
    attempts = attempts_of(seen)
    assert attempts["long"].state == "failed"
    assert "SIGKILL, as the system does when memory runs out" in attempts["long"].problem
    assert attempts["node_0"].state == "done"
    assert read_states(tmp_path)["long"].problem == attempts["long"].problem


def test_closing_a_batch_ends_its_processes(long_slide, slides, request_for, tmp_path):
    task = BatchTask(tmp_path, request_for(stride_um=8.0))
    steps = run_batch([long_slide, slides[0]], task, workers=2)
    for step in steps:
        if isinstance(step, Progress) and step.slide == long_slide and step.done:
            break
    steps.close()
    assert not multiprocessing.active_children()
    assert read_states(tmp_path)["long"].state == "stopped"
    # What it had computed is there.
    outcome = predict_to_folder(long_slide, tmp_path, task.request)
    assert outcome.how == "continued"
