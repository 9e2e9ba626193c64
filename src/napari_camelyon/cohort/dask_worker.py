"""What runs on the workers of a Dask cluster; imported only where Dask is."""

import threading
from pathlib import Path
from typing import Any, cast

from distributed import Event, WorkerPlugin, get_client, get_worker  # noqa: TID253

from napari_camelyon.cohort.batch import Attempt, BatchTask, Progress, attempt_slide
from napari_camelyon.cohort.kept_model import KeptModel
from napari_camelyon.inference import RunControl

__all__ = ["OneAtATime", "predict_on_worker"]

_STOP_ASKED_EVERY_S = 1.0


class OneAtATime(WorkerPlugin):
    """What every worker of the batch holds: the model of the last slide, and whose turn it is.

    A plugin of Dask's workers; it reaches those that join later as well.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, worker: Any) -> None:
        """Begin; called on the worker."""
        del worker
        self.turn = threading.Lock()
        self.kept = KeptModel()

    def teardown(self, worker: Any) -> None:
        """Let go of the model; called on the worker when the batch is done."""
        del worker
        self.kept.close()


def predict_on_worker(slide: Path, task: BatchTask, topic: str) -> Attempt:
    """Predict one slide; runs in a thread of a worker.

    Parameters
    ----------
    slide : Path
    task : BatchTask
    topic : str
        Name of the batch: of its plugin, of the event that says stop, of the log for `Progress`.
    """
    worker = get_worker()
    ours = cast("OneAtATime", worker.plugins[topic])
    control = RunControl()
    ended = threading.Event()
    stop = Event(topic, client=get_client())

    def heed() -> None:
        while not ended.wait(_STOP_ASKED_EVERY_S):
            if stop.is_set():
                control.cancel()
                return

    def tell(progress: Progress) -> None:
        worker.log_event(topic, _plain(progress))

    listener = threading.Thread(target=heed, name="heed-batch", daemon=True)
    listener.start()
    try:
        # A slide that comes from a worker that died may meet another one here.
        with ours.turn:
            return attempt_slide(slide, task, tell=tell, control=control, kept=ours.kept)
    finally:
        ended.set()
        listener.join()


def _plain(progress: Progress) -> tuple[Any, ...]:
    """Events travel as msgpack, which knows no dataclass and no path."""
    return (
        str(progress.slide),
        progress.done,
        progress.total,
        progress.patches_per_s,
        progress.seconds_left,
        list(progress.notes),
    )
