"""Statistics on arrays: intervals, bootstrap, classification and calibration metrics, paired tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Estimate",
    "brier",
    "clopper_pearson",
    "cluster_bootstrap",
    "delong",
    "expected_calibration_error",
    "mcnemar",
    "net_benefit",
    "proportion",
]

if TYPE_CHECKING:
    from skinclf.metrics.bootstrap import cluster_bootstrap
    from skinclf.metrics.calibration import brier, expected_calibration_error
    from skinclf.metrics.classification import net_benefit
    from skinclf.metrics.estimate import Estimate, proportion
    from skinclf.metrics.intervals import clopper_pearson
    from skinclf.metrics.paired_tests import delong, mcnemar
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.metrics.bootstrap": ["cluster_bootstrap"],
            "skinclf.metrics.calibration": ["brier", "expected_calibration_error"],
            "skinclf.metrics.classification": ["net_benefit"],
            "skinclf.metrics.estimate": ["Estimate", "proportion"],
            "skinclf.metrics.intervals": ["clopper_pearson"],
            "skinclf.metrics.paired_tests": ["delong", "mcnemar"],
        },
    )
