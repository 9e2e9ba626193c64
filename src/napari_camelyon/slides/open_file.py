"""An open file that is read at places, from any thread, and knows whether it is still the same."""

import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.errors import SlideError

__all__ = ["FileIdentity", "OpenFile", "identity_of", "say_if_replaced"]


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells a file from another one that later lies at the same path.

    Attributes
    ----------
    device, inode, size, modified_ns : int
        As `os.stat` gives them.
    """

    device: int
    inode: int
    size: int
    modified_ns: int


def identity_of(path: Path | int) -> FileIdentity:
    """Return the identity of a file, given its path or an open descriptor; may raise OSError."""
    stat = os.stat(path)  # noqa: PTH116 - a descriptor has no Path
    return FileIdentity(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def say_if_replaced(path: Path, before: FileIdentity) -> None:
    """Raise SlideError if a path holds no file any more, or another one than before."""
    try:
        now = identity_of(path)
    except OSError as error:
        raise SlideError(
            f"{path} cannot be reached any more ({error.strerror}): was it moved or removed, or is "
            "its drive no longer connected? Open it again when it is back."
        ) from error
    if now != before:
        raise SlideError(
            f"{path} was replaced or changed while it was open: close it and open it again to read "
            "the new file."
        )


class OpenFile:
    """A file that is closed when the last thread lets go of it, never under a running read.

    On systems that allow it, what is read stays the content of the file that was opened, even if
    another one takes its place.

    Attributes
    ----------
    path : Path
    identity : FileIdentity
        When it was opened.

    Raises
    ------
    SlideError
        The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SlideError(f"{path} cannot be opened ({error.strerror}).") from error
        self._descriptor = descriptor
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, descriptor)
        self.identity = identity_of(descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at a place; fewer where the file ends.

        Nothing is allocated for bytes that the file did not have when it was opened.

        Raises
        ------
        SlideError
            The file cannot be read any more.
        """
        size = min(size, self.identity.size - offset)
        if size <= 0 or offset < 0:
            return b""
        try:
            data = self._read(offset, size)
            while len(data) < size:  # a network drive may give less than was asked for
                more = self._read(offset + len(data), size - len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise SlideError(
                f"{self.path} cannot be read any more ({error.strerror}): was it moved, or is its "
                "drive no longer connected? Open it again when it is back."
            ) from error
        return data

    def changed(self) -> bool:
        """Tell whether the open file itself, not only its path, was written to since."""
        try:
            return identity_of(self._descriptor) != self.identity
        except OSError:
            return True

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, offset)
        with self._lock:  # Windows knows no reading at a place
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, size)
