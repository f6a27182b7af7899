"""Training: steps, input, whole configurations, finished runs."""
