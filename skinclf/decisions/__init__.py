"""Fitted on held-out predictions: thresholds, calibration, conformal sets, guarantees."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "OperatingPoint",
    "SampleOptions",
    "Threshold",
    "TuneOptions",
    "fit_calibration",
    "fit_conformal",
    "positives_needed",
    "read_threshold",
    "tune_threshold",
]

if TYPE_CHECKING:
    from skinclf.decisions.calibration import fit_calibration
    from skinclf.decisions.conformal import fit_conformal
    from skinclf.decisions.guarantees import positives_needed
    from skinclf.decisions.operating_point import OperatingPoint
    from skinclf.decisions.threshold_file import Threshold, read_threshold
    from skinclf.decisions.thresholds import SampleOptions, TuneOptions, tune_threshold
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.decisions.calibration": ["fit_calibration"],
            "skinclf.decisions.conformal": ["fit_conformal"],
            "skinclf.decisions.guarantees": ["positives_needed"],
            "skinclf.decisions.operating_point": ["OperatingPoint"],
            "skinclf.decisions.threshold_file": ["Threshold", "read_threshold"],
            "skinclf.decisions.thresholds": ["SampleOptions", "TuneOptions", "tune_threshold"],
        },
    )
