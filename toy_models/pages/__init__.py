"""The pages of the documentation that are made of this package's records."""
