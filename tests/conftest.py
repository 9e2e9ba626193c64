"""Fixtures shared by the tests of all rooms: real data, and slides made here.

Slides of two vendors are laid out as their scanners do, so that nothing about them is guessed.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

# No test has a time limit: the machine that runs it may be busy with others.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_PHILIPS_LEVEL = """<DataObject ObjectType="PixelDataRepresentation">
<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">
&quot;{y_mm:.9f}&quot; &quot;{x_mm:.9f}&quot;</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x301D" Element="0x1002"
PMSVR="IUInt16">{index}</Attribute></DataObject>"""

_PHILIPS = """<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">
<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray">
<Array><DataObject ObjectType="DPScannedImage">
<Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004" PMSVR="IString">WSI</Attribute>
<Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">
&quot;{y_mm:.9f}&quot; &quot;{x_mm:.9f}&quot;</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01"
PMSVR="IDataObjectArray"><Array>{levels}</Array></Attribute>
</DataObject></Array></Attribute></DataObject>"""

_LEICA = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">
<collection name="made" sizeX="{canvas_x}" sizeY="{canvas_y}"><image name="made" uuid="urn:uuid:2">
<creationDate>2020-01-01T00:00:00Z</creationDate><device model="made" version="1"/>
<pixels sizeX="{width}" sizeY="{height}">
<dimension sizeX="{width}" sizeY="{height}" r="0" ifd="0"/></pixels>
<view sizeX="{view_x}" sizeY="{view_y}" offsetX="{offset_x}" offsetY="{offset_y}" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>
<illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>
</image></collection></scn>"""


@pytest.fixture(scope="session", autouse=True)
def _no_models_of_the_person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither see nor touch the models that whoever runs them has added."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_CAMELYON_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real slides, annotations and tables beside the checkout."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data"
        if folder.is_dir():
            return folder
    pytest.skip("real data is absent: there is no shared/data beside a parent of the checkout")


@pytest.fixture(scope="session")
def shrink() -> Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]:
    """Average areas of factor × factor pixels; what is left over at the edge is dropped."""

    def shrink_by(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
        if factor == 1:
            return pixels
        rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
        whole = pixels[: rows * factor, : columns * factor].astype(np.float64)
        means = whole.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
        return np.floor(means + 0.5).astype(np.uint8)

    return shrink_by


@pytest.fixture(scope="session")
def make_slide(
    tmp_path_factory: pytest.TempPathFactory,
    shrink: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]],
) -> Callable[..., Path]:
    """Write a pyramidal tiled TIFF that OpenSlide reads, lossless unless asked otherwise."""

    def make(
        pixels: NDArray[np.uint8],
        *,
        name: str = "made",
        factors: Sequence[int] = (1, 2, 4),
        mpp: float | tuple[float, float] | None = 0.25,
        tile_px: int = 64,
        pad_to_tiles: bool = False,
        jpeg: bool = False,
        bigtiff: bool = False,
    ) -> Path:
        path = tmp_path_factory.mktemp("slides") / f"{name}.tif"
        with tifffile.TiffWriter(path, bigtiff=bigtiff) as writer:
            for factor in factors:
                writer.write(
                    _pad(shrink(pixels, factor), tile_px)
                    if pad_to_tiles
                    else shrink(pixels, factor),
                    photometric="rgb",
                    tile=(tile_px, tile_px),
                    compression="jpeg" if jpeg else "deflate",
                    subfiletype=0 if factor == 1 else 1,
                    metadata=None,
                    **_resolution(mpp, factor),
                )
        return path

    return make


@pytest.fixture(scope="session")
def make_philips(
    tmp_path_factory: pytest.TempPathFactory, shrink: Callable[..., NDArray[np.uint8]]
) -> Callable[..., Path]:
    """Write a TIFF of CAMELYON's kind: levels padded to whole tiles, spacings in XML."""

    def make(pixels: NDArray[np.uint8], mpp: tuple[float, float], factors: tuple[int, ...]) -> Path:
        x_mm, y_mm = mpp[0] / 1000, mpp[1] / 1000
        levels = "".join(
            _PHILIPS_LEVEL.format(x_mm=x_mm * factor, y_mm=y_mm * factor, index=index)
            for index, factor in enumerate(factors)
        )
        path = tmp_path_factory.mktemp("philips") / "philips.tiff"
        with tifffile.TiffWriter(path, bigtiff=True) as writer:
            for factor in factors:
                writer.write(
                    _pad(shrink(pixels, factor), 256),
                    photometric="rgb",
                    tile=(256, 256),
                    compression="deflate",
                    description=_PHILIPS.format(x_mm=x_mm, y_mm=y_mm, levels=levels)
                    if factor == 1
                    else "",
                    software="Philips DP v1.0",
                    subfiletype=0 if factor == 1 else 1,
                    metadata=None,
                )
        return path

    return make


@pytest.fixture(scope="session")
def make_leica(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a Leica SCN: a scanned area somewhere on an otherwise empty, transparent canvas."""

    def make(pixels: NDArray[np.uint8], x_px: int, y_px: int, canvas_px: tuple[int, int]) -> Path:
        nm_a_px = 500
        height, width = pixels.shape[:2]
        path = tmp_path_factory.mktemp("leica") / "leica.scn"
        tifffile.imwrite(
            path,
            pixels,
            bigtiff=True,
            photometric="rgb",
            tile=(64, 64),
            compression="deflate",
            metadata=None,
            description=_LEICA.format(
                canvas_x=canvas_px[0] * nm_a_px,
                canvas_y=canvas_px[1] * nm_a_px,
                width=width,
                height=height,
                view_x=width * nm_a_px,
                view_y=height * nm_a_px,
                offset_x=x_px * nm_a_px,
                offset_y=y_px * nm_a_px,
            ),
        )
        return path

    return make


@pytest.fixture(scope="session")
def damage_tile() -> Callable[..., None]:
    """Overwrite the data of one tile, given its column and row, and its level's directory."""

    def damage(path: Path, column: int, row: int, directory: int = 0) -> None:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[directory]
            index = row * -(-page.imagewidth // page.tilewidth) + column
            offset, length = page.dataoffsets[index], page.databytecounts[index]
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xff" * length)

    return damage


def _pad(pixels: NDArray[np.uint8], tile_px: int) -> NDArray[np.uint8]:
    rows, columns = (-side % tile_px for side in pixels.shape[:2])
    return np.pad(pixels, ((0, rows), (0, columns), (0, 0)), constant_values=255)


def _resolution(mpp: float | tuple[float, float] | None, factor: int) -> dict[str, object]:
    if mpp is None:
        return {"resolutionunit": "NONE"}
    x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    return {
        "resolution": (10_000 / (x * factor), 10_000 / (y * factor)),
        "resolutionunit": "CENTIMETER",
    }
