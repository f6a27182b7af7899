"""What is measured: every module is run as `python -m benchmarks.GROUP.NAME` in the root of the repository."""
