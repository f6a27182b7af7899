"""Helpers that no room owns: files, JSON, text columns, natural order, lazy names; private."""
