"""The optimal coefficient of a step: formulas, divergences, and gamma on laws and on models."""
