"""Pixels to predictions in memory: predictor, scorers, batch engine, test-time augmentation, ensembles."""
