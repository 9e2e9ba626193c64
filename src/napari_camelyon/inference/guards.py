"""Guards: is what a run gives plausible? Signs that model and slide do not go together.

Nothing here stops a run. Each sign is a `Finding`: one sentence for people and the figures behind
it. Three questions are asked at three times. Before anything is predicted: do spacing, grid and
stain suit the model (`check_before`)? Before a long run: what does the model say of empty patches
(`check_probe`), and of a few patches from all over the slide (`look_first`)? During the run: a
`Watch` is fed with every batch (`watch_batch`) and asked for what it `findings`.

What counts as a nucleus is a dark red channel: haematoxylin takes away red, eosin and red blood
cells hardly do (Ruifrok and Johnston 2001 give optical densities of red of 0.65 and 0.07 for unit
vectors). It is a coarse measure and enough for these questions.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_camelyon.geometry import mean_mpp
from napari_camelyon.inference.patches import read_block
from napari_camelyon.inference.predicted import Pending
from napari_camelyon.models import Model
from napari_camelyon.slides import Slide
from napari_camelyon.specs import ModelSpec
from napari_camelyon.stain import StainFit, stain_distance_deg
from napari_camelyon.tissue import PatchGrid
from napari_camelyon.tissue.mask import MIN_COLOUR_SPREAD

__all__ = [
    "Finding",
    "FindingKind",
    "Watch",
    "check_before",
    "check_probe",
    "findings",
    "look_first",
    "new_watch",
    "probe_patches",
    "watch_batch",
    "watch_picture",
]

FindingKind = Literal[
    "spacing", "grid", "stain", "glass", "constant", "swapped", "everything_tumour"
]

MAX_UPSAMPLING = 1.5
"""How much coarser than the model's spacing a slide's pixels may be.

A model for × 20 (0.5 µm/px) on a × 10 scan (1 µm/px) sees pixels that were made up. Scanners of one
magnification differ by less than 1.2 (0.23 to 0.26 µm/px)."""

MAX_PATCHES = 2_000_000
"""More planned patches than this are more likely a wrong pixel size or stride than meant.

The largest slide of CAMELYON (97,792 × 221,184 px at 0.243 µm) has 1.3 million cells at 31 µm,
glass included."""

MAX_TISSUE_SHARE = 0.9
LARGE_AREA_MM2 = 200.0
"""On a whole slide (from 200 mm²) no more than 90 % of the area is tissue; else the mask failed.

Regions cut from a slide are smaller and may be tissue all over."""

MAX_STAIN_DEG = 25.0
"""Largest angle between the slide's stain vectors and those that the model knew.

