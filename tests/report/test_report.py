"""Reports as a reader gets them: complete, alone, and unharmed by whatever names hold."""

import base64
import io
import json
import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from napari_camelyon.cohort import stage_source, write_patient, write_slide_results
from napari_camelyon.errors import ResultError
from napari_camelyon.geometry import Grid
from napari_camelyon.heatmaps import Heatmap
from napari_camelyon.report import gather_case, write_html, write_pdf
from napari_camelyon.report.case import RUN_SCHEMA
from napari_camelyon.slides import open_slide
from napari_camelyon.staging import classify_node, find_lesions, override_node, stage_patient

NODES = {"patient_001_node_0": 0, "patient_001_node_1": 12, "patient_001_node_2": 70}


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.words, self.tags, self.sources, self._style = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._style = tag == "style"
        self.tags.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        if not self._style and data.strip():
            self.words.append(data.strip())

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def case_folder(tmp_path_factory, make_slide):
    """Three predicted nodes of one patient; one is overridden, two have no result."""
    out = tmp_path_factory.mktemp("results")
    pixels = np.full((800, 1000, 3), (230, 180, 215), np.uint8)
    for name, side in NODES.items():
        values = np.full((80, 100), 0.02, np.float32)
        values[4 : 4 + side, 5 : 5 + side] = 0.96
        with open_slide(make_slide(pixels, name=name, mpp=4.0)) as slide:
            heatmap = Heatmap(
                Grid(80, 100, 0, 0, 10, 10, 10, 10),
                values,
                (4.0, 4.0),
                planned_cells=8000,
                slide_name=name,
                slide_fingerprint=slide.fingerprint,
                model_name="a <model> & more",
                model_sha256="f" * 64,
            )
            lesions = find_lesions(heatmap)
            write_slide_results(
                out,
                heatmap,
                lesions,
                classify_node(lesions, heatmap=heatmap),
                slide_path=slide.path,
                parameters={"threshold": 0.5},
            )
    (patient,) = stage_source(out)
    history = override_node(
        (),
        "patient_001_node_0",
        "itc",
        computed="negative",
        reason="a cluster <b>at the rim</b> & more",
        initials="AB",
        now=datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    )
    write_patient(
        stage_patient(dict(patient.nodes), name=patient.name, expected_nodes=5, overrides=history),
        out,
    )
    return out


def test_the_page_holds_everything_and_needs_nothing(case_folder, tmp_path):
    case = gather_case(case_folder)
    path = tmp_path / "report.html"
    write_html(case, path)
    page = path.read_text(encoding="utf-8")
    read = Text(page)
    for words in (
        case.statement,
        "patient_001",
        "Research software, not a medical device.",
        "f" * 64,
        "a <model> & more",
        "a cluster <b>at the rim</b> & more",
        "AB",
        "2026-05-04 12:00 UTC",
        "The program found negative.",
        "threshold: 0.5",
        *NODES,
        "patient_001_node_4",
        "There is no result.",
        *case.reasons,
    ):
        assert words in read.text, words
    # Nothing that was given became markup, and nothing has to be fetched.
    assert "b" not in read.tags
    assert "script" not in read.tags
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(read.sources) == 3
    for source in read.sources:
        picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert max(picture.size) == 360


def test_the_picture_shows_the_outline_and_the_diameter(case_folder):
    node = next(one for one in gather_case(case_folder).nodes if one.name.endswith("_2"))
    left, top, right, bottom = np.array(node.lesions[0].bounds_px) * 360 / 1000
    red = (node.picture == (200, 0, 60)).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert (rows.min(), columns.min()) == pytest.approx((top, left), abs=3)
    assert (rows.max(), columns.max()) == pytest.approx((bottom, right), abs=3)
    assert (node.picture == (20, 60, 200)).all(axis=-1).sum() > 20


def test_a_slide_that_is_gone_leaves_a_sentence_in_place_of_its_picture(case_folder, tmp_path):
    empty = tmp_path / "slides"
    empty.mkdir()
    case = gather_case(case_folder, slides=empty)
    assert case.nodes[0].picture is None
    assert f"the slide is not in {empty}" in case.nodes[0].picture_note
    write_html(case, tmp_path / "r.html")
    assert "No picture" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_another_slide_of_the_same_name_is_not_shown(case_folder, make_slide):
    other = make_slide(np.full((64, 64, 3), 200, np.uint8), name="patient_001_node_1", mpp=4.0)
    case = gather_case(case_folder, slides=other.parent)
    (node,) = [one for one in case.nodes if one.name == "patient_001_node_1"]
    assert node.picture is None
    assert "another slide" in node.picture_note


def test_a_damaged_patient_is_explained(case_folder, tmp_path):
    with pytest.raises(ResultError):
        gather_case(tmp_path)
    entries = json.loads((case_folder / "patient.json").read_text())
    del entries["reasons"]
    (tmp_path / "patient.json").write_text(json.dumps(entries))
    with pytest.raises(ResultError, match="damaged"):
        gather_case(tmp_path)


def test_the_pdf_has_pages_text_and_pictures(case_folder, tmp_path):
    path = tmp_path / "report.pdf"
    case = gather_case(case_folder, notes=["x" * 400, "≤ 0.2 mm"])
    write_pdf(case, path)
    data = path.read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert data.count(b"/Subtype /Image") >= 3
    assert data.count(b"/Type /Page\n") >= 1
    assert f"{case.name}: {case.statement}".encode() in data or b"/Title" in data


def test_without_reportlab_its_extra_is_named(case_folder, tmp_path, monkeypatch):
    for name in [one for one in sys.modules if one.split(".")[0] == "reportlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(ResultError, match=r"napari-camelyon\[pdf\]"):
        write_pdf(gather_case(case_folder), tmp_path / "r.pdf")
    assert list(tmp_path.iterdir()) == []


def test_the_newest_run_file_is_read(case_folder):
    (run, *_) = case_folder.glob("*/run.json")
    assert json.loads(run.read_text(encoding="utf-8"))["schema_version"] == RUN_SCHEMA
