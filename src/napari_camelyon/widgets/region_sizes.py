"""The sizes of the selected regions, which follow while one of them is being edited."""

from collections.abc import Sequence

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel

from napari_camelyon.annotations import Annotation
from napari_camelyon.annotations.measures import Measures, measure
from napari_camelyon.geometry import Mpp
from napari_camelyon.widgets.annotation_editor import AnnotationEditor
from napari_camelyon.widgets.background import Latest
from napari_camelyon.widgets.style import three_digits

__all__ = ["RegionSizes", "count_vertices"]

_MEASURE_MS = 80


class RegionSizes(QLabel):
    """Area, length, greatest diameter and number of vertices of what is selected."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._editor: AnnotationEditor | None = None
        self._beheld: Annotation | None = None
        self._measuring = Latest(self)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_MEASURE_MS)
        self._soon.timeout.connect(self._measure)

    def show_selected(self, editor: AnnotationEditor | None) -> None:
        """Show the sizes of what is selected in an editor now."""
        self._editor = editor
        selected = editor is not None and bool(editor.selected_annotations)
        self.setVisible(selected)
        if selected:
            self._soon.start()

    def behold(self, annotation: Annotation) -> None:
        """Show the sizes of a region while it is being edited."""
        self._beheld = annotation
        if not self._soon.isActive():
            self._soon.start()

    def _measure(self) -> None:
        editor, beheld = self._editor, self._beheld
        self._beheld = None
        if editor is None:
            return
        selected = editor.selected_annotations
        if beheld is not None and [a.id for a in selected] == [beheld.id]:
            selected = [beheld]
        if not selected:
            return
        vertices = count_vertices(selected)
        if editor.mpp is None:
            self.setText(
                f"{vertices:,} vertices. The slide does not say how large its pixels are, so there "
                "are no sizes in mm."
            )
            return
        self._measuring.call(
            _measures,
            selected,
            editor.mpp,
            receive=lambda sizes: self._show(sizes, vertices),
            fail=lambda error: self.setText(str(error)),
        )
        if self._measuring.is_busy:
            self.setText(f"{vertices:,} vertices; measuring …")

    def _show(self, sizes: Sequence[Measures], vertices: int) -> None:
        area = sum(size.area_mm2 for size in sizes)
        around = sum(size.perimeter_mm for size in sizes)
        widest = max(size.greatest_diameter_mm for size in sizes)
        self.setText(
            f"{three_digits(area)} mm² · around {three_digits(around)} mm\n"
            f"greatest diameter {three_digits(widest)} mm · {vertices:,} vertices"
        )


def count_vertices(annotations: Sequence[Annotation]) -> int:
    """Return the number of stored points of annotations."""
    return sum(len(ring) for annotation in annotations for ring in annotation.rings)


def _measures(annotations: Sequence[Annotation], mpp: Mpp) -> list[Measures]:
    return [measure(annotation, mpp) for annotation in annotations]
