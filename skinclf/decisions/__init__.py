"""Fitted on held-out predictions: thresholds, calibration, conformal sets, guarantees."""
