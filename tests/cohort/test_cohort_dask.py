"""The same batch on a Dask cluster: equal to one machine, whatever dies meanwhile."""

import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_camelyon.cohort import (
    Attempt,
    BatchTask,
    Progress,
    predict_to_folder,
    read_states,
    run_on_dask,
)
from napari_camelyon.errors import CamelyonError
from napari_camelyon.heatmaps import read_heatmap
from napari_camelyon.inference import RunControl

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")


@pytest.fixture(scope="module")
def cluster():
    """Two processes on this computer, reached through an address as any cluster is."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.ERROR,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def slides(slide_with) -> list[Path]:
    return [slide_with(f"node_{length}", length) for length in (0, 300, 1200)]


@pytest.fixture(scope="module")
def long_slide(make_slide) -> Path:
    pixels = np.full((2048, 2048, 3), (220, 160, 205), np.uint8)
    pixels[500:800, 500:800] = (60, 5, 60)
    return make_slide(pixels, name="long", mpp=0.5, tile_px=256)


def attempts_of(steps) -> dict[str, Attempt]:
    return {step.slide.stem: step for step in steps if isinstance(step, Attempt)}


def test_a_cluster_gives_the_same_as_one_machine(
    cluster, slides, request_for, slide_with, tmp_path
):
    unsized = slide_with("unsized", 300, mpp=None)
    for path in slides:
        predict_to_folder(path, tmp_path / "one", request_for())
    task = BatchTask(tmp_path / "many", request_for())
    steps = list(run_on_dask([unsized, *slides], task, cluster.scheduler_address))
    attempts = attempts_of(steps)
    assert attempts.pop("unsized").state == "failed"
    assert {attempt.state for attempt in attempts.values()} == {"done"}
    for path in slides:
        ours, wanted = (read_heatmap(tmp_path / where / path.stem) for where in ("many", "one"))
        assert ours.values.tobytes() == wanted.values.tobytes()
        told = [step for step in steps if isinstance(step, Progress) and step.slide == path]
        assert told[-1].done == told[-1].total == attempts[path.stem].outcome.planned
    processes = {state.process for state in read_states(task.out).values()}
    assert os.getpid() not in processes
    # What is there is not computed again, wherever it was computed.
    attempts = attempts_of(run_on_dask(slides, task, cluster.scheduler_address, workers=1))
    assert {attempt.outcome.how for attempt in attempts.values()} == {"kept"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
def test_a_slide_whose_worker_dies_goes_on_on_another(cluster, long_slide, request_for, tmp_path):
    task = BatchTask(tmp_path / "out", request_for(stride_um=8.0))
    seen = []
    killed = 0
    for step in run_on_dask([long_slide], task, cluster.scheduler_address):
        seen.append(step)
        if isinstance(step, Progress) and 0 < step.done < step.total and not killed:
            killed = read_states(task.out)["long"].process
            os.kill(killed, signal.SIGKILL)
    (attempt,) = attempts_of(seen).values()
    assert (attempt.state, attempt.outcome.how) == ("done", "continued")
    assert attempt.outcome.known > 0
    assert read_states(task.out)["long"].process != killed
    predict_to_folder(long_slide, tmp_path / "one", task.request)
    ours, wanted = (read_heatmap(tmp_path / where / "long") for where in ("out", "one"))
    assert ours.values.tobytes() == wanted.values.tobytes()


def test_a_cancelled_batch_stops_on_the_workers_and_goes_on_here(
    cluster, long_slide, slides, request_for, tmp_path
):
    task = BatchTask(tmp_path, request_for(stride_um=4.0))
    control = RunControl()
    steps = run_on_dask(
        [long_slide, *slides], task, cluster.scheduler_address, workers=1, control=control
    )
    seen = []
    for step in steps:
        seen.append(step)
        if isinstance(step, Progress) and step.done:
            control.cancel()
    (attempt,) = attempts_of(seen).values()
    assert (attempt.state, attempt.slide) == ("stopped", long_slide)
    outcome = predict_to_folder(long_slide, tmp_path, task.request)
    assert (outcome.how, outcome.known) == ("continued", attempt.outcome.computed)


def test_no_scheduler_is_explained(slides, request_for, tmp_path):
    with pytest.raises(CamelyonError, match="No Dask scheduler answers at nowhere://there"):
        list(run_on_dask(slides, BatchTask(tmp_path, request_for()), "nowhere://there"))
