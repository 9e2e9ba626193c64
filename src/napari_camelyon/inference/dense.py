"""Dense prediction: a fully convolutional network over whole blocks instead of patch by patch.

Patches at half stride show every place four times. A network without layers of fixed size can
look at a block once and give an output every few pixels; the mean of the outputs inside a patch is
the patch's value. Two things follow. It costs a quarter or less. And the outer pixels of a patch
see the tissue around it, where a patch on its own sees the padding with zeros: the values differ
from those of single patches (by how much on the bundled model stands in its card). Blocks are read
with a margin wider than the network sees, so that values do not depend on how blocks are cut.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from napari_camelyon.errors import ModelError
from napari_camelyon.geometry import Grid
from napari_camelyon.inference.torch_engine import normalise_rows, scale_and_offset
from napari_camelyon.models import Model
from napari_camelyon.slides import Damage, Slide, read_resampled

__all__ = [
    "can_run_dense",
    "finite",
    "normalised",
    "predict_block",
    "read_picture",
    "require_dense",
]


def can_run_dense(model: Model, grid: Grid) -> bool:
    """Whether patches of this grid are whole numbers of the network's outputs."""
    if model.dense_stride_px is None:
        return False
    outputs = model.spec.patch_px / model.dense_stride_px
    strides = (
        outputs * grid.stride_x_px / grid.patch_width_px,
        outputs * grid.stride_y_px / grid.patch_height_px,
    )
    return outputs.is_integer() and all(value.is_integer() for value in strides)


def require_dense(model: Model, grid: Grid) -> None:
    """Raise ModelError, with the reason, where a grid cannot be run densely."""
    if can_run_dense(model, grid):
        return
    px = model.dense_stride_px
    if px is None:
        raise ModelError(f"The model {model.path} has no dense form. Choose the method patches.")
    stride_px = grid.stride_x_px * model.spec.patch_px / grid.patch_width_px
    raise ModelError(
        f"A stride of {stride_px:.4g} of the model's pixels is no whole number of the outputs that "
        f"it gives every {px} px. Choose a stride of {px * model.spec.patch_mpp:.4g} µm or a "
        "multiple of it, or the method patches."
    )


def read_picture(
    slide: Slide,
    grid: Grid,
    cells: NDArray[np.int64],
    patch_px: int,
    on_damage: Callable[[Damage], object] | None = None,
    *,
    margin_px: int,
) -> NDArray[np.uint8]:
    """Read the block of tissue that cells cover, with a margin, at the model's spacing.

    Parameters
    ----------
    slide : Slide
    grid : Grid
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)`` of each wanted cell.
    patch_px : int
        Side of the model's input in pixels.
    on_damage : callable, optional
        As in `Slide.read`.
    margin_px : int
        In pixels of the model's input.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    SlideError
        The slide cannot be read there.
    """
    corners = grid.corners(cells)
    patch = np.array([grid.patch_width_px, grid.patch_height_px])
    margin = margin_px * patch / patch_px
    begin = corners.min(axis=0) - margin
    extent = corners.max(axis=0) + patch + margin - begin
    width, height = np.round(extent * patch_px / patch).astype(int).tolist()
    (x_px, y_px), (width_px, height_px) = begin.tolist(), extent.tolist()
    return read_resampled(
        slide, x_px, y_px, width_px, height_px, width, height, on_damage=on_damage
    )


def predict_block(
    model: Model,
    module: nn.Module,
    picture: NDArray[np.uint8],
    grid: Grid,
    cells: NDArray[np.int64],
    device: torch.device,
) -> NDArray[np.float32]:
    """Return the share of tumour in the patches of a block.

    Parameters
    ----------
    model : Model
        With a `dense_stride_px`, and `dense_margin_px` wide enough.
    module : torch.nn.Module
        Its network on the device, with a method ``dense``.
    picture : ndarray of uint8, shape (height, width, 3)
        From `read_picture` with the model's margin.
    grid : Grid
    cells : ndarray of int64, shape (n, 2)
        The same cells.
    device : torch.device

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    stride_px = model.dense_stride_px or 1
    outputs = model.spec.patch_px // stride_px
    step_x = outputs * grid.stride_x_px // grid.patch_width_px
    step_y = outputs * grid.stride_y_px // grid.patch_height_px
    margin = model.dense_margin_px // stride_px
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(device)[None]
        inputs = normalise_rows(pixels, *scale_and_offset(model, device))
        logits: Tensor = module.dense(inputs).float()  # type: ignore[operator]
        logits = logits[..., margin : -margin or None, margin : -margin or None]
        pools_logits = getattr(module, "pools_logits", False)
        pooled = avg_pool2d(
            logits if pools_logits else _shares(logits, model), outputs, stride=(step_y, step_x)
        )
        values = (_shares(pooled, model) if pools_logits else pooled)[0, 0].cpu().numpy()
    places = cells - cells.min(axis=0)
    return finite(values[places[:, 0], places[:, 1]], model)


def _shares(logits: Tensor, model: Model) -> Tensor:
    """Return the probability of tumour, shape (1, 1, rows, columns), from logits of the classes."""
    spec = model.spec
    if spec.activation == "softmax":
        return logits.softmax(1)[:, spec.tumour_class : spec.tumour_class + 1]
    if logits.shape[1] == 1:
        return logits.sigmoid() if spec.tumour_class == 1 else 1 - logits.sigmoid()
    return logits[:, spec.tumour_class : spec.tumour_class + 1].sigmoid()


def normalised(pixels: Tensor, model: Model) -> Tensor:
    """Return ``(pixels / 255 - mean) / std`` in one multiplication and one addition.

    Parameters
    ----------
    pixels : Tensor of uint8, shape (n, 3, height, width)
    model : Model
    """
    std = torch.tensor(model.spec.std, device=pixels.device)
    scale = (1 / (255 * std)).view(1, 3, 1, 1)
    offset = (-torch.tensor(model.spec.mean, device=pixels.device) / std).view(1, 3, 1, 1)
    return pixels.float() * scale + offset


def finite(values: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Return the values, or raise ModelError where the model gave something that is no number."""
    if not np.isfinite(values).all():
        raise ModelError(
            f"The model {model.path} returned values that are no numbers. Everything computed "
            "before is kept; check the model's weights and normalisation."
        )
    return np.asarray(values, dtype=np.float32)
