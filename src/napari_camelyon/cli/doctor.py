"""What ``napari-camelyon doctor`` looks at: does this installation work, and if not, what to do."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon import __version__
from napari_camelyon.errors import CamelyonError
from napari_camelyon.files import cache_folder

__all__ = ["Finding", "examine", "report"]

_REPORTED = (
    "napari", "numpy", "dask", "zarr", "torch", "torchvision", "openslide-python", "openslide-bin",
    "shapely", "scikit-image", "magicgui", "qtpy", "PySide6", "PyQt6", "bermuda", "pyarrow",
)  # fmt: skip

_TORCH_REMEDY = (
    "Install a pair that fits, for example: uv pip install --torch-backend=cpu torch torchvision "
    "(or --torch-backend=auto for the GPU at hand)."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject : str
    fine : bool
    text : str
        What was found; where it is not fine, also what to do.
    """

    subject: str
    fine: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything the program depends on. Never raises for what it finds."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _torch_pair,
        _device,
        _bundled_model,
        _openslide,
        _qt,
        _triangulation,
        _display,
        _cache,
    )
    return [check() for check in checks]


def report(findings: list[Finding]) -> str:
    """Return a text to paste into a bug report: versions and findings, no names or paths."""
    lines = [
        f"napari-camelyon {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {found}" for name in _REPORTED if (found := _version(name))),
        "",
        *(f"{'ok ' if item.fine else 'BAD'} {item.subject}: {item.text}" for item in findings),
    ]
    home = str(Path.home())
    return "\n".join(lines).replace(home, "~")


def _python() -> Finding:
    return Finding(
        "Python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or newer)"
    )


def _torch_pair() -> Finding:
    subject = "torch and torchvision"
    pair = f"torch {_version('torch')}, torchvision {_version('torchvision')}"
    # In a process of its own: a pair that does not fit can crash, and leaves half a torch behind.
    try:
        tried = subprocess.run(
            [sys.executable, "-c", "import torch, torchvision; torchvision.ops.nms"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(subject, False, f"{pair}: importing them took over three minutes.")
    if tried.returncode == 0:
        return Finding(subject, True, pair)
    reason = (tried.stderr.strip().splitlines() or ["the import crashed"])[-1]
    return Finding(subject, False, f"{pair} do not fit ({reason}). {_TORCH_REMEDY}")


def _device() -> Finding:
    try:
        from napari_camelyon.models import available_devices

        devices = available_devices()
    except (ImportError, RuntimeError) as error:
        return Finding("device", False, f"torch does not import ({error}).")
    return Finding("device", True, f"{devices[0]} (of {', '.join(devices)})")


def _bundled_model() -> Finding:
    try:
        from napari_camelyon.models import load_model

        spec = load_model().spec
    except (CamelyonError, ImportError, RuntimeError) as error:
        return Finding("bundled model", False, f"{error} Install napari-camelyon again.")
    return Finding(
        "bundled model", True, f"{spec.name}, {spec.patch_px} px at {spec.patch_mpp:g} µm/px"
    )


def _openslide() -> Finding:
    try:
        openslide = importlib.import_module("openslide")
    except (ImportError, OSError) as error:
        return Finding(
            "OpenSlide", False, f"does not import ({error}). Type: pip install openslide-bin"
        )
    return Finding("OpenSlide", True, f"library {openslide.__library_version__}")


def _qt() -> Finding:
    try:
        qtpy = importlib.import_module("qtpy")
        importlib.import_module("qtpy.QtWidgets")
    except ImportError as error:
        return Finding(
            "Qt", False, f"no binding imports ({error}). Type: pip install 'napari[pyside6]'"
        )
    except RuntimeError:  # qtpy's own error when there is no binding at all
        return Finding("Qt", False, "no binding installed. Type: pip install 'napari[pyside6]'")
    return Finding("Qt", True, f"{qtpy.API_NAME} {qtpy.QT_VERSION}")


def _triangulation() -> Finding:
    try:
        importlib.import_module("bermuda")
    except ImportError as error:
        return Finding(
            "fast outlines",
            False,
            f"bermuda does not import ({error}); many outlines will be slow. Type: pip install "
            "bermuda",
        )
    return Finding("fast outlines", True, f"bermuda {_version('bermuda')}")


def _display() -> Finding:
    if sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    ):
        return Finding("display", True, "found")
    if shutil.which("xvfb-run"):
        return Finding("display", True, "none; the demo uses Xvfb, a virtual screen")
    return Finding(
        "display", False, "none, and no virtual screen. Type: apt-get install xvfb xauth"
    )


def _cache() -> Finding:
    try:
        folder = cache_folder()
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            "cache folder",
            False,
            f"cannot be used ({error}). Set NAPARI_CAMELYON_CACHE to a folder that can be written.",
        )
    return Finding(
        "cache folder",
        os.access(folder, os.W_OK) and free > 2**30,
        f"{folder}: {used / 2**20:.0f} MiB used, {free / 2**30:.0f} GiB free",
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
