"""Generated patches of many patients, drawn in parallel."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.synthetic.patches import Patches, draw_normal_field, draw_patches
from napari_camelyon.synthetic.processes import process_pool

__all__ = ["draw_fields", "draw_patients"]

Result = TypeVar("Result")


def draw_patients(
    seeds: Iterable[int],
    patches: int,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    patch_px: int = 128,
    mpp: float = 0.486,
) -> Patches:
    """Draw patches of one patient a seed.

    Parameters
    ----------
    seeds : iterable of int
        Patients; keep those for training and for choosing apart.
    patches : int
        Patches a patient.
    workers : int
        Processes; their number changes nothing but the time.
    progress : callable, optional
        Called with the number of patients done.
    patch_px : int
        Side of a patch, a multiple of 8.
    mpp : float
        Its spacing in µm/px.

    Returns
    -------
    Patches
        In the order of the seeds.
    """
    draw = partial(draw_patches, count=patches, patch_px=patch_px, mpp=mpp)
    drawn = _in_processes(draw, seeds, workers, progress)
    return Patches(
        np.concatenate([part.pixels for part in drawn]),
        np.concatenate([part.tumour for part in drawn]),
        [kind for part in drawn for kind in part.kinds],
        np.concatenate([part.nuclei for part in drawn]),
    )


def draw_fields(
    seeds: Iterable[int], *, workers: int = 1, side_px: int = 1024
) -> NDArray[np.uint8]:
    """Draw one field without tumour of one patient a seed, uint8 (n, side_px, side_px, 3)."""
    return np.stack(
        _in_processes(partial(draw_normal_field, side_px=side_px), seeds, workers, None)
    )


def _in_processes(
    draw: Callable[[int], Result],
    seeds: Iterable[int],
    workers: int,
    progress: Callable[[int], None] | None,
) -> list[Result]:
    if workers <= 1:
        return _collected(map(draw, seeds), progress)
    with process_pool(workers) as pool:
        return _collected(pool.map(draw, seeds), progress)


def _collected(results: Iterable[Result], progress: Callable[[int], None] | None) -> list[Result]:
    done = []
    for result in results:
        done.append(result)
        if progress is not None:
            progress(len(done))
    return done
