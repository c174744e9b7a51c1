"""Claims on the optimal coefficient: identities, conditions, estimators and their cost."""
