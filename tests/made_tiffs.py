"""TIFFs of every kind that a slide may be, written by tifffile or tile by tile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

TILE_PX = 64


def tissue(height: int = 300, width: int = 420) -> Pixels:
    """Return smooth colours with some noise: JPEG keeps them, and no two tiles are alike."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack(
        [
            200 + 40 * np.sin(columns / 31 + rows / 53),
            120 + 60 * np.cos(rows / 41) * np.sin(columns / 23),
            190 + 30 * np.sin(rows / 17 - columns / 37),
        ],
        axis=-1,
    )
    return np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)


def halved(pixels: NDArray[Any]) -> NDArray[Any]:
    """Average areas of 2 × 2 pixels; what is left over at the edge is dropped."""
    rows, columns = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    whole = pixels[:rows, :columns].astype(np.float64)
    means = (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]) / 4
    return np.floor(means + 0.5).astype(np.uint8)


def pyramid(pixels: NDArray[Any], levels: int = 3) -> list[NDArray[Any]]:
    found = [pixels]
    while len(found) < levels:
        found.append(halved(found[-1]))
    return found


def generic(path: Path, pixels: NDArray[Any], levels: int = 3, **options: Any) -> Path:
    """Write a pyramid of tiles, one main directory a level."""
    options = {"photometric": "rgb", "tile": (TILE_PX, TILE_PX), "metadata": None} | options
    layout = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    with tifffile.TiffWriter(path, **layout) as writer:
        for number, level in enumerate(pyramid(pixels, levels)):
            stored = np.moveaxis(level, -1, 0) if options.get("planarconfig") else level
            writer.write(
                stored,
                subfiletype=1 if number else 0,
                resolution=(40_000 / 2**number,) * 2,
                resolutionunit="CENTIMETER",
                **options,
            )
    return path


def aperio(path: Path, pixels: Pixels, coding: str = "jpeg") -> Path:
    """Write an SVS: a tiled level, a thumbnail in strips, a tiled level, label and macro."""
    height, width = pixels.shape[:2]
    about = f"Aperio Image Library v11.2.1\r\n{width}x{height} [0,0 {width}x{height}] (64x64)"
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(pyramid(pixels, 2)):
            _aperio_level(writer, level, coding, f"{about} Q=70|AppMag = 20|MPP = 0.5000")
            if number == 0:
                writer.write(
                    halved(level),
                    photometric="rgb",
                    compression="jpeg",
                    rowsperstrip=16,
                    description=f"{about} -> thumbnail",
                    metadata=None,
                )
        for number, name in ((1, "label"), (9, "macro")):
            writer.write(
                pixels[:90, :130],
                photometric="rgb",
                compression="lzw",
                rowsperstrip=30,
                subfiletype=number,
                description=f"Aperio Image Library v11.2.1\r\n{name} 130x90",
                metadata=None,
            )
    return path


def _aperio_level(
    writer: tifffile.TiffWriter, level: Pixels, coding: str, description: str
) -> None:
    options: dict[str, Any] = {
        "photometric": "rgb",
        "tile": (TILE_PX, TILE_PX),
        "description": description,
        "metadata": None,
    }
    if coding == "jpeg":
        writer.write(level, compression="jpeg", **options)
        return
    ycbcr = coding == "jpeg2000-ycbcr"
    writer.write(
        (
            imagecodecs.jpeg2k_encode(
                _ycbcr(tile) if ycbcr else tile, codecformat="j2k", mct=not ycbcr, level=40
            )
            for tile in tiles(level)
        ),
        shape=level.shape,
        dtype=np.uint8,
        compression=33003 if ycbcr else 33005,
        **options,
    )


