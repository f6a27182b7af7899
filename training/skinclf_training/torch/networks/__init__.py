"""Networks to be trained in PyTorch: built, initialised, frozen."""
