"""How fast a model is on a numeric path here, and with which batch: measured once and kept.

The measurement takes a second or two and lies in the cache folder, one small file for each
network, path and machine, so that several processes do not write into each other's.
"""

import time
from collections import deque
from dataclasses import asdict

import numpy as np

from napari_camelyon.files import write_json
from napari_camelyon.inference.calibrated import (
    SCHEMA_VERSION,
    Calibration,
    calibration_file,
    circumstances,
    known_calibration,
)
from napari_camelyon.inference.numeric import prepare
from napari_camelyon.inference.numeric_path import NumericPath
from napari_camelyon.inference.predicted import OutOfMemoryError
from napari_camelyon.models import Model

__all__ = ["calibrate"]

_CPU_BATCHES = (8, 16, 32)
_GPU_BATCHES = (64, 128, 256, 512)
_SECONDS_A_BATCH_SIZE = 0.5
_GAIN = 1.05
"""A larger batch has to be as much faster: it makes cancelling slower and takes memory."""


def calibrate(model: Model, path: NumericPath) -> Calibration:
    """Return what is known of a model on a path here, and measure it where nothing is.

    Parameters
    ----------
    model : Model
    path : NumericPath

    Returns
    -------
    Calibration

    Raises
    ------
    ModelError
        The model fails on this path.
    FileWriteError
        The cache cannot be written.
    """
    known = known_calibration(model, path)
    if known is not None:
        return known
    best: Calibration | None = None
    for batch_size in _GPU_BATCHES if path.device != "cpu" else _CPU_BATCHES:
        try:
            rate = _rate(model, path, batch_size)
        except OutOfMemoryError:
            if best is None:
                raise
            break
        if best is not None and rate < _GAIN * best.patches_per_s:
            break
        best = Calibration(batch_size, rate)
    assert best is not None
    entries = {"schema_version": SCHEMA_VERSION, **asdict(best), "of": circumstances(model, path)}
    write_json(entries, calibration_file(model, path))
    return best


def _rate(model: Model, path: NumericPath, batch_size: int) -> float:
    px = model.spec.patch_px
    patches = np.random.default_rng(0).integers(0, 256, (batch_size, px, px, 3), dtype=np.uint8)
    predictor = prepare(model, path, batch_size=batch_size)
    try:
        predictor.submit(patches).result()  # the first is slow: memory, kernels, clocks
        flight = deque(predictor.submit(patches) for _ in range(predictor.depth))
        started, done = time.perf_counter(), 0
        while done < predictor.depth or time.perf_counter() - started < _SECONDS_A_BATCH_SIZE:
            flight.popleft().result()
            flight.append(predictor.submit(patches))
            done += 1
        seconds = time.perf_counter() - started
        while flight:
            flight.popleft().result()
    finally:
        predictor.close()
    return done * batch_size / seconds
