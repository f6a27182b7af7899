"""The report of an evaluation: figures and one self-contained HTML page, from `metrics.json` alone."""

from __future__ import annotations

from skinclf.evaluation.report.page import write_report

__all__ = ["write_report"]
