"""The exact denoiser of a large data set on a GPU."""
