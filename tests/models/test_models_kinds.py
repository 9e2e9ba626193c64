"""Networks of every kind load and compute what they computed where they were made."""

import copy
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch

from made_models import (
    Brightness,
    brightness,
    write_exported,
    write_onnx,
    write_timm_folder,
    write_torchscript,
    write_wsinfer_model,
)
from napari_camelyon.errors import ModelError, TumourClassError
from napari_camelyon.models import load_model
from napari_camelyon.models.networks_by_name import recognise_network
from napari_camelyon.models.triton_import import import_triton_apart
from napari_camelyon.specs import ModelSpec, write_model_spec

SPEC = ModelSpec("made", patch_px=32, patch_mpp=1.0, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def pictures(count, px=32, seed=1):
    return torch.rand((count, 3, px, px), generator=torch.Generator().manual_seed(seed))


def outputs(module, pixels):
    with torch.inference_mode():
        return module(pixels).numpy()


def said(path, spec=SPEC):
    write_model_spec(spec, path.with_suffix(".json"))
    return path


class TestOnnx:
    def test_computes_what_torch_computes_for_any_number_of_patches(self, tmp_path):
        network = brightness()
        model = load_model(said(write_onnx(network, tmp_path / "m.onnx")))
        assert (model.kind, model.has_dropout) == ("onnx", False)
        for count in (1, 2, 5):
            found = outputs(model.module, pictures(count))
            np.testing.assert_allclose(found, outputs(network, pictures(count)), atol=1e-5)

    def test_made_for_one_patch_at_a_time_it_takes_any_number(self, tmp_path):
        network = brightness()
        path = write_onnx(network, tmp_path / "m.onnx", batch=2)
        model = load_model(said(path))
        for count in (1, 2, 5):
            found = outputs(model.module, pictures(count))
            np.testing.assert_allclose(found, outputs(network, pictures(count)), atol=1e-5)

    def test_can_be_copied_and_sent_to_another_process(self, tmp_path):
        module = load_model(said(write_onnx(brightness(), tmp_path / "m.onnx"))).module
        expected = outputs(module, pictures(3))
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            np.testing.assert_array_equal(outputs(other, pictures(3)), expected)

    def test_damaged_foreign_and_undescribed_files_are_explained(self, tmp_path):
        (tmp_path / "cut.onnx").write_bytes(b"not an onnx file")
        with pytest.raises(ModelError, match="cannot be read"):
            load_model(said(tmp_path / "cut.onnx"))
        path = write_onnx(brightness(), tmp_path / "m.onnx")
        with pytest.raises(ModelError, match=r"Nothing says what .*m\.onnx expects.*m\.json"):
            load_model(path)
        flat = Flat().eval()
        torch.onnx.export(
            flat, (torch.zeros(1, 12),), str(tmp_path / "f.onnx"), dynamo=True, verbose=False
        )
        with pytest.raises(ModelError, match="expected one input of float32 pictures"):
            load_model(said(tmp_path / "f.onnx"))

    def test_patches_of_another_size_than_it_was_made_for_are_refused(self, tmp_path):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
        path = write_onnx(network, tmp_path / "m.onnx")
        spec = ModelSpec("made", patch_px=48, patch_mpp=1.0)
        with pytest.raises(ModelError, match=r"m\.onnx failed on a batch of \(2, 3, 48, 48\)"):
            load_model(said(path, spec))


class TestExported:
    def test_computes_what_torch_computes_for_any_number_of_patches(self, tmp_path):
        network = brightness()
        model = load_model(said(write_exported(network, tmp_path / "m.pt2")))
        assert (model.kind, model.has_dropout) == ("exported", False)
        assert not model.module.eval().training
        for count in (1, 2, 5):
            np.testing.assert_allclose(
                outputs(model.module, pictures(count)), outputs(network, pictures(count)), atol=1e-6
            )

    def test_made_for_two_patches_at_a_time_it_takes_any_number(self, tmp_path):
        network = brightness()
        model = load_model(said(write_exported(network, tmp_path / "m.pt2", batch=2)))
        for count in (1, 2, 5):
            np.testing.assert_allclose(
                outputs(model.module, pictures(count)), outputs(network, pictures(count)), atol=1e-6
            )

    def test_a_network_of_torchvision_passes_the_inspection(self, tmp_path):
        import_triton_apart()
        from torchvision.models import resnet18

        network = resnet18(num_classes=2).eval()
        model = load_model(said(write_exported(network, tmp_path / "m.pt2")))
        np.testing.assert_allclose(
            outputs(model.module, pictures(2)), outputs(network, pictures(2)), atol=1e-5
        )

    def test_damaged_files_are_explained(self, tmp_path):
        (tmp_path / "cut.pt2").write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(ModelError, match=r"no readable program of torch\.export"):
            load_model(said(tmp_path / "cut.pt2"))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tree: tree.update(guards_code=["print('run')"]), "condition"),
            (lambda tree: tree.update(guards_code=["().__class__"]), "condition"),
            (lambda tree: _node(tree).update(target="torch.os.system"), "torch.os.system"),
            (lambda tree: _node(tree).update(target="torch.ops.aten.from_file"), "from_file"),
            (lambda tree: tree.update(expr_str="__import__('os')"), "size"),
            (lambda tree: _node(tree)["inputs"][0].update(name="a=1), print("), "names something"),
        ],
    )
    def test_what_could_run_code_is_refused_before_torch_sees_it(self, tmp_path, change, message):
        path = write_exported(brightness(), tmp_path / "m.pt2")
        rewrite(path, change)
        with pytest.raises(ModelError, match=rf"{message}.*could run code.*--allow-code"):
            load_model(said(path))

    def test_pickles_and_libraries_inside_are_refused(self, tmp_path):
        path = write_exported(brightness(), tmp_path / "m.pt2")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("m/data/aotinductor/model/cpu.so", b"")
        with pytest.raises(ModelError, match=r"aotinductor.*could run code"):
            load_model(said(path))
        path = write_exported(brightness(), tmp_path / "p.pt2")
        rewrite(path, lambda _tree: None, sample=pickle.dumps(Harmful()))
        with pytest.raises(ModelError, match="other things than tensors"):
            load_model(said(path))


