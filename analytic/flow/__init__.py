"""The exact probability flow of a mixture."""
