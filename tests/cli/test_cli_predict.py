"""`predict` from the slide to the table, and all that can be wrong with what it is given."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from napari_camelyon.cohort import read_run
from napari_camelyon.heatmaps import read_heatmap

RESULT_FILES = ["heatmap.zarr", "lesions.geojson", "node.json", "patches.parquet", "run.json"]


def files_in(folder):
    """Names of what a person sees."""
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_one_slide_gives_exactly_its_files_and_one_row(command, micro_slide, darkness, tmp_path):
    out = tmp_path / "new" / "out"
    result = command("predict", micro_slide, "--model", darkness, "--out", out)
    assert result.exit_code == 0, result.output
    assert files_in(out) == ["batch.json", "micro"]
    assert files_in(out / "micro") == RESULT_FILES
    heatmap = read_heatmap(out / "micro")
    assert heatmap.computed_cells == heatmap.planned_cells
    table = pyarrow.parquet.read_table(out / "micro" / "patches.parquet")
    node = json.loads((out / "micro" / "node.json").read_text(encoding="utf-8"))
    lines = result.stdout.splitlines()
    header = next(line for line in lines if line.startswith("node "))
    row = lines[lines.index(header) + 1]
    assert header.split() == ["node", "class", "size", "mm", "lesions", "patches", "seconds"]
    # A square of 384 µm: its diagonal is 0.54 mm.
    assert 0.35 < node["diameter_mm"] < 0.65
    size = f"{node['diameter_mm']:.2f} ± {node['margin_mm']:.2f}"
    assert re.fullmatch(rf"micro +micro +{size} +1 +{table.num_rows} +[\d.]+", row)
    assert header.index("seconds") + len("seconds") == len(row)
    assert "not a medical device" in result.stdout
    assert "pN" not in result.stdout
    assert "micro.tif" in result.stderr


def test_several_slides_are_staged_and_a_bad_one_bounds_the_stage(
    command, micro_slide, clean_slide, unsized_slide, darkness, tmp_path
):
    options = ["--model", darkness, "--out", tmp_path]
    result = command("predict", unsized_slide, micro_slide, clean_slide, *options)
    assert result.exit_code == 1
    assert "pixel size of unsized.tif is unknown" in result.stderr
    assert "--mpp" in result.stderr
    assert "1 of 3 slides could not be predicted" in result.stderr
    assert files_in(tmp_path) == ["batch.json", "clean", "micro"]
    listed = json.loads((tmp_path / "batch.json").read_text(encoding="utf-8"))
    assert listed["counts"] == {"done": 2, "failed": 1}
    (failed,) = [entry for entry in listed["slides"] if entry["state"] == "failed"]
    assert failed["name"] == "unsized"
    assert "--mpp" in failed["problem"]
    assert "at least pN1mi" in result.stdout
    staged = command("stage", tmp_path)
    assert staged.exit_code == 0
    assert f"{tmp_path.name}: pN1mi." in staged.stdout
    facts = json.loads(command("stage", tmp_path, "--json").stdout)
    assert facts[0]["nodes"] == {"clean": "negative", "micro": "micro"}
    assert facts[0]["statement"] == "pN1mi"


def test_damaged_parts_are_told(command, make_slide, paint, damage_tile, darkness, tmp_path):
    path = make_slide(paint(512, 0), name="hurt", mpp=1.0)
    damage_tile(path, 3, 3)
    result = command("predict", path, "--model", darkness, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    run = json.loads((tmp_path / "hurt" / "run.json").read_text(encoding="utf-8"))
    lost = run["damaged_patches"]
    assert lost > 0
    assert f"On hurt {lost} of " in result.stdout
    assert "damaged parts" in result.stdout
    assert "negative or more" in result.stdout


def test_mpp_is_taken_within_reason(command, unsized_slide, darkness, tmp_path):
    options = ["--model", darkness, "--out", tmp_path]
    for impossible in ("0.049", "20.01", "-1", "nan", "inf"):
        result = command("predict", unsized_slide, "--mpp", impossible, *options)
        assert result.exit_code == 2
        assert "between 0.05 and 20" in result.stderr
    assert files_in(tmp_path) == []
    assert command("predict", unsized_slide, "--mpp", "1", *options).exit_code == 0
    assert read_heatmap(tmp_path / "unsized").mpp == (1, 1)


def test_a_kept_pixel_size_is_used_and_noted_and_a_given_one_is_not_kept(
    command, unsized_slide, darkness, tmp_path, monkeypatch
):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path / "cache"))
    slide = Path(shutil.copy(unsized_slide, tmp_path / "kept.tif"))
    options = ["--model", darkness, "--out", tmp_path / "out"]
    assert command("predict", slide, "--mpp", "0.5", *options).exit_code == 0
    assert command("predict", slide, *options).exit_code == 1
    assert command("mpp", slide, "--set", "1").exit_code == 0
    assert command("predict", slide, *options).exit_code == 0
    assert read_heatmap(tmp_path / "out" / "kept").mpp == (1, 1)
    note = read_run(tmp_path / "out" / "kept").parameters["mpp_note"]
    assert "kept in kept.tif.camelyon.json" in note
    # What is said now wins.
    assert command("predict", slide, "--mpp", "0.5", *options).exit_code == 0
    assert read_heatmap(tmp_path / "out" / "kept").mpp == (0.5, 0.5)


@pytest.mark.parametrize(
    "option", [("--stride-um", "nan"), ("--threshold", "nan"), ("--stride-um", "0")]
)
def test_impossible_numbers_are_refused(command, clean_slide, darkness, tmp_path, option):
    result = command("predict", clean_slide, "--model", darkness, "--out", tmp_path, *option)
    assert result.exit_code == 2
    assert files_in(tmp_path) == []


def test_a_slide_of_glass_is_negative_for_want_of_tissue(command, make_slide, darkness, tmp_path):
    glass = make_slide(np.full((256, 256, 3), 245, np.uint8), name="glass", mpp=1.0)
    result = command("predict", glass, "--model", darkness, "--out", tmp_path)
    assert result.exit_code == 0
    assert "On glass no patch has enough tissue" in result.stdout


def bad_slides(folder, whole):
    """Yield a name for what is wrong, a path, and a word that the explanation must hold."""
    yield "missing", folder / "missing.tif", "no slide"
    yield "folder", folder, "is a folder"
    text = folder / "text.tif"
    text.write_text("no slide")
    yield "text", text, "not a slide"
    cut = folder / "cut.tif"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    yield "cut", cut, "cut.tif"


def test_bad_slides_are_explained_and_leave_nothing(command, micro_slide, darkness, tmp_path):
    (tmp_path / "bad").mkdir()
    out = tmp_path / "out"
    for what, path, word in bad_slides(tmp_path / "bad", micro_slide):
        for arguments in (("info", path), ("predict", path, "--model", darkness, "--out", out)):
            result = command(*arguments)
            assert result.exit_code == 1, what
            assert word in result.stderr, what
            assert result.stderr.count("Error: ") == 1
            assert str(path) in result.stderr
            assert files_in(out) in ([], ["batch.json"]), what


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("unreadable.svs", "damaged"),
        ("unopenable.tiff", "cannot be opened"),
        ("boxes.tiff", "352.8"),
        ("tcga-cr-7395-01a-01-ts1.svs", "--mpp"),
    ],
)
def test_real_bad_slides_are_explained(command, shared_data, darkness, tmp_path, name, word):
    path = shared_data / "slides" / name
    result = command("predict", path, "--model", darkness, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert word in result.stderr
    assert files_in(tmp_path / "out") == ["batch.json"]


def test_bad_models_are_explained_once(command, clean_slide, micro_slide, tmp_path):
    missing = tmp_path / "missing.pt"
    strange = tmp_path / "strange.pt"
    torch.save({"layer.weight": torch.zeros(2, 2)}, strange)
    pickled = tmp_path / "pickled.pt"
    torch.save(torch.nn.Linear(2, 2), pickled)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"run": os.system}, protocol=2))
    folder = tmp_path / "folder"
    folder.mkdir()
    out = tmp_path / "out"
    for model in (missing, strange, pickled, plain, folder):
        result = command("predict", clean_slide, micro_slide, "--model", model, "--out", out)
        assert result.exit_code == 1
        assert result.stderr.count(str(model)) == 1, result.stderr
        assert not out.exists()


def test_an_unknown_device_is_explained(command, clean_slide, darkness, tmp_path):
    result = command(
        "predict", clean_slide, "--model", darkness, "--out", tmp_path, "--device", "tpu"
    )
    assert result.exit_code == 1
    assert "auto" in result.stderr
    assert files_in(tmp_path) == ["batch.json"]


def test_results_cannot_go_into_a_file(command, clean_slide, darkness, tmp_path):
    file = tmp_path / "file.txt"
    file.write_text("mine")
    for out in (file, file / "below" / "it"):
        result = command("predict", clean_slide, "--model", darkness, "--out", out)
        assert result.exit_code == 1
        assert "is a file" in result.stderr
    assert file.read_text() == "mine"
    assert files_in(tmp_path) == ["file.txt"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_results_cannot_go_where_one_may_not_write(command, clean_slide, darkness, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    result = command("predict", clean_slide, "--model", darkness, "--out", locked / "out")
    assert result.exit_code == 1
    assert "not permitted" in result.stderr


def test_slides_of_the_same_name_are_refused(command, clean_slide, darkness, tmp_path):
    other = tmp_path / "elsewhere" / clean_slide.name
    other.parent.mkdir()
    shutil.copy(clean_slide, other)
    out = tmp_path / "out"
    result = command("predict", clean_slide, other, "--model", darkness, "--out", out)
    assert result.exit_code == 1
    assert "both named clean" in result.stderr
    assert not out.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_full_disk_is_explained_and_nothing_is_half_written(
    own_process, clean_slide, darkness, tmp_path, engine
):
    # A file that would grow beyond the limit fails as on a full disk; OpenVINO meets it first,
    # where it keeps its form of the model.
    script = (
        "import resource, sys; import napari_camelyon.cohort, napari_camelyon.inference\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3072, 3072))\n"
        "from napari_camelyon.cli import main; main()"
    )
    out = tmp_path / "out"
    options = ("--out", out, "--stride-um", "8", "--engine", engine)
    done = own_process("-c", script, "predict", clean_slide, "--model", darkness, *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "disk is full" in done.stderr
    # Each file is whole or absent, and run.json, the last, is absent.
    left = files_in(out / "clean")
    assert set(left) < set(RESULT_FILES)
    assert "run.json" not in left
    if "heatmap.zarr" in left:
        assert read_heatmap(out / "clean").computed_share == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_stops_soon_and_keeps_what_is_there(
    make_slide, paint, darkness, environment, tmp_path
):
    slide = make_slide(paint(2048, 256), name="large", mpp=1.0, tile_px=256)
    other = tmp_path / "never.tif"
    other.write_bytes(slide.read_bytes())
    out = tmp_path / "out"
    ours, theirs = os.openpty()
    arguments = ["predict", slide, other, "--model", darkness, "--out", out, "--stride-um", "4"]
    with subprocess.Popen(
        [sys.executable, "-m", "napari_camelyon", *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while b" left" not in shown:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # Linux's way to say that the other end is closed
            pass
        os.close(ours)
        table = process.stdout.read().decode()
        process.wait()
    assert process.returncode == 130
    text = shown.decode()
    assert re.search(r"\d+ of \d+ patches, \d+ a second, [\d:]+ left", text)
    assert "marked as incomplete. 1 slide was not predicted." in text
    assert "Traceback" not in text
    assert "or more" in table
    assert "pN" in table
    assert files_in(out) == ["batch.json", "large"]
    assert files_in(out / "large") == RESULT_FILES
    node = json.loads((out / "large" / "node.json").read_text(encoding="utf-8"))
    assert not node["complete"]
    assert 0 < node["computed_share"] < 1


@pytest.fixture
def slide_folder(micro_slide, clean_slide, tmp_path):
    """Two slides among what usually lies beside them, and a letter."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for path in (micro_slide, clean_slide):
        shutil.copy(path, folder)
    (folder / "micro.xml").write_text("beside")
    (folder / "letter.pdf").write_text("no slide")
    return folder