class TestTorchScript:
    def test_programs_that_write_or_map_files_are_refused(self, tmp_path):
        for name, writer in (("save", Saves()), ("from_file", Maps())):
            path = tmp_path / f"{name}.pt"
            write_torchscript(writer, path)
            with pytest.raises(ModelError, match=f"calls {name}, which reads or writes files"):
                load_model(said(path))
        assert not (tmp_path / "written").exists()

    @pytest.mark.parametrize(
        "code",
        [
            "    torch.save(x, 'f')",
            "    torch . # hidden\n  save \\\n (x)",
            "    _0 = f('#', torch.save(x))",
            "    _0 = ops.aten.from_file('f')",
        ],
    )
    def test_no_way_of_writing_hides_an_operator(self, tmp_path, code):
        path = write_torchscript(brightness(), tmp_path / "m.pt")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("m/code/__torch__/other.py", code)
        with pytest.raises(ModelError, match="reads or writes files"):
            load_model(said(path))

    def test_an_archive_with_two_files_of_one_name_is_refused(self, tmp_path):
        for path in (
            write_torchscript(brightness(), tmp_path / "m.pt"),
            write_exported(brightness(), tmp_path / "m.pt2"),
        ):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("byteorder"))
            with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
                warnings.simplefilter("ignore")
                archive.writestr(name, b"little")
            with pytest.raises(ModelError, match="two files of one name"):
                load_model(said(path))

    def test_a_program_beside_a_specification_needs_no_folder(self, tmp_path):
        network = brightness()
        model = load_model(said(write_torchscript(network, tmp_path / "own.pt")))
        assert (model.kind, model.has_dropout) == ("torchscript", True)
        np.testing.assert_allclose(
            outputs(model.module, pictures(3)), outputs(network, pictures(3)), atol=1e-6
        )

    def test_weights_taken_out_of_a_folder_mean_the_folder(self, tmp_path):
        folder = write_wsinfer_model(tmp_path / "dark", class_names=("Other", "Metastasis"))
        model = load_model(folder / "torchscript_model.pt")
        assert model.spec == load_model(folder).spec
        assert model.spec.tumour_class == 1

    @pytest.mark.parametrize("names", [("a",), ("a", "b", "tumour")])
    def test_a_configuration_that_contradicts_itself_is_refused(self, tmp_path, names):
        folder = write_wsinfer_model(tmp_path / "m")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"class_names": names}))
        with pytest.raises(ModelError, match=rf"num_classes 2, but names {len(names)} classes"):
            load_model(folder)


