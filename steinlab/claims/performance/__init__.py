"""Claims on what corrections gain in experiments."""
