"""Keras files (`.h5`, `.keras`) read without TensorFlow and without running their code."""
