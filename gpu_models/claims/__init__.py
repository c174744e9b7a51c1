"""Claims judged on the stored study of a neural denoiser; ``not-run`` where a piece is missing."""
