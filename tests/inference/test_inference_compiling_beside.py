"""Compiling beside a run: by one process, tried once, gone with the program, nothing half."""

import json
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from napari_camelyon.files import locked
from napari_camelyon.inference import (
    NumericPath,
    compile_beside,
    compiling_pays_later,
    end_compiling,
    is_compiling,
    keep_run_rate,
    wait_for_compiling,
)
from napari_camelyon.inference.compiling import COMPILERS, is_compiled, package_path
from napari_camelyon.models import load_model

TORCH = NumericPath("cpu", "torch", "fp32")

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler on this machine"
)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The bundled model, with an empty cache and without OpenVINO."""
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    yield load_model()
    end_compiling()


def left_over(model):
    """Return the names of all files in the cache but the lock, which is empty and stays."""
    folder = package_path(model, "fp32").parent
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


@needs_a_compiler
def test_it_pays_from_the_measured_rate_of_the_run_at_hand(model):
    # Unmeasured, ten runs have to make up the 100,000 patches for which one is worth it.
    assert not compiling_pays_later(model, TORCH, 9_999)
    assert compiling_pays_later(model, TORCH, 10_000)
    # Two minutes of compiling are saved by ten runs of 92.3 s that are 13 % shorter.
    keep_run_rate(model, TORCH, 10.0)
    assert not compiling_pays_later(model, TORCH, 920)
    assert compiling_pays_later(model, TORCH, 930)
    assert not compiling_pays_later(model, NumericPath("cuda:0", "torch", "fp32"), 10**6)
    assert not compiling_pays_later(model, NumericPath("cpu", "openvino", "fp32"), 10**6)


def test_without_a_compiler_it_never_pays(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compiling_pays_later(model, TORCH, 10**7)


@needs_a_compiler
def test_two_do_not_do_it_both(model):
    lock = package_path(model, "fp32").with_suffix(".lock")
    with locked(lock, wait=False) as held:
        assert held
        with locked(lock, wait=False) as second:
            assert not second
        assert compile_beside(model, "fp32", source=None) is None
    begun = compile_beside(model, "fp32", source=None)
    assert begun is not None
    assert is_compiling()
    assert compile_beside(model, "fp32", source=None) is begun


@needs_a_compiler
def test_it_ends_with_the_program_and_leaves_nothing_half(model):
    begun = compile_beside(model, "fp32", source=None)
    package = begun.package
    while begun.is_under_way and not list(package.parent.glob(f".{package.stem}-*")):
        with suppress(subprocess.TimeoutExpired):
            begun.process.wait(0.05)
    assert begun.is_under_way, "it is in the middle of it"
    end_compiling()
    assert not begun.is_under_way
    assert left_over(model) == []
    assert not is_compiled(model, "fp32")
    assert compile_beside(model, "fp32", source=None) is not None, "it is tried again"


@needs_a_compiler
def test_what_fails_is_tried_once(model, tmp_path):
    begun = compile_beside(model, "fp32", source=tmp_path / "gone.safetensors")
    assert not wait_for_compiling()
    assert not begun.is_under_way
    (name,) = left_over(model)
    entries = json.loads((begun.package.parent / name).read_text("utf-8"))
    assert "gone.safetensors" in entries["reason"]
    assert compile_beside(model, "fp32", source=None) is None
