"""The dense form of a ResNet against the network itself, patch by patch."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from napari_camelyon.cohort import PredictRequest, predict_slide
from napari_camelyon.errors import ModelError
from napari_camelyon.inference import run, units
from napari_camelyon.inference.dense import require_dense
from napari_camelyon.models import Model, with_method
from napari_camelyon.models.dense_resnet import DenseResNet
from napari_camelyon.slides import open_slide, read_resampled
from napari_camelyon.specs import ModelSpec
from napari_camelyon.tissue import plan_patches

PATCH_PX = 128


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(5)
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        network.fc.weight.mul_(4)  # without training the outputs are all but constant
    spec = ModelSpec("r", PATCH_PX, 0.5, class_names=("a", "b", "c"), tumour_class=2)
    return Model(spec, network.eval(), tmp_path_factory.mktemp("m") / "r.pt", "0")


@pytest.fixture(scope="module")
def textured(make_slide):
    rng = np.random.default_rng(11)
    coarse = rng.integers(60, 230, (40, 44, 3), dtype=np.uint8)
    return make_slide(coarse.repeat(16, 0).repeat(16, 1), name="resnet", mpp=0.5)


def values_of(slide, model, plan):
    heatmap = list(run(slide, model, plan, device="cpu"))[-1].heatmap
    return heatmap.values.copy(), heatmap.method


def test_a_patch_alone_gives_what_the_network_gives(model):
    dense = with_method(model, "dense").module
    pictures = torch.randn(2, 3, PATCH_PX, PATCH_PX)
    with torch.inference_mode():
        expected = model.module(pictures)
        torch.testing.assert_close(dense(pictures), expected)
        logits = dense.dense(pictures)
    assert logits.shape[2:] == (4, 4)
    torch.testing.assert_close(logits.mean((2, 3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("blocks", "margin_px"), [([2, 2, 2, 2], 224), ([3, 4, 6, 3], 480)])
def test_margin_is_as_wide_as_an_output_sees(blocks, margin_px):
    dense = DenseResNet(ResNet(BasicBlock, blocks).eval(), 224)
    assert dense.margin_px == margin_px
    # Ones everywhere and no normalisation: every pixel that can matter does.
    for part in dense.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.constant_(part.weight, 1 / part.weight[0].numel())
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    side = 32 * (2 * margin_px // 32 + 3)
    inputs = torch.ones(1, 3, 64, side, requires_grad=True)
    middle = margin_px // 32 + 1
    dense.dense(inputs)[0, 0, 0, middle].backward()
    columns = torch.nonzero(inputs.grad.abs().sum(dim=(0, 1, 2)))
    first, last = int(columns.min()), int(columns.max())
    assert 32 * middle - margin_px <= first < 32 * middle - margin_px + 64
    assert last < 32 * (middle + 1) + margin_px


def test_values_do_not_depend_on_how_blocks_are_cut(textured, model, monkeypatch):
    dense = with_method(model, "dense")
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec, stride_um=16)
        large, method = values_of(slide, dense, plan)
        monkeypatch.setattr(units, "BLOCK_PX", 200)
        small, _ = values_of(slide, dense, plan)
    assert method == "dense"
    np.testing.assert_allclose(small, large, atol=1e-4)


def test_values_are_those_of_the_network_with_the_tissue_around_each_patch(textured, model):
    dense = with_method(model, "dense")
    margin_px, network = dense.dense_margin_px, model.module
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    with open_slide(textured) as slide:
        plan = plan_patches(slide, model.spec, stride_um=32)
        values, _ = values_of(slide, dense, plan)
        side = PATCH_PX + 2 * margin_px
        computed = np.argwhere(np.isfinite(values))
        for row, column in computed[:: len(computed) // 4]:
            x, y = (plan.grid.corners((row, column)) - margin_px).tolist()
            seen = read_resampled(slide, x, y, side, side, side, side)
            inputs = torch.from_numpy(((seen / 255 - mean) / std).astype(np.float32))
            with torch.inference_mode():
                features = network.relu(network.bn1(network.conv1(inputs.permute(2, 0, 1)[None])))
                features = network.layer2(network.layer1(network.maxpool(features)))
                features = network.layer4(network.layer3(features))
                first = margin_px // 32
                inside = features[..., first : first + 4, first : first + 4].mean((2, 3))
                expected = network.fc(inside).softmax(1)[0, 2].item()
            assert values[row, column] == pytest.approx(expected, abs=1e-4)
        assert np.nanstd(values) > 0.005, "a test on constant values would show nothing"
        _, method = values_of(slide, with_method(model, "auto"), plan)
    assert method == "patches", "a ResNet is run densely only where that was chosen"


def test_what_has_no_dense_form_is_told(textured, model):
    class Squeezed(BasicBlock):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.se = nn.AdaptiveAvgPool2d(1)

    attention = ResNet(Squeezed, [1, 1, 1, 1]).eval()
    with pytest.raises(ModelError, match="holds a layer"):
        with_method(replace(model, module=attention), "dense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.script(model.module)
    with pytest.raises(ModelError, match="a program"):
        with_method(replace(model, module=program, kind="torchscript"), "dense")
    with pytest.raises(ModelError, match="no whole number"):
        with_method(replace(model, spec=replace(model.spec, patch_px=100)), "dense")
    with open_slide(textured) as slide:
        odd = plan_patches(slide, model.spec, stride_um=20).grid
        require_dense(with_method(model, "dense"), plan_patches(slide, model.spec).grid)
    with pytest.raises(ModelError, match="stride of 16 µm"):
        require_dense(with_method(model, "dense"), odd)
    with pytest.raises(ModelError, match="no dense form"):
        require_dense(model, odd)


def test_a_person_chooses_the_method_of_a_run(textured, model):
    def methods(**chosen):
        request = PredictRequest(stride_um=32, device="cpu", min_tissue_fraction=0, **chosen)
        steps = list(predict_slide(slide, request, load=lambda *_, **__: model))
        return steps[0].facts.numeric_path["method"], steps[-1].heatmap.method

    with open_slide(textured) as slide:
        assert methods(engine="torch", precision="fp32") == ("patches", "patches")
        assert methods(method="dense") == ("dense", "dense")
        with pytest.raises(ModelError, match="torch computes in fp32"):
            methods(method="dense", precision="bf16")
