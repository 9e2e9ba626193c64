"""`doctor`: it finds what is broken, says the way out, and gives nothing personal away."""

import sys

import pytest

from napari_camelyon.cli.doctor import Finding, examine, lines, report
from napari_camelyon.slides.tile_cache import shared_cache


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The findings where torchvision, Qt, bermuda and the cache are broken, and its folder."""
    folder = tmp_path_factory.mktemp("jane doe")
    stand_in = folder / "torchvision"
    stand_in.mkdir()
    # What torchvision says beside a torch of another build.
    (stand_in / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")\n'
    )
    # The real torch takes seconds to import and has no part in this.
    (folder / "torch.py").write_text("")
    file = folder / "file"
    file.write_text("no folder")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(folder))
        patched.setenv("NAPARI_CAMELYON_CACHE", str(file / "cache"))
        patched.setenv("NAPARI_CAMELYON_CACHE_BYTES", "2 GB")
        shared_cache.cache_clear()
        patched.setitem(sys.modules, "bermuda", None)
        patched.setitem(sys.modules, "qtpy.QtWidgets", None)
        patched.setitem(sys.modules, "openslide", None)
        findings = examine()
        return folder, findings, report(findings)


@pytest.mark.parametrize(
    ("subject", "way_out"),
    [
        ("torch and torchvision", "uv pip install --torch-backend=cpu torch torchvision"),
        ("Qt", "pip install 'napari[pyside6]'"),
        ("fast outlines", "pip install bermuda"),
        ("OpenSlide", "pip install openslide-bin"),
        ("cache folder", "NAPARI_CAMELYON_CACHE"),
        ("memory for tiles", "whole number of bytes"),
    ],
)
def test_what_is_broken_is_found_with_a_way_out(broken, subject, way_out):
    found = {item.subject: item for item in broken[1]}[subject]
    assert not found.fine
    assert way_out in found.text


def test_the_pair_that_does_not_fit_is_quoted(broken):
    assert (
        "torchvision::nms"
        in {item.subject: item for item in broken[1]}["torch and torchvision"].text
    )


def test_what_works_is_fine_beside_what_does_not(broken):
    found = {item.subject: item for item in broken[1]}
    assert found["Python"].fine
    assert found["device"].fine
    assert "cpu" in found["device"].text


def test_the_report_names_versions_and_no_personal_folder(broken):
    folder, findings, text = broken
    assert str(folder) not in text
    assert "jane" not in text
    assert "torch " in text
    assert "numpy " in text
    assert text.count("BAD") == sum(not item.fine for item in findings)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/people/jane/venv/lib/x.so",
        r"C:\Users\jane\venv\x.dll",
        "/Users/jane/.cache/thing",
    ],
)
def test_the_report_shortens_any_path_in_a_message(path):
    text = report([Finding("thing", False, f"cannot load ({path}: not found). Type: pip")])
    assert "jane" not in text
    assert "cannot load (<path>: not found). Type: pip" in text


def test_lines_align():
    assert lines([Finding("a", True, "x"), Finding("longer", False, "y")]) == [
        "ok   a       x",
        "BAD  longer  y",
    ]


def test_doctor_exits_by_what_it_finds(command, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "torchvision.py").write_text("class ops:\n    nms = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bermuda", None)
    result = command("doctor", "--report")
    assert result.exit_code == 1
    assert "BAD  fast outlines" in result.stdout
    assert "ok   torch and torchvision" in result.stdout
    assert "attention" in result.stderr
