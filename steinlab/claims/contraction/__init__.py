"""Claims on the contraction of a step, and where it is lost."""
