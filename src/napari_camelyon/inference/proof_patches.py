"""Patches to prove a quantised model with: from slides, from folders of pictures, from arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_camelyon.errors import ModelError
from napari_camelyon.inference.patches import read_block
from napari_camelyon.models import Model
from napari_camelyon.slides import open_slide
from napari_camelyon.tissue import plan_patches

__all__ = ["ProofPatches", "gather_patches"]

_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


@dataclass(frozen=True, slots=True)
class ProofPatches:
    """Patches, and whether they are tumour where that is known of all of them.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, px, px, 3)
    labels : ndarray of bool, shape (n,), or None
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.bool_] | None


def gather_patches(
    model: Model, paths: Sequence[Path], *, most: int = 900, mpp: float | None = None
) -> ProofPatches:
    """Read patches from slides, folders and arrays.

    Parameters
    ----------
    model : Model
    paths : sequence of Path
        Each a slide, of which patches all over the tissue are read; an ``.npz`` file with
        ``pixels`` (n, px, px, 3) and, where known, ``labels`` (n,), not 0 for tumour; or a folder
        of pictures of the size of a patch, in subfolders named by the model's classes where those
        are known.
    most : int
        Patches a slide, evenly spread.
    mpp : float, optional
        For slides that do not say how large their pixels are.

    Returns
    -------
    ProofPatches
        Its labels are None as soon as they are missing for some.

    Raises
    ------
    ModelError
        A file holds no patches of the model's size.
    SlideError
        A slide cannot be read.
    """
    parts = [_read(model, path, most, mpp) for path in paths]
    labels = [part.labels for part in parts if part.labels is not None]
    return ProofPatches(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
    )


def _read(model: Model, path: Path, most: int, mpp: float | None) -> ProofPatches:
    if path.is_dir() and any(part.suffix.lower() in _PICTURES for part in path.rglob("*")):
        return _from_folder(model, path)
    if path.suffix.lower() == ".npz":
        return _from_arrays(model, path)
    return ProofPatches(_from_slide(model, path, most, mpp), None)


def _from_slide(model: Model, path: Path, most: int, mpp: float | None) -> NDArray[np.uint8]:
    with open_slide(path, mpp=mpp) as slide:
        patch_grid = plan_patches(slide, model.spec)
        cells = np.argwhere(patch_grid.selected)
        if len(cells) == 0:
            raise ModelError(f"No tissue was found on {path}. Prove the model on another slide.")
        chosen = cells[np.unique(np.linspace(0, len(cells) - 1, most).astype(int))]
        px = model.spec.patch_px
        return np.concatenate(
            [read_block(slide, patch_grid.grid, cell[None], px) for cell in chosen]
        )


def _from_arrays(model: Model, path: Path) -> ProofPatches:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels = arrays["pixels"]
            labels = arrays["labels"] != 0 if "labels" in arrays else None
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}). Expected the arrays pixels and, if known, labels."
        ) from error
    px = model.spec.patch_px
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (px, px, 3):
        raise ModelError(
            f"The patches in {path} are {pixels.dtype} of shape {pixels.shape}; the model "
            f"{model.path} takes uint8 (n, {px}, {px}, 3)."
        )
    if labels is not None and labels.shape != (len(pixels),):
        raise ModelError(f"{path} holds {len(pixels)} patches but {labels.size} labels.")
    return ProofPatches(pixels, labels)


def _from_folder(model: Model, path: Path) -> ProofPatches:
    files = sorted(part for part in path.rglob("*") if part.suffix.lower() in _PICTURES)
    spec = model.spec
    pixels = np.stack([_picture(file, spec.patch_px) for file in files])
    classes = [file.parent.name for file in files]
    if not set(classes) <= set(spec.class_names):
        return ProofPatches(pixels, None)
    tumour = spec.class_names[spec.tumour_class]
    return ProofPatches(pixels, np.array([name == tumour for name in classes]))


def _picture(path: Path, px: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ModelError(f"The picture {path} cannot be read ({error}).") from error
    if pixels.shape != (px, px, 3):
        raise ModelError(
            f"The picture {path} is {pixels.shape[1]} × {pixels.shape[0]} px; the model takes "
            f"patches of {px} × {px}."
        )
    return pixels
