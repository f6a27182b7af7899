"""What another decoder, resize, encoding or framework does to the answers."""
