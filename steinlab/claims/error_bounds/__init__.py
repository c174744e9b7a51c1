"""Claims on error bounds along a run: decay, perturbations, other laws."""
