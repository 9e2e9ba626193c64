"""Tiles fit each other, outlines fit the mask, and the patient is what its truth says."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely

from made_patients import SMALL_MPP as MPP
from made_patients import small_nodes, write_small
from napari_camelyon import annotations
from napari_camelyon.errors import FileWriteError
from napari_camelyon.synthetic import plan_patient
from napari_camelyon.synthetic.anatomy import node_depth
from napari_camelyon.synthetic.artefacts import Artefacts
from napari_camelyon.synthetic.cells import draw_phenotype
from napari_camelyon.synthetic.node_slides import paint_tile, tumour_mask
from napari_camelyon.synthetic.outlines import (
    deposit_outlines,
    greatest_diameter,
    with_greatest_diameter,
)
from napari_camelyon.synthetic.paint import paint_window
from napari_camelyon.synthetic.sprites import draw_bank
from napari_camelyon.synthetic.tissues import Deposit, NodePlan

DEPOSIT = Deposit(1000, 700, 420, aspect=0.7, angle=0.5, seed=11, roughness=0.5, pattern="nests")
PLAN = NodePlan(3, 1000, 800, 1700, 1200, deposits=(DEPOSIT,))


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    phenotype = draw_phenotype(rng)
    return phenotype, draw_bank(phenotype.types, 0.8, rng, copies=16)


# Capsule and fat, a deposit's border, and the middle of the node.
@pytest.mark.parametrize("corner_um", [(300, 250), (880, 560), (1300, 900)])
def test_a_tile_is_the_same_in_any_window(cells, corner_um):
    phenotype, bank = cells
    x_px, y_px = (round(um / 0.8) for um in corner_um)
    whole = paint_window(PLAN, phenotype, bank, (x_px, y_px, 192, 160)).pigments
    part = paint_window(PLAN, phenotype, bank, (x_px + 70, y_px + 50, 96, 80)).pigments
    np.testing.assert_allclose(part, whole[50:130, 70:166], atol=1e-3)


def test_another_seed_is_another_node(cells):
    phenotype, bank = cells
    box = (1000, 800, 64, 64)
    first = paint_window(PLAN, phenotype, bank, box).pigments
    other = paint_window(replace(PLAN, seed=4), phenotype, bank, box).pigments
    assert np.abs(first - other).mean() > 0.05


def test_far_from_tissue_there_is_nothing(cells):
    phenotype, bank = cells
    assert paint_window(PLAN, phenotype, bank, (20_000, 20_000, 64, 64)) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mpp", [0.5, 4.0])
def test_outline_and_mask_agree_within_a_pixel(seed, mpp):
    deposit = replace(DEPOSIT, seed=seed)
    slide = replace(plan_patient(0)[0].slide, plan=replace(PLAN, deposits=(deposit,)), mpp=mpp)
    left, top = int(700 / mpp), int(400 / mpp)
    width, height = int(600 / mpp), int(600 / mpp)
    mask = tumour_mask(slide, left, top, width, height)
    outer, holes = deposit_outlines(deposit, slide.plan)
    polygon = shapely.union_all(
        [shapely.make_valid(shapely.Polygon(ring / mpp)) for ring in outer]
    ) - shapely.union_all([shapely.Polygon(ring / mpp) for ring in holes])
    x, y = np.meshgrid(left + np.arange(width) + 0.5, top + np.arange(height) + 0.5)
    inside = shapely.contains_xy(polygon, x, y)
    wrong = np.argwhere(inside != mask)
    far = [polygon.boundary.distance(shapely.Point(x[r, c], y[r, c])) for r, c in wrong]
    assert max(far, default=0) <= 1
    assert mask.sum() * mpp**2 == pytest.approx(polygon.area * mpp**2, rel=0.02)


@pytest.mark.parametrize("diameter_um", [60, 105, 800, 2700])
def test_a_deposit_gets_the_diameter_that_was_asked_for(diameter_um):
    for seed in range(5):
        deposit = with_greatest_diameter(replace(DEPOSIT, seed=seed), diameter_um)
        outer, _ = deposit_outlines(deposit)
        assert greatest_diameter(outer) == pytest.approx(diameter_um, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_patient_is_as_planned_with_every_seed(seed):
    nodes = plan_patient(seed)
    assert [node.node_class for node in nodes] == ["negative", "itc", "micro", "macro", "negative"]
    limits = {"negative": (0, 0), "itc": (50, 200), "micro": (200, 2000), "macro": (2000, 1e9)}
    for node in nodes:
        low, high = limits[node.node_class]
        assert low <= node.diameter_um <= high
        assert node.slide.width_px % 512 == node.slide.height_px % 512 == 0
        for deposit in node.slide.plan.deposits:
            outer, _ = deposit_outlines(deposit, node.slide.plan)
            assert greatest_diameter(outer) == pytest.approx(node.diameter_um, rel=0.001)
            points = np.concatenate(outer) / node.slide.mpp
            assert points.min() > 0
            assert (points < (node.slide.width_px, node.slide.height_px)).all()
            for x, y in np.concatenate(outer)[::40]:
                depth = node_depth(node.slide.plan, np.array([x]), np.array([y]))
                assert depth[0, 0] > -1, "tumour ends where the node ends"


def test_a_tile_repeats_exactly_and_pen_shows_on_glass():
    slide = small_nodes()[0].slide
    first = paint_tile(slide, 0, 0, 96, 96)
    np.testing.assert_array_equal(first, paint_tile(slide, 0, 0, 96, 96))
    assert paint_tile(replace(slide, artefacts=Artefacts()), 0, 0, 96, 96) is None
    blue = first[..., 2].astype(int) - first[..., 0] > 80
    # An arc of 30 µm radius over three radians, 30 µm wide, with round ends.
    assert blue.sum() * MPP**2 == pytest.approx(30 * 30 * 3 + np.pi * 15**2, rel=0.25)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patient")
    shares = []
    paths = write_small(folder, progress=shares.append, workers=1)
    return folder, paths, shares


def test_the_patients_files_are_complete(patient):
    folder, paths, shares = patient
    truth = json.loads((folder / "synthetic_x_truth.json").read_text())
    assert truth["synthetic"] is True
    assert truth["stage"] == "pN0(i+)"
    assert [node["slide"] for node in truth["nodes"]] == [path.name for path in paths]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for path, node in zip(paths, truth["nodes"], strict=True):
        with openslide.OpenSlide(path) as slide:
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(MPP)
            assert "ynthetic" in slide.properties["tiff.ImageDescription"]
        assert path.with_suffix(".xml").exists() == (node["class"] != "negative")


def test_outlines_are_read_as_tumour_of_the_true_size(patient):
    _, paths, _ = patient
    found = annotations.read(paths[1].with_suffix(".xml"))
    assert len(found.annotations) == 1
    text = paths[1].with_suffix(".xml").read_text()
    assert 'PartOfGroup="metastases"' in text


def test_a_finished_patient_is_not_made_again(patient):
    folder, paths, _ = patient
    before = [path.stat().st_mtime_ns for path in paths]
    shares = []
    assert write_small(folder, progress=shares.append) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert shares == []


def test_processes_change_nothing(patient, tmp_path):
    _, paths, _ = patient
    again = write_small(tmp_path, workers=2)
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


MEASURE = """
import resource, sys
from dataclasses import replace
from made_patients import small_nodes
from napari_camelyon.synthetic.node_slides import write_node_slide

unit = 1 if sys.platform == "darwin" else 1024
slide = small_nodes()[1].slide
write_node_slide(sys.argv[1] + "/small.tif", slide)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
write_node_slide(sys.argv[1] + "/large.tif", replace(slide, width_px=60_000, height_px=4_096))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_a_slide_of_any_width_is_written_within_a_few_tiles_of_memory(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # The pixels are 700 MiB.
    assert int(found.stdout) < 100 * 2**20
    with openslide.OpenSlide(tmp_path / "large.tif") as slide:
        assert slide.dimensions[0] >= 60_000


def test_what_progress_raises_stops_the_work(tmp_path):
    class StopError(Exception):
        pass

    def stop(share):
        raise StopError

    with pytest.raises(StopError):
        write_small(tmp_path, progress=stop, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileWriteError, match="Could not write"):
        write_small(tmp_path / "file", workers=1)
