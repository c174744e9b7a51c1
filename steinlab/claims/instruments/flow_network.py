"""The trained flow network that claims look at where it is installed: its denoiser and pictures."""

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import load_model, registered
from steinlab.errors import InputError
from steinlab.solvers.loop import solve

NAME, LABEL = "fashion-flow", 9
"""The registered model, and the class, ankle boots, that it is asked for."""

STEPS = 6
"""Of the runs that make pictures."""


def network_missing() -> str:
    """Return why the network cannot be evaluated here, empty if it can."""
    if NAME not in registered():
        return f"{NAME} is not registered"
    if find_spec("torch") is None:
        return f"{NAME} needs torch, which is not installed"
    try:
        load_model(NAME)
    except InputError as error:
        return str(error)
    return ""


@cache
def network(guidance: float = 1.0) -> Any:
    """Return the class's denoiser, guided where the weight is not 1."""
    return load_model({"name": NAME, "label": LABEL, "guidance": guidance}).denoiser


@cache
def pictures(count: int) -> np.ndarray:
    """Return pictures ``(count, d)`` that the network makes of pure noise, always the same."""
    grid = make_grid("flow", "time-uniform:start=1", STEPS)
    noise = np.random.default_rng(0).standard_normal((count, network().dim))
    made: np.ndarray = solve(network(), noise, grid, "dpmpp-2m").state
    return made
