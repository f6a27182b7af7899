"""Helpers of the tests: fixtures, fakes and real counterparts."""
