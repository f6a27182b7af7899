"""From a path to pixels: discovery, decoding, enhancement, resizing, `Preprocess`."""
