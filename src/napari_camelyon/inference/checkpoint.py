"""What a run has computed, on the disk the moment it is computed, and read back by the next run.

One file for each slide, model, grid and way of computing; the threshold and the selection of
patches are none of these. It is only ever appended to, a record a batch, each with its length and
its CRC. A process that is killed leaves at most its last record torn, which is cut off. While a
run writes, the operating system keeps the file locked, and lets go of it however the run ends.
"""

import hashlib
import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.errors import FileWriteError, ResultError
from napari_camelyon.files import lock_open_file, write_error
from napari_camelyon.heatmaps import HeatmapMethod
from napari_camelyon.inference.dense import can_run_dense
from napari_camelyon.inference.numeric import NumericPath
from napari_camelyon.models import Model
from napari_camelyon.slides import Slide
from napari_camelyon.tissue import PatchGrid

__all__ = [
    "Checkpoint",
    "CheckpointInUseError",
    "Interrupted",
    "KnownCells",
    "find_interrupted",
    "forget_checkpoints",
    "open_checkpoint",
]

SUFFIX = ".cells"
_MAGIC = b"napari-camelyon cells 1\n"
_FRAME = struct.Struct("<II")  # length and CRC-32 of the record that follows
_VALUES_VERSION = 1
"""To be raised when the same request would give other values, by another way of resampling say."""
_SPEC_ENTRIES = (
    "patch_px",
    "patch_mpp",
    "mean",
    "std",
    "activation",
    "class_names",
    "tumour_class",
)
"""What of a specification decides values."""
_SYNC_EVERY_S = 10.0
"""What is written survives the end of the process at once, the end of the machine after this."""


class CheckpointInUseError(ResultError):
    """Another run computes the same slide in the same way at this moment."""


@dataclass(frozen=True, eq=False, slots=True)
class KnownCells:
    """What earlier runs have computed.

    Attributes
    ----------
    cells : ndarray of int64, shape (n, 2)
        ``(row, column)``.
    values : ndarray of float32, shape (n,)
        Probability of tumour.
    maps : mapping of str to ndarray of float32, shape (n,)
        As `Heatmap.maps`; NaN where a map was not computed.
    same_plan : ndarray of bool, shape (n,)
        Which were computed in batches of this very selection of patches.
    """

    cells: NDArray[np.int64]
    values: NDArray[np.float32]
    maps: Mapping[str, NDArray[np.float32]]
    same_plan: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """How an earlier run computed, so that a later one can go on in the same way.

    Attributes
    ----------
    path : NumericPath
        How its numbers came about.
    batch_size : int
        Patches it predicted at once.
    cells : int
        How many of the patches that are wanted now it has computed.
    """

    path: NumericPath
    batch_size: int
    cells: int


@dataclass(eq=False, slots=True)
class Checkpoint:
    """An open store of computed cells; from `open_checkpoint`. Close it, or use it in ``with``.

    Attributes
    ----------
    path : Path
        The file.
    known : KnownCells
        What it held when it was opened.
    problem : str
        Why the last batches could not be written, as a sentence; empty when all were.
    """

    path: Path
    known: KnownCells
    problem: str = ""
    _columns: int = 0
    _plan: str = ""
    _descriptor: int = -1
    _end: int = 0
    _unwritten: list[bytes] = field(default_factory=list)
    _synced_s: float = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def append(
        self,
        cells: NDArray[np.int64],
        values: NDArray[np.float32],
        maps: Mapping[str, NDArray[np.float32]],
        *,
        batch_size: int,
    ) -> None:
        """Write what was just computed; it outlives this process when this returns.

        Where the disk is full nothing is lost and nothing raised: `problem` says so, and the
        record waits in memory for the next try.

        Parameters
        ----------
        cells : ndarray of int64, shape (n, 2)
        values : ndarray of float32, shape (n,)
            NaN is not written: such cells are tried again.
        maps : mapping of str to ndarray of float32, shape (n,)
        batch_size : int
            Patches that were predicted at once.
        """
        known = ~np.isnan(values)
        if known.any():
            kept = {name: column[known] for name, column in maps.items()}
            places = cells[known, 0] * self._columns + cells[known, 1]
            self._unwritten.append(
                _cells_record(places, values[known], kept, self._plan, batch_size)
            )
        self._write()

    def close(self) -> None:
        """Write what still waits, give the file free. Twice does no harm."""
        if self._descriptor < 0:
            return
        self._write()
        with suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def _write(self) -> None:
        try:
            while self._unwritten:
                _write_whole(self._descriptor, self._unwritten[0])
                self._end += len(self._unwritten.pop(0))
            self.problem = ""
            if time.monotonic() - self._synced_s > _SYNC_EVERY_S:
                os.fsync(self._descriptor)
                self._synced_s = time.monotonic()
        except OSError as error:
            with suppress(OSError):  # a torn record is also cut off when the file is read
                os.ftruncate(self._descriptor, self._end)
                os.lseek(self._descriptor, self._end, os.SEEK_SET)
            self.problem = (
                f"What is computed cannot be kept for a later run at this moment. "
                f"{write_error(self.path, error)}"
            )


