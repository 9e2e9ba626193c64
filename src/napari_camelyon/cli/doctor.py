"""What ``napari-camelyon doctor`` looks at: does this installation work, and if not, what to do."""

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon import __version__
from napari_camelyon.cli.window import has_display
from napari_camelyon.errors import CamelyonError
from napari_camelyon.files import cache_folder

__all__ = ["Finding", "examine", "lines", "report"]

_REPORTED = (
    "napari", "numpy", "dask", "zarr", "torch", "torchvision", "openslide-python", "openslide-bin",
    "shapely", "scikit-image", "magicgui", "qtpy", "PySide6", "PyQt6", "bermuda", "pyarrow",
)  # fmt: skip

# Two folders or more, so that "and/or" and dates stay; or a drive letter.
_ABSOLUTE_PATH = re.compile(r"(?<![\w>.])(?:/[^\s/:;,'\"()]+){2,}/?|[A-Za-z]:\\[^\s:;,'\"()]*")

_TORCH_REMEDY = (
    "Install a pair that fits, for example: uv pip install --torch-backend=cpu torch torchvision "
    "(or --torch-backend=auto for the GPU at hand)."
)


_CACHE_REMEDY = "Set NAPARI_CAMELYON_CACHE to a folder with space that can be written."
_NEEDED_BYTES = 1 << 30
"""What a generated patient and a few downloads take, with room to spare."""


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
    pair, torch_crashes = _torch_pair()
    # What ends a process would end this one as well.
    checks: list[Callable[[], Finding]] = [] if torch_crashes else [_device, _bundled_model]
    checks += [_openslide, _napari, _qt, _triangulation, _display, _cache, _tile_cache]
    return [_python(), pair, *(check() for check in checks)]


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return one line a finding, for people."""
    width = max(len(item.subject) for item in findings)
    return [
        f"{'ok ' if item.fine else 'BAD'}  {item.subject:{width}}  {item.text}" for item in findings
    ]


def report(findings: Sequence[Finding]) -> str:
    """Return a text to paste into a bug report: versions and findings, no names or paths."""
    versions = [
        f"napari-camelyon {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {found}" for name in _REPORTED if (found := _version(name))),
    ]
    return "\n".join((*versions, "", *map(_without_paths, lines(findings))))


def _without_paths(text: str) -> str:
    """Replace the folders that we know by what they are, and shorten all other paths."""
    known = {
        os.environ.get("NAPARI_CAMELYON_CACHE", ""): "<cache>",
        sys.prefix: "<environment>",
        str(Path(__file__).parents[1]): "<napari_camelyon>",
        str(Path.cwd()): "<here>",
        str(Path.home()): "<home>",
        tempfile.gettempdir(): "<temporary>",
    }
    # The longest first: one may lie in another.
    for folder in sorted(known, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(folder, known[folder])
    return _ABSOLUTE_PATH.sub("<path>", text)


def _python() -> Finding:
    return Finding(
        "Python", sys.version_info >= (3, 11), f"{platform.python_version()} (3.11 or newer)"
    )


def _torch_pair() -> tuple[Finding, bool]:
    """Return what was found, and whether importing torch ends the whole process."""
    subject = "torch and torchvision"
    pair = (
        f"torch {_version('torch') or 'absent'}, torchvision {_version('torchvision') or 'absent'}"
    )
    # In a process of its own: a pair that does not fit can crash, and leaves half a torch behind.
    try:
        tried = subprocess.run(
            [sys.executable, "-c", "import torch, torchvision; torchvision.ops.nms"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=180,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(subject, False, f"{pair}: importing them took over three minutes."), False
    if tried.returncode == 0:
        return Finding(subject, True, pair), False
    crashed = tried.returncode != 1  # Python's own exit code after an exception
    said = [line for line in tried.stderr.splitlines() if line.strip()]
    reason = "the import crashed" if crashed or not said else said[-1].strip()
    return Finding(subject, False, f"{pair} do not fit ({reason}). {_TORCH_REMEDY}"), crashed


def _device() -> Finding:
    try:
        from napari_camelyon.models import available_devices

        devices = available_devices()
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("device", False, f"torch does not import ({error}). {_TORCH_REMEDY}")
    return Finding("device", True, f"{devices[0]} (of {', '.join(devices)})")


def _bundled_model() -> Finding:
    try:
        from napari_camelyon.models import load_model

        spec = load_model().spec
    except (CamelyonError, ImportError, OSError, RuntimeError) as error:
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


def _napari() -> Finding:
    try:
        napari = importlib.import_module("napari")
    except ImportError as error:
        return Finding("napari", False, f"does not import ({error}). Type: pip install napari")
    plugins = importlib.metadata.entry_points(group="napari.manifest", name="napari-camelyon")
    if not plugins:
        return Finding(
            "napari",
            False,
            f"{napari.__version__}, which does not find this plugin. Install napari-camelyon with "
            "pip instead of running it from its source.",
        )
    return Finding("napari", True, f"{napari.__version__}, which finds this plugin")


def _qt() -> Finding:
    try:
        qtpy = importlib.import_module("qtpy")
        importlib.import_module("qtpy.QtWidgets")
    except (ImportError, RuntimeError) as error:  # qtpy's own for no binding is both
        return Finding(
            "Qt", False, f"no binding imports ({error}). Type: pip install 'napari[pyside6]'"
        )
    broken = qtpy.API_NAME == "PySide6" and _version("PySide6") == "6.12.0"
    if broken and sys.version_info < (3, 12):
        return Finding(
            "Qt",
            False,
            "PySide6 6.12.0 crashes on Python before 3.12 after some thousand repaints. Type: pip "
            "install 'pyside6!=6.12.0'",
        )
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
    if has_display():
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
            f"cannot be used: {error} {_CACHE_REMEDY}",
        )
    text = f"{folder}: {used / 2**20:.0f} MiB used, {free / 2**30:.0f} GiB free"
    if not os.access(folder, os.W_OK):
        return Finding("cache folder", False, f"{text}, but cannot be written. {_CACHE_REMEDY}")
    if free < _NEEDED_BYTES:
        return Finding("cache folder", False, f"{text}, which is little. {_CACHE_REMEDY}")
    return Finding("cache folder", True, text)


def _tile_cache() -> Finding:
    from napari_camelyon.slides.tile_cache import shared_cache

    try:
        most_bytes = shared_cache().most_bytes
    except CamelyonError as error:
        return Finding("memory for tiles", False, str(error))
    text = f"at most {most_bytes / 2**20:,.0f} MiB, shared by viewing and inference"
    return Finding("memory for tiles", True, f"{text} (NAPARI_CAMELYON_CACHE_BYTES)")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