class TestHeads:
    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_any_number_of_outputs(self, tmp_path, count):
        names = ("other", "stroma", "fat", "tumour")[-count:] if count > 1 else ("other", "tumour")
        spec = ModelSpec("made", 32, 1.0, class_names=names, tumour_class=len(names) - 1)
        model = load_model(said(write_onnx(brightness(count), tmp_path / "m.onnx"), spec))
        assert model.spec.activation == ("sigmoid" if count == 1 else "softmax")
        assert outputs(model.module, pictures(3)).shape == (3, count)

    def test_several_sigmoids_stay_as_they_are_said(self, tmp_path):
        spec = ModelSpec("made", 32, 1.0, activation="sigmoid")
        path = said(write_onnx(brightness(2), tmp_path / "m.onnx"), spec)
        assert load_model(path).spec.activation == "sigmoid"

    def test_another_number_of_outputs_than_named_is_refused(self, tmp_path):
        path = said(write_onnx(brightness(3), tmp_path / "m.onnx"))
        with pytest.raises(ModelError, match=r"3 outputs.*names 2 classes"):
            load_model(path)

    def test_probabilities_are_not_taken_for_logits(self, tmp_path):
        network = torch.nn.Sequential(brightness(3), torch.nn.Softmax(dim=1)).eval()
        names = ("other", "stroma", "tumour")
        spec = ModelSpec("made", 32, 1.0, class_names=names, tumour_class=2)
        path = said(write_exported(network, tmp_path / "m.pt2"), spec)
        with pytest.raises(ModelError, match=r'probabilities already.*"activation": "none"'):
            load_model(path)
        write_model_spec(
            ModelSpec("m", 32, 1.0, class_names=names, tumour_class=2, activation="none"),
            path.with_suffix(".json"),
        )
        model = load_model(path)
        assert model.spec.activation == "softmax"
        again = torch.from_numpy(outputs(model.module, pictures(4))).softmax(1)
        np.testing.assert_allclose(again, outputs(network, pictures(4)), atol=1e-6)

    def test_one_probability_a_patch(self, tmp_path):
        network = torch.nn.Sequential(brightness(1), torch.nn.Sigmoid()).eval()
        spec = ModelSpec("made", 32, 1.0, activation="none")
        model = load_model(said(write_exported(network, tmp_path / "m.pt2"), spec))
        assert model.spec.activation == "sigmoid"
        again = torch.from_numpy(outputs(model.module, pictures(4))).sigmoid()
        np.testing.assert_allclose(again, outputs(network, pictures(4)), atol=1e-6)

    def test_a_map_instead_of_a_row_is_refused(self, tmp_path):
        path = said(write_exported(torch.nn.Conv2d(3, 2, 3).eval(), tmp_path / "m.pt2"))
        with pytest.raises(ModelError, match=r"returns \(2, 2, 30, 30\) for two patches"):
            load_model(path)


