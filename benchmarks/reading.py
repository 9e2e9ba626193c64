"""Compare how fast slides are read, in one run and from the same files.

    python benchmarks/reading.py                  # a generated slide of dense tissue
    python benchmarks/reading.py --slide some.svs --threads 1,2,8 --seconds 1

Readers take turns, round after round, so that a busy machine slows all of them alike; the table
holds the medians of the rounds' ratios. A peer that is not installed is left out, and said to be.
All of them: ``python -m pip install --group benchmarks`` (pip 25.1 or newer).
"""

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from large_slide import Pixels, texture, write_large_slide
from numpy.typing import NDArray
from readers import BARE, OPENSLIDE, OURS, OURS_THROUGH_OPENSLIDE, PEERS, Opened, installed_version

from napari_camelyon.files import atomic_file, cache_folder
from napari_camelyon.geometry import Grid
from napari_camelyon.inference.units import plan_units
from napari_camelyon.slides import open_slide

PATCH_PX = 224
SLIDE_PX = 40_960
"""Side of the generated slide: a row of its tiles does not fit into the caches, as in real ones."""
CACHE_BYTES = 32 << 20
"""OpenSlide's default; every reader that lets it be set gets the same."""
FORMATS_PX = 4096
WARM_S = 0.1

Block = tuple[Grid, NDArray[np.int64], list[tuple[int, int]]]
"""A grid, the ``(row, column)`` of some cells, and the slide points of their corners."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Blocks of cells to be read, in this order and again from the start.

    A single region is a block of one cell. Where `in_blocks` is not set, or a reader has no way
    to read a block, it reads the block's cells one after the other.
    """

    name: str
    blocks: Sequence[Block]
    in_blocks: bool = False


@dataclass(frozen=True, slots=True)
class Speed:
    """Regions a second of the clock, and milliseconds of all processors for one region."""

    per_s: float
    cpu_ms: float


def random_tiles(width_px: int, height_px: int, tile_px: int, seed: int) -> Workload:
    """Every whole tile of the file once, in random order: no cache helps."""
    grid = _grid(width_px, height_px, tile_px)
    order = np.random.default_rng(seed).permutation(grid.rows * grid.columns)
    cells = np.stack(np.divmod(order, grid.columns), axis=1)
    return Workload(f"tiles of {tile_px} px at random", _blocks(grid, cells[:, None]))


def random_patches(width_px: int, height_px: int, seed: int, count: int = 4096) -> Workload:
    """Patches anywhere, which seldom fall into one tile."""
    grid = Grid(
        rows=height_px - PATCH_PX + 1,
        columns=width_px - PATCH_PX + 1,
        x_px=0,
        y_px=0,
        patch_width_px=PATCH_PX,
        patch_height_px=PATCH_PX,
        stride_x_px=1,
        stride_y_px=1,
    )
    cells = np.random.default_rng(seed).integers((grid.rows, grid.columns), size=(count, 2))
    return Workload(f"patches of {PATCH_PX} px at random", _blocks(grid, cells[:, None]))


def patch_grid(width_px: int, height_px: int, seed: int, *, in_blocks: bool) -> Workload:
    """Patches side by side, row by row or in the blocks in which a model gets them."""
    grid = _grid(width_px, height_px, PATCH_PX)
    if in_blocks:
        plan = plan_units(grid, np.ones(grid.shape, bool), PATCH_PX, None)
        cells = [plan.cells[plan.batch(block)] for block in range(plan.batch_count)]
    else:
        cells = list(np.argwhere(np.ones(grid.shape, bool))[:, None])
    # Each round elsewhere, so that none begins with what the one before left in a cache.
    begin = int(np.random.default_rng(seed).integers(len(cells)))
    blocks = _blocks(grid, cells[begin:] + cells[:begin])
    order = "in blocks" if in_blocks else "row by row"
    return Workload(f"grid of {PATCH_PX} px, {order}", blocks, in_blocks)


def _blocks(grid: Grid, cells: Iterable[NDArray[np.int64]]) -> list[Block]:
    return [(grid, some, [(int(x), int(y)) for x, y in grid.corners(some)]) for some in cells]


def _grid(width_px: int, height_px: int, side_px: int) -> Grid:
    return Grid(
        rows=height_px // side_px,
        columns=width_px // side_px,
        x_px=0,
        y_px=0,
        patch_width_px=side_px,
        patch_height_px=side_px,
        stride_x_px=side_px,
        stride_y_px=side_px,
    )


