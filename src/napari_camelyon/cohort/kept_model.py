"""The model of the last run, kept for the next one: loading it again may take seconds."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_camelyon.inference import NumericPath, Predictor
    from napari_camelyon.models import Model
    from napari_camelyon.stain import StainTransfer

__all__ = ["KeptModel"]

_Stamp = tuple[tuple[str, int, int], ...]


class KeptModel:
    """Loads models as `models.load_model` does, and keeps the latest until its files change."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._asked: tuple[object, ...] = ()
        self._stamp: _Stamp = ()
        self._model: Model | None = None
        self._prepared_for: tuple[object, ...] = ()
        self._predictor: Predictor | None = None

    def load(self, path: Path | str | None = None, *, tumour_class: str | None = None) -> "Model":
        """Return the model, loaded if it is another one than last time or its files changed.

        Called in any thread; the predictor of a run is left to it. Raises `ModelError`.
        """
        from napari_camelyon.models import load_model

        asked = (str(path), tumour_class)
        with self._lock:
            if self._model is None or asked != self._asked or _stamp(self._model) != self._stamp:
                self._model = None  # two large ones need not be in memory at once
                model = load_model(path, tumour_class=tumour_class)
                self._asked, self._stamp, self._model = asked, _stamp(model), model
            return self._model

    def prepare(
        self,
        model: "Model",
        path: "NumericPath",
        *,
        batch_size: int | None = None,
        stain: "StainTransfer | None" = None,
    ) -> "Predictor":
        """Return what `inference.prepare` gives, or gave last time if it would be the same.

        Called in the thread of a run, of which there is one at a time. Raises `ModelError`.
        """
        from napari_camelyon import inference

        wanted = (model, path, batch_size, None if stain is None else stain.key)
        there, self._predictor = self._predictor, None
        if there is not None and wanted == self._prepared_for:
            self._predictor = there
            return there
        if there is not None:
            there.close()
        self._predictor = inference.prepare(
            model,
            path,
            batch_size=batch_size,
            stain=stain,
        )
        self._prepared_for = wanted
        return self._predictor

    def close(self) -> None:
        """Let go of both; no run may be under way."""
        if self._predictor is not None:
            self._predictor.close()
        self._predictor = self._model = None


def _stamp(model: "Model") -> _Stamp:
    """Return size and time of what a model was read from: its weights and its specification."""
    path = Path(model.path)
    files = (path, path.with_suffix(".json"), path.parent / "config.json")
    found = [(file, file.stat()) for file in files if file.exists()]
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in found)
