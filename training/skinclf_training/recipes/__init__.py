"""Losses, class balance, schedules and validation metrics, independent of the framework."""
