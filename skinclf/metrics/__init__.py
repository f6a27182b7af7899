"""Statistics on arrays: intervals, bootstrap, classification and calibration metrics, paired tests."""
