"""Models with names: kept whole, found offline, held to their hash; public ones fetched once."""

import json
import threading
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from made_models import (
    brightness,
    write_exported,
    write_onnx,
    write_timm_folder,
    write_wsinfer_model,
)
from napari_camelyon.errors import ModelError, TumourClassError
from napari_camelyon.models import (
    add_model,
    list_models,
    load_model,
    model_info,
    remove_model,
)
from napari_camelyon.models.hub import card_licence
from napari_camelyon.models.known import KNOWN_MODELS
from napari_camelyon.models.triton_import import import_triton_apart
from napari_camelyon.specs import ModelSpec, write_model_spec

COMMIT = "5" * 40
PCAM = "resnet18.tiatoolbox-pcam"
ZOO = "lymphnodes-tiatoolbox-resnet50.patchcamelyon"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    monkeypatch.setenv("NAPARI_CAMELYON_DATA", str(folder))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no way out to the network."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture(scope="module")
def resnet18():
    import_triton_apart()
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(4)
        return resnet18(num_classes=2).eval()


def predict(model, count=2):
    px = model.spec.patch_px
    pixels = torch.rand((count, 3, px, px), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.module(pixels).numpy()


def in_cache(cache, repository, folder, *, commit=COMMIT):
    """Put a folder's files where the hub's client keeps what it fetched."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    (place / "blobs").mkdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        blob = place / "blobs" / sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / path.name).symlink_to(blob)


class TestAdded:
    def test_a_model_stays_usable_by_name_when_its_file_is_gone(self, tmp_path, resnet18):
        path = tmp_path / "mine.pt"
        torch.save(resnet18.state_dict(), path)
        expected = load_model(path)
        added = add_model(path, licence="CC-BY-4.0")
        path.unlink()
        assert (added.name, added.fetched, added.licence) == ("mine", True, "CC-BY-4.0")
        assert added.sha256 == expected.sha256
        assert added.source == str(path)
        found = load_model("mine")
        assert found.sha256 == expected.sha256
        assert found.spec.licence == "CC-BY-4.0"
        np.testing.assert_array_equal(predict(found), predict(expected))

    def test_what_was_decided_when_it_was_added_is_kept(self, tmp_path):
        folder = write_wsinfer_model(tmp_path / "odd", class_names=("a", "b"))
        with pytest.raises(TumourClassError):
            add_model(folder)
        assert [model.name for model in list_models() if model.added] == []
        add_model(folder, tumour_class="a", name="decided")
        assert load_model("decided").spec.tumour_class == 0
        assert load_model("decided", tumour_class="b").spec.tumour_class == 1

    def test_only_the_files_that_are_needed_are_copied(self, tmp_path, data):
        folder = write_wsinfer_model(tmp_path / "full")
        (folder / "pytorch_model.bin").write_bytes(b"not needed")
        (folder / "slide.svs").write_bytes(b"not needed either")
        add_model(folder)
        kept = sorted(path.name for path in (data / "models" / "full" / "files").iterdir())
        assert kept == ["config.json", "torchscript_model.pt"]

    @pytest.mark.parametrize("kind", ["onnx", "exported"])
    def test_programs_are_kept_with_their_specification(self, tmp_path, kind):
        network = brightness(3)
        spec = ModelSpec(
            "made", 32, 0.5, class_names=("x", "y", "tumour"), tumour_class=2, centre_px=8,
            value_meaning="centre", source="https://example.org/made",
            stain=((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)),
        )  # fmt: skip
        write = write_onnx if kind == "onnx" else write_exported
        path = write(network, tmp_path / ("m.onnx" if kind == "onnx" else "m.pt2"))
        write_model_spec(spec, path.with_suffix(".json"))
        add_model(path, name="kept")
        model = load_model("kept")
        assert (model.kind, model.spec) == (kind, ModelSpec(**{**asdict(spec), "name": "kept"}))

    def test_outputs_that_are_probabilities_stay_so(self, tmp_path):
        network = torch.nn.Sequential(brightness(2), torch.nn.Softmax(dim=1)).eval()
        path = write_exported(network, tmp_path / "m.pt2")
        spec = ModelSpec("made", 32, 0.5, activation="none")
        write_model_spec(spec, path.with_suffix(".json"))
        expected = predict(load_model(path))
        add_model(path, name="shares")
        np.testing.assert_array_equal(predict(load_model("shares")), expected)

    def test_data_beside_an_onnx_file_belongs_to_it(self, tmp_path):
        from napari_camelyon.models.weight_files import weights_sha256

        path = tmp_path / "m.onnx"
        path.write_bytes(b"graph")
        alone = weights_sha256(path)
        (tmp_path / "m.onnx.data").write_bytes(b"weights")
        both = weights_sha256(path)
        (tmp_path / "m.onnx.data").write_bytes(b"others!")
        assert len({alone, both, weights_sha256(path)}) == 3

    def test_weights_that_were_changed_are_refused(self, tmp_path, data):
        add_model(write_wsinfer_model(tmp_path / "m"))
        other = write_wsinfer_model(tmp_path / "other", centre_px=4)
        kept = data / "models" / "m" / "files" / "torchscript_model.pt"
        kept.write_bytes((other / "torchscript_model.pt").read_bytes())
        with pytest.raises(ModelError, match="not those that were added"):
            load_model("m")

    def test_a_damaged_entry_hides_nothing_else_and_can_be_removed(self, tmp_path, data):
        for name in ("a", "b"):
            add_model(write_wsinfer_model(tmp_path / name))
        (data / "models" / "a" / "entry.json").write_text("{")
        listed = {model.name: model for model in list_models()}
        assert "damaged" in (listed["a"].problem or "")
        assert listed["b"].fetched
        with pytest.raises(ModelError, match="entry of the model a is damaged"):
            load_model("a")
        remove_model("a")
        assert "a" not in {model.name for model in list_models()}

    @pytest.mark.parametrize("where", ["../../elsewhere", "/etc/hostname", 7])
    def test_an_entry_that_points_elsewhere_is_damaged(self, tmp_path, data, where):
        add_model(write_wsinfer_model(tmp_path / "m"))
        path = data / "models" / "m" / "entry.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"path": where}))
        with pytest.raises(ModelError, match="entry of the model m is damaged"):
            load_model("m")

    @pytest.mark.parametrize("name", ["", "a b", "../m", ".hidden", "x" * 101, "bundled"])
    def test_names_that_cannot_be_are_refused(self, tmp_path, name):
        folder = write_wsinfer_model(tmp_path / "m")
        if not name:
            assert add_model(folder, name=name).name == "m"
            return
        with pytest.raises(ModelError, match=r"cannot be the name|already"):
            add_model(folder, name=name)

    def test_a_name_is_given_once(self, tmp_path):
        folder = write_wsinfer_model(tmp_path / "m")
        add_model(folder)
        with pytest.raises(ModelError, match=r"named m already.*models remove m"):
            add_model(folder)
        remove_model("m")
        add_model(folder)

    def test_what_does_not_load_is_not_added(self, tmp_path, data):
        folder = write_wsinfer_model(tmp_path / "m")
        (folder / "torchscript_model.pt").write_bytes(b"cut")
        with pytest.raises(ModelError, match=r"m/torchscript_model\.pt"):
            add_model(folder)
        assert not (data / "models").exists() or not list((data / "models").iterdir())

    def test_a_pickle_once_allowed_is_allowed_for_these_weights(self, tmp_path):
        path = tmp_path / "whole.pt"
        torch.save(brightness(), path)
        write_model_spec(ModelSpec("whole", 32, 1.0), tmp_path / "whole.json")
        with pytest.raises(ModelError, match="--allow-code"):
            add_model(path)
        add_model(path, allow_pickle=True)
        assert predict(load_model("whole")).shape == (2, 2)

    def test_a_path_wins_over_a_name(self, tmp_path, monkeypatch):
        add_model(write_wsinfer_model(tmp_path / "added" / "same", mpp=1.0))
        write_wsinfer_model(tmp_path / "here" / "same", mpp=2.0)
        assert load_model("same").spec.patch_mpp == 1.0
        monkeypatch.chdir(tmp_path / "here")
        assert load_model("same").spec.patch_mpp == 2.0
        assert load_model(Path("same")).spec.patch_mpp == 2.0

    def test_the_bundled_model_has_a_name_and_stays(self):
        assert load_model("bundled").sha256 == load_model().sha256 == model_info("bundled").sha256
        with pytest.raises(ModelError, match="cannot be removed"):
            remove_model("bundled")

    def test_unknown_names_are_explained_with_the_nearest(self):
        with pytest.raises(ModelError, match=f"none of that name. Did you mean {PCAM}"):
            load_model("resnet18.tiatoolbox-pcm")
        for call in (remove_model, model_info, partial(add_model)):
            with pytest.raises(ModelError, match="none of that name"):
                call("no-such-thing-at-all")


class TestPublic:
    def test_they_are_listed_as_not_fetched_with_licence_and_source(self):
        listed = {model.name: model for model in list_models()}
        assert len({known.name for known in KNOWN_MODELS}) == len(KNOWN_MODELS)
        for known in KNOWN_MODELS:
            model = listed[known.name]
            assert not model.fetched
            assert model.licence == known.licence
            assert model.source == f"https://huggingface.co/{known.repository}"
        spec = listed[PCAM].spec
        assert (spec.patch_px, spec.patch_mpp, spec.centre_px) == (96, 1.0, 32)

    def test_loading_one_never_fetches_it(self):
        with pytest.raises(ModelError, match=f"not on this computer yet.*models add {PCAM}"):
            load_model(PCAM)
        with pytest.raises(ModelError, match=f"not on this computer yet.*models add {PCAM}"):
            load_model(f"hf-hub:1aurent/{PCAM}")

    def test_without_network_or_client_it_says_so(self, monkeypatch):
        with pytest.raises(ModelError, match=r"cannot be reached.*models add FOLDER"):
            add_model(PCAM)
        monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
        with pytest.raises(ModelError, match=r"pip install 'napari-camelyon\[timm\]'"):
            add_model(PCAM)

    def test_a_network_of_timm_is_added_from_the_cache_and_needs_it_no_more(
        self, tmp_path, cache, resnet18
    ):
        import shutil

        folder = write_timm_folder(tmp_path / "f", "resnet18", resnet18.state_dict())
        in_cache(cache, f"1aurent/{PCAM}", folder)
        direct = load_model(f"hf-hub:1aurent/{PCAM}")
        added = add_model(PCAM)
        shutil.rmtree(cache)
        assert (added.fetched, added.licence) == (True, "cc0-1.0")
        model = load_model(PCAM)
        assert model.sha256 == load_model(f"hf-hub:1aurent/{PCAM}").sha256 == direct.sha256
        assert (model.spec.value_meaning, model.spec.centre_px) == ("centre", 32)
        assert model.spec.class_names[model.spec.tumour_class] == "tumour"
        np.testing.assert_array_equal(predict(model), predict(direct))
        assert [item.name for item in list_models()].count(PCAM) == 1

    def test_a_model_of_the_zoo_keeps_what_its_configuration_says(self, tmp_path, cache):
        folder = write_wsinfer_model(
            tmp_path / "f", patch_px=96, class_names=("Other", "Metastasis")
        )
        (folder / "README.md").write_text('---\nlicense: "cc-by-4.0"\ntags: [a]\n---\nText')
        in_cache(cache, f"kaczmarj/{ZOO}", folder)
        direct = load_model(f"hf-hub:kaczmarj/{ZOO}").spec
        assert (direct.name, direct.value_meaning) == (ZOO, "centre")
        add_model(ZOO)
        spec = load_model(ZOO).spec
        assert (spec.name, spec.patch_px, spec.patch_mpp) == (ZOO, 96, 1.0)
        assert (spec.tumour_class, spec.value_meaning, spec.centre_px) == (1, "centre", 32)
        assert spec.licence == "cc-by-4.0"

    def test_any_repository_of_the_hub_with_a_revision(self, tmp_path, cache, resnet18):
        folder = write_timm_folder(
            tmp_path / "f", "resnet18", resnet18.state_dict(), label_names=["normal", "tumor"]
        )
        in_cache(cache, "someone/theirs", folder)
        with pytest.raises(ModelError, match="--patch-mpp"):
            add_model("hf-hub:someone/theirs")
        added = add_model("hf_hub:someone/theirs@main", patch_mpp=0.5)
        assert (added.name, added.spec.patch_mpp) == ("theirs", 0.5)
        for revision in ("", "@main", f"@{COMMIT}"):
            assert load_model(f"hf-hub:someone/theirs{revision}").sha256 == added.sha256
        with pytest.raises(ModelError, match="not on this computer yet"):
            load_model("hf-hub:someone/theirs@other")
        with pytest.raises(ModelError, match="no name of the hub"):
            load_model("hf-hub:nobody")

    def test_what_is_fetched_is_what_is_needed_and_of_one_commit(
        self, tmp_path, monkeypatch, resnet18
    ):
        folder = write_timm_folder(tmp_path / "f", "resnet18", resnet18.state_dict())
        (folder / "pytorch_model.bin").write_bytes(b"not needed")
        with hub(folder, monkeypatch) as asked:
            add_model(PCAM)
        fetched = [path for method, path in asked if method == "GET" and "/api/" not in path]
        assert {path.rpartition("/")[2] for path in fetched} == {
            "config.json",
            "model.safetensors",
            "README.md",
        }
        assert all(f"/{COMMIT}/" in path for path in fetched if "config" not in path)
        assert model_info(PCAM).licence == "cc0-1.0"

    def test_a_repository_that_is_not_there_is_explained(self, tmp_path, monkeypatch):
        (tmp_path / "empty").mkdir()
        with (
            hub(tmp_path / "empty", monkeypatch, there=False),
            pytest.raises(ModelError, match="has no model someone/gone"),
        ):
            add_model("hf-hub:someone/gone")
        with (
            hub(tmp_path / "empty", monkeypatch),
            pytest.raises(ModelError, match=r"has no config\.json"),
        ):
            add_model("hf-hub:someone/empty")

    @pytest.mark.parametrize(
        ("text", "licence"),
        [
            ("---\nlicense: mit\n---\n", "mit"),
            ("---\nlicense:\n- mit\n---\n", None),
            ("# Card\nlicense: mit\n", None),
            ("---\nlicense: mit\n", None),
        ],
    )
    def test_the_licence_is_what_the_card_states(self, tmp_path, text, licence):
        (tmp_path / "README.md").write_text(text)
        assert card_licence(tmp_path / "README.md") == licence
        assert card_licence(tmp_path / "nothing.md") is None


class hub:  # noqa: N801
    """The hub in this process: one repository, whatever its name; yields what was asked for."""

    def __init__(self, folder, monkeypatch, *, there=True):
        self.asked = []
        answers = partial(_Answers, folder, self.asked, there)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.monkeypatch = monkeypatch

    def __enter__(self):
        from huggingface_hub import constants

        address = f"http://127.0.0.1:{self.server.server_port}"
        self.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        self.monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        self.monkeypatch.setattr(constants, "ENDPOINT", address)
        self.monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        self.thread.start()
        return self.asked

    def __exit__(self, *_error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Answers(BaseHTTPRequestHandler):
    def __init__(self, folder, asked, there, *rest):
        self.folder, self.asked, self.there = folder, asked, there
        super().__init__(*rest)

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, *, with_content):
        self.asked.append((self.command, self.path))
        path = self.folder / self.path.rpartition("/")[2]
        if not self.there or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if self.there else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *_arguments):
        pass
