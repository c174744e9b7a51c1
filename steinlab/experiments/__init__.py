"""Runs against a truth: comparisons, calibrations, samples, the tournament."""
