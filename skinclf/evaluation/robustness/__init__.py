"""What another camera does to a model's answers: shifted copies of test images at a frozen threshold."""
