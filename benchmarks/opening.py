"""Measure what happens before the first pixel, and what depends on a slide's size.

    python benchmarks/opening.py
    python benchmarks/opening.py --slide some.svs   # and 500 links to it

Prints, as medians with the slowest in brackets: the time to open each of 500 slides of a folder
for their metadata, and for a slide of CAMELYON's full size the time to its first pixels (with and
without a verdict that its tiles may be decoded directly), to the lazy arrays of its pyramid, and
to a window of the size of a screen.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile
from large_slide import write_large_slide

from napari_camelyon.files import cache_folder
from napari_camelyon.slides import dask_levels, describe, open_slide

FILES = 500
ROUNDS = 9
WINDOW_PX = (1000, 1500)
"""Rows and columns of a window's canvas."""


def say(what: str, seconds: Sequence[float]) -> None:
    middle, slowest = (1000 * value for value in (statistics.median(seconds), max(seconds)))
    print(f"{what:<62}{middle:>9.2f} ms  ({slowest:.2f})", flush=True)


def timed(action: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def metadata(folder: Path, title: str) -> None:
    """Open every slide of a folder once, as a list of a patient's slides does."""

    def only_open(path: Path) -> None:
        with open_slide(path):
            pass

    def look(path: Path) -> None:
        with open_slide(path) as slide:
            describe(slide)

    paths = sorted(folder.iterdir())
    say(f"open each of {len(paths)} {title}", [timed(only_open, path) for path in paths])
    say("the same, with all facts and the fingerprint", [timed(look, path) for path in paths])


def small_tiffs(folder: Path) -> None:
    """Write slides of one tile each."""
    folder.mkdir()
    tile = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    for number in range(FILES):
        tile[0, 0] = number % 256, number // 256, 0
        tifffile.imwrite(
            folder / f"{number:03}.tif",
            tile,
            tile=(256, 256),
            photometric="rgb",
            compression="deflate",
            metadata=None,
            resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
        )


def links(folder: Path, slide: Path) -> None:
    """Give one slide many names."""
    folder.mkdir()
    for number in range(FILES):
        os.link(slide, folder / f"{number:03}{slide.suffix}")


def large(path: Path) -> None:
    """Open a slide of full size, and look at it through lazy arrays."""

    def first_pixels() -> None:
        with open_slide(path) as slide:
            slide.read(slide.width_px // 2, slide.height_px // 2, 512, 512)

    def forget() -> None:
        for verdict in (cache_folder() / "direct-reading").glob("*.json"):
            verdict.unlink()

    unknown = []
    for _ in range(ROUNDS):
        forget()
        unknown.append(timed(first_pixels))
    say("97,792 × 221,184 px: open, prove, first 512 × 512 pixels", unknown)
    say("the same, proven before", [timed(first_pixels) for _ in range(ROUNDS)])
    with open_slide(path) as slide:
        backend = slide.backend
        say("lazy arrays of all levels", [timed(dask_levels, slide) for _ in range(ROUNDS)])
        level = dask_levels(slide)[0]
        rng = np.random.default_rng(0)
        fresh, again, direct = [], [], []
        height, width = WINDOW_PX
        for _ in range(ROUNDS):
            y = int(rng.integers(0, slide.height_px - height))
            x = int(rng.integers(0, slide.width_px - width))
            window = level[y : y + height, x : x + width]
            fresh.append(timed(window.compute))
            again.append(timed(window.compute))
            direct.append(timed(slide.read, x, y, width, height))
    say(
        f"window of {width} × {height} px of level 0, chunks of {level.chunksize[0]} px",
        fresh,
    )
    say("the same again, from the cache", again)
    say("the same again, without dask", direct)
    print(f"read by: {backend}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="a real slide, for the folder of links")
    chosen = parser.parse_args()
    # Beside the cache, as a hard link cannot leave its file system; gone in the end.
    beside = cache_folder() if chosen.slide is None else chosen.slide.absolute().parent
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        folder = Path(temporary)
        os.environ["NAPARI_CAMELYON_CACHE"] = temporary  # verdicts are forgotten here alone
        small_tiffs(folder / "small")
        metadata(folder / "small", "small TIFFs")
        if chosen.slide is not None:
            with tempfile.TemporaryDirectory(dir=beside) as near:
                links(Path(near) / "links", chosen.slide.absolute())
                metadata(Path(near) / "links", f"names of {chosen.slide.name}")
        write_large_slide(folder / "large.tif")
        large(folder / "large.tif")


if __name__ == "__main__":
    main()