def measure(file: Opened, workload: Workload, threads: int, seconds: float) -> Speed:
    """Read in some threads, each of which takes the next block when it is ready."""
    blocks = workload.blocks
    turn = itertools.count()
    read, read_block = file.read, file.read_block if workload.in_blocks else None

    def work(limit_s: float) -> tuple[int, float]:
        done, passed, started = 0, 0.0, time.perf_counter()
        while passed < limit_s:
            grid, cells, corners = blocks[next(turn) % len(blocks)]
            if read_block is not None:
                read_block(grid, cells)
            else:
                for x_px, y_px in corners:
                    read(x_px, y_px, grid.patch_width_px, grid.patch_height_px)
            done += len(corners)
            passed = time.perf_counter() - started
        return done, passed

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [WARM_S] * threads))
        cpu_s = time.process_time()
        results = list(pool.map(work, [seconds] * threads))
        cpu_s = time.process_time() - cpu_s
    regions = sum(done for done, _ in results)
    return Speed(sum(done / passed for done, passed in results), 1000 * cpu_s / regions)


def compare(
    files: dict[str, Opened],
    workloads: Sequence[Workload],
    threads: int,
    seconds: float,
) -> dict[str, list[Speed]]:
    """Let readers take turns, one round for each of some workloads of the same kind."""
    speeds: dict[str, list[Speed]] = {name: [] for name in files}
    names = list(files)
    for number, workload in enumerate(workloads):
        # In changing order: nobody always comes after the same other one.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            speeds[name].append(measure(files[name], workload, threads, seconds))
    return speeds


def ratio(ours: Sequence[Speed], other: Sequence[Speed]) -> str:
    """Return by how much we are faster, by the clock and (in brackets) by processor time."""
    clock = statistics.median(a.per_s / b.per_s for a, b in zip(ours, other, strict=True))
    cpu = statistics.median(b.cpu_ms / a.cpu_ms for a, b in zip(ours, other, strict=True))
    return f"{clock:.2f} ({cpu:.2f})"


def print_row(name: str, threads: int, speeds: dict[str, list[Speed]], names: list[str]) -> None:
    ours = speeds[OURS.name]
    cells = [ratio(ours, speeds[other]) if other in speeds else "" for other in names]
    per_s = statistics.median(speed.per_s for speed in ours)
    cpu_ms = statistics.median(speed.cpu_ms for speed in ours)
    print(
        f"{name:<34}{threads:>3}{per_s:>9.0f}{cpu_ms:>8.2f}"
        + "".join(f"{cell:>18}" for cell in cells),
        flush=True,
    )


def print_header(title: str, names: list[str]) -> None:
    print(f"\n{title}")
    print(
        f"{'':<34}{'thr':>3}{'ours/s':>9}{'ms CPU':>8}" + "".join(f"{name:>18}" for name in names)
    )


def furthest(file: Opened, other: Opened, width_px: int, height_px: int, tile_px: int) -> int:
    """Return by how many grey levels two readers differ in some tiles of the middle."""
    column, row = width_px // 2 // tile_px, height_px // 2 // tile_px
    places = [(x * tile_px, y * tile_px, tile_px, tile_px) for x in (column, 0) for y in (row, 0)]
    return max(
        int(np.abs(file.read(*place).astype(int) - other.read(*place)).max()) for place in places
    )