class TestStateDicts:
    @pytest.mark.parametrize(
        "name",
        ["resnet50", "wide_resnet50_2", "densenet121", "mobilenet_v3_small", "efficientnet_b0"],
    )
    def test_networks_of_torchvision_show_in_their_tensors(self, name):
        import_triton_apart()
        from torchvision.models import get_model

        with torch.device("meta"):
            state = get_model(name, weights=None, num_classes=3).state_dict()
        assert recognise_network(state) == name

    def test_another_network_needs_a_specification_and_computes_the_same(self, tmp_path):
        import_triton_apart()
        from torchvision.models import mobilenet_v3_small

        network = mobilenet_v3_small(num_classes=2).eval()
        torch.save(network.state_dict(), tmp_path / "m.pt")
        with pytest.raises(ModelError, match="Nothing says"):
            load_model(tmp_path / "m.pt")
        model = load_model(said(tmp_path / "m.pt"))
        assert model.has_dropout
        np.testing.assert_allclose(
            outputs(model.module, pictures(2)), outputs(network, pictures(2)), atol=1e-5
        )

    def test_a_network_that_does_not_show_is_named_in_the_specification(self, tmp_path):
        network = timm_network("test_vit", 2)
        torch.save(network.state_dict(), tmp_path / "m.pth")
        spec = ModelSpec("made", 160, 0.5)
        with pytest.raises(ModelError, match="Name the network"):
            load_model(said(tmp_path / "m.pth", spec))
        model = load_model(
            said(tmp_path / "m.pth", ModelSpec("m", 160, 0.5, architecture="timm:test_vit"))
        )
        np.testing.assert_allclose(
            outputs(model.module, pictures(2, 160)), outputs(network, pictures(2, 160)), atol=1e-5
        )
        with pytest.raises(ModelError, match=r"Neither torchvision nor timm .* 'vit_of_nobody'"):
            load_model(
                said(tmp_path / "m.pth", ModelSpec("m", 160, 0.5, architecture="vit_of_nobody"))
            )

    def test_a_backbone_alone_is_refused(self, tmp_path):
        import_triton_apart()
        from torchvision.models import resnet18

        state = resnet18().state_dict()
        torch.save({k: v for k, v in state.items() if "fc" not in k}, tmp_path / "m.pt")
        with pytest.raises(ModelError, match="no linear classifier named fc; a backbone alone"):
            load_model(tmp_path / "m.pt")

    def test_weights_that_are_no_numbers_are_refused(self, tmp_path):
        import_triton_apart()
        from torchvision.models import resnet18

        state = resnet18(num_classes=2).state_dict()
        state["layer2.0.conv1.weight"][0, 0, 0, 0] = torch.nan
        torch.save(state, tmp_path / "m.pt")
        with pytest.raises(ModelError, match=r"no numbers \(in layer2\.0\.conv1\.weight\)"):
            load_model(tmp_path / "m.pt")