Five sources of CAMELYON lie 2–20° from each other and 12–22° from a slide of TCGA; a slide whose
stain anyone would call odd (Aperio's CMU-1) lies 22–38° from all of these. Only held against a
model whose specification states its stain: a distance from a published reference says nothing."""

EMPTY_TISSUE_SHARE = 0.05
"""Patches with a smaller share of coloured pixels are empty: glass, air, or their shadows."""

UNIFORM_STD = 5.0
"""Standard deviation of green below which a patch is uniform, in grey levels: the root of the
reference pipeline's least intensity variance of 25. Green, as H&E takes away most of that."""

MIN_EMPTY = 10
"""Empty or uniform patches that must have been seen before they are spoken of."""

NUCLEAR_RED = 150
"""Red values below this are nuclei: an optical density of 0.53."""

MIN_LOOKED_AT = 48
"""Patches that must have been looked at before their spread or their share is spoken of."""

MIN_LOGIT_SPREAD = 0.1
"""Smallest difference between the 5th and 95th percentile of the logits of varied tissue.

In logits, as a good model may give next to 0 everywhere on a node without tumour and still tell
tissue from tissue there."""

MIN_TISSUE_VARIETY = 0.1
"""Tissue is varied where the share of nuclei differs by this from the 5th to the 95th percentile:
0.22 to 0.37 within four sets of real patches."""

POOR_IN_NUCLEI = 0.05
RICH_IN_NUCLEI = 0.5
"""A patch is poor in nuclei below 0.05, rich from 0.5 times the slide's 75th percentile of their
share: relative, so that a pale stain makes no poor tissue. The palest of 28 real tumour patches
holds 0.095 of what the 75th percentile of 29 real normal ones does."""

MIN_POOR = 12
"""Patches poor in nuclei that must have been seen before they are spoken of."""

MAX_CALLED_POOR = 0.5
"""Share of the patches poor in nuclei that may be called tumour: tumour has nuclei."""

MAX_CALLED = 0.7
"""Share of the tissue that may be called tumour without a word.

The bundled model calls up to 0.27 of 13 generated and real slides tumour, and with its classes
swapped at least 0.73. A node that is replaced by tumour sets it off as well, and rightly: the
sentence names both."""

LONG_RUN_PATCHES = 3200
FIRST_PATCHES = 64
"""`look_first` predicts 64 patches ahead of runs of at least 3,200: at most 2 % more."""

LOOKED_AT_A_BATCH = 16
LOOKED_AT_A_BLOCK = 64
"""Patches of a batch, or of a block of some hundred predicted as a whole, that are looked at: what
looks cost (0.2 ms for 16) must not grow with a GPU's batches."""

_LOOK_PX = 32  # a patch is looked at through at most 32 × 32 of its pixels
_KEPT = 4096
_MEAN_TISSUE_RGB = (188, 140, 167)


@dataclass(frozen=True, slots=True)
class Finding:
    """A sign that a result may not be what it seems.

    Attributes
    ----------
    kind : str
        ``spacing``, ``grid``, ``stain``, ``glass``, ``constant``, ``swapped`` or
        ``everything_tumour``.
    sentence : str
        For people: what was measured, what it may mean, what to do.
    measured : dict of str to float
        The figures, by names that carry their units; plain numbers, for ``run.json``.
    """

    kind: FindingKind
    sentence: str
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Watch:
    """What was seen of a run so far: a sample of bounded size, spread evenly over it.

    Attributes
    ----------
    threshold : float
        Probability from which a patch counts as tumour.
    planned : int
        Patches that the run is to predict; 0 where nobody said.
    passed : int
        Patches that were predicted so far.
    looked_at : int
        Those of them that were looked at.
    """

    threshold: float
    planned: int = 0
    passed: int = 0
    looked_at: int = 0
    _every: int = 1
    _kept: int = 0
    _rows: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((_KEPT, 4), dtype=np.float32)
    )


class _Predicts(Protocol):
    """What is needed of a predictor, `numeric.Predictor` or another."""

    @property
    def model(self) -> Model: ...
    @property
    def batch_size(self) -> int: ...
    def submit(self, patches: NDArray[np.uint8]) -> Pending: ...


def check_before(
    slide: Slide, model: Model, patch_grid: PatchGrid, *, stain_fit: StainFit | None = None
) -> tuple[Finding, ...]:
    """Look at what is known before anything is predicted.

    Parameters
    ----------
    slide : Slide
        Needs to know its mpp.
    model : Model
    patch_grid : PatchGrid
        The plan.
    stain_fit : StainFit, optional
        The slide's stain, from `tissue.fit_slide_stain`; needed only where the model's
        specification says what stain it knew.

    Returns
    -------
    tuple of Finding

    Raises
    ------
    MissingMppError
        The slide does not say how large its pixels are.
    """
    spec = model.spec
    slide_mpp = mean_mpp(slide.require_mpp())
    found = [*_spacing(slide_mpp, spec), *_grid(slide, patch_grid, spec)]
    if stain_fit is not None and spec.stain is not None:
        found += _stain(stain_distance_deg(stain_fit, spec.stain), spec)
    return tuple(found)


def _stain(angle_deg: float, spec: ModelSpec) -> list[Finding]:
    if angle_deg <= MAX_STAIN_DEG:
        return []
    return [
        Finding(
            "stain",
            f"The stain of the slide lies {angle_deg:.0f}° from the one that the model "
            f"{spec.name} knew (laboratories differ by up to 20°). Its values may be off; try "
            "stain normalisation.",
            {"stain_deg": round(angle_deg, 1), "limit_deg": MAX_STAIN_DEG},
        )
    ]


