"""The same batch on the workers of a Dask cluster: one slide at a time on each."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from napari_camelyon.cohort.batch import (
    Attempt,
    BatchTask,
    Progress,
    fail_dead,
    listed,
)
from napari_camelyon.errors import CamelyonError
from napari_camelyon.inference import RunControl

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["run_on_dask"]

_CONNECT_S = 20
_LOOKED_EVERY_S = 0.5


def run_on_dask(
    slides: Sequence[Path],
    task: BatchTask,
    scheduler: str,
    *,
    workers: int | None = None,
    control: RunControl | None = None,
) -> Iterator[Progress | Attempt]:
    """Predict slides on a Dask cluster, each by one worker, and say how it goes.

    What `run_batch` does, by the same function for each slide. Workers may come and go meanwhile: a
    slide whose worker dies goes on on another one, from what it had computed.

    Parameters
    ----------
    slides : sequence of Path
        Absolute; the workers must see them, and the results' folder, under the same paths.
    task : BatchTask
    scheduler : str
        Address of the scheduler, such as ``tcp://10.0.0.1:8786``; or ``local``: a cluster of
        processes on this computer, for as long as this takes.
    workers : int or None
        Of a local cluster: how many. Of another: how many at most to use.
    control : RunControl, optional
        When it is cancelled, each worker ends after the batch at hand. Closing the iterator asks
        for the same and does not wait.

    Yields
    ------
    Progress, Attempt
        As `run_batch` does.

    Raises
    ------
    CamelyonError
        Dask is not installed, the scheduler does not answer, or its workers lack this program.
    """
    try:
        import distributed
    except ImportError as error:
        raise CamelyonError(
            "Dask's distributed is not installed. Type: pip install 'napari-camelyon[dask]'"
        ) from error
    control = control or RunControl()
    with ExitStack() as stack:
        if scheduler == "local":
            cluster = distributed.LocalCluster(
                n_workers=min(workers or 2, len(slides)),
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                # A process that holds torch may take longer to end than Dask waits with a warning.
                silence_logs=logging.ERROR,
            )
            scheduler = stack.enter_context(cluster).scheduler_address
        client = stack.enter_context(_connected(scheduler))
        yield from listed(_run(client, slides, task, workers, control), slides, task.out)


def _connected(scheduler: str) -> "Client":
    from distributed import Client

    try:
        return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CamelyonError(
            f"No Dask scheduler answers at {scheduler} ({error}). Check the address, or start one: "
            "dask scheduler"
        ) from error


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch on a cluster."""

    client: "Client"
    task: BatchTask
    topic: str
    waiting: list[Path]
    under_way: "dict[Future, tuple[Path, str]]" = field(default_factory=dict)


def _run(
    client: "Client",
    slides: Sequence[Path],
    task: BatchTask,
    at_most: int | None,
    control: RunControl,
) -> Iterator[Progress | Attempt]:
    from distributed import Event

    from napari_camelyon.cohort.dask_worker import OneAtATime

    topic = f"napari-camelyon-{token_hex(8)}"
    stop = Event(topic, client=client)
    news: SimpleQueue[Progress] = SimpleQueue()
    client.subscribe_topic(topic, lambda event: news.put(_progress(event[1])))
    work = _Work(client, task, topic, list(slides))
    client.register_plugin(OneAtATime(topic), name=topic)
    told = False
    try:
        while work.waiting or work.under_way:
            if control.cancelled and not told:
                work.waiting.clear()
                stop.set()
                told = True
            _hand_out(work, at_most)
            yield from _heard(news)
            for future in [future for future in work.under_way if future.done()]:
                attempt = _attempt_of(future, work)
                yield attempt
                if attempt.hits_all and not told:
                    work.waiting.clear()
                    stop.set()
                    told = True
    finally:
        if work.under_way:
            stop.set()
            client.cancel(list(work.under_way))
        client.unsubscribe_topic(topic)
        if not work.under_way:  # else the workers still need it
            client.unregister_worker_plugin(topic)


def _hand_out(work: _Work, at_most: int | None) -> None:
    """Give every worker that is free a slide."""
    from napari_camelyon.cohort.dask_worker import predict_on_worker

    busy = {address for _, address in work.under_way.values()}
    for address in work.client.scheduler_info(n_workers=-1)["workers"]:
        if not work.waiting or (at_most is not None and len(work.under_way) >= at_most):
            return
        if address in busy:
            continue
        slide = work.waiting.pop(0)
        future = work.client.submit(
            predict_on_worker,
            slide,
            work.task,
            work.topic,
            pure=False,
            key=f"predict-{slide.name}-{token_hex(4)}",
            workers=[address],
            # Where this worker dies, another one goes on.
            allow_other_workers=True,
        )
        work.under_way[future] = (slide, address)


def _heard(news: "SimpleQueue[Progress]") -> Iterator[Progress]:
    """Wait a little for news, and pass on what there is."""
    with suppress(Empty):
        yield news.get(timeout=_LOOKED_EVERY_S)
        while True:
            yield news.get_nowait()


def _attempt_of(future: "Future", work: _Work) -> Attempt:
    from distributed import KilledWorker

    slide, _ = work.under_way.pop(future)
    try:
        attempt: Attempt = future.result()
    except KilledWorker:
        how = "on the cluster ended again and again, as it does when memory runs out"
        return Attempt(slide, "failed", problem=fail_dead(slide, work.task.out, how))
    except ImportError as error:
        raise CamelyonError(
            f"The workers of the cluster cannot import what they need ({error}). Install the same "
            "napari-camelyon there."
        ) from error
    return attempt


def _progress(told: Sequence[Any]) -> Progress:
    slide, done, total, patches_per_s, seconds_left, notes = told
    return Progress(Path(slide), done, total, patches_per_s, seconds_left, tuple(notes))
