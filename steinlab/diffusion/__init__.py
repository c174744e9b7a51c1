"""What is sampled: processes, grids, denoisers, networks, models and laws."""
