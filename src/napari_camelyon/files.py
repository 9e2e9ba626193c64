"""Files that are either the old one or the new one, never half of either; and fingerprints."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_camelyon.errors import FileWriteError

__all__ = ["atomic_file", "atomic_folder", "cache_folder", "file_sha256", "fingerprint"]

_FINGERPRINT_BLOCK_BYTES = 1 << 20


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
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{final.stem}-", suffix=f".part{final.suffix}", dir=final.parent
        )
        os.close(handle)
        temporary = Path(name)
        _grant_usual_permissions(temporary)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
    except OSError as error:
        raise _write_error(final, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is swapped in by rename.

    A reader sees the old folder or the new one. Raises `FileWriteError` as `atomic_file` does.
    """
    final = Path(path)
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
        fresh = temporary / "new"
        fresh.mkdir()
        yield fresh
        if final.exists():
            final.rename(temporary / "old")
        try:
            fresh.rename(final)
        except OSError:
            if (temporary / "old").exists():
                (temporary / "old").rename(final)
            raise
    except OSError as error:
        raise _write_error(final, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


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

    ``NAPARI_CAMELYON_CACHE`` overrides the usual place of the operating system.
    """
    from platformdirs import user_cache_path

    chosen = os.environ.get("NAPARI_CAMELYON_CACHE")
    folder = Path(chosen) if chosen else user_cache_path("napari-camelyon", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _grant_usual_permissions(path: Path) -> None:
    # mkstemp makes files private; results are meant to be shared as the umask allows.
    if os.name == "posix":
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o666 & ~umask)


def _write_error(path: Path, error: OSError) -> FileWriteError:
    if isinstance(error, FileWriteError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "The disk is full: free some space or choose another folder."
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "Writing is not permitted there: choose another folder, or close other programs."
    else:
        advice = "Check the folder and try again."
    reason = error.strerror or str(error)
    return FileWriteError(f"Could not write {path} ({reason}). {advice}")
