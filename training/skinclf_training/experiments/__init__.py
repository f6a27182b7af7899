"""Many runs: cross-validation, search, and their reports."""