def _spacing(slide_mpp: float, spec: ModelSpec) -> list[Finding]:
    upsampling = slide_mpp / spec.patch_mpp
    if upsampling <= MAX_UPSAMPLING:
        return []
    return [
        Finding(
            "spacing",
            f"The slide's finest pixels measure {slide_mpp:.3g} µm, the model {spec.name} wants "
            f"{spec.patch_mpp:.3g} µm: it is shown an enlargement of {upsampling:.1f} times, with "
            "detail that is not there. Use a finer scan, or a model for this spacing.",
            {
                "slide_mpp": round(slide_mpp, 4),
                "model_mpp": spec.patch_mpp,
                "upsampling": round(upsampling, 3),
                "limit": MAX_UPSAMPLING,
            },
        )
    ]


def _grid(slide: Slide, patch_grid: PatchGrid, spec: ModelSpec) -> list[Finding]:
    mpp_x, mpp_y = slide.require_mpp()
    planned = patch_grid.patch_count
    if planned == 0:
        return [
            Finding(
                "grid",
                "No patch holds enough tissue, so nothing would be computed. Look at the tissue "
                "mask, or ask for less tissue a patch.",
                {"patches": 0},
            )
        ]
    found = []
    if planned > MAX_PATCHES:
        found.append(
            Finding(
                "grid",
                f"The plan has {planned:,} patches. Check the size of a pixel "
                f"({mpp_x:.3g} µm) and the stride.",
                {"patches": planned, "limit": MAX_PATCHES},
            )
        )
    grid = patch_grid.grid
    if grid.stride_x_px > grid.patch_width_px or grid.stride_y_px > grid.patch_height_px:
        stride_um = max(grid.stride_x_px * mpp_x, grid.stride_y_px * mpp_y)
        found.append(
            Finding(
                "grid",
                f"A patch shows {spec.field_um:.0f} µm of tissue, the next begins after "
                f"{stride_um:.0f} µm: the tissue between them is not looked at. Use a smaller "
                "stride.",
                {"stride_um": round(stride_um, 2), "field_um": round(spec.field_um, 2)},
            )
        )
    area_mm2 = slide.width_px * mpp_x * slide.height_px * mpp_y / 1e6
    share = planned / patch_grid.selected.size
    if area_mm2 >= LARGE_AREA_MM2 and share > MAX_TISSUE_SHARE:
        found.append(
            Finding(
                "grid",
                f"{share:.0%} of the slide's {area_mm2:.0f} mm² are taken for tissue; glass may be "
                "among it. Look at the tissue mask.",
                {"tissue_share": round(share, 4), "area_mm2": round(area_mm2, 1)},
            )
        )
    return found


def probe_patches(
    patch_px: int, tissue_rgb: tuple[int, int, int] = _MEAN_TISSUE_RGB
) -> NDArray[np.uint8]:
    """Return a white, a grey and a tissue-coloured patch without anything in them.

    Parameters
    ----------
    patch_px : int
        Side of the model's input.
    tissue_rgb : tuple of int
        Default: the mean colour of 57 real patches of CAMELYON16.

    Returns
    -------
    ndarray of uint8, shape (3, patch_px, patch_px, 3)
    """
    colours = np.array([(255, 255, 255), (200, 200, 200), tissue_rgb], dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours[:, None, None], (3, patch_px, patch_px, 3)))


def check_probe(predictor: _Predicts, threshold: float) -> tuple[Finding, ...]:
    """Ask the model about patches that hold nothing: a `Finding` where it sees tumour in one.

    Parameters
    ----------
    predictor : Predictor
        As the run uses it.
    threshold : float
        Probability from which a patch counts as tumour.

    Raises
    ------
    ModelError
        The model cannot predict.
    """
    spec = predictor.model.spec
    predicted = predictor.submit(probe_patches(spec.patch_px)).result()
    white, grey, tissue = predicted.probabilities[:, spec.tumour_class].astype(float).tolist()
    values = {"white": white, "grey": grey, "tissue-coloured": tissue}
    called = [f"{name} ({value:.2f})" for name, value in values.items() if value >= threshold]
    if not called:
        return ()
    return (
        Finding(
            "glass",
            f"The model {spec.name} calls patches tumour in which there is nothing: "
            f"{', '.join(called)}. Its classes may be swapped, or its normalisation may be "
            "another than its specification says.",
            {
                "probability_white": round(white, 4),
                "probability_grey": round(grey, 4),
                "probability_tissue_colour": round(tissue, 4),
                "threshold": threshold,
            },
        ),
    )


