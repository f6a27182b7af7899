"""Labels, metadata, folders and split files read."""
