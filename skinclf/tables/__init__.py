"""Predictions and reference labels: read, joined, aggregated."""
