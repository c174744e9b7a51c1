"""The study of corrections on a neural denoiser: ``steinlab study --help``."""
