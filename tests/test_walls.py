"""The walls between the rooms hold at run time too, and napari finds what the manifest names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import napari_camelyon

ROOT = Path(__file__).parents[1]
WINDOW = ("napari", "qtpy", "PySide6", "PyQt6", "PyQt5", "magicgui", "superqt", "vispy")
TORCH = ("torch", "torchvision", "safetensors")

BLOCK = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is behind a wall")
sys.meta_path.insert(0, Wall())
"""

STAGE = """
import sys, tempfile
import numpy as np
import napari_camelyon.cohort, napari_camelyon.synthetic, napari_camelyon.cli
import napari_camelyon.specs, napari_camelyon.slides, napari_camelyon.annotations
import napari_camelyon.tissue
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap, read_heatmap, write_heatmap
from napari_camelyon.staging import classify_node, find_lesions, stage_patient

values = np.zeros((30, 40), np.float32)
values[10:20, 5:30] = 1
grid = Grid(30, 40, 0, 0, 128, 128, 128, 128)
folder = tempfile.mkdtemp()
write_heatmap(Heatmap(grid, values, (1.0, 1.0), slide_name="a", planned_cells=1200), folder)
node = classify_node(find_lesions(read_heatmap(folder)), name="a")
assert node.node_class == "macro", node
print(stage_patient([node, "negative", "itc", "micro", "negative"]).stage)
"""


def run_behind(blocked, script):
    source = str(Path(napari_camelyon.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_finished_heatmap_is_staged_without_torch_and_without_a_window():
    assert run_behind((*WINDOW, *TORCH), STAGE).split() == ["pN1"]


def test_models_and_inference_need_no_window():
    script = "import napari_camelyon.models, napari_camelyon.inference; print('fine')"
    assert run_behind(WINDOW, script).split() == ["fine"]


def test_a_wall_is_a_wall():
    with pytest.raises(AssertionError, match="behind a wall"):
        run_behind(TORCH, "import napari_camelyon.models.loading")


@pytest.mark.parametrize("module", ["napari_camelyon", "napari_camelyon.cli.main"])
def test_importing_the_package_or_the_commands_loads_nothing_heavy(module):
    heavy = (*WINDOW, *TORCH, "dask", "zarr", "pyarrow", "openslide", "skimage", "scipy")
    script = f"import {module}, sys; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    assert run_behind((), script).strip() == ""


def test_the_manifest_is_valid_and_all_it_names_is_there():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_camelyon.__file__).parent / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-camelyon"
    named = {command.id for command in manifest.contributions.commands}
    used = {
        item.command
        for kind in ("readers", "writers", "widgets", "sample_data")
        for item in getattr(manifest.contributions, kind) or []
    }
    assert used <= named


def test_the_manifest_at_the_top_is_the_one_in_the_package():
    packaged = Path(napari_camelyon.__file__).parent / "napari.yaml"
    top = ROOT / "napari.yaml"
    if not top.exists():
        pytest.skip("these tests do not lie in a checkout")
    # Where links cannot be made (git on Windows) it is a file that holds the way.
    text = top.read_text(encoding="utf-8")
    assert text == packaged.read_text(encoding="utf-8") or (ROOT / text.strip()).samefile(packaged)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.tif", b"no slide at all"),
        ("empty.svs", b""),
        ("drawing.xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("cut.xml", b"<?xml version='1.0'?><ASAP_Annotations><Annota"),
        ("settings.json", b'{"version": 1}'),
        ("list.json", b"[1, 2, 3]"),
        ("broken.geojson", b'{"type": '),
        ("missing.tif", None),
        ("missing.xml", None),
    ],
)
def test_readers_leave_to_others_what_is_not_ours(tmp_path, name, content):
    from napari_camelyon.contributions.readers import get_annotation_reader, get_slide_reader

    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert get_slide_reader(str(path)) is None
    assert get_annotation_reader(str(path)) is None
    assert get_slide_reader([str(path)]) is None
    assert get_annotation_reader([str(path)]) is None


def test_readers_take_what_is_ours(make_slide, tmp_path):
    import numpy as np

    from napari_camelyon.contributions.readers import get_annotation_reader, get_slide_reader

    assert get_slide_reader(str(make_slide(np.zeros((64, 64, 3), np.uint8)))) is not None
    asap = tmp_path / "a.xml"
    asap.write_text(
        "<ASAP_Annotations><Annotations/><AnnotationGroups/></ASAP_Annotations>", encoding="utf-8"
    )
    assert get_annotation_reader(str(asap)) is not None


def test_the_reader_takes_ome_zarr_slides_and_no_other_folder(tmp_path):
    import numpy as np
    import zarr

    from made_ome_zarr import halving, write
    from napari_camelyon.contributions.readers import get_slide_reader

    pixels = np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    made = halving([pixels], mpp=0.5)
    made.scales = [{"y": 0.25, "x": 0.24}]
    read = get_slide_reader(str(write(tmp_path / "node_1.zarr", made)))
    ((levels, arguments, kind),) = read(str(tmp_path / "node_1.zarr"))
    assert kind == "image"
    assert arguments["name"] == "node_1"
    assert arguments["scale"] == (0.25, 0.24)
    assert arguments["units"] == ("µm", "µm")
    np.testing.assert_array_equal(np.asarray(levels[0]), pixels)

    made.levels = [made.levels[0].astype(np.uint16)]
    assert get_slide_reader(str(write(tmp_path / "fluorescence.zarr", made))) is None
    zarr.create_group(tmp_path / "table.zarr")
    assert get_slide_reader(str(tmp_path / "table.zarr")) is None
    assert get_slide_reader(str(tmp_path)) is None


def test_napari_asks_us_for_folders_and_for_slide_files():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_camelyon.__file__).parent / "napari.yaml")
    readers = [
        reader
        for reader in manifest.contributions.readers
        if reader.command == "napari-camelyon.read_slide"
    ]
    assert [r.filename_patterns for r in readers if r.accepts_directories] == [["*.zarr"]]
    assert any("*.svs" in r.filename_patterns for r in readers if not r.accepts_directories)
