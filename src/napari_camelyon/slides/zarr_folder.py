"""A folder of zarr's in which files that were cut off are told.

Two kinds of them would pass for pixels. The Blosc decoder of numcodecs believes the length that
stands in a chunk's header and reads on in memory behind a chunk that is shorter: what comes out is
whatever lay there (https://github.com/zarr-developers/numcodecs/issues/228). And an empty shard
counts as one that is absent.
"""

from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

__all__ = ["CheckedFolder"]

# https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst: the length in bytes of header
# and data, little-endian, is the last of the header's four fields.
_BLOSC_HEADER_BYTES = 16
_BLOSC_LENGTH = slice(12, 16)


class CheckedFolder(LocalStore):
    """A folder that raises EOFError where a file is shorter than it should be.

    Attributes
    ----------
    whole_files_are_blosc : bool
        Whether every file that is read as a whole is one Blosc chunk; to be set once the metadata
        have been read.
    """

    whole_files_are_blosc = False

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a file, or None where there is none."""
        return self._checked(await super().get(key, prototype, byte_range), byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a file, or None where there is none."""
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return self._checked(found, byte_range)

    def _checked(self, found: Buffer | None, byte_range: ByteRequest | None) -> Buffer | None:
        if found is None:
            return None
        wanted = 1
        if isinstance(byte_range, RangeByteRequest):
            wanted = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            wanted = byte_range.suffix
        elif byte_range is None and self.whole_files_are_blosc:
            header = found[:_BLOSC_HEADER_BYTES].to_bytes()
            wanted = max(_BLOSC_HEADER_BYTES, int.from_bytes(header[_BLOSC_LENGTH], "little"))
        if len(found) < wanted:
            raise EOFError(f"{len(found)} bytes instead of {wanted}: it was cut off")
        return found
