"""Loading the models of this field, and refusing what does not fit in a sentence."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch

from made_models import write_wsinfer_model
from napari_camelyon.errors import ModelError
from napari_camelyon.inference import predict_patches
from napari_camelyon.models import Model, available_devices, choose_device, load_model
from napari_camelyon.models.registry import BUNDLED_NAME
from napari_camelyon.models.triton_import import import_triton_apart
from napari_camelyon.models.wsinfer import read_wsinfer_spec
from napari_camelyon.specs import ModelSpec, write_model_spec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def resnet18():
    import_triton_apart()
    from torchvision.models import resnet18

    torch.manual_seed(3)
    return resnet18


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def save(module, path):
    torch.save(module.state_dict(), path)
    return path


def test_bundled_model_predicts_and_says_what_it_is():
    model = load_model()
    spec = model.spec
    assert "synthetic" in spec.description
    patches = np.full((2, spec.patch_px, spec.patch_px, 3), 240, dtype=np.uint8)
    values = predict_patches(model, patches, CPU)
    assert values.shape == (2,)
    assert values.dtype == np.float32
    assert (values < spec.threshold).all(), "glass is no tumour"
    assert model.path.stat().st_size <= 2_000_000
    assert len(model.sha256) == 64


def test_resnet18_with_two_outputs_equals_torchvision(resnet18, patches, tmp_path):
    network = resnet18(num_classes=2).eval()
    model = load_model(save(network, tmp_path / "mine.pt"))
    assert (model.spec.patch_px, model.spec.patch_mpp) == (224, 0.972)
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    inputs = torch.from_numpy(((patches / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network(inputs).softmax(1)[:, 1].numpy()
    assert predict_patches(model, patches, CPU) == pytest.approx(expected, abs=1e-5)


def test_resnet18_with_one_output_is_a_sigmoid(resnet18, patches, tmp_path):
    network = resnet18(num_classes=1).eval()
    model = load_model(save(network, tmp_path / "mine.pth"))
    assert model.spec.activation == "sigmoid"
    mean, std = np.array(model.spec.mean), np.array(model.spec.std)
    inputs = torch.from_numpy(((patches / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network(inputs).sigmoid()[:, 0].numpy()
    assert predict_patches(model, patches, CPU) == pytest.approx(expected, abs=1e-5)


def test_wrapped_state_dicts_and_safetensors_give_the_same(resnet18, patches, tmp_path):
    from safetensors.torch import save_file

    network = resnet18(num_classes=2).eval()
    plain = predict_patches(load_model(save(network, tmp_path / "a.pt")), patches, CPU)
    wrapped = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "b.pt")
    save_file(network.state_dict(), tmp_path / "c.safetensors")
    for name in ("b.pt", "c.safetensors"):
        found = predict_patches(load_model(tmp_path / name), patches, CPU)
        np.testing.assert_array_equal(found, plain)


def test_the_class_that_is_named_counts_with_the_bundled_model_as_well():
    patches = np.full((2, 128, 128, 3), (70, 20, 110), np.uint8)
    plain, same, other = (
        predict_patches(load_model(tumour_class=name), patches, CPU)
        for name in (None, "tumour", "normal")
    )
    np.testing.assert_array_equal(plain, same)
    assert load_model(BUNDLED_NAME, tumour_class="normal").spec.tumour_class == 0
    np.testing.assert_allclose(other, 1 - plain, atol=1e-6)
    with pytest.raises(ModelError, match="no class 'metastasis'; it has normal, tumour"):
        load_model(tumour_class="metastasis")


def test_specification_beside_the_weights_is_used(resnet18, tmp_path):
    path = save(resnet18(num_classes=3), tmp_path / "three.pt")
    with pytest.raises(ModelError, match=r"3 outputs.*three\.json"):
        load_model(path)
    names = ("normal", "stroma", "tumour")
    spec = ModelSpec("three", 96, 0.972, class_names=names, tumour_class=2)
    write_model_spec(spec, tmp_path / "three.json")
    assert load_model(path).spec == spec
    assert load_model(path, tumour_class="stroma").spec.tumour_class == 1
    with pytest.raises(ModelError, match="no class 'metastasis'"):
        load_model(path, tumour_class="metastasis")


def test_wsinfer_folder_loads_and_predicts(tmp_path):
    folder = write_wsinfer_model(tmp_path / "dark", patch_px=32, mpp=1.0)
    model = load_model(folder)
    assert (model.spec.patch_px, model.spec.patch_mpp) == (32, 1.0)
    patches = np.full((2, 32, 32, 3), 255, dtype=np.uint8)
    patches[1, 12:20, 12:20] = 0
    assert predict_patches(model, patches, CPU) == pytest.approx([0, 1], abs=1e-3)


def test_wsinfer_resize_becomes_patch_and_spacing(tmp_path):
    transforms = [
        {"name": "Resize", "arguments": {"size": 224}},
        {"name": "ToTensor"},
        {"name": "Normalize", "arguments": {"mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2]}},
    ]
    folder = write_wsinfer_model(tmp_path / "m", patch_px=350, mpp=0.25, transforms=transforms)
    spec = read_wsinfer_spec(folder / "config.json")
    assert spec.patch_px == 224
    assert spec.field_um == pytest.approx(87.5)
    assert spec.mean == (0.7, 0.6, 0.7)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [(("Other", "Tumor"), 1), (("breast-cancer", "no-cancer"), 0), (("a", "b"), None)],
)
def test_wsinfer_tumour_class_comes_from_the_names_or_is_asked_for(tmp_path, names, wanted):
    folder = write_wsinfer_model(tmp_path / "m", class_names=names)
    if wanted is not None:
        assert load_model(folder).spec.tumour_class == wanted
        return
    with pytest.raises(ModelError, match="--tumour-class"):
        load_model(folder)
    assert load_model(folder, tumour_class="a").spec.tumour_class == 0


def test_unknown_transforms_are_refused(tmp_path):
    folder = write_wsinfer_model(tmp_path / "m", transforms=[{"name": "HEDJitter"}])
    with pytest.raises(ModelError, match="HEDJitter"):
        load_model(folder)


class Harmful:
    def __reduce__(self):
        return (print, ("this code must not run",))


def test_pickled_code_is_never_run(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Harmful()}, path)
    with pytest.raises(ModelError, match="could run code"):
        load_model(path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(ModelError):
        load_model(tmp_path / "plain.pt")
    assert "must not run" not in capsys.readouterr().out


def test_keys_that_do_not_fit_are_named(resnet18, tmp_path):
    state = resnet18(num_classes=2).state_dict()
    state["extra.weight"] = torch.zeros(2)
    del state["bn1.weight"]
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"1 missing \(bn1\.weight\); 1 unknown \(extra\.weight\)"):
        load_model(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv.weight": torch.zeros(1)}, "not those of a torchvision ResNet"),
        ([1, 2, 3], "no state dict"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m.pt")


def test_missing_and_damaged_files_are_explained(tmp_path):
    with pytest.raises(ModelError, match="There is no model"):
        load_model(tmp_path / "nothing.pt")
    for name in ("cut.pt", "cut.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(ModelError, match=r"cannot be read|could run code"):
            load_model(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="is no model"):
        load_model(tmp_path / "folder")
    folder = write_wsinfer_model(tmp_path / "ws")
    (folder / "torchscript_model.pt").write_bytes(b"cut")
    with pytest.raises(ModelError, match="TorchScript"):
        load_model(folder)
    (folder / "config.json").write_text(json.dumps({"patch_size_pixels": 3}))
    with pytest.raises(ModelError, match="incomplete"):
        load_model(folder)


def test_a_device_that_is_not_there_is_refused():
    assert choose_device().type in {device.split(":")[0] for device in available_devices()}
    with pytest.raises(ModelError, match="not available"):
        choose_device("cuda:77")


def test_dropout_that_can_be_switched_on_is_told(tmp_path):
    script = torch.jit.script
    layers = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    spec = ModelSpec("m", 2, 1.0)
    off = torch.nn.Sequential(torch.nn.Dropout(0), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    expected = {"eager": True, "off": False, "scripted": True, "traced": False}
    found = {
        "eager": Model(spec, layers, tmp_path, ""),
        "off": Model(spec, off, tmp_path, ""),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        programs = {
            "scripted": script(layers),
            "traced": torch.jit.trace(layers.eval(), torch.zeros(1, 3, 2, 2)),
        }
        for name, program in programs.items():
            torch.jit.save(program, str(tmp_path / name))
            loaded = torch.jit.load(str(tmp_path / name))
            found[name] = Model(spec, loaded, tmp_path, "", kind="torchscript")
    assert {name: model.has_dropout for name, model in found.items()} == expected
    assert not load_model().has_dropout
