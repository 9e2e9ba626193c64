"""Outlines for the tests of editing, random and real, and what two outlines have in common."""

import numpy as np
import shapely
from hypothesis import strategies as st

from napari_camelyon import annotations

PLACES = st.tuples(st.floats(0, 100), st.floats(0, 100)).map(
    lambda place: tuple(round(value, 6) for value in place)
)
GRID_PLACES = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(
    lambda place: (10.0 * place[0], 10.0 * place[1])
)


def star(centre, radii, turn=0.0):
    """A ring that never crosses itself, with one corner for each radius."""
    angle = turn + np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return centre + np.array(radii)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


STARS = st.builds(
    star, PLACES, st.lists(st.floats(5, 40), min_size=4, max_size=30), st.floats(0, 6)
)


@st.composite
def polygons(draw):
    """A valid annotation with holes, both as stored by hand: any start, any direction."""
    radii = draw(st.lists(st.floats(30, 60), min_size=5, max_size=40))
    centre = draw(PLACES)
    outer = star(centre, radii)
    inner = min(radii) * np.cos(np.pi / len(radii))  # a circle of this radius is inside
    holes = [
        star(centre + shift, [inner * share] * 5)
        for shift, share in zip(
            inner * np.array([(0.45, 0), (-0.45, 0.1)]),
            draw(st.lists(st.floats(0.05, 0.4), max_size=2)),
            strict=False,
        )
    ]
    rings = [
        np.roll(ring[:: draw(st.sampled_from([1, -1]))], draw(st.integers(0, 9)), axis=0)
        for ring in (outer, *holes)
    ]
    return annotations.make_annotation("polygon", rings[0], holes=rings[1:])


@st.composite
def any_rings(draw):
    """An annotation of any ring: crossing itself, without area, on a coarse grid or not."""
    places = draw(st.sampled_from([PLACES, GRID_PLACES]))
    return annotations.make_annotation("polygon", draw(st.lists(places, min_size=3, max_size=9)))


def region(annotation):
    return shapely.Polygon() if annotation is None else annotations.region_of(annotation)


def points_of(annotation):
    found = [points for _, _, points in annotations.rings(annotation)]
    return np.concatenate(found) if found else np.empty((0, 2))


def bits(points):
    return {row.tobytes() for row in np.asarray(points, dtype=np.float64)}


def largest(folder, name):
    """The annotation with the most points of an official file."""
    found = annotations.read(folder / f"annotations/asap_c16/{name}.xml")
    return max(found, key=lambda annotation: len(annotation.points))
