"""Which correction deserves to be used: every one on many problems, against the plain solver."""
