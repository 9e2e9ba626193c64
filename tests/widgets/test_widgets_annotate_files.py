"""Annotation files of other programs in the "Annotate" dock: opened, edited, saved."""

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose

from napari_camelyon import annotations
from napari_camelyon.annotations import (
    AnnotationSet,
    Group,
    Vertex,
    make_annotation,
    move_vertex,
)
from napari_camelyon.contributions.readers import get_annotation_reader
from napari_camelyon.errors import AnnotationError
from napari_camelyon.widgets import opening
from napari_camelyon.widgets.annotation_editor import editor_of
from napari_camelyon.widgets.opening import open_paths

pytestmark = pytest.mark.gui

HAMAMATSU_TAGS = [
    (65420, "I", 1, 1, True),  # marks an NDPI
    (65421, "f", 1, 40.0, True),
    (65422, "i", 1, -1_000_000, True),  # the image's centre on the glass, nm
    (65423, "i", 1, 2_000_000, True),
    (65424, "i", 1, 0, True),
]
NDPA = """<annotations><ndpviewstate id="1"><title>Tumour</title>
<coordformat>nanometers</coordformat>
<annotation type="freehand" displayname="AnnotateFreehand" color="#ff0000"><pointlist>
<point><x>-1025000</x><y>1980000</y></point><point><x>-975000</x><y>1980000</y></point>
<point><x>-975000</x><y>2020000</y></point></pointlist><closed>1</closed>
</annotation></ndpviewstate></annotations>"""
TRIANGLE = np.array([(284, 156), (484, 156), (484, 356)], float)
"""On a slide of 768 × 512 px of 0.25 × 0.2 µm."""


@pytest.fixture
def ndpi(tmp_path):
    slide = tmp_path / "a.ndpi"
    tifffile.imwrite(
        slide,
        np.full((512, 768, 3), 200, np.uint8),
        photometric="rgb",
        compression="jpeg",
        rowsperstrip=512,
        extratags=HAMAMATSU_TAGS,
        resolution=(40_000, 50_000),  # 0.25 and 0.2 µm/px
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    (tmp_path / "a.ndpi.ndpa").write_text(NDPA)
    return slide


def move_first_vertex(editor):
    first = editor.now.annotations[0]
    editor.replace("move vertex", [move_vertex(first, Vertex(0, 0, 0), (300, 170))])


def test_ndpa_is_edited_and_saved_as_xml_beside_its_slide(docked, slide_dock, ndpi, monkeypatch):
    viewer, _, _ = docked
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    told = []
    for name in ("show_error", "show_info"):
        monkeypatch.setattr(opening, name, told.append)
    ndpa, xml = ndpi.with_suffix(".ndpi.ndpa"), ndpi.with_suffix(".xml")
    before = ndpa.read_bytes()

    assert open_paths(viewer, [ndpa]) == 1
    assert "open its slide first" in told[-1]
    reader = get_annotation_reader(str(ndpa))
    with pytest.raises(AnnotationError, match="open its slide first"):
        reader(str(ndpa))

    assert open_paths(viewer, [ndpa, ndpi]) == 0
    editor = dock.editor
    assert_allclose(editor.now.annotations[0].points, TRIANGLE, atol=1e-9)
    assert "Save writes a.xml" in told[-1]
    assert editor.path == xml
    assert not editor.is_saved
    assert ndpa in slide_dock._open_annotations()
    (drawn,) = [data for data, _, kind in reader(str(ndpa)) if kind == "shapes"]
    assert_allclose(drawn[0][:, ::-1] + 0.5, TRIANGLE, atol=1e-6)

    # Edits are kept safe under the name that will be written, and come back from there.
    move_first_vertex(editor)
    assert (ndpi.parent / ".a.xml.journal").exists()
    assert not list(ndpi.parent.glob(".*ndpa*"))
    viewer.layers.remove(editor.layer)
    open_paths(viewer, [ndpa])
    again = editor_of(viewer.layers[-1])
    assert again is not editor
    assert (again.now.annotations[0].points[0] == (300, 170)).all()
    assert [group.name for group in again.now.groups] == ["Tumour"]
    again.undo()
    assert_allclose(again.now.annotations[0].points, TRIANGLE, atol=1e-9)
    again.redo()

    dock.save()
    (saved,) = annotations.read(xml)
    assert_allclose(saved.points[0], (300, 170))
    assert saved.group == "Tumour"
    assert ndpa.read_bytes() == before
    assert not (ndpi.parent / ".a.xml.journal").exists()
    assert again.is_saved

    # Now that there is a file of that name, another start asks where to save.
    viewer.layers.remove(again.layer)
    open_paths(viewer, [ndpa])
    assert dock.editor.path is None
    assert "Save asks" in told[-1]
    asked = []
    monkeypatch.setattr(dock, "_ask_and_save", lambda: asked.append(True))
    dock.save()
    assert asked
    assert_allclose(dock.editor.now.annotations[0].points, TRIANGLE, atol=1e-9)


@pytest.mark.parametrize("file_format", ["imagescope", "geojson"])
def test_files_of_other_programs_stay_what_they_are(docked, ndpi, file_format):
    viewer, _, _ = docked
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    path = ndpi.with_suffix(".xml" if file_format == "imagescope" else ".geojson")
    made = AnnotationSet(
        tuple(
            make_annotation("polygon", TRIANGLE + np.array([k, 0.125]), name=f"{k}", group="Tumor")
            for k in range(2)
        ),
        (Group("Tumor", colour="#ff0000"),),
    )
    annotations.write(made, path, file_format=file_format, mpp=(0.25, 0.2))
    before = path.read_bytes()
    assert open_paths(viewer, [ndpi, path]) == 0
    assert dock.editor.path == path
    assert dock.editor.is_saved
    move_first_vertex(dock.editor)
    dock.save()
    found = annotations.read(path)
    assert found.source.format == file_format
    assert_allclose(found.annotations[0].points[0], (300, 170))
    assert (found.annotations[1].points == made.annotations[1].points).all()
    after = path.read_bytes()
    assert abs(len(after) - len(before)) < 12, "one vertex has other digits, nothing else changed"
    same = next(k for k, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    assert before[:same] == after[:same]
    assert before[-100:] == after[-100:]
    viewer.layers.remove(dock.editor.layer)
    open_paths(viewer, [path])
    assert editor_of(viewer.layers[-1]).is_saved


def test_new_annotations_of_a_killed_window_come_back_when_a_tool_is_taken(docked, ndpi):
    viewer, _, _ = docked
    dock = viewer.window.dock_widgets["Annotate (napari-camelyon)"]
    open_paths(viewer, [ndpi])
    dock.take_tool("polygon")
    dock.editor.add("draw", [make_annotation("polygon", TRIANGLE, name="mine")])
    viewer.layers.remove(dock.editor.layer)  # nobody tells the editor, as if killed
    assert dock.editor is None
    dock.take_tool("brush")
    assert [a.name for a in dock.editor.now] == ["mine"]
    assert [group.name for group in dock.editor.now.groups] == ["metastases"]
    assert not ndpi.with_suffix(".xml").exists()
