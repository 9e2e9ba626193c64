"""OME-Zarr folders written with zarr alone, as the specifications 0.4 and 0.5 lay them out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


@dataclass(frozen=True)
class Layout:
    """How an image is stored."""

    zarr_format: int = 3
    chunk_px: tuple[int, int] = (48, 64)
    chunk_channels: int = 3
    shard_px: tuple[int, int] | None = None
    separator: str = "/"
    compressor: Any = "auto"

    @property
    def version(self) -> str:
        return "0.5" if self.zarr_format == 3 else "0.4"


LAYOUTS = {
    "0.4": Layout(zarr_format=2),
    "0.4, a channel a chunk": Layout(zarr_format=2, chunk_channels=1),
    "0.4, dots between the numbers of chunks": Layout(zarr_format=2, separator="."),
    "0.5": Layout(),
    "0.5, sharded": Layout(shard_px=(96, 192)),
}


@dataclass
class Made:
    """What to write: arrays whose axes are named, and how their pixels are placed."""

    levels: Sequence[NDArray[Any]]
    axes: str = "cyx"
    scales: Sequence[dict[str, float]] | None = None
    translations: Sequence[dict[str, float]] | None = None
    unit: str | dict[str, str] | None = "micrometer"
    extra: dict[str, Any] = field(default_factory=dict)
    multiscales: dict[str, Any] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    fill_value: int = 255


def halving(pixels_of_levels: Sequence[NDArray[np.uint8]], mpp: float = 0.25) -> Made:
    """Levels of rows × columns × 3, each half the one before, as an image of axes c, y, x."""
    return Made(
        [np.moveaxis(pixels, 2, 0) for pixels in pixels_of_levels],
        scales=[{"y": mpp * 2**k, "x": mpp * 2**k} for k in range(len(pixels_of_levels))],
    )


def write(folder: Path, made: Made) -> Path:
    """Write an image; its arrays are 0, 1, 2 …"""
    root = zarr.create_group(folder, zarr_format=made.layout.zarr_format)
    for index, values in enumerate(made.levels):
        _array(root, str(index), values, made)
    set_attributes(folder, attributes(made))
    return folder


def attributes(made: Made) -> dict[str, Any]:
    """Return what the specification wants in the attributes of the group."""
    scales = made.scales or [{} for _ in made.levels]
    translations = made.translations or [{} for _ in made.levels]
    entry = {
        "name": "made",
        "axes": [_axis(name, made.unit) for name in made.axes],
        "datasets": [
            {"path": str(index), "coordinateTransformations": _steps(made.axes, scale, shift)}
            for index, (scale, shift) in enumerate(zip(scales, translations, strict=True))
        ],
    }
    if made.layout.zarr_format == 2:
        return {"multiscales": [{"version": "0.4"} | entry | made.multiscales]} | made.extra
    return {"ome": {"version": "0.5", "multiscales": [entry | made.multiscales]} | made.extra}


def set_attributes(folder: Path, attributes: dict[str, Any]) -> None:
    """Replace the attributes of a group, which need not be sensible."""
    if (folder / "zarr.json").is_file():
        document = json.loads((folder / "zarr.json").read_text())
        document["attributes"] = attributes
        (folder / "zarr.json").write_text(json.dumps(document))
    else:
        (folder / ".zattrs").write_text(json.dumps(attributes))


def _axis(name: str, unit: str | dict[str, str] | None) -> dict[str, str]:
    axis = {"name": name, "type": TYPES[name]}
    wanted = unit.get(name) if isinstance(unit, dict) else unit
    return axis | {"unit": wanted} if wanted and TYPES[name] == "space" else axis


def _steps(axes: str, scale: dict[str, float], shift: dict[str, float]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [scale.get(a, 1.0) for a in axes]}]
    if shift:
        steps.append({"type": "translation", "translation": [shift.get(a, 0.0) for a in axes]})
    return steps


def _array(root: zarr.Group, name: str, values: NDArray[Any], made: Made) -> None:
    layout = made.layout
    sides = {"c": layout.chunk_channels, "y": layout.chunk_px[0], "x": layout.chunk_px[1]}
    chunks = tuple(min(sides.get(a, 1), n) for a, n in zip(made.axes, values.shape, strict=True))
    more: dict[str, Any] = {"dimension_names": tuple(made.axes)} if layout.zarr_format == 3 else {}
    if layout.zarr_format == 2:
        more["chunk_key_encoding"] = {"name": "v2", "separator": layout.separator}
    if layout.shard_px is not None:
        tall, wide = layout.shard_px
        # Shards hold whole chunks.
        whole = {"y": tall // sides["y"], "x": wide // sides["x"]}
        more["shards"] = tuple(n * whole.get(a, 1) for a, n in zip(made.axes, chunks, strict=True))
    array = root.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        fill_value=made.fill_value,
        compressors=layout.compressor,
        **more,
    )
    array[...] = values
