"""The model of the last run, kept for the next one: loading it again may take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_camelyon.models import Model

__all__ = ["KeptModel"]

_Stamp = tuple[tuple[str, int, int], ...]


class KeptModel:
    """Loads models as `models.load_model` does, and keeps the latest until its files change."""

    def __init__(self) -> None:
        self._asked: tuple[object, ...] = ()
        self._stamp: _Stamp = ()
        self._model: Model | None = None
        self._prepared_for: tuple[object, ...] = ()
        self._predictor: Any = None

    def load(
        self, path_or_name: Path | str | None = None, *, tumour_class: str | None = None
    ) -> "Model":
        """Return the model, loaded if it is another one than last time or its files changed.

        Called in the thread of a run; never by two at a time. Raises `ModelError`.
        """
        from napari_camelyon.models import load_model

        asked = (str(path_or_name), tumour_class)
        if self._model is None or asked != self._asked or _stamp(self._model) != self._stamp:
            self._model = None  # two large ones need not be in memory at once
            self._drop_predictor()
            model = load_model(path_or_name, tumour_class=tumour_class)
            self._asked, self._stamp, self._model = asked, _stamp(model), model
        return self._model

    def prepare(self, make: Callable[..., Any], model: "Model", *rest: object, **more: Any) -> Any:
        """Return what `make(model, *rest, **more)` gave last time, if it would be the same.

        Parameters
        ----------
        make : callable
            `inference.prepare`: compiles, folds, moves to the device; seconds for some engines.
        model : Model
        *rest, **more
            Of `make`.
        """
        wanted = (make, id(model), rest, tuple(sorted(more.items())))
        if self._predictor is None or wanted != self._prepared_for:
            self._drop_predictor()
            self._predictor, self._prepared_for = make(model, *rest, **more), wanted
        return self._predictor

    def _drop_predictor(self) -> None:
        if self._predictor is not None:
            self._predictor.close()
        self._predictor = None


def _stamp(model: "Model") -> _Stamp:
    """Return size and time of what a model was read from: its weights and its specification."""
    path = Path(model.path)
    files = (path, path.with_suffix(".json"), path.parent / "config.json")
    found = [(file, file.stat()) for file in files if file.exists()]
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in found)
