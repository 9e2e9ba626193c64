"""Files that are either the old one or the new one, never half of either; and fingerprints."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_camelyon.errors import CamelyonError, FileWriteError, ResultError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "cache_folder",
    "check_schema_version",
    "data_folder",
    "file_sha256",
    "fingerprint",
    "lock_open_file",
    "locked",
    "read_json_result",
    "write_error",
    "write_json",
]

_FINGERPRINT_BLOCK_BYTES = 1 << 20

_LOCKED_BYTE = (1 << 31) - 2
"""Windows keeps others from reading a locked byte: one that no file reaches, but `locking` does."""

_LOCK_TRIED_EVERY_S = 0.2


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`.

    Parameters
    ----------
    path : path-like
        The final name. Its folder is created if needed.

    Yields
    ------
    Path
        A path with the same suffix in the same folder, for the caller to write.

    Raises
    ------
    FileWriteError
        The disk is full, the folder is read-only, or the old file is held open by another
        program (Windows). Nothing is left behind and the old file is untouched.
    """
    final = Path(path)
    temporary = _name_beside(final, f".part{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("xb").close()
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
    except CamelyonError:  # some are OSErrors, but say already what is wrong
        raise
    except OSError as error:
        raise write_error(final, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is swapped in by rename.

    A reader sees the whole old folder, the whole new one, or (for the instant between two
    renames, as no system replaces a filled folder in one step) none. An interruption in that
    instant brings the old folder back. Raises `FileWriteError` as `atomic_file` does.
    """
    final = Path(path)
    temporary = _name_beside(final, "")
    fresh, old = temporary / "new", temporary / "old"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        fresh.mkdir()
        yield fresh
        if final.exists():
            final.rename(old)
        fresh.rename(final)
    except CamelyonError:
        raise
    except OSError as error:
        raise write_error(final, error) from error
    finally:
        if old.exists() and not final.exists():
            with suppress(OSError):
                old.rename(final)
        # Where even the way back failed, the old folder is the last copy: it stays.
        if final.exists() or not old.exists():
            shutil.rmtree(temporary, ignore_errors=True)


if sys.platform == "win32":

    def lock_open_file(descriptor: int) -> None:
        """Lock a file for as long as it is open, as on other systems."""
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:

    def lock_open_file(descriptor: int) -> None:
        """Lock a file for as long as it is open; the system undoes it when the process ends.

        Raises `BlockingIOError` or `PermissionError` where it is locked already, another `OSError`
        where files cannot be locked there.
        """
        import fcntl

        # Of the open file and not of the process, so that two runs of one process exclude
        # each other as well.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path | str, *, wait: bool) -> Iterator[bool]:
    """Hold a lock that one process at a time can have; yield whether it is held.

    The system undoes it however the process ends, so that it is never stale. Where files cannot be
    locked (some network folders), nobody is kept out.

    Parameters
    ----------
    path : path-like
        An empty file that stands for the lock; it is created if needed and stays.
    wait : bool
        Wait for whoever has it. Else False is yielded where somebody does.

    Raises
    ------
    FileWriteError
        The file cannot be created.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        while not (held := _is_locked_now(descriptor)) and wait:
            time.sleep(_LOCK_TRIED_EVERY_S)
        yield held
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int) -> bool:
    try:
        lock_open_file(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # there are no locks on this file system
        return True
    return True


def write_json(entries: Mapping[str, Any], path: Path | str) -> None:
    """Write one JSON object, indented and in UTF-8, atomically.

    Raises
    ------
    FileWriteError
        As `atomic_file` does.
    ValueError
        A value is NaN or infinite, which JSON cannot say.
    """
    text = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json_result(path: Path | str, *, newest_schema: int) -> dict[str, Any]:
    """Read a JSON object that `write_json` wrote and that carries a ``schema_version``.

    Parameters
    ----------
    path : path-like
        The file.
    newest_schema : int
        The newest version of the schema that the caller understands; older ones are its duty.

    Raises
    ------
    ResultError
        The file is missing, damaged, or of a newer or unknown schema.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultError(f"There is no {path.name} in {path.parent}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ResultError(f"{path} cannot be read ({error}). Compute the result again.") from error
    if not isinstance(entries, dict):
        raise ResultError(f"{path} should hold one JSON object. Compute the result again.")
    check_schema_version(entries, path, newest_schema=newest_schema)
    return entries


def check_schema_version(entries: object, path: Path, *, newest_schema: int) -> int:
    """Return the ``schema_version`` of a stored result that this program can read.

    Raises
    ------
    ResultError
        There is none, or it is newer than `newest_schema`.
    """
    version = entries.get("schema_version") if isinstance(entries, Mapping) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ResultError(
            f"{path} does not say which schema it follows, so it is no result of napari-camelyon "
            "or it is damaged. Compute the result again."
        )
    if version > newest_schema:
        raise ResultError(
            f"{path} was written by a newer napari-camelyon (schema {version}; this one reads up "
            f"to {newest_schema}). Update napari-camelyon to read it."
        )
    return version


def fingerprint(path: Path | str) -> str:
    """Identify a large file quickly: SHA-256 over its size and its first, middle and last MiB.

    Whole slides weigh gigabytes; hashing all of one would take minutes on a slow disk. Two
    slides of the same size that agree in these three blocks are taken for the same.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({0, max(0, size // 2), max(0, size - _FINGERPRINT_BLOCK_BYTES)}):
            file.seek(start)
            digest.update(file.read(_FINGERPRINT_BLOCK_BYTES))
    return digest.hexdigest()[:32]


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a whole file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the folder for what can be made again, created if needed.

    ``NAPARI_CAMELYON_CACHE`` overrides the usual place of the operating system. Raises
    `FileWriteError` when the folder cannot be created.
    """
    from platformdirs import user_cache_path

    usual = user_cache_path("napari-camelyon", appauthor=False)
    return _made(os.environ.get("NAPARI_CAMELYON_CACHE"), usual)


def data_folder() -> Path:
    """Return the folder for what a person gave and would miss, created if needed.

    ``NAPARI_CAMELYON_DATA`` overrides the usual place of the operating system. Raises
    `FileWriteError` when the folder cannot be created.
    """
    from platformdirs import user_data_path

    usual = user_data_path("napari-camelyon", appauthor=False)
    return _made(os.environ.get("NAPARI_CAMELYON_DATA"), usual)


def _made(chosen: str | None, usual: Path) -> Path:
    folder = Path(chosen) if chosen else usual
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _name_beside(final: Path, ending: str) -> Path:
    # Not by the tempfile module: its files are private, these are shared as the umask allows.
    # Only the start of the stem, so that a long final name does not make one that is too long.
    return final.parent / f".{final.stem[:40]}-{secrets.token_hex(6)}{ending}"


def write_error(path: Path, error: OSError) -> FileWriteError:
    """Return the error that tells a person why a file could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "The disk is full: free some space or choose another folder."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "Writing is not permitted there: choose another folder, or close other programs."
    else:
        advice = "Check the folder and try again."
    reason = error.strerror or str(error)
    return FileWriteError(f"Could not write {path} ({reason}). {advice}")