class TestTimm:
    @pytest.mark.parametrize("safe", [True, False])
    def test_a_folder_of_the_hub_computes_what_timm_computes(self, tmp_path, safe):
        network = timm_network("resnet18", 2)
        folder = write_timm_folder(
            tmp_path / "pcam",
            "resnet18",
            network.state_dict(),
            safe=safe,
            label_names=["normal", "tumor"],
        )
        spec = ModelSpec("pcam", 96, 1.0, class_names=("normal", "tumor"))
        model = load_model(folder, spec=spec)
        assert model.kind == "torch"
        np.testing.assert_allclose(
            outputs(model.module, pictures(2, 96)), outputs(network, pictures(2, 96)), atol=1e-5
        )

    def test_other_networks_are_built_by_timm_with_what_the_configuration_says(self, tmp_path):
        network = timm_network("test_resnet", 3, drop_rate=0.2)
        folder = write_timm_folder(
            tmp_path / "m",
            "test_resnet",
            network.state_dict(),
            outputs=3,
            patch_px=160,
            label_names=["a", "Metastasis", "b"],
            model_args={"drop_rate": 0.2},
        )
        from napari_camelyon.models.timm_config import read_timm_spec

        spec = read_timm_spec(folder / "config.json", patch_mpp=0.5)
        assert (spec.patch_px, spec.tumour_class, spec.mean) == (160, 1, (0.0, 0.0, 0.0))
        model = load_model(folder, spec=spec)
        assert model.module.drop_rate == 0.2
        np.testing.assert_allclose(
            outputs(model.module, pictures(2, 160)), outputs(network, pictures(2, 160)), atol=1e-5
        )

    def test_the_spacing_and_the_tumour_class_are_asked_for(self, tmp_path):
        from napari_camelyon.models.loading import open_model

        network = timm_network("resnet18", 2)
        folder = write_timm_folder(tmp_path / "m", "resnet18", network.state_dict())
        with pytest.raises(ModelError, match=r"does not say at which µm/px.*--patch-mpp"):
            load_model(folder)
        with pytest.raises(TumourClassError, match="--tumour-class") as caught:
            open_model(folder, patch_mpp=1.0)
        assert caught.value.class_names == ("class 0", "class 1")
        model = open_model(folder, patch_mpp=1.0, tumour_class="class 1")
        assert (model.spec.tumour_class, model.spec.patch_mpp) == (1, 1.0)

    def test_one_output_without_names_is_asked_for_too(self, tmp_path):
        from napari_camelyon.models.loading import open_model

        state = timm_network("resnet18", 1).state_dict()
        folder = write_timm_folder(tmp_path / "m", "resnet18", state, outputs=1)
        with pytest.raises(TumourClassError):
            open_model(folder, patch_mpp=1.0)
        model = open_model(folder, patch_mpp=1.0, tumour_class="positive")
        assert (model.spec.activation, model.spec.tumour_class) == ("sigmoid", 1)

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ({"num_classes": "x"}, "incomplete or malformed"),
            ({"label_names": ["a", "b", "c"]}, "should name 2 classes"),
            ({"model_args": [1]}, "model_args"),
            (
                {"pretrained_cfg": {"input_size": [1, 96, 96], "mean": [0], "std": [1]}},
                "squares of RGB",
            ),
        ],
    )
    def test_configurations_that_cannot_be_are_explained(self, tmp_path, entries, message):
        from napari_camelyon.models.loading import open_model

        folder = write_timm_folder(tmp_path / "m", "resnet18", {"a": torch.zeros(1)}, **entries)
        with pytest.raises(ModelError, match=message):
            open_model(folder, patch_mpp=1.0, tumour_class="class 1")

    def test_a_folder_with_nothing_that_is_said_is_explained(self, tmp_path):
        torch.save(brightness().state_dict(), tmp_path / "model.pt")
        with pytest.raises(ModelError, match=r"beside model\.pt it should hold"):
            load_model(tmp_path)


class TestPickles:
    def test_a_whole_network_is_loaded_only_where_that_was_allowed(self, tmp_path):
        network = brightness()
        torch.save(network, tmp_path / "whole.pt")
        with pytest.raises(ModelError, match=r"could run code.*--allow-code"):
            load_model(said(tmp_path / "whole.pt"))
        model = load_model(tmp_path / "whole.pt", allow_pickle=True)
        assert isinstance(model.module, Brightness)
        assert (model.kind, model.has_dropout) == ("torch", True)
        np.testing.assert_array_equal(
            outputs(model.module, pictures(2)), outputs(network, pictures(2))
        )

    def test_objects_whose_code_is_not_here_are_explained(self, tmp_path):
        path = tmp_path / "whole.pt"
        torch.save(brightness(), path)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"made_models", b"gone_models"))
        with pytest.raises(ModelError):
            load_model(said(path), allow_pickle=True)


class Harmful:
    def __reduce__(self):
        return (print, ("this code must not run",))


class Flat(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels * 2


class Saves(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        torch.save(pixels, "written")
        return pixels.mean((2, 3))


class Maps(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 4) + pixels.mean()


def timm_network(name, outputs_, **arguments):
    import_triton_apart()
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(2)
        return timm.create_model(name, num_classes=outputs_, **arguments).eval()


def _node(tree):
    return tree["graph_module"]["graph"]["nodes"][0]


def rewrite(path, change, sample=None):
    """Write an exported program again, its graph changed, or its example replaced."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, content in members.items():
        if name.endswith("models/model.json"):
            tree = json.loads(content)
            change(tree)
            members[name] = json.dumps(tree).encode()
        if sample is not None and name.endswith("sample_inputs/model.pt"):
            members[name] = sample
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