def test_a_folder_is_predicted_once(command, slide_folder, darkness, tmp_path):
    out = tmp_path / "out"
    options = ["--model", darkness, "--out", out]
    first = command("predict", slide_folder, *options)
    assert first.exit_code == 0, first.output
    assert f"In {slide_folder} 1 file is no slide and was left out: letter.pdf." in first.stderr
    assert files_in(out) == ["batch.json", "clean", "micro"]
    again = command("predict", slide_folder, *options)
    assert again.exit_code == 0
    for name in ("clean", "micro"):
        assert f"{name} was predicted before in the same way" in again.stdout
    # The table says the same, and nothing was computed.
    rows = [line.split()[:2] for line in first.stdout.splitlines() if line.startswith("micro ")]
    assert rows == [line.split()[:2] for line in again.stdout.splitlines() if "micro  " in line]
    other = command("predict", slide_folder, *options, "--threshold", "0.9")
    assert "micro was predicted before: only the threshold is new" in other.stdout
    assert read_run(out / "micro").parameters["threshold"] == 0.9
    anew = command("predict", slide_folder / "micro.tif", *options, "--again")
    assert "predicted before" not in anew.stdout


def test_patterns_are_taken_whole(command, slide_folder, darkness, tmp_path):
    options = ["--model", darkness, "--out", tmp_path / "out"]
    result = command("predict", f"{tmp_path}/**/m*.tif", *options)
    assert result.exit_code == 0, result.output
    assert files_in(tmp_path / "out") == ["batch.json", "micro"]
    result = command("predict", f"{slide_folder}/x*.tif", *options)
    assert result.exit_code == 1
    assert "matches nothing at all" in result.stderr


