"""Whether the heatmaps of a patient's nodes may be held against one another."""

from collections import Counter
from collections.abc import Callable, Mapping

from napari_camelyon.heatmaps import Heatmap

__all__ = ["check_comparable"]


def check_comparable(heatmaps: Mapping[str, Heatmap]) -> tuple[str, ...]:
    """Name the heatmaps that are of another model or grid than most of their neighbours.

    Their sizes and thresholds mean something else, so a stage of them together is doubtful.

    Parameters
    ----------
    heatmaps : mapping of str to Heatmap
        By node.

    Returns
    -------
    tuple of str
        Sentences for people; none where all are alike.
    """
    return (
        *_odd(heatmaps, "model", _model),
        *_odd(heatmaps, "grid", _grid),
        *_odd(heatmaps, "kind of value", lambda heatmap: heatmap.value_meaning.replace("_", " ")),
    )


def _odd(
    heatmaps: Mapping[str, Heatmap], what: str, told: Callable[[Heatmap], str]
) -> tuple[str, ...]:
    # Those that do not say cannot be held against anybody.
    words = {name: word for name, heatmap in heatmaps.items() if (word := told(heatmap))}
    counts = Counter(words.values())
    if len(counts) < 2:
        return ()
    usual = counts.most_common(1)[0][0]
    others = {
        word: [name for name, its in words.items() if its == word]
        for word in counts
        if word != usual
    }
    return tuple(
        f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} another {what} ({word}) than "
        f"{'the other nodes' if counts[usual] > 1 else 'its neighbour'} ({usual}): their sizes "
        "and thresholds cannot be compared. Run the same model with the same stride over all."
        for word, names in others.items()
    )


def _model(heatmap: Heatmap) -> str:
    name = heatmap.model_name or "unnamed"
    return f"{name}, {heatmap.model_sha256[:8]}" if heatmap.model_sha256 else heatmap.model_name


def _grid(heatmap: Heatmap) -> str:
    grid, (x_um, y_um) = heatmap.grid, heatmap.mpp
    stride = (grid.stride_x_px * x_um, grid.stride_y_px * y_um)
    patch = (grid.patch_width_px * x_um, grid.patch_height_px * y_um)
    x, y = (_rounded(one) for one in stride)
    width, height = (_rounded(one) for one in patch)
    return f"patches of {_side(width, height)} µm every {_side(x, y)} µm"


def _rounded(length_um: float) -> str:
    # Three digits bridge what is lost where a pixel size is rounded.
    return f"{length_um:.3g}"


def _side(width: str, height: str) -> str:
    return width if width == height else f"{width} × {height}"
