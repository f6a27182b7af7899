"""Data preparation: metadata and image folders to a checked, lesion-grouped split and a decoded store."""