def test_several_workers_make_one_table(command, slide_folder, darkness, tmp_path):
    (slide_folder / "letter.pdf").unlink()
    (slide_folder / "a.tif").write_text("no slide")
    result = command(
        "predict", slide_folder / "a.tif", slide_folder, "--workers", "2",
        "--model", darkness, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "a.tif is not a slide" in result.stderr
    assert "1 of 3 slides could not be predicted" in result.stderr
    assert str(tmp_path / "out" / "batch.json") in result.stderr
    # In the order in which they were named, whoever was first.
    nodes = [
        line.split()[0] for line in result.stdout.splitlines() if line.endswith(tuple("0123456789"))
    ]
    assert nodes == ["clean", "micro"]


def test_a_slide_in_other_hands_is_left_to_them(command, micro_slide, darkness, tmp_path):
    from napari_camelyon.cohort.claims import claimed

    with claimed(tmp_path, "micro", micro_slide):
        result = command("predict", micro_slide, "--model", darkness, "--out", tmp_path)
    assert result.exit_code == 0
    assert f"micro is being predicted by process {os.getpid()}" in result.stderr
    assert files_in(tmp_path) == ["batch.json"]


def test_an_ensemble_needs_its_models(command, micro_slide, darkness, tmp_path):
    for options in (["--uncertainty", "ensemble"], ["--with-model", darkness]):
        result = command("predict", micro_slide, "--out", tmp_path, *options)
        assert result.exit_code == 2
        assert "go together" in result.stderr


def test_uncertainty_is_written_beside_the_values(command, micro_slide, darkness, tmp_path):
    options = ["--model", darkness, "--out", tmp_path]
    result = command("predict", micro_slide, *options, "--uncertainty", "tta")
    assert result.exit_code == 0, result.output
    table = pyarrow.parquet.read_table(tmp_path / "micro" / "patches.parquet")
    assert {"uncertainty_total", "uncertainty_aleatoric", "uncertainty_epistemic"} <= {
        *table.column_names
    }
    facts = read_run(tmp_path / "micro").facts
    assert facts.sampling["method"] == "tta"
    # A new threshold keeps them.
    command("predict", micro_slide, *options, "--uncertainty", "tta", "--threshold", "0.9")
    kept = pyarrow.parquet.read_table(tmp_path / "micro" / "patches.parquet")
    assert kept.column("uncertainty_total").equals(table.column("uncertainty_total"))


def test_nodes_are_called_by_other_methods_side_by_side(command, micro_slide, darkness, tmp_path):
    out = tmp_path / "results"
    assert command("predict", micro_slide, "--model", darkness, "--out", out).exit_code == 0
    result = command("stage", out, "--method", "all", "--nodes", "1")
    assert result.exit_code == 0, result.stderr
    header = next(line for line in result.stdout.splitlines() if "clusters" in line)
    assert header.split() == ["node", "size", "clusters", "proportion", "area"]
    assert "not validated" in result.stdout
    high = command("stage", out, "--seed-threshold", "1.0", "--threshold", "0.99", "--nodes", "1")
    assert high.exit_code == 0, high.stderr
    low = command("stage", out, "--threshold", "0.6", "--seed-threshold", "0.5")
    assert low.exit_code == 1
    assert "lower than the threshold" in low.stderr
    learned = command("stage", out, "--method", "learned")
    assert learned.exit_code == 1
    assert "train-node" in learned.stderr
    labels = tmp_path / "labels.csv"
    labels.write_text(f"patient,stage\n{micro_slide.stem}.tif,micro\n")
    few = command("train-node", out, labels, "--out", tmp_path / "forest.json")
    assert few.exit_code == 1
    assert "at least 8 nodes" in few.stderr


def test_a_report_is_written_of_what_was_predicted(command, micro_slide, darkness, tmp_path):
    out = tmp_path / "results"
    assert command("predict", micro_slide, "--model", darkness, "--out", out).exit_code == 0
    result = command("report", out, "--pdf")
    assert result.exit_code == 0, result.stderr
    assert f"Written to {out / 'report.html'}." in result.stdout
    assert "micro" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    gone = command("report", out, "--slides", tmp_path, "--out", tmp_path / "r.html")
    assert "the slide is not in" in gone.stdout
    assert command("report", tmp_path / "nowhere").exit_code == 1
