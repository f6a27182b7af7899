"""Training in TensorFlow (extra `tensorflow`): the same configurations, data and run folders as in torch."""
