"""Predictions against reference labels: metrics, comparison, leakage, report."""
