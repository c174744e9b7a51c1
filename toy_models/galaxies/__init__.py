"""Pretrained networks of galaxies, where they are installed."""
