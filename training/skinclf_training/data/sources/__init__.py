"""Public data sets: catalogue, download, unpacking."""
