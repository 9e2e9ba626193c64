"""The run: blocks are read ahead in threads, patches predicted in batches, values handed out."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import DamagedSlideError, ModelError, SlideError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, HeatmapMethod, empty_heatmap
from napari_camelyon.inference.dense import (
    can_run_dense,
    finite,
    normalised,
    predict_block,
    read_picture,
)
from napari_camelyon.inference.patches import plan_blocks, read_block, touched_cells
from napari_camelyon.models import Model, choose_device
from napari_camelyon.slides import Damage, Slide
from napari_camelyon.tissue import PatchGrid, PatchRules, is_tissue_patch

__all__ = ["Update", "new_heatmap", "predict_patches", "run"]

Cells = NDArray[np.int64]
Patches = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Update:
    """What a run has just added to its heatmap.

    Attributes
    ----------
    heatmap : Heatmap
        The heatmap that is being filled; the same object in every update.
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of the cells just dealt with.
    done, total : int
        Cells dealt with so far, and planned.
    patches_per_s : float
        Since the run began.
    seconds_left : float
        At that rate.
    damaged : int
        Cells of this run so far that were left at NaN, because they lie on a damaged part of the
        slide; as `Heatmap.damaged_cells`.
    """

    heatmap: Heatmap
    cells: Cells
    done: int
    total: int
    patches_per_s: float
    seconds_left: float
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """Cells, what was read for them, and which of them saw damage."""

    cells: Cells
    pixels: Patches
    lost: NDArray[np.bool_]
    damage: DamagedSlideError | None


_Read = Callable[[Slide, Grid, Cells, int, Callable[[Damage], object]], Patches]


def new_heatmap(slide: Slide, model: Model, patch_grid: PatchGrid) -> Heatmap:
    """Return the empty heatmap that a run of this model over this grid fills.

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    return empty_heatmap(
        patch_grid.grid,
        slide.require_mpp(),
        model.spec,
        planned_cells=patch_grid.patch_count,
        slide_name=slide.name,
        slide_fingerprint=slide.fingerprint,
        model_sha256=model.sha256,
    )


def run(
    slide: Slide,
    model: Model,
    patch_grid: PatchGrid,
    *,
    heatmap: Heatmap | None = None,
    device: str = "auto",
    batch_size: int = 16,
    read_threads: int = 2,
    rules: PatchRules | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Update]:
    """Predict the selected patches of a slide and fill a heatmap, batch by batch.

    A fully convolutional model whose outputs fit the grid is run densely, block by block
    (`napari_camelyon.inference.dense`); the heatmap's ``method`` says which way was taken.

    Patches that lie on a damaged part of the slide are left at NaN and counted; densely, those too
    whose margin does, for it reaches into their values.

    Closing the generator, or `cancelled` turning true, ends the run within one batch; what was
    computed stays in the heatmap.

    Parameters
    ----------
    slide : Slide
    model : Model
    patch_grid : PatchGrid
        As `tissue.plan_patches` gives it for this slide and the model's specification.
    heatmap : Heatmap, optional
        To be filled; cells that already hold a value are not computed again. Default: a new one.
    device : str
        ``auto`` (CUDA, then MPS, then CPU) or a device's name.
    batch_size : int
        8–16 is as fast as more on a CPU and keeps cancelling quick.
    read_threads : int
        Threads that read ahead.
    rules : PatchRules, optional
        Patches that do not pass are left at NaN. Default: every selected patch is predicted.
    cancelled : callable
        Asked before each batch.

    Yields
    ------
    Update

    Raises
    ------
    SlideError
        The slide cannot be read any more, or everything that was wanted of it is damaged.
    ModelError
        The device is missing, or the model returns something else than probabilities.
    """
    if heatmap is None:
        heatmap = new_heatmap(slide, model, patch_grid)
    grid = patch_grid.grid
    dense = rules is None and can_run_dense(model, grid)
    _keep_to_one_method(heatmap, "dense" if dense else "patches")
    target = choose_device(device)
    wanted = patch_grid.selected & np.isnan(heatmap.values)
    total = int(wanted.sum())
    patch_px = model.spec.patch_px
    read: _Read = partial(read_picture, margin_px=model.dense_margin_px) if dense else read_block
    # Resampling a picture as a whole mixes neighbouring pixels of the model's input.
    margin_px = model.dense_margin_px + 1 if dense else 0
    module = model.module.to(target).to(memory_format=torch.channels_last)
    done = 0
    started = time.perf_counter()
    reader = ThreadPoolExecutor(read_threads, thread_name_prefix="read-patches")
    blocks = plan_blocks(grid, wanted, patch_px)
    ahead: deque[Future[_Block]] = deque()
    damage: DamagedSlideError | None = None
    heatmap.damaged_cells = 0  # they are tried again

    def read_ahead() -> None:
        while len(ahead) < read_threads + 1 and (cells := next(blocks, None)) is not None:
            ahead.append(reader.submit(_read_block, read, slide, grid, cells, patch_px, margin_px))

    try:
        read_ahead()
        while ahead:
            block = ahead.popleft().result()
            read_ahead()
            damage = damage or block.damage
            size = len(block.cells) if dense else batch_size
            for start in range(0, len(block.cells), size):
                if cancelled():
                    return
                part = slice(start, start + size)
                cells, lost = block.cells[part], block.lost[part]
                if lost.all():
                    values = np.full(len(cells), np.nan, dtype=np.float32)
                elif dense:
                    values = predict_block(model, module, block.pixels, grid, cells, target)
                else:
                    values = _predict_passing(model, module, block.pixels[part], target, rules)
                values[lost] = np.nan
                heatmap.values[cells[:, 0], cells[:, 1]] = values
                done += len(cells)
                heatmap.damaged_cells += int(lost.sum())
                rate = done / (time.perf_counter() - started)
                yield Update(
                    heatmap, cells, done, total, rate, (total - done) / rate, heatmap.damaged_cells
                )
        if damage is not None:
            _refuse_nothing(slide, heatmap, total, damage)
    finally:
        reader.shutdown(wait=True, cancel_futures=True)


