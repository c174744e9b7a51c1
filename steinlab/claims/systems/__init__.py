"""Claims on the few-step systems of others, each by one file."""
