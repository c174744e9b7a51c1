"""A laboratory for claims about diffusion-ODE solvers."""
