"""Stain normalisation in the window: the stain that is found, and what is in view through it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_camelyon.geometry import slide_to_layer
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.stain import (
    REFERENCE_STAIN,
    StainFit,
    make_transfer,
    stain_distance_deg,
    target_stain,
    transfer,
)
from napari_camelyon.synthetic.scanners import CENTRES, scan
from napari_camelyon.tissue import fit_slide_stain, tissue_choice, tissue_mask
from napari_camelyon.widgets.napari_compat import camera
from napari_camelyon.widgets.patient_view import patient_view
from napari_camelyon.widgets.stain_preview import StainControls
from shown_canvas import screenshot

pytestmark = pytest.mark.gui

MPP = 0.5


def stained(make_slide, name: str, centre: int):
    """A slide of blotches in the made colours of a laboratory, glass around it."""
    rng = np.random.default_rng(7)
    pigments = np.zeros((1200, 1200, 3), np.float32)
    blotches = rng.uniform(0.02, 1.5, (2, 75, 75)).astype(np.float32)
    pigments[..., :2] = blotches.repeat(16, 1).repeat(16, 2).transpose(1, 2, 0) + 0.12
    pixels = np.full((1400, 1600, 3), 245, np.uint8)
    pixels[100:1300, 200:1400] = scan(pigments, CENTRES[centre], MPP, rng)
    return make_slide(pixels, name=name, mpp=MPP, factors=(1, 2, 4))


@pytest.fixture
def controls(docked, qtbot):
    viewer, _, _ = docked
    widget = StainControls(viewer)
    qtbot.addWidget(widget)
    widget.show()
    return widget


def settle(qtbot, controls):
    qtbot.waitUntil(lambda: not controls.is_fitting)
    qtbot.waitUntil(lambda: controls.preview.is_up_to_date)


def test_the_preview_is_the_view_through_the_transfer_and_follows_it(
    docked, controls, make_slide, qtbot
):
    viewer, _, _ = docked
    path = stained(make_slide, "violet", 1)
    patient_view(viewer).open_slide(path)
    before = screenshot(viewer)
    controls.set_value("macenko")
    controls.preview_box.click()
    settle(qtbot, controls)
    layer = controls.preview.layer
    names = [one.metadata["napari_camelyon"]["kind"] for one in viewer.layers]
    assert names == ["slide", "stain preview"]
    assert viewer.layers.selection.active is viewer.layers[0]

    with open_slide(path) as slide:
        expected = make_transfer(fit_slide_stain(slide, tissue_mask(slide)))
        assert controls.transfer == expected
        for zoom, middle in ((None, None), (4.0, (700, 640)), (1.0, (300, 300))):
            if zoom is not None:
                camera(viewer).zoom = zoom
                camera(viewer).center = (0, *(slide_to_layer(middle) * MPP))
                settle(qtbot, controls)
            # The middle of pixel (0, 0) of the layer, as a slide point.
            step = round(layer.scale[0] / MPP)
            y, x = np.array(layer.translate) / MPP + 0.5 - step / 2
            rows, columns = layer.data.shape[:2]
            raw = read_resampled(slide, x, y, columns * step, rows * step, columns, rows)
            np.testing.assert_array_equal(layer.data, transfer(raw, expected))
            assert layer.data.size <= 3 * 1.5 * 1600 * 1000  # no more than the screen can show
    camera(viewer).zoom, camera(viewer).center = 1.2, (0, 350, 400)
    settle(qtbot, controls)
    seen = screenshot(viewer)
    layer.visible = False
    hidden = screenshot(viewer)
    inside = np.s_[300:400, 300:500]
    assert np.abs(seen[inside].astype(int) - hidden[inside]).mean() > 5
    assert before.shape == seen.shape

    controls.preview_box.click()
    assert layer not in viewer.layers
    assert [one.name for one in viewer.layers] == ["violet"]


def test_the_stain_that_was_found_is_shown(docked, controls, make_slide, qtbot):
    viewer, _, _ = docked
    patient_view(viewer).open_slide(stained(make_slide, "violet", 1))
    assert not controls.preview_box.isEnabled()
    changes = []
    controls.changed.connect(lambda: changes.append(controls.value()))
    controls.set_value("macenko")
    settle(qtbot, controls)
    assert changes == ["macenko"]
    assert controls.swatches.isVisible()
    away = stain_distance_deg(controls.transfer.source, REFERENCE_STAIN.vectors)
    assert controls.distance.text() == f"{away:.0f}° from the reference"
    known = (CENTRES[1].haematoxylin, CENTRES[1].eosin)
    controls.set_model_stain(known)
    assert controls.transfer.target == target_stain(known)
    assert "the model knew" in controls.distance.text()

    controls.set_value("reinhard")
    settle(qtbot, controls)
    assert controls.transfer.method == "reinhard"
    assert not controls.swatches.isVisible()
    controls.set_value("none")
    assert controls.transfer is None


def test_each_slide_has_its_own_stain(docked, controls, make_slide, qtbot):
    viewer, _, _ = docked
    view = patient_view(viewer)
    controls.set_value("macenko")
    controls.preview_box.setChecked(True)
    transfers = []
    for name, centre in (("violet", 1), ("brown", 4)):
        view.open_slide(stained(make_slide, name, centre))
        settle(qtbot, controls)
        transfers.append(controls.transfer)
        previews = [one for one in viewer.layers if "stain preview" in one.name]
        assert previews == [controls.preview.layer]
        assert previews[0].metadata["napari_camelyon"]["slide"] == name
    assert stain_distance_deg(transfers[0].source, transfers[1].source.vectors) > 8
    view.show("violet")
    assert controls.transfer == transfers[0]  # at once: it was kept
    settle(qtbot, controls)
    assert sum("stain preview" in one.name for one in viewer.layers) == 1
    assert controls.preview_box.isChecked()


def test_the_layer_taken_away_by_hand_stays_away(docked, controls, make_slide, qtbot):
    viewer, _, _ = docked
    patient_view(viewer).open_slide(stained(make_slide, "violet", 1))
    controls.set_value("macenko")
    controls.preview_box.setChecked(True)
    settle(qtbot, controls)
    viewer.layers.remove(controls.preview.layer)
    assert not controls.preview_box.isChecked()
    camera(viewer).zoom *= 1.5
    settle(qtbot, controls)
    assert len(viewer.layers) == 1
    controls.preview_box.click()
    settle(qtbot, controls)
    assert len(viewer.layers) == 2


def test_a_slide_without_stain_says_why(docked, controls, tissue_slide, qtbot):
    viewer, _, _ = docked
    patient_view(viewer).open_slide(tissue_slide())  # pale, of one pink
    controls.set_value("macenko")
    controls.preview_box.setChecked(True)
    settle(qtbot, controls)
    assert controls.transfer is None
    assert "cannot be found" in controls.note.text()
    assert controls.note.isVisible()
    assert controls.preview.layer is None


def test_a_view_beside_the_slide_previews_nothing(docked, controls, make_slide, qtbot):
    viewer, _, _ = docked
    patient_view(viewer).open_slide(stained(make_slide, "violet", 1))
    camera(viewer).center = (0, 90_000, 90_000)
    controls.set_value("macenko")
    controls.preview_box.setChecked(True)
    settle(qtbot, controls)
    assert controls.preview.layer is None
    assert_allclose(controls.transfer.target.strengths, REFERENCE_STAIN.strengths)
    assert isinstance(controls.transfer.source, StainFit)


def test_the_stain_is_looked_for_on_the_tissue_that_was_chosen(docked, controls, make_slide, qtbot):
    """Half of this slide is of another laboratory; the person leaves that half out."""
    viewer, _, _ = docked
    view = patient_view(viewer)
    halves = []
    for name, centre in (("violet", 1), ("brown", 4)):
        with open_slide(stained(make_slide, name, centre)) as slide:
            halves.append(slide.read(0, 0, 800, 1400))
    path = make_slide(np.hstack(halves), name="both", mpp=MPP, factors=(1, 2, 4))
    node = view.open_slide(path)
    controls.set_value("macenko")
    settle(qtbot, controls)
    of_both = controls.transfer.source
    choice = tissue_choice(node.slide)
    choice.mask.values[:, choice.mask.values.shape[1] // 2 :] = False
    node.tissue = choice
    view.tissue_changed.emit("both")
    settle(qtbot, controls)
    of_one = controls.transfer.source
    assert of_one == fit_slide_stain(node.slide, choice.mask)
    assert stain_distance_deg(of_one, of_both.vectors) > 2
