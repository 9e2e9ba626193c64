"""The docks and layers: everything that needs napari or Qt."""
