"""The run: blocks are read ahead in threads, patches predicted in batches, values handed out."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_camelyon.errors import ModelError
from napari_camelyon.heatmaps import Heatmap, empty_heatmap
from napari_camelyon.inference.patches import plan_blocks, read_block
from napari_camelyon.models import Model, choose_device
from napari_camelyon.slides import Slide
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
    """

    heatmap: Heatmap
    cells: Cells
    done: int
    total: int
    patches_per_s: float
    seconds_left: float


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
        The slide cannot be read somewhere.
    ModelError
        The device is missing, or the model returns something else than probabilities.
    """
    if heatmap is None:
        heatmap = new_heatmap(slide, model, patch_grid)
    target = choose_device(device)
    wanted = patch_grid.selected & np.isnan(heatmap.values)
    total = int(wanted.sum())
    patch_px = model.spec.patch_px
    module = model.module.to(target).to(memory_format=torch.channels_last)
    done = 0
    started = time.perf_counter()
    reader = ThreadPoolExecutor(read_threads, thread_name_prefix="read-patches")
    blocks = plan_blocks(patch_grid.grid, wanted, patch_px)
    ahead: deque[tuple[Cells, Future[Patches]]] = deque()

    def read_ahead() -> None:
        while len(ahead) < read_threads + 1 and (cells := next(blocks, None)) is not None:
            ahead.append(
                (cells, reader.submit(read_block, slide, patch_grid.grid, cells, patch_px))
            )

    try:
        read_ahead()
        while ahead:
            block_cells, future = ahead.popleft()
            block = future.result()
            read_ahead()
            for start in range(0, len(block), batch_size):
                if cancelled():
                    return
                cells = block_cells[start : start + batch_size]
                patches = block[start : start + batch_size]
                done += len(cells)
                if rules is not None:
                    keep = np.array([is_tissue_patch(patch, rules) for patch in patches])
                    kept_cells, patches = cells[keep], patches[keep]
                else:
                    kept_cells = cells
                if len(kept_cells):
                    values = predict_patches(model, patches, target, module)
                    heatmap.values[kept_cells[:, 0], kept_cells[:, 1]] = values
                rate = done / (time.perf_counter() - started)
                yield Update(heatmap, cells, done, total, rate, (total - done) / rate)
    finally:
        reader.shutdown(wait=True, cancel_futures=True)


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
    # (pixel / 255 - mean) / std in one multiplication and one addition.
    std = torch.tensor(spec.std, device=device)
    scale = (1 / (255 * std)).view(1, 3, 1, 1)
    offset = (-torch.tensor(spec.mean, device=device) / std).view(1, 3, 1, 1)
    with torch.inference_mode():
        pixels = torch.from_numpy(patches).to(device).permute(0, 3, 1, 2)
        outputs = module(pixels.float() * scale + offset)
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
    if not np.isfinite(values).all():
        raise ModelError(
            f"The model {model.path} returned values that are no numbers. Everything computed "
            "before is kept; check the model's weights and normalisation."
        )
    return np.asarray(values, dtype=np.float32)
