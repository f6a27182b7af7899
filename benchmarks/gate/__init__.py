"""The image gate: fitted, and what it costs and catches."""
