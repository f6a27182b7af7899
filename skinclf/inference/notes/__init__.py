"""Scorers that note something of each picture beside its scores."""
