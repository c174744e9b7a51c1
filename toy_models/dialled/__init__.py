"""Exact denoisers with an error that is dialled in."""
