"""A small slide with something dark on it, a model that finds dark things, and the commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import napari_camelyon
from made_models import write_wsinfer_model
from napari_camelyon.cli import main


@pytest.fixture(scope="session")
def darkness(tmp_path_factory) -> Path:
    """A WSInfer folder: 32 px at 1 µm/px, tumour where the middle is dark."""
    return write_wsinfer_model(tmp_path_factory.mktemp("models") / "darkness")


@pytest.fixture(scope="session")
def paint() -> Callable[[int, int], np.ndarray]:
    """Pink tissue with a dark square of some size in its middle."""

    def painted(side_px: int, dark_px: int) -> np.ndarray:
        rng = np.random.default_rng(3)
        pixels = np.full((side_px, side_px, 3), (220, 160, 205), np.uint8)
        pixels[..., 1] += rng.integers(0, 30, pixels.shape[:2], dtype=np.uint8)
        first = (side_px - dark_px) // 2
        pixels[first : first + dark_px, first : first + dark_px] = (40, 5, 40)
        return pixels

    return painted


@pytest.fixture(scope="session")
def micro_slide(make_slide, paint) -> Path:
    """1 mm of tissue at 1 µm/px with a deposit of half a millimetre."""
    return make_slide(paint(1024, 384), name="micro", mpp=1.0)


@pytest.fixture(scope="session")
def clean_slide(make_slide, paint) -> Path:
    """Half a millimetre of tissue without a deposit."""
    return make_slide(paint(512, 0), name="clean", mpp=1.0)


@pytest.fixture(scope="session")
def unsized_slide(make_slide, paint) -> Path:
    """A slide that does not say how large its pixels are."""
    return make_slide(paint(512, 0), name="unsized", mpp=None)


@pytest.fixture
def command() -> Callable[..., Result]:
    """Run a command in this process; nothing but a deliberate exit may come out of it."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def own_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own that finds this very source."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=_environment(**variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Return the environment of a process that is to import this very source."""
    return _environment


def _environment(**variables: str) -> dict[str, str]:
    """The environment of a process that is to import this very source."""
    source = str(Path(napari_camelyon.__file__).parents[1])
    path = os.pathsep.join(filter(None, [variables.pop("PYTHONPATH", ""), source]))
    return {**os.environ, "PYTHONUTF8": "1", **variables, "PYTHONPATH": path}
