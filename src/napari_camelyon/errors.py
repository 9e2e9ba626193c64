"""The exceptions that napari-camelyon raises for people.

Every message is one or two sentences: what is wrong, where, and what to do. The command line and
the docks print the message alone; anything that is not a `CamelyonError` is a defect of ours.
"""

__all__ = [
    "AnnotationError",
    "CamelyonError",
    "DamagedSlideError",
    "FileChangedError",
    "FileWriteError",
    "MissingMppError",
    "ModelError",
    "ResultError",
    "SlideError",
    "StagingError",
    "StainError",
    "TumourClassError",
]


class CamelyonError(Exception):
    """Base of all errors that are explained to a person."""


class SlideError(CamelyonError, OSError):
    """A slide cannot be found, opened or read."""


class DamagedSlideError(SlideError):
    """A part of a slide is damaged; other parts may still be read."""


class MissingMppError(SlideError, ValueError):
    """A physical size was asked for, but the slide does not say how large its pixels are."""


class AnnotationError(CamelyonError, ValueError):
    """An annotation file cannot be understood or written."""


class FileChangedError(AnnotationError):
    """Somebody else has written the annotation file since it was opened."""


class ModelError(CamelyonError, ValueError):
    """A model or its specification cannot be loaded, or does not fit."""


class TumourClassError(ModelError):
    """Which class of a model is tumour has to be said: the names do not tell.

    Parameters
    ----------
    message : str
        For people.
    class_names : tuple of str
        The classes to choose from.
    """

    def __init__(self, message: str, class_names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.class_names = class_names


class ResultError(CamelyonError, OSError):
    """A stored result is missing, damaged or of an unknown schema."""


class FileWriteError(CamelyonError, OSError):
    """A file could not be written; what stood there before is untouched."""


class StagingError(CamelyonError, ValueError):
    """Nodes or lesions do not allow the stage to be derived."""


class StainError(CamelyonError, ValueError):
    """The stain of a slide cannot be found, or a transfer between stains cannot be made."""


class EvaluationError(CamelyonError, ValueError):
    """Predictions and truth do not fit each other, or a score is not defined on them."""


class CalibrationError(CamelyonError, ValueError):
    """A calibration cannot be fitted, or does not fit what it is to be used on."""
