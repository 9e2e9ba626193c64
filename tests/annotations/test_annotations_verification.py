"""A verdict on a region travels with it and leaves everything else alone."""

from pathlib import Path

import pytest

from napari_camelyon import annotations
from napari_camelyon.annotations import AnnotationSet, make_annotation, replace_annotation
from napari_camelyon.annotations.verification import (
    STATUSES,
    status_of,
    verification_note,
    verified,
)

RING = [(0, 0), (10, 0), (10, 10)]


def test_a_region_is_unchecked_until_somebody_judges_it():
    one = make_annotation("polygon", RING)
    assert (status_of(one), verification_note(one)) == ("unchecked", "")
    judged = verified(one, "rejected", "histiocytes")
    assert (status_of(judged), verification_note(judged)) == ("rejected", "histiocytes")
    assert dict(verified(judged, "unchecked").extra) == {}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("extension", [".xml", ".geojson"])
def test_the_verdict_is_in_the_file(tmp_path: Path, status, extension):
    path = tmp_path / f"judged{extension}"
    note = 'sees "glass" & <ink>\n– SL'
    one = verified(make_annotation("polygon", RING, name="a"), status, note)
    annotations.write(AnnotationSet((one,)), path)
    (back,) = annotations.read(path)
    assert (status_of(back), verification_note(back)) == (status, note)


@pytest.mark.parametrize("extension", [".xml", ".geojson"])
def test_taking_a_verdict_back_leaves_the_file_as_it_was(tmp_path: Path, extension):
    path = tmp_path / f"judged{extension}"
    made = [make_annotation("polygon", RING, name=name) for name in "ab"]
    annotations.write(AnnotationSet(tuple(made)), path)
    before = path.read_bytes()
    opened = annotations.read(path)
    annotations.write(replace_annotation(opened, verified(opened.annotations[0], "agreed")), path)
    again = annotations.read(path)
    assert [status_of(a) for a in again] == ["agreed", "unchecked"]
    annotations.write(replace_annotation(again, verified(again.annotations[0], "unchecked")), path)
    assert path.read_bytes() == before


def test_only_the_element_of_the_judged_region_changes(tmp_path: Path):
    path = tmp_path / "judged.xml"
    made = [make_annotation("polygon", RING, name=name) for name in "abc"]
    annotations.write(AnnotationSet(tuple(made)), path)
    before = path.read_bytes().decode()
    opened = annotations.read(path)
    annotations.write(replace_annotation(opened, verified(opened.annotations[1], "agreed")), path)
    assert path.read_bytes().decode() == before.replace(
        'Name="b" Type="Polygon" PartOfGroup="None" Color="#F4FA58"',
        'Name="b" Type="Polygon" PartOfGroup="None" Color="#F4FA58" Verification="agreed"',
    )
