"""How true are diameters? Heatmaps of perfect models over shapes of known size.

Run as a program, this file prints the bias of every stride, and the bands around 0.2 and 2.0 mm in
which a class is not decided: ``python tests/staging/test_staging_accuracy.py``.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import shapely
from scipy.spatial.distance import pdist
from shapely import Polygon, affinity

from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.staging import NodeResult, classify_node, find_lesions

MPP = (0.25, 0.25)


def ellipse(diameter_um: float, aspect: float) -> Polygon:
    circle = shapely.Point(0, 0).buffer(diameter_um / 2, quad_segs=64)
    return affinity.scale(circle, 1, aspect)


def ring(diameter_um: float, aspect: float) -> Polygon:
    outer = ellipse(diameter_um, aspect)
    return outer.difference(affinity.scale(outer, 0.6, 0.6))


def crescent(diameter_um: float, aspect: float) -> Polygon:
    outer = ellipse(diameter_um, max(aspect, 0.7))
    bite = affinity.translate(affinity.scale(outer, 0.8, 0.8), 0, 0.3 * diameter_um * aspect)
    return outer.difference(bite)


def cluster(diameter_um: float, aspect: float) -> Polygon:
    """Return a deposit with a smaller one off each end, nearer than what is joined (75 µm).

    None of them is so small that it may not show at all.
    """
    small = max(100.0, 0.15 * diameter_um)
    gap = 40.0
    middle = diameter_um - 2 * (gap + small)
    if middle < 100:
        return ellipse(diameter_um, aspect)
    ends = [
        affinity.translate(ellipse(small, 1), way * (diameter_um - small) / 2, 0) for way in (-1, 1)
    ]
    return shapely.union_all([ellipse(middle, max(aspect, min(1.0, 100 / middle))), *ends])


SHAPES: dict[str, Callable[[float, float], Polygon]] = {
    "ellipse": ellipse,
    "ring": ring,
    "crescent": crescent,
    "cluster": cluster,
}


def true_diameter_um(shape: Polygon) -> float:
    """The greatest distance of two corners, without any of the code under test."""
    return float(pdist(shapely.get_coordinates(shape.convex_hull)).max())


def ideal_heatmap(
    tissue_um: Polygon, *, patch_um: float, stride_um: float, meaning: str, centre_um: float
) -> Heatmap:
    """What a perfect model would say; `tissue_um` lies in positive coordinates."""
    to_px = 1 / MPP[0]
    patch_px, stride_px = round(patch_um * to_px), round(stride_um * to_px)
    right, bottom = np.array(tissue_um.bounds[2:]) * to_px
    rows, columns = int(bottom / stride_px) + 2, int(right / stride_px) + 2
    grid = Grid(rows, columns, 0, 0, patch_px, patch_px, stride_px, stride_px)
    cells = np.stack(np.mgrid[:rows, :columns], axis=-1)
    x, y = np.moveaxis(grid.centres(cells) * MPP[0], -1, 0)
    half = (centre_um if meaning == "centre" else patch_px * MPP[0]) / 2
    boxes = shapely.box(x - half, y - half, x + half, y + half)
    shapely.prepare(tissue_um)
    values = np.where(shapely.intersects(tissue_um, boxes), 0.97, 0.02)
    if meaning == "covered_fraction":
        values = shapely.contains(tissue_um, boxes).astype(float)
        on_border = shapely.intersects(tissue_um, boxes) & (values == 0)
        covered = shapely.area(shapely.intersection(tissue_um, boxes[on_border]))
        values[on_border] = covered / (2 * half) ** 2
    return Heatmap(
        grid,
        values.astype(np.float32),
        MPP,
        value_meaning=meaning,
        centre_um=centre_um if meaning == "centre" else None,
    )


def placed_at_random(
    rng: np.random.Generator, kind: str, diameter_um: float, *, room_um: float
) -> Polygon:
    """A shape turned and moved at random, so that no grid is favoured, beyond `room_um`."""
    shape = SHAPES[kind](diameter_um, rng.uniform(0.4, 1))
    shape = affinity.rotate(shape, rng.uniform(0, 360))
    left, top = shape.bounds[:2]
    offset = room_um + rng.uniform(0, 200, size=2)
    return affinity.translate(shape, offset[0] - left, offset[1] - top)


MODELS = [
    # meaning, patch, centre, all in µm
    ("any_tumour", 62.0, 0.0),
    ("any_tumour", 218.0, 0.0),
    ("centre", 93.0, 31.0),
    ("covered_fraction", 62.0, 0.0),
]


def lesion_nodes(
    meaning: str, patch_um: float, centre_um: float, stride_um: float, diameters_um, repeats: int
) -> Iterator[tuple[float, NodeResult]]:
    """Yield true diameters in µm, and what is made of the node; those that do not show are not."""
    rng = np.random.default_rng(20240607)
    for diameter_um in diameters_um:
        for kind in SHAPES:
            for _ in range(repeats):
                tissue = placed_at_random(rng, kind, diameter_um, room_um=patch_um + stride_um)
                heatmap = ideal_heatmap(
                    tissue,
                    patch_um=patch_um,
                    stride_um=stride_um,
                    meaning=meaning,
                    centre_um=centre_um,
                )
                lesions = find_lesions(heatmap, min_patches=1)
                if lesions:
                    yield true_diameter_um(tissue), classify_node(lesions, heatmap=heatmap)


def measured(*arguments) -> Iterator[tuple[float, float, float]]:
    """Yield true diameter, found diameter and its margin, in µm."""
    for true, node in lesion_nodes(*arguments):
        yield true, node.diameter_mm * 1000, node.margin_mm * 1000


def class_of_um(diameter_um: float) -> str:
    return "macro" if diameter_um > 2000 else "micro" if diameter_um > 200 else "itc"


@pytest.mark.parametrize("stride_um", [16, 32, 64])
@pytest.mark.parametrize(("meaning", "patch_um", "centre_um"), MODELS)
def test_diameters_are_true_up_to_strides_of_64_um(meaning, patch_um, centre_um, stride_um):
    for diameters_um, allowed in [((500, 750, 1000), 0.08), ((1250, 2000), 0.05)]:
        true, found, margin = np.array(
            list(measured(meaning, patch_um, centre_um, stride_um, diameters_um, 4))
        ).T
        errors = np.abs(found - true)
        assert np.median(errors / true) < allowed
        assert np.mean(errors <= margin) >= 0.9


@pytest.mark.parametrize("stride_um", [16, 32, 64, 128, 224])
@pytest.mark.parametrize(("meaning", "patch_um", "centre_um"), MODELS)
def test_the_class_is_never_wrong_outside_the_band(meaning, patch_um, centre_um, stride_um):
    sizes_um = (90, 170, 190, 230, 280, 400, 1800, 2250)
    for true, node in lesion_nodes(meaning, patch_um, centre_um, stride_um, sizes_um, 2):
        assert class_of_um(true) in node.possible_classes


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("meaning", ["any_tumour", "covered_fraction"])
def test_the_threshold_does_not_bias_the_size_of_a_clear_lesion(meaning, threshold):
    rng = np.random.default_rng(9)
    tissue = placed_at_random(rng, "ellipse", 1000, room_um=100)
    heatmap = ideal_heatmap(tissue, patch_um=62, stride_um=16, meaning=meaning, centre_um=0)
    found = find_lesions(heatmap, threshold=threshold)[0]
    assert found.diameter_mm * 1000 == pytest.approx(true_diameter_um(tissue), abs=16)


@pytest.mark.parametrize(("meaning", "patch_um", "centre_um"), MODELS)
def test_the_outline_covers_the_tissue(meaning, patch_um, centre_um):
    rng = np.random.default_rng(3)
    tissue = placed_at_random(rng, "ellipse", 1500, room_um=300)
    heatmap = ideal_heatmap(
        tissue, patch_um=patch_um, stride_um=16, meaning=meaning, centre_um=centre_um
    )
    (lesion,) = find_lesions(heatmap)
    outline_um = affinity.scale(lesion.outline, *MPP, origin=(0, 0))
    assert outline_um.hausdorff_distance(tissue) < 16 + 0.21 * patch_um
    assert lesion.area_mm2 * 1e6 == pytest.approx(tissue.area, rel=0.05)
    assert lesion.area_mm2 * 1e6 == pytest.approx(outline_um.area)
    ends_um = np.array(lesion.diameter_ends_px) * MPP[0]
    assert np.linalg.norm(ends_um[0] - ends_um[1]) == pytest.approx(lesion.diameter_mm * 1000)
    # The ends lie near the border of the tissue, on either side.
    for end in ends_um:
        assert tissue.exterior.distance(shapely.Point(end)) < 40


def print_bands(repeats: int = 40) -> int:
    """Print in which true sizes a class is not decided, and how often a decided one is wrong.

    Returns
    -------
    int
        Wrong classes in all.
    """
    print("\nclasses: sizes around each limit; undecided from … to mm; decided, and of these wrong")
    wrong_in_all = 0
    for meaning, patch_um, centre_um in MODELS:
        for stride_um in (16, 32, 64, 128, 224):
            for limit_um in (200, 2000):
                sizes = limit_um * np.geomspace(0.3, 2.5, 12)
                undecided, decided, wrong = [], 0, 0
                for true, node in lesion_nodes(
                    meaning, patch_um, centre_um, stride_um, sizes, max(1, repeats // 16)
                ):
                    if len(node.possible_classes) > 1:
                        undecided.append(true)
                        continue
                    decided += 1
                    wrong += class_of_um(true) != node.node_class
                wrong_in_all += wrong
                band = (
                    f"{min(undecided) / 1000:.2f}–{max(undecided) / 1000:.2f}"
                    if undecided
                    else "never"
                )
                print(
                    f"{meaning:17} {patch_um:6.0f} {stride_um:6} {limit_um / 1000:5.1f} mm  "
                    f"{band:12}{decided:5} decided {wrong:3} wrong",
                    flush=True,
                )
    return wrong_in_all


def print_table() -> None:
    """Print mean error, band and median relative error for every stride and meaning."""
    print("errors of the greatest diameter: found - true, shapes of all kinds, random places")
    print(
        "meaning            patch stride  size mm   n  mean µm  2.5 %  97.5 %  median |rel|  in ±"
    )
    ranges = [(0.05, 0.2), (0.2, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 5.0)]
    for meaning, patch_um, centre_um in MODELS:
        for stride_um in (16, 32, 64, 128, 224):
            for low, high in ranges:
                sizes = np.linspace(low, high, 4)[:3] * 1000
                repeats = 12 if high / stride_um * 1000 < 60 else 3
                found = list(measured(meaning, patch_um, centre_um, stride_um, sizes, repeats))
                if not found:
                    print(f"{meaning:17} {patch_um:6.0f} {stride_um:6}  {low}–{high}: none found")
                    continue
                true, got, margin = np.array(found).T
                error = got - true
                band = np.percentile(error, [2.5, 97.5])
                relative, within = np.abs(error) / true, np.abs(error) <= margin
                print(
                    f"{meaning:17} {patch_um:6.0f} {stride_um:6}  {low:4}–{high:<4}{len(found):4}"
                    f"{error.mean():8.0f}{band[0]:8.0f}{band[1]:8.0f}"
                    f"{np.median(relative):12.1%}{np.mean(within):8.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    print_table()
    print_bands()
