"""ONNX files read, checked and rewritten as torch networks."""