def open_checkpoint(
    folder: Path | str,
    slide: Slide,
    model: Model,
    patch_grid: PatchGrid,
    path: NumericPath,
    stain_key: str = "",
    sampling_key: str = "",
    *,
    batch_size: int,
    method: HeatmapMethod | None = None,
) -> Checkpoint:
    """Open the store of what was computed of a slide in one way, and read what it holds.

    Parameters
    ----------
    folder : path-like
        Where the stores lie, created if needed.
    slide : Slide
    model : Model
    patch_grid : PatchGrid
        Its grid belongs to the way; its selection does not, so that patches which are selected
        later are computed and those that are known already are not.
    path : NumericPath
        How the numbers come about.
    stain_key : str
        Names the stain normalisation; empty: none.
    sampling_key : str
        Names the way uncertainty is sampled; empty: not.
    batch_size : int
        Patches predicted at once, on which the last digits depend.
    method : {"patches", "dense"}, optional
        As `Heatmap.method`. Default: what `run` does with this model and grid by itself.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointInUseError
        Another run has it open; the message says which.
    FileWriteError
        The folder cannot be written, or its file system knows no locks.
    ResultError
        The file is no store of ours.
    """
    key = {
        **_task(slide, model, patch_grid, stain_key, sampling_key, method),
        # Not why it was chosen, which may change from run to run.
        "device": path.device,
        "engine": path.engine,
        "precision": path.precision,
        "batch_size": batch_size,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    file = Path(folder) / f"{slide.fingerprint[:16]}-{digest[:16]}{SUFFIX}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        descriptor = os.open(file, flags, 0o666)
    except OSError as error:
        raise write_error(file, error) from error
    try:
        _lock(descriptor, file)
        head = {"kind": "key", "slide": slide.name, "model": model.spec.name, "key": key}
        return _begin(file, descriptor, head, patch_grid)
    except BaseException:
        os.close(descriptor)
        raise


def find_interrupted(
    folder: Path | str,
    slide: Slide,
    model: Model,
    patch_grid: PatchGrid,
    stain_key: str = "",
    sampling_key: str = "",
    *,
    method: HeatmapMethod | None = None,
) -> Interrupted | None:
    """Return how most of the wanted patches were computed by earlier runs; None: by none.

    What a program chooses by itself, the numeric path and the size of a batch, may be chosen
    otherwise the next day; whoever goes on with an interrupted run goes on with these.

    Parameters
    ----------
    folder, slide, model, patch_grid, stain_key, sampling_key, method
        As `open_checkpoint`. Files there that are no stores of ours are passed over.
    """
    task = _task(slide, model, patch_grid, stain_key, sampling_key, method)
    best = None
    for file in sorted(Path(folder).glob(f"{slide.fingerprint[:16]}-*{SUFFIX}")):
        try:
            content = file.read_bytes()
        except OSError:
            continue  # removed meanwhile, or somebody else's
        records = [record for _end, record in _records(content)]
        key = json.loads(records[0])["key"] if content.startswith(_MAGIC) and records else {}
        if any(key.get(name) != entry for name, entry in task.items()):
            continue
        known = _known_cells(records, patch_grid.grid.shape, "").cells
        cells = int(patch_grid.selected[known[:, 0], known[:, 1]].sum())
        if cells > (0 if best is None else best.cells):
            path = NumericPath(key["device"], key["engine"], key["precision"])
            best = Interrupted(path, key["batch_size"], cells)
    return best


def forget_checkpoints(folder: Path | str, slide_fingerprint: str) -> int:
    """Delete what was computed of a slide, in all ways, and return how many files that were.

    A run on it then begins anew, also one that only has another threshold. Files of runs that are
    under way stay.

    Raises
    ------
    FileWriteError
        A file cannot be deleted.
    """
    forgotten = 0
    for file in sorted(Path(folder).glob(f"{slide_fingerprint[:16]}-*{SUFFIX}")):
        try:
            descriptor = os.open(file, os.O_RDWR)
            try:
                _lock(descriptor, file)
            finally:
                os.close(descriptor)
            file.unlink()
        except CheckpointInUseError:
            continue
        except FileNotFoundError:
            continue  # somebody else was quicker
        except OSError as error:
            raise write_error(file, error) from error
        forgotten += 1
    return forgotten


def _task(
    slide: Slide,
    model: Model,
    patch_grid: PatchGrid,
    stain_key: str,
    sampling_key: str,
    method: HeatmapMethod | None,
) -> dict[str, Any]:
    """Return what values depend on beside the numeric path and the size of a batch, as JSON."""
    entries = json.loads(json.dumps(asdict(model.spec)))  # tuples are lists there
    return {
        "slide_fingerprint": slide.fingerprint,
        "model_sha256": model.sha256,
        "grid": asdict(patch_grid.grid),
        # The same weights under another specification give other values.
        "spec": {name: entries[name] for name in _SPEC_ENTRIES},
        "method": method or ("dense" if can_run_dense(model, patch_grid.grid) else "patches"),
        "stain": stain_key,
        "sampling": sampling_key,
        "values_version": _VALUES_VERSION,
    }


def _begin(
    file: Path, descriptor: int, head: Mapping[str, Any], patch_grid: PatchGrid
) -> Checkpoint:
    """Read a locked file, cut a torn end off, and say who writes it now."""
    try:
        content = _read_whole(descriptor)
    except OSError as error:
        raise ResultError(f"{file} cannot be read ({error.strerror}).") from error
    ours = min(len(content), len(_MAGIC))
    if content[:ours] != _MAGIC[:ours]:
        raise ResultError(f"{file} is no store of computed patches. Move it away and try again.")
    plan = hashlib.sha256(np.packbits(patch_grid.selected).tobytes()).hexdigest()[:16]
    shape = patch_grid.grid.shape
    records = list(_records(content))
    known = _known_cells([record for _end, record in records], shape, plan)
    end = records[-1][0] if records else 0
    checkpoint = Checkpoint(file, known, "", shape[1], plan, descriptor, end)
    opened = {
        "kind": "opened",
        "process": os.getpid(),
        "computer": socket.gethostname(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
    except OSError as error:
        raise write_error(file, error) from error
    if not records:
        checkpoint._unwritten.append(_MAGIC + _framed(json.dumps(head).encode()))
    checkpoint._unwritten.append(_framed(json.dumps(opened).encode()))
    checkpoint._write()
    return checkpoint


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the whole records of a file, each with the place where it ends."""
    place = len(_MAGIC)
    while place + _FRAME.size <= len(content):
        length, crc = _FRAME.unpack_from(content, place)
        place += _FRAME.size
        record = content[place : place + length]
        if len(record) < length or zlib.crc32(record) != crc:
            return
        place += length
        yield place, record


def _framed(record: bytes) -> bytes:
    return _FRAME.pack(len(record), zlib.crc32(record)) + record


def _cells_record(
    places: NDArray[np.int64],
    values: NDArray[np.float32],
    maps: Mapping[str, NDArray[np.float32]],
    plan: str,
    batch_size: int,
) -> bytes:
    entries = {
        "kind": "cells",
        "count": len(places),
        "plan": plan,
        "batch_size": batch_size,
        "maps": list(maps),
    }
    arrays = [np.asarray(column, dtype="<f4") for column in (values, *maps.values())]
    parts = [json.dumps(entries).encode(), b"\n", places.astype("<i8").tobytes()]
    return _framed(b"".join([*parts, *(array.tobytes() for array in arrays)]))


def _known_cells(records: list[bytes], shape: tuple[int, int], plan: str) -> KnownCells:
    values = np.full(shape, np.nan, dtype=np.float32)
    same_plan = np.zeros(shape, dtype=np.bool_)
    maps: dict[str, NDArray[np.float32]] = {}
    for record in records:
        head, _, body = record.partition(b"\n")
        entries = json.loads(head)
        if entries["kind"] != "cells":
            continue
        count = entries["count"]
        places = np.frombuffer(body, "<i8", count)
        columns = np.frombuffer(body, "<f4", offset=8 * count).reshape(-1, count)
        fresh = np.isnan(values.flat[places])  # what is known is never replaced
        places = places[fresh]
        values.flat[places] = columns[0, fresh]
        same_plan.flat[places] = entries["plan"] == plan
        for name, column in zip(entries["maps"], columns[1:], strict=True):
            grid = maps.setdefault(name, np.full(shape, np.nan, dtype=np.float32))
            grid.flat[places] = column[fresh]
    known = ~np.isnan(values)
    return KnownCells(
        np.argwhere(known),
        values[known],
        {name: grid[known] for name, grid in maps.items()},
        same_plan[known],
    )


def _holder(file: Path) -> str:
    """Say which process opened the store last, as a part of a sentence."""
    opened: dict[str, Any] = {}
    with suppress(OSError):
        for _end, record in _records(file.read_bytes()):
            entries = json.loads(record.partition(b"\n")[0])
            opened = entries if entries["kind"] == "opened" else opened
    if not opened:
        return "another process"
    return f"process {opened['process']} on {opened['computer']}, since {opened['time']}"


def _lock(descriptor: int, file: Path) -> None:
    """Lock a file for as long as it is open; the system undoes it when the process ends."""
    try:
        lock_open_file(descriptor)
    except (BlockingIOError, PermissionError) as error:
        raise CheckpointInUseError(
            f"This slide is being computed in the same way already, by {_holder(file)}. Wait until "
            f"that run ends, or end it: this one then takes over what it has computed. ({file})"
        ) from error
    except OSError as error:
        raise FileWriteError(
            f"{file} cannot be locked ({error.strerror}), so two runs could spoil it. Choose a "
            "folder on a local disk for what runs compute."
        ) from error


def _read_whole(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 1 << 24):
        parts.append(part)
    return b"".join(parts)


def _write_whole(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
