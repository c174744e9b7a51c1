"""Exact laws of iterates, on a line and in space, and distances between them."""
