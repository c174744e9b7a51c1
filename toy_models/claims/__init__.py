"""Claims that need trained networks."""
