"""The files that weights are made of, and their fingerprint."""

import hashlib
from pathlib import Path

from napari_camelyon.files import file_sha256

__all__ = ["weight_files", "weights_sha256"]


def weight_files(weights: Path) -> list[Path]:
    """Return the file with weights, and the data that an ONNX file keeps beside itself."""
    beside = [Path(f"{weights}.data"), Path(f"{weights}_data"), weights.with_suffix(".data")]
    if weights.suffix != ".onnx":
        return [weights]
    return [weights, *(path for path in beside if path.is_file())]


def weights_sha256(weights: Path) -> str:
    """Return the SHA-256 of weights: of their file, or of the hashes of all where they are several.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    hashes = [file_sha256(path) for path in weight_files(weights)]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
