"""Training in PyTorch with Lightning."""