def look_first(
    slide: Slide, predictor: _Predicts, patch_grid: PatchGrid, threshold: float
) -> tuple[Finding, ...]:
    """Predict a few patches from all over the plan before a long run, and judge them.

    Parameters
    ----------
    slide : Slide
    predictor : Predictor
    patch_grid : PatchGrid
        The plan; one of fewer than `LONG_RUN_PATCHES` is not long: nothing is done.
    threshold : float
        Probability from which a patch counts as tumour.

    Returns
    -------
    tuple of Finding

    Raises
    ------
    ModelError
        The model cannot predict.
    SlideError
        The slide cannot be read.
    """
    if patch_grid.patch_count < LONG_RUN_PATCHES:
        return ()
    cells = np.argwhere(patch_grid.selected)
    cells = cells[np.linspace(0, len(cells) - 1, FIRST_PATCHES).astype(int)]
    spec = predictor.model.spec
    watch = Watch(threshold)
    size = min(predictor.batch_size, LOOKED_AT_A_BATCH)
    for start in range(0, len(cells), size):
        patches = np.concatenate(
            [
                read_block(slide, patch_grid.grid, cell[None], spec.patch_px)
                for cell in cells[start : start + size]
            ]
        )
        predicted = predictor.submit(patches).result()
        watch_batch(watch, patches, predicted.probabilities[:, spec.tumour_class])
    return findings(watch)


def new_watch(spec: ModelSpec, threshold: float | None = None, *, planned: int = 0) -> Watch:
    """Return a watch that has seen nothing.

    Parameters
    ----------
    spec : ModelSpec
    threshold : float, optional
        Probability from which a patch counts as tumour. Default: the specification's.
    planned : int
        Patches that the run is to predict. A run begins where a person looks and goes on where it
        finds tumour, so that shares are spoken of from half of the plan on. 0: at once.
    """
    return Watch(spec.threshold if threshold is None else threshold, planned)