def _ycbcr(pixels: Pixels) -> Pixels:
    matrix = np.array(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    return np.clip(np.rint(pixels @ matrix.T + (0, 128, 128)), 0, 255).astype(np.uint8)


def tiles(level: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut an image into whole tiles; those at the edge are filled with their last pixels."""
    rows, columns = (-side % TILE_PX for side in level.shape[:2])
    padded = np.pad(level, ((0, rows), (0, columns), (0, 0)), mode="edge")
    for top in range(0, padded.shape[0], TILE_PX):
        for left in range(0, padded.shape[1], TILE_PX):
            yield np.ascontiguousarray(padded[top : top + TILE_PX, left : left + TILE_PX])


def ome(
    path: Path,
    pixels: NDArray[Any],
    *,
    levels: int = 3,
    beside: dict[str, Pixels] | None = None,
    metadata: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write an OME-TIFF whose coarser levels lie in sub-directories."""
    wanted = {
        "photometric": "rgb",
        "tile": (TILE_PX, TILE_PX),
        "compression": "deflate",
    } | options
    about = {
        "axes": "YXS" if pixels.ndim == 3 else "YX",
        "Name": "slide",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.26,
        "PhysicalSizeYUnit": "µm",
    } | (metadata or {})
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels, subifds=levels - 1, metadata=about, **wanted)
        for level in pyramid(pixels, levels)[1:]:
            writer.write(level, subfiletype=1, **wanted)
        for name, image in (beside or {}).items():
            writer.write(
                image, photometric="rgb", compression="lzw", metadata={"axes": "YXS", "Name": name}
            )
    return path


def sparse(path: Path, pixels: Pixels) -> Path:
    """Write a pyramid that has no data for tiles of plain white: place 0, length 0."""
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(pyramid(pixels, 2)):
            writer.write(
                (
                    b"" if tile.min() == 255 else imagecodecs.zlib_encode(tile.tobytes())
                    for tile in tiles(level)
                ),
                shape=level.shape,
                dtype=np.uint8,
                photometric="rgb",
                tile=(TILE_PX, TILE_PX),
                compression="adobe_deflate",
                subfiletype=1 if number else 0,
                metadata=None,
            )
    return path


def with_alpha(pixels: Pixels, *, premultiplied: bool) -> Pixels:
    """Return RGBA that is opaque in some places, clear in others and between in most."""
    alpha = np.clip(pixels[..., 1].astype(int) * 3 - 200, 0, 255).astype(np.uint8)
    colour = pixels.astype(int) * alpha[..., None] // 255 if premultiplied else pixels
    return np.dstack([colour.astype(np.uint8), alpha])


def with_white(pixels: Pixels) -> Pixels:
    """Return the image with some whole tiles of plain white."""
    white = pixels.copy()
    white[TILE_PX : 3 * TILE_PX, 2 * TILE_PX : 4 * TILE_PX] = 255
    return white


PLAIN = {
    "uncompressed": {"compression": None},
    "lzw": {"compression": "lzw"},
    "lzw with predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "deflate"},
    "deflate with predictor": {"compression": "deflate", "predictor": True},
    "JPEG, YCbCr": {"compression": "jpeg"},
    "JPEG, RGB": {"compression": "jpeg", "compressionargs": {"outcolorspace": "rgb"}},
    "BigTIFF": {"compression": "deflate", "bigtiff": True},
    "planes apart": {"compression": "lzw", "planarconfig": "separate"},
    "JPEG, planes apart": {"compression": "jpeg", "planarconfig": "separate"},
}
GREY = {
    "grey": {"compression": "lzw", "photometric": "minisblack"},
    "grey JPEG": {"compression": "jpeg", "photometric": "minisblack"},
    "grey, white is 0": {"compression": "deflate", "photometric": "miniswhite"},
}
ALPHA = {
    "RGBA": {"compression": "lzw", "extrasamples": ["unassalpha"]},
    "RGBA, multiplied": {"compression": "lzw", "extrasamples": ["assocalpha"]},
    "RGBA, unspecified": {"compression": "deflate", "extrasamples": ["unspecified"]},
}


def known_to_openslide(kind: str, path: Path, pixels: Pixels) -> Path:
    """Write one kind of TIFF that OpenSlide sees in full."""
    if kind in PLAIN:
        return generic(path, pixels, **PLAIN[kind])
    if kind in GREY:
        return generic(path, pixels[..., 0], **GREY[kind])
    if kind in ALPHA:
        multiplied = kind != "RGBA"
        return generic(path, with_alpha(pixels, premultiplied=multiplied), **ALPHA[kind])
    if kind == "sparse":
        return sparse(path, with_white(pixels))
    return aperio(path.with_suffix(".svs"), pixels, kind.removeprefix("SVS, "))


KNOWN_TO_OPENSLIDE = [
    *PLAIN,
    *GREY,
    *ALPHA,
    "sparse",
    "SVS, jpeg",
    "SVS, jpeg2000",
    "SVS, jpeg2000-ycbcr",
]


def unknown_to_openslide(kind: str, path: Path, pixels: Pixels) -> tuple[Path, Pixels]:
    """Write one kind of TIFF of which OpenSlide sees nothing or a part; return its pixels too."""
    grey = pixels[..., :1].repeat(3, axis=2)
    if kind == "OME":
        beside = {"label image": pixels[:50, :60], "macro": pixels[:70, :80]}
        return ome(path, pixels, beside=beside), pixels
    if kind == "OME, grey":
        return ome(path, grey[..., 0], photometric="minisblack"), grey
    if kind == "OME in strips":
        return ome(path, pixels, tile=None), pixels
    if kind == "JPEG 2000":
        return generic(path, pixels, compression="jpeg2000"), pixels
    if kind == "big-endian":
        return generic(path, pixels, compression="deflate", byteorder=">"), pixels
    if kind == "strips":
        return generic(path, pixels, 1, tile=None, compression="lzw", rowsperstrip=16), pixels
    if kind == "one strip":
        return generic(path, pixels, 1, tile=None, compression=None, rowsperstrip=300), pixels
    if kind == "pyramid in strips":
        return generic(path, pixels, 3, tile=None, compression="deflate", rowsperstrip=50), pixels
    return generic(path, grey[..., 0], 1, tile=None, photometric="minisblack"), grey


UNKNOWN_TO_OPENSLIDE = [
    "OME",
    "OME, grey",
    "OME in strips",
    "JPEG 2000",
    "big-endian",
    "strips",
    "one strip",
    "pyramid in strips",
    "grey strips",
]
