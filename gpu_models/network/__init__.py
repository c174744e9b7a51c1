"""The network: its architecture, training, weights and data."""
