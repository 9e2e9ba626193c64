"""Run the command line with ``python -m napari_camelyon``."""

from napari_camelyon.cli import main

if __name__ == "__main__":
    main()
