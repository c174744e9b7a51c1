"""The study of corrections on a neural denoiser: ``python -m gpu_models.study --help``."""
