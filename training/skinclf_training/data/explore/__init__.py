"""A report of a prepared data set."""
