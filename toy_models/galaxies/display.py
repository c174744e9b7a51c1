r"""Galaxies as pictures: states to fluxes, fluxes to grey by an asinh stretch.

A galaxy's core outshines its disc a hundredfold, and a linear scale would show the core alone:

    grey = asinh(flux / 0.02) / asinh(brightest / 0.02)

is linear below a flux of 0.02 and logarithmic above, black at 0 (and below), white at
``brightest``, one scale for all pictures of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from steinlab.diffusion.pictures import Display

SCALE = 0.1
"""States are ``log(1 + image) / SCALE``."""

SOFTENING = 0.02
"""Flux at which the stretch turns from linear to logarithmic."""

LOG_FLOOR = 0.02
"""States of the ``log`` networks are taken for ``log(LOG_FLOOR + flux)``."""


def _display(formula: str, flux: Callable[[np.ndarray], np.ndarray], brightest: float) -> Display:
    def grey(states: np.ndarray) -> np.ndarray:
        return np.arcsinh(flux(states) / SOFTENING) / math.asinh(brightest / SOFTENING)

    words = f"asinh(flux / {SOFTENING}), flux = {formula}, black at 0, white at {brightest:.3g}"
    return Display(words, grey)


def image_display(background: float, brightest: float) -> Display:
    """Return the display of states ``log(1 + image) / 0.1`` with a constant background.

    Examples
    --------
    >>> image_display(0.0, 1.0).grey(np.array([0.0, 10 * np.log(2)])).round(12)
    array([0., 1.])
    """
    formula = f"exp({SCALE} x) - {1 + background:g}"
    return _display(formula, lambda x: np.expm1(SCALE * x) - background, brightest)


def log_display(brightest: float) -> Display:
    """Return the display of states ``log(0.02 + flux)``."""
    return _display(f"exp(x) - {LOG_FLOOR}", lambda x: np.exp(x) - LOG_FLOOR, brightest)
