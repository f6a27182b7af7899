"""Readers of model files: foreign formats in, a spec and a torch network out; none of them runs code."""
