"""The second evaluator of whole runs: the solver's step on power series of balls."""

from __future__ import annotations

import math
from typing import Any

from analytic.certified.balls import precision
from analytic.certified.series import Ball, is_series, number

ORDER, BITS = 24, 192
"""Terms of the series in the standard deviation, and the precision of their balls."""


def gain(solver: str, grid: str, steps: Ball, std: Ball) -> Ball:
    """``0.01 - |rho - 1|`` by a Taylor series about the middle, and Cauchy's bound on its rest.

    Where ``|arg c| <= pi/4``, ``|c^2 / (c^2 + sigma^2)| <= 1``; the disc about the middle ``c`` of
    radius ``R = 0.7 c`` lies there. ``|rho| <= M`` in it, so the terms beyond the last are at most
    ``M t^n / (1 - t)``, ``t`` the distance over ``R``. ``M`` adds absolute values.
    """
    with precision(BITS):
        return _gain(solver, grid, steps, std)


def _gain(solver: str, grid: str, steps: Ball, std: Ball) -> Ball:
    from flint import arb_series

    if steps.rad() != 0:
        return number(math.nan)
    count, middle = int(float(steps.mid())), std.mid()
    off, radius = std - middle, middle * 7 / 10
    share = (off / radius).abs_upper()
    if not share < number(1) / 2:
        return number(math.nan)
    series = _ratio(solver, grid, count, arb_series([middle, 1], prec=ORDER)).coeffs()
    value = number(0)
    for term in reversed(series):
        value = value * off + term
    rest = (_largest(solver, grid, count, middle - radius) * share**ORDER / (1 - share)).upper()
    value = value + rest.union(-rest) - 1
    return number("0.01") - value.abs_lower().union(value.abs_upper())


def _ratio(solver: str, grid: str, steps: int, std: Any) -> Any:
    """Return ``rho``, the run's gain over the exact flow's."""
    from steinlab.claims.continua import spectra
    from steinlab.diffusion.processes import EDM
    from steinlab.solvers import get_solver

    run, c2 = spectra.levels(grid, steps), std * std
    found = spectra.gain(
        get_solver(solver, EDM), run, _Linear(std), lambda _, s: c2 / (c2 + number(s) * number(s))
    )
    first = number(float(run[0].sigma))
    return found.value * (c2 + first * first).sqrt() / std


def _largest(solver: str, grid: str, steps: int, least: Ball) -> Ball:
    """Bound ``|rho|`` where ``|D(x)/x| <= 1`` and ``|c| >= least``."""
    from steinlab.claims.continua import spectra
    from steinlab.diffusion.processes import EDM
    from steinlab.solvers import get_solver

    run = spectra.levels(grid, steps)
    found = spectra.gain(get_solver(solver, EDM), run, _Linear(number(1)), lambda *_: number(1))
    return found.value.abs_upper() * (1 + (number(float(run[0].sigma)) / least) ** 2).sqrt()


class _Linear:
    """A power series through a linear map, or a ball: then what cancels is added."""

    __array_ufunc__ = None

    def __init__(self, value: Any) -> None:
        self.value = value

    def __mul__(self, other: Any) -> _Linear:
        if is_series(self.value):
            return _Linear(self.value * (other if is_series(other) else float(other)))
        return _Linear(self.value * abs(number(other)))

    __rmul__ = __mul__

    def __add__(self, other: Any) -> _Linear:
        return _Linear(self.value + (other.value if isinstance(other, _Linear) else float(other)))

    __radd__ = __add__

    def __neg__(self) -> _Linear:
        return self * -1.0

    def __sub__(self, other: Any) -> _Linear:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> _Linear:
        return self.__neg__().__add__(other)
