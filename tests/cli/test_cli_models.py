"""``napari-camelyon models``: what it lists, adds, tells and removes, and what it refuses."""

import json

import pytest
import torch

from made_models import brightness, write_wsinfer_model
from napari_camelyon.specs import ModelSpec, write_model_spec


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    monkeypatch.setenv("NAPARI_CAMELYON_DATA", str(folder))
    return folder


@pytest.fixture
def odd(tmp_path):
    """A model whose names do not tell which class is tumour."""
    return write_wsinfer_model(tmp_path / "odd", patch_px=48, mpp=0.5, class_names=("a", "b"))


def test_public_models_are_listed_as_not_fetched(command):
    lines = command("models", "list").stdout.splitlines()
    assert " ".join(lines[0].split()) == "name here patch px µm/px licence hash source"
    bundled = lines[1].split()
    assert bundled[:4] == ["bundled", "yes", "128", "0.486"]
    (pcam,) = [line for line in lines if line.startswith("resnet18.tiatoolbox-pcam ")]
    assert "not fetched" in pcam
    assert "cc0-1.0" in pcam
    assert "huggingface.co/1aurent/resnet18.tiatoolbox-pcam" in pcam
    assert lines[-1] == "Public models are fetched by: napari-camelyon models add NAME"


def test_added_told_used_and_removed(command, odd, micro_slide, tmp_path):
    asked = command("models", "add", odd)
    assert asked.exit_code == 1
    assert "Its classes are a, b; name one with --tumour-class" in asked.stderr
    added = command("models", "add", odd, "--name", "mine", "--tumour-class", "b", "--licence", "X")
    assert added.exit_code == 0, added.stderr
    assert added.stdout.endswith("Use it with: --model mine\n")
    told = command("models", "info", "mine").stdout
    assert told in added.stdout
    assert "48 px at 0.5 µm/px (24 µm)" in told
    entry = json.loads(command("models", "info", "mine", "--json").stdout)
    assert (entry["spec"]["tumour_class"], entry["licence"], entry["fetched"]) == (1, "X", True)
    listed = json.loads(command("models", "list", "--json").stdout)
    assert [model["sha256"] for model in listed if model["name"] == "mine"] == [entry["sha256"]]
    done = command("predict", micro_slide, "--model", "mine", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    run = json.loads((tmp_path / "out" / "micro" / "run.json").read_text(encoding="utf-8"))
    assert entry["sha256"] in json.dumps(run)
    assert command("models", "remove", "mine").stdout == "Removed mine.\n"
    gone = command("models", "info", "mine")
    assert gone.exit_code == 1
    assert "none of that name" in gone.stderr


def test_a_model_is_told_of_where_it_lies(command, odd):
    told = command("models", "info", odd, "--tumour-class", "a").stdout
    assert "classes      a, b" in told
    assert "tumour       a" in told
    assert "value        tumour anywhere in the patch" in told


def test_code_is_run_only_where_it_was_allowed(command, tmp_path):
    path = tmp_path / "whole.pt"
    torch.save(brightness(), path)
    write_model_spec(ModelSpec("whole", 32, 1.0), tmp_path / "whole.json")
    refused = command("models", "add", path)
    assert refused.exit_code == 1
    assert "--allow-code" in refused.stderr
    assert command("models", "add", path, "--allow-code").exit_code == 0
    assert "DANGER" in command("models", "add", "--help").stdout


def test_a_damaged_entry_is_shown(command, odd, data):
    command("models", "add", odd, "--tumour-class", "b")
    (data / "models" / "odd" / "entry.json").write_text("{")
    listed = command("models", "list")
    assert listed.exit_code == 0
    assert "damaged" in next(line for line in listed.stdout.splitlines() if line.startswith("odd"))
    told = command("models", "info", "odd")
    assert told.exit_code == 1
    assert "models remove odd" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "nowhere.pt"], "There is no model at nowhere.pt"),
        (["remove", "bundled"], "cannot be removed"),
        (["remove", "resnet18.tiatoolbox-pcam"], "nothing to remove"),
        (["info", "resnet18.tiatoolbox-pcn"], "Did you mean resnet18.tiatoolbox-pcam?"),
    ],
)
def test_what_cannot_be_is_explained(command, arguments, message):
    result = command("models", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
