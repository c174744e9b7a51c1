"""Small denoisers whose error is known or set."""
