"""DDIM, which is Euler in ``sigma / alpha`` on ``x / alpha`` and DPM-Solver++(1)."""

from analytic import NoiseLevel
from steinlab.solvers.base import LinearMultistep, LinearStep, first_order


def _weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
    return first_order(levels[0], t)


EULER = LinearMultistep("euler", order=1, depth=0, weights=_weights)
"""``T = kappa x + beta D(x)`` (Song, Meng, Ermon, 2021). One evaluation per step; ends at zero."""
