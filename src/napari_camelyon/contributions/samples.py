"""Sample data: generated slides, for there is no small real one that may be shipped."""

from typing import Any

from napari.utils import progress

from napari_camelyon.contributions.readers import LayerData, read_slide

__all__ = ["micrometastasis"]


def micrometastasis() -> list[LayerData]:
    """Return a synthetic lymph node with a micrometastasis, generated on first use."""
    from napari_camelyon.synthetic import cached_patient

    bar = progress(total=1000, desc="Generating synthetic lymph nodes")

    def show(share: float) -> None:
        bar.update(max(0, round(share * 1000) - bar.n))

    try:
        paths = cached_patient(progress=show)
    finally:
        bar.close()
    return read_slide(str(_micro(paths)))


def _micro(paths: Any) -> Any:
    return paths[2]
