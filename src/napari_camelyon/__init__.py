"""napari-camelyon: lymph-node whole-slide images in napari, from annotation to pN stage.

Research software, not a medical device. Importing the package imports neither torch nor Qt.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-camelyon")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
