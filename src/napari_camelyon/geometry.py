"""The one coordinate convention, and the only place that converts it.

A *slide point* is a float64 pair ``(x, y)`` in level-0 pixels, measured from the **corner** of the
image, as in OpenSlide and ASAP: pixel ``i`` covers ``[i, i + 1)`` and its centre is ``i + 0.5``.
napari puts the **centres** of pixels at whole numbers and orders axes ``(row, column)``. Every
layer of ours has level-0 pixels as its data unit, µm per pixel as its ``scale`` and ``µm`` (or
``pixel`` when the slide does not say) as its ``units``, so that

    layer data ``(row, column)`` = ``(y - 0.5, x - 0.5)``,  world = data × mpp.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "GlassFrame",
    "Grid",
    "Mpp",
    "layer_to_slide",
    "level_to_slide",
    "mean_mpp",
    "nearest_level_pixel",
    "nm_from_glass_centre_to_slide",
    "slide_to_layer",
    "slide_to_level",
    "slide_to_um",
    "um_to_slide",
    "world_placement",
]

Mpp = tuple[float, float]
"""Micrometres per level-0 pixel along x and y."""


def slide_to_layer(points_xy: ArrayLike) -> NDArray[np.float64]:
    """Convert slide points to napari data coordinates of a level-0 layer.

    Parameters
    ----------
    points_xy : array_like, shape (..., 2)
        Slide points ``(x, y)`` in level-0 pixels from the image corner.

    Returns
    -------
    ndarray of float64, shape (..., 2)
        ``(row, column)`` with pixel centres at whole numbers.
    """
    return _floats(points_xy)[..., ::-1] - 0.5


def layer_to_slide(rows_columns: ArrayLike) -> NDArray[np.float64]:
    """Convert napari data coordinates of a level-0 layer to slide points.

    Parameters
    ----------
    rows_columns : array_like, shape (..., 2)
        ``(row, column)`` with pixel centres at whole numbers.

    Returns
    -------
    ndarray of float64, shape (..., 2)
        Slide points ``(x, y)`` in level-0 pixels from the image corner.
    """
    return _floats(rows_columns)[..., ::-1] + 0.5


def slide_to_level(points_xy: ArrayLike, downsample_xy: tuple[float, float]) -> NDArray[np.float64]:
    """Convert slide points to points ``(x, y)`` of a level, also measured from the corner."""
    return _floats(points_xy) / _floats(downsample_xy)


def nearest_level_pixel(
    x_px: float, y_px: float, downsample_xy: tuple[float, float]
) -> tuple[int, int]:
    """Return the pixel ``(column, row)`` of a level that begins nearest to one slide point.

    In plain numbers: arrays of one point would cost a tenth of the time that reading a patch takes.
    """
    return (
        math.floor(x_px / downsample_xy[0] + 0.5),
        math.floor(y_px / downsample_xy[1] + 0.5),
    )


def level_to_slide(points_xy: ArrayLike, downsample_xy: tuple[float, float]) -> NDArray[np.float64]:
    """Convert points ``(x, y)`` of a level, measured from the corner, to slide points."""
    return _floats(points_xy) * _floats(downsample_xy)


def slide_to_um(points_xy: ArrayLike, mpp: Mpp) -> NDArray[np.float64]:
    """Convert slide points to micrometres ``(x, y)`` from the corner of the image."""
    return _floats(points_xy) * _floats(mpp)


def um_to_slide(points_xy: ArrayLike, mpp: Mpp) -> NDArray[np.float64]:
    """Convert micrometres ``(x, y)`` from the corner of the image to slide points."""
    return _floats(points_xy) / _floats(mpp)


@dataclass(frozen=True, slots=True)
class GlassFrame:
    """Where an image lies on the glass slide that was scanned.

    Attributes
    ----------
    size_px : tuple of int
        Width and height of level 0.
    mpp : tuple of float
        Micrometres per level-0 pixel ``(x, y)``.
    centre_nm : tuple of float
        The image's centre as ``(x, y)`` in nanometres from the centre of the glass; in Hamamatsu's
        files ``XOffsetFromSlideCentre`` and ``YOffsetFromSlideCentre``.
    """

    size_px: tuple[int, int]
    mpp: Mpp
    centre_nm: tuple[float, float]


def nm_from_glass_centre_to_slide(points_nm: ArrayLike, frame: GlassFrame) -> NDArray[np.float64]:
    """Convert nanometres from the centre of the glass, as in NDPA files, to slide points.

    Parameters
    ----------
    points_nm : array_like, shape (..., 2)
        ``(x, y)``, y downwards.
    frame : GlassFrame
        Where the image lies.

    Returns
    -------
    ndarray of float64, shape (..., 2)
        Slide points ``(x, y)`` in level-0 pixels from the image corner.
    """
    from_image_centre_um = (_floats(points_nm) - _floats(frame.centre_nm)) / 1000
    return um_to_slide(from_image_centre_um, frame.mpp) + _floats(frame.size_px) / 2


def mean_mpp(mpp: Mpp) -> float:
    """Return the geometric mean of the two pixel sizes, µm/px: areas stay exact."""
    return math.sqrt(mpp[0] * mpp[1])


def world_placement(mpp: Mpp | None) -> dict[str, tuple[float, float] | tuple[str, str]]:
    """Return the ``scale`` and ``units`` that every layer over one slide shares.

    Parameters
    ----------
    mpp : tuple of float or None
        Micrometres per level-0 pixel ``(x, y)``; None when the slide does not say.

    Returns
    -------
    dict
        Keyword arguments of a napari layer. Layers with different units are not drawn
        together correctly, hence this one source for all of them.
    """
    if mpp is None:
        return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
    return {"scale": (mpp[1], mpp[0]), "units": ("µm", "µm")}


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid of patches on a slide; its cells are the cells of a heatmap.

    All lengths are whole level-0 pixels, so that a cell's place is exact on every machine.
    A cell stands for the centre of its patch, whatever the stride.

    Attributes
    ----------
    rows, columns : int
        Number of cells.
    x_px, y_px : int
        Slide point of the top-left corner of the first patch.
    patch_width_px, patch_height_px : int
        Level-0 pixels that one patch covers.
    stride_x_px, stride_y_px : int
        Pitch of the grid.
    """

    rows: int
    columns: int
    x_px: int
    y_px: int
    patch_width_px: int
    patch_height_px: int
    stride_x_px: int
    stride_y_px: int

    def __post_init__(self) -> None:
        """Refuse a grid without cells or with empty patches."""
        sizes = (
            self.rows,
            self.columns,
            self.patch_width_px,
            self.patch_height_px,
            self.stride_x_px,
            self.stride_y_px,
        )
        if min(sizes) < 1:
            raise ValueError(f"A grid needs at least one cell, patch and stride of 1 px: {self}")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(rows, columns)`` of an array with one value a cell."""
        return self.rows, self.columns

    def corners(self, cells: ArrayLike) -> NDArray[np.int64]:
        """Return the slide points of the top-left corners of patches.

        Parameters
        ----------
        cells : array_like of int, shape (..., 2)
            ``(row, column)`` of each cell.

        Returns
        -------
        ndarray of int64, shape (..., 2)
            ``(x, y)`` in level-0 pixels.
        """
        whole: NDArray[np.int64] = np.asarray(cells, dtype=np.int64)
        origin = np.array([self.x_px, self.y_px], dtype=np.int64)
        stride = np.array([self.stride_x_px, self.stride_y_px], dtype=np.int64)
        return origin + whole[..., ::-1] * stride

    def centres(self, cells: ArrayLike) -> NDArray[np.float64]:
        """Return the slide points of the centres of patches, shape (..., 2) as ``(x, y)``.

        ``cells`` may be fractional: ``(-0.5, -0.5)`` gives the outer corner of the first cell.
        """
        stride = _floats((self.stride_x_px, self.stride_y_px))
        return self._first_centre() + _floats(cells)[..., ::-1] * stride

    def cells_at(self, points_xy: ArrayLike) -> NDArray[np.float64]:
        """Return the fractional ``(row, column)`` of slide points; inverse of `centres`."""
        stride = _floats((self.stride_x_px, self.stride_y_px))
        return ((_floats(points_xy) - self._first_centre()) / stride)[..., ::-1]

    def cell_size_um(self, mpp: Mpp) -> tuple[float, float]:
        """Return width and height of a cell (its stride) in µm."""
        return self.stride_x_px * mpp[0], self.stride_y_px * mpp[1]

    def patch_size_um(self, mpp: Mpp) -> tuple[float, float]:
        """Return width and height of the tissue that one patch covers, in µm."""
        return self.patch_width_px * mpp[0], self.patch_height_px * mpp[1]

    def layer_placement(self, mpp: Mpp | None) -> dict[str, tuple[float, float] | tuple[str, str]]:
        """Return ``scale``, ``translate`` and ``units`` of the napari layer that shows the grid.

        The centre of cell (0, 0) is the centre of the first patch: in napari's convention
        origin + (patch - 1) / 2, in level-0 pixels times µm per pixel.
        """
        placement = world_placement(mpp)
        unit_y, unit_x = (1.0, 1.0) if mpp is None else (mpp[1], mpp[0])
        row, column = slide_to_layer(self._first_centre())
        return {
            "scale": (self.stride_y_px * unit_y, self.stride_x_px * unit_x),
            "translate": (float(row) * unit_y, float(column) * unit_x),
            "units": placement["units"],
        }

    def _first_centre(self) -> NDArray[np.float64]:
        return _floats((self.x_px + self.patch_width_px / 2, self.y_px + self.patch_height_px / 2))


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
