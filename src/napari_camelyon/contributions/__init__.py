"""What napari.yaml points at: thin functions; the heavy imports come when they are called."""
