"""Damages TIFFs in many ways and reads each: pixels or a SlideError, in bounded memory.

Run by `test_slides_tiff_fuzz.py` in a process of its own, for a crash of a decoder must not end
the tests: ``python fuzz_tiffs.py SEED CASES FILE…``. Prints the case before it tries it.
"""

import faulthandler
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from napari_camelyon.errors import SlideError
from napari_camelyon.slides import open_slide
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.proof import is_source_proven
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_source import TiffSource, find_images
from napari_camelyon.slides.tiff_tiles import UnsupportedTiffError
from napari_camelyon.slides.tile_cache import TileCache

MOST_MEMORY = 400 << 20
"""Bytes by which the process may grow: a decoded tile of 4096 × 4096 px four times over."""
HUNG_AFTER_S = 120
"""No bound on speed: a case takes milliseconds, and an endless loop has to end somewhere."""
WILD = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0"]


def places_of_structure(path: Path) -> list[int]:
    """Return the places of all bytes that are directories or short values of tags."""
    found: set[int] = set(range(16))
    with tifffile.TiffFile(path) as tif:
        pages = [page.aspage() for page in tif.pages]
        pages += [sub for page in pages for sub in (page.pages or ())]
        for page in pages:
            found.update(range(page.offset, page.offset + 8))
            for tag in page.tags:
                found.update(range(tag.offset, tag.offset + tif.tiff.tagsize))
                found.update(range(tag.valueoffset, tag.valueoffset + min(64, tag.valuebytecount)))
    return sorted(place for place in found if place < path.stat().st_size)


def damaged(content: bytes, structure: list[int], rng: np.random.Generator) -> bytes:
    way = int(rng.integers(0, 6))
    if way == 0:
        return content[: int(rng.integers(0, len(content)))]
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        anywhere = way == 1
        place = int(rng.integers(0, len(content))) if anywhere else int(rng.choice(structure))
        if way == 2:
            wild = WILD[int(rng.integers(0, len(WILD)))]
            changed[place : place + 4] = wild[: len(content) - place]
        elif way == 3:  # a number that points or counts somewhere within the file
            number = int(rng.integers(0, len(content))).to_bytes(4, "little")
            changed[place : place + 4] = number[: len(content) - place]
        else:
            changed[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def regions(width: int, height: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    wide, tall = min(width, 200), min(height, 200)
    yield 0, 0, wide, tall
    yield width - wide, height - tall, wide, tall
    yield (
        int(rng.integers(0, width - wide + 1)),
        int(rng.integers(0, height - tall + 1)),
        wide,
        tall,
    )


def read_directly(path: Path, rng: np.random.Generator, *, prove: bool) -> bool:
    """Read a file as the TIFF room does; tell whether it gave pixels."""
    try:
        file = OpenFile(path)
        images = find_images(read_directories(file))
        if images is None:
            return False
        source = TiffSource(file, images, TileCache(1 << 22))
        if prove:
            is_source_proven(source, None)
    except (SlideError, UnsupportedTiffError):
        return False
    gave = False
    for index, level in enumerate(source.levels):
        for region in regions(level.width_px, level.height_px, rng):
            try:
                pixels = source.read_level(index, *region)
            except SlideError:
                continue
            assert pixels.shape == (region[3], region[2], 3)
            assert pixels.dtype == np.uint8
            gave = True
    for name in source.associated_names:
        try:
            source.associated(name)
        except SlideError:
            continue
    return gave


def read_as_people_do(path: Path) -> None:
    try:
        with open_slide(path) as slide:
            slide.thumbnail(64)
            slide.read(0, 0, 100, 100)
    except SlideError as error:
        told = str(error)
    else:
        return
    assert told.endswith("."), told
    assert "\n" not in told, told


def memory_grown_to() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def main() -> None:
    faulthandler.enable()
    seed, cases = int(sys.argv[1]), int(sys.argv[2])
    files = [Path(name) for name in sys.argv[3:]]
    folder = files[0].parent / "damaged"
    folder.mkdir(exist_ok=True)
    kept = [(file.read_bytes(), places_of_structure(file), file) for file in files]
    for _, _, file in kept:
        assert read_directly(file, np.random.default_rng(0), prove=True), file
        read_as_people_do(file)
    before, gave = memory_grown_to(), 0
    for case in range(cases):
        content, structure, file = kept[case % len(kept)]
        rng = np.random.default_rng([seed, case])
        print(f"case {case} of seed {seed}: {file.name}", flush=True)
        path = folder / f"{case}{file.suffix}"
        path.write_bytes(damaged(content, structure, rng))
        faulthandler.dump_traceback_later(HUNG_AFTER_S, exit=True)
        gave += read_directly(path, rng, prove=case % 7 == 0)
        if case % 5 == 0:
            read_as_people_do(path)
        faulthandler.cancel_dump_traceback_later()
        grown = memory_grown_to() - before
        assert grown < MOST_MEMORY, f"{file.name} took {grown >> 20} MiB"
        path.unlink()
    # Were nothing read any more, nothing would have been tried.
    print(f"{gave} of {cases} gave pixels")
    assert cases // 10 < gave < cases


if __name__ == "__main__":
    main()