def watch_batch(
    watch: Watch,
    patches: NDArray[np.uint8],
    values: NDArray[np.float32],
) -> None:
    """Look at some patches of a batch and at what was predicted of them.

    Parameters
    ----------
    watch : Watch
        Filled in place.
    patches : ndarray of uint8, shape (n, px, px, 3)
        As the model saw them, before stain normalisation.
    values : ndarray of float32, shape (n,)
        Probability of tumour; NaN where nothing was computed.
    """
    chosen = _choose(watch, values, LOOKED_AT_A_BATCH)
    step = max(1, patches.shape[1] // _LOOK_PX)
    _note(watch, patches[chosen, step // 2 :: step, step // 2 :: step], values[chosen])


def watch_picture(
    watch: Watch,
    picture: NDArray[np.uint8],
    corners_px: NDArray[np.int64],
    patch_px: int,
    values: NDArray[np.float32],
) -> None:
    """Look at some patches of a block that was predicted as a whole.

    Parameters
    ----------
    watch : Watch
        Filled in place.
    picture : ndarray of uint8, shape (height, width, 3)
        The block.
    corners_px : ndarray of int64, shape (n, 2)
        ``(x, y)`` of each patch's top-left corner in the picture.
    patch_px : int
        Side of a patch in pixels of the picture.
    values : ndarray of float32, shape (n,)
        Probability of tumour; NaN where nothing was computed.
    """
    chosen = _choose(watch, values, LOOKED_AT_A_BLOCK)
    if not len(chosen):
        return
    step = max(1, patch_px // _LOOK_PX)
    first = step // 2
    looks = np.stack(
        [
            picture[y + first : y + patch_px : step, x + first : x + patch_px : step]
            for x, y in corners_px[chosen].tolist()
        ]
    )
    _note(watch, looks, values[chosen])


def findings(watch: Watch) -> tuple[Finding, ...]:
    """Return what is odd about what was seen so far; more patches may add or withdraw some."""
    values, tissue, deviation, nuclei = watch._rows[: watch._kept].T
    called = values >= watch.threshold
    empty = (tissue < EMPTY_TISSUE_SHARE) | (deviation < UNIFORM_STD)
    found = _empty_called(called[empty], watch.threshold)
    if (~empty).sum() < MIN_LOOKED_AT:
        return tuple(found)
    values, called, nuclei = values[~empty], called[~empty], nuclei[~empty]
    found += [*_constant(values, nuclei), *_swapped(called, nuclei)]
    if watch.passed >= watch.planned / 2:
        found += _everything(called)
    return tuple(found)


def _choose(watch: Watch, values: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    known = np.flatnonzero(~np.isnan(values))
    watch.passed += len(known)
    if len(known) <= most:
        return known
    places = np.linspace(0, len(known) - 1, most).astype(int)
    return np.asarray(known[places])


def _note(watch: Watch, looks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Keep what is measured of patches, every second of all kept ones where they get too many."""
    if not len(looks):
        return
    # A copy of each channel: five times as fast as working across them.
    red, green, blue = np.moveaxis(looks.reshape(len(looks), -1, 3), 2, 0).copy()
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    coloured = spread > MIN_COLOUR_SPREAD
    rows = np.column_stack(
        [
            values,
            coloured.mean(axis=1),
            green.astype(np.float32).std(axis=1),
            (coloured & (red < NUCLEAR_RED)).mean(axis=1),
        ]
    )
    for row in rows:
        if watch.looked_at % watch._every == 0:
            watch._rows[watch._kept] = row
            watch._kept += 1
            if watch._kept == _KEPT:
                watch._rows[: _KEPT // 2] = watch._rows[::2].copy()
                watch._kept //= 2
                watch._every *= 2
        watch.looked_at += 1


def _empty_called(called: NDArray[np.bool_], threshold: float) -> list[Finding]:
    if len(called) < MIN_EMPTY or called.mean() < 0.5:
        return []
    return [
        Finding(
            "glass",
            f"{called.mean():.0%} of {len(called)} empty or uniform patches are called tumour. "
            "The classes may be swapped, or the model never saw glass: leave patches without "
            "tissue out.",
            {
                "patches": len(called),
                "called_share": round(float(called.mean()), 4),
                "threshold": threshold,
            },
        )
    ]


def _constant(values: NDArray[np.float32], nuclei: NDArray[np.float32]) -> list[Finding]:
    low, high = np.percentile(values, [5, 95])
    variety = float(np.subtract(*np.percentile(nuclei, [95, 5])))
    spread = _logit(high) - _logit(low)
    if variety < MIN_TISSUE_VARIETY or spread >= MIN_LOGIT_SPREAD:
        return []
    return [
        Finding(
            "constant",
            f"The model gives nearly the same value to all of {len(values)} varied patches "
            f"({low:.3g} to {high:.3g}). Its weights or its normalisation may be wrong.",
            {
                "patches": len(values),
                "percentile_5": float(low),
                "percentile_95": float(high),
                "logit_spread": round(spread, 4),
                "limit": MIN_LOGIT_SPREAD,
            },
        )
    ]


def _swapped(called: NDArray[np.bool_], nuclei: NDArray[np.float32]) -> list[Finding]:
    usual = np.percentile(nuclei, 75)
    poor, rich = called[nuclei < POOR_IN_NUCLEI * usual], called[nuclei >= RICH_IN_NUCLEI * usual]
    if len(poor) < MIN_POOR or poor.mean() <= MAX_CALLED_POOR:
        return []
    if poor.mean() < rich.mean() - 0.05:  # tumour all over, and its poorest parts with it
        return []
    return [
        Finding(
            "swapped",
            f"{poor.mean():.0%} of {len(poor)} patches with hardly a nucleus in them are called "
            f"tumour, and {rich.mean():.0%} of those with many. The classes may be swapped: check "
            "which one is tumour.",
            {
                "patches_poor_in_nuclei": len(poor),
                "called_poor": round(float(poor.mean()), 4),
                "called_rich": round(float(rich.mean()), 4),
                "limit": MAX_CALLED_POOR,
            },
        )
    ]


def _everything(called: NDArray[np.bool_]) -> list[Finding]:
    if called.mean() <= MAX_CALLED:
        return []
    return [
        Finding(
            "everything_tumour",
            f"{called.mean():.0%} of {len(called)} patches of tissue are called tumour. Either "
            "as much of it is, or the classes are swapped or the threshold is too low.",
            {
                "patches": len(called),
                "called_share": round(float(called.mean()), 4),
                "limit": MAX_CALLED,
            },
        )
    ]


def _logit(value: float) -> float:
    clipped = min(max(float(value), 1e-30), 1 - 1e-7)
    return float(np.log(clipped) - np.log1p(-clipped))
