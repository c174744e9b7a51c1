"""Figures of the stored study; what the record lacks is left out and named."""
