"""How good samples are: features, a classifier, measures and their reference."""