def _read_block(
    read: _Read, slide: Slide, grid: Grid, cells: Cells, patch_px: int, margin_px: int
) -> _Block:
    damages: list[Damage] = []
    pixels = read(slide, grid, cells, patch_px, damages.append)
    lost = touched_cells(slide, grid, cells, patch_px, damages, margin_px=margin_px)
    return _Block(cells, pixels, lost, damages[0].error if damages else None)


def _refuse_nothing(slide: Slide, heatmap: Heatmap, total: int, damage: DamagedSlideError) -> None:
    if heatmap.damaged_cells == total and heatmap.computed_cells == 0:
        raise SlideError(
            f"All {total} patches of {slide.path.name} lie on damaged parts of the file, so "
            f"nothing was computed. {damage}"
        ) from damage


def _keep_to_one_method(heatmap: Heatmap, method: HeatmapMethod) -> None:
    if heatmap.computed_cells and heatmap.method != method:
        raise ModelError(
            f"The heatmap of {heatmap.slide_name} was begun with the method {heatmap.method!r} and "
            f"cannot go on with {method!r}. Begin a new one."
        )
    heatmap.method = method


def _predict_passing(
    model: Model,
    module: torch.nn.Module,
    patches: Patches,
    device: torch.device,
    rules: PatchRules | None,
) -> NDArray[np.float32]:
    """Predict the patches that pass the rules; NaN for the others."""
    if rules is None:
        return predict_patches(model, patches, device, module)
    values = np.full(len(patches), np.nan, dtype=np.float32)
    passing = np.array([is_tissue_patch(patch, rules) for patch in patches])
    if passing.any():
        values[passing] = predict_patches(model, patches[passing], device, module)
    return values


def predict_patches(
    model: Model,
    patches: Patches,
    device: torch.device,
    module: torch.nn.Module | None = None,
) -> NDArray[np.float32]:
    """Return the probability of tumour of each patch.

    Parameters
    ----------
    model : Model
    patches : ndarray of uint8, shape (n, px, px, 3)
        RGB at the model's spacing.
    device : torch.device
    module : torch.nn.Module, optional
        The model's network if it is already on the device.

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    ModelError
        The outputs have another shape than the specification says, or are not finite.
    """
    spec = model.spec
    module = module if module is not None else model.module.to(device)
    with torch.inference_mode():
        pixels = torch.from_numpy(patches).to(device).permute(0, 3, 1, 2)
        outputs = module(normalised(pixels, model))
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        allowed = {len(spec.class_names), 1 if spec.activation == "sigmoid" else 0}
        if outputs.ndim != 2 or outputs.shape[1] not in allowed:
            raise ModelError(
                f"The model {model.path} returns {tuple(outputs.shape[1:])} values a patch, but "
                f"its specification names {len(spec.class_names)} classes."
            )
        if spec.activation == "softmax":
            probabilities = outputs.float().softmax(1)[:, spec.tumour_class]
        elif outputs.shape[1] == 1:
            positive = outputs.float().sigmoid()[:, 0]
            probabilities = positive if spec.tumour_class == 1 else 1 - positive
        else:
            probabilities = outputs.float().sigmoid()[:, spec.tumour_class]
        values = probabilities.cpu().numpy()
    return finite(values, model)