def compare_peers(path: Path, threads: Sequence[int], seconds: float, rounds: int) -> None:
    """Print the table of all readers on one slide."""
    with open_slide(path) as slide:
        width_px, height_px, tile_px = slide.width_px, slide.height_px, slide.tile_px
        backend = slide.backend
    cache_bytes = min(CACHE_BYTES, width_px * height_px * 3 // 8)
    readers = [OURS, *(reader for reader in PEERS if installed_version(reader))]
    if backend == "tiff" and hasattr(os, "pread"):
        readers.append(BARE)
    files = {reader.name: reader.open_file(path, cache_bytes) for reader in readers}
    print(f"\n{path.name}: {width_px} × {height_px} px, tiles of {tile_px} px, read by: {backend}")
    for name, file in files.items():
        if name != OPENSLIDE.name:
            away = furthest(file, files[OPENSLIDE.name], width_px, height_px, tile_px)
            print(f"  {name} against {OPENSLIDE.name}: {away} grey levels apart at most")
    names = [reader.name for reader in readers[1:]]
    print_header(
        "Times as fast as … by the clock (by processor time). Page cache warm; decoded tiles: "
        f"caches of {cache_bytes / 2**20:.0f} MiB for {OURS.name} and {OPENSLIDE.name}.",
        names,
    )
    makers = (
        lambda seed: random_tiles(width_px, height_px, tile_px, seed),
        lambda seed: random_patches(width_px, height_px, seed),
        lambda seed: patch_grid(width_px, height_px, seed, in_blocks=False),
        lambda seed: patch_grid(width_px, height_px, seed, in_blocks=True),
    )
    for number, make in enumerate(makers):
        # The bare decoder knows whole tiles alone.
        chosen = {name: file for name, file in files.items() if name != BARE.name or number == 0}
        workloads = [make(seed) for seed in range(rounds)]
        for count in threads:
            speeds = compare(chosen, workloads, count, seconds)
            print_row(workloads[0].name, count, speeds, names)


def compare_formats(folder: Path, threads: int, seconds: float, rounds: int) -> None:
    """Print how much faster we are than OpenSlide on small files of each kind."""
    cache_bytes = FORMATS_PX**2 * 3 // 8
    print_header(
        f"The same for kinds of files: {FORMATS_PX}² px in tiles of 256 px, caches of "
        f"{cache_bytes / 2**20:.0f} MiB (through OpenSlide: {CACHE_BYTES / 2**20:.0f} MiB).",
        [OPENSLIDE.name],
    )
    paths = format_files(folder)
    kinds = [(name, path, OURS) for name, path in paths.items()]
    kinds.append(("through OpenSlide", next(iter(paths.values())), OURS_THROUGH_OPENSLIDE))
    for name, path, reader in kinds:
        most_bytes = cache_bytes if reader is OURS else CACHE_BYTES
        files = {each.name: each.open_file(path, most_bytes) for each in (reader, OPENSLIDE)}
        away = furthest(files[OURS.name], files[OPENSLIDE.name], FORMATS_PX, FORMATS_PX, 256)
        if away:
            print(f"  {name}: pixels are {away} grey levels apart")
        for what, workloads in (
            ("tiles", [random_tiles(FORMATS_PX, FORMATS_PX, 256, seed) for seed in range(rounds)]),
            ("patches", [random_patches(FORMATS_PX, FORMATS_PX, seed) for seed in range(rounds)]),
        ):
            speeds = compare(files, workloads, threads, seconds)
            print_row(f"{name}, {what}", threads, speeds, [OPENSLIDE.name])


def dense_texture(folder: Path) -> Pixels:
    """Return a field of tissue, painted once."""
    path = folder / f"texture-{FORMATS_PX}.npy"
    if not path.exists():
        print(f"Painting {FORMATS_PX} × {FORMATS_PX} px of tissue once …", flush=True)
        with atomic_file(path) as temporary:
            np.save(temporary, texture(FORMATS_PX, 0.25))
    pixels: Pixels = np.load(path)
    return pixels


def dense_slide(folder: Path) -> Path:
    """Return a slide of dense tissue, written once."""
    path = folder / f"dense-{SLIDE_PX}.tif"
    if not path.exists():
        write_large_slide(path, SLIDE_PX, SLIDE_PX, pixels=dense_texture(folder))
    return path


def format_files(folder: Path) -> dict[str, Path]:
    """Return small files of the kinds of TIFF that slides come in, written once."""
    aperio = "Aperio Image Library v12.0.16\r\n{0}x{0} (256x256) {1}|AppMag = 40|MPP = 0.25"
    kinds: dict[str, tuple[str, dict[str, object]]] = {
        "SVS, JPEG": (
            "jpeg.svs",
            {
                "compression": "jpeg",
                "compressionargs": {"level": 70},
                "photometric": "ycbcr",
                "description": aperio.format(FORMATS_PX, "JPEG/YCC Q=70"),
            },
        ),
        "SVS, JPEG 2000": (
            "jpeg2000.svs",
            {
                "compression": "aperio_jp2000_rgb",
                "compressionargs": {"level": 30, "codecformat": "j2k"},
                "photometric": "rgb",
                "description": aperio.format(FORMATS_PX, "J2K/KDU Q=30"),
            },
        ),
        "deflate": ("deflate.tif", {"compression": "deflate", "predictor": True}),
        "LZW": ("lzw.tif", {"compression": "lzw", "predictor": True}),
        "uncompressed": ("plain.tif", {}),
    }
    paths = {}
    for name, (file_name, options) in kinds.items():
        paths[name] = folder / file_name
        if not paths[name].exists():
            with atomic_file(paths[name]) as temporary:
                tifffile.imwrite(
                    temporary,
                    dense_texture(folder),
                    tile=(256, 256),
                    metadata=None,
                    **{"photometric": "rgb", **options},
                )
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="default: a generated one")
    parser.add_argument("--threads", default="1,2", help="numbers of threads; default 1,2")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-formats", action="store_true", help="the slide alone")
    chosen = parser.parse_args()
    threads = [int(count) for count in chosen.threads.split(",")]
    folder = cache_folder() / "benchmarks"
    folder.mkdir(exist_ok=True)
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors")
    for reader in (OURS, *PEERS):
        found = installed_version(reader)
        advice = f'not installed: python -m pip install "{reader.requirement}"'
        print(f"  {reader.name} {found or advice}")
    compare_peers(chosen.slide or dense_slide(folder), threads, chosen.seconds, chosen.rounds)
    if not chosen.no_formats:
        compare_formats(folder, threads[0], chosen.seconds / 2, chosen.rounds)


if __name__ == "__main__":
    main()
