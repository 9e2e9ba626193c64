"""Whether a second person agrees with a region: kept with the annotation, in every format that can.

ASAP XML gets two attributes of the ``<Annotation>``, which ASAP passes over (and loses when it
saves the file itself); GeoJSON gets QuPath's free metadata of an object.
"""

from dataclasses import replace
from typing import Literal, get_args

from napari_camelyon.annotations.model import Annotation

__all__ = ["STATUSES", "VERDICT_KEYS", "Status", "status_of", "verification_note", "verified"]

Status = Literal["unchecked", "agreed", "rejected"]
STATUSES: tuple[Status, ...] = get_args(Status)

VERDICT_KEYS = _STATUS, _NOTE = "Verification", "VerificationNote"
"""Under which names a verdict stands in ``Annotation.extra`` and in files."""


def status_of(annotation: Annotation) -> Status:
    """Return the status; what nobody judged, or a word that is none of ours, is "unchecked"."""
    found = annotation.extra.get(_STATUS)
    return next((status for status in STATUSES if status == found), "unchecked")


def verification_note(annotation: Annotation) -> str:
    """Return what the person who judged the region wrote about it."""
    return str(annotation.extra.get(_NOTE, ""))


def verified(annotation: Annotation, status: Status, note: str = "") -> Annotation:
    """Return the annotation with a status and a note; unchecked and no note leave no trace."""
    extra = {key: value for key, value in annotation.extra.items() if key not in (_STATUS, _NOTE)}
    if status != "unchecked":
        extra[_STATUS] = status
    if note:
        extra[_NOTE] = note
    return replace(annotation, extra=extra)
