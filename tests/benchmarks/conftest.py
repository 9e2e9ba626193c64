"""The benchmarks are scripts that stand beside each other."""

from pathlib import Path

import pytest

from napari_camelyon.slides.tile_cache import shared_cache


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    # They give every reader a cache of the same size.
    monkeypatch.setattr(shared_cache(), "most_bytes", shared_cache().most_bytes)
