"""`skinclf tune-threshold`: choose a decision threshold on labelled predictions."""

from __future__ import annotations

from skinclf_cli.commands.tune_threshold.command import tune_threshold

__all__ = ["tune_threshold"]
