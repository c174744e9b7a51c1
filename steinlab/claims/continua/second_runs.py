"""The second evaluator of whole runs: the solver's step on power series of balls."""

from __future__ import annotations

import math
from typing import Any

from steinlab.claims.continua.second_parts import Ball, number, squared


def gain(solver: str, grid: str, steps: Ball, std: Ball) -> Ball:
    """``0.01 - |rho - 1|`` to second order in ``c``: the solver's step on power series of balls."""
    from flint import arb_series

    if steps.rad() != 0:
        return number(math.nan)
    count, off = int(float(steps.mid())), std - std.mid()
    middle, around = (
        _ratio(solver, grid, count, arb_series([value, 1], prec=3)) for value in (std.mid(), std)
    )
    value = middle[0] + middle[1] * off + around[2] * squared(off) - 1
    return number("0.01") - value.abs_lower().union(value.abs_upper())


def _ratio(solver: str, grid: str, steps: int, std: Any) -> list[Ball]:
    """Return the coefficients of ``rho``, in the state over ``sqrt(c^2 + sigma^2)``."""
    from steinlab.claims.continua import spectra
    from steinlab.diffusion.processes import EDM
    from steinlab.solvers import get_solver

    run, c2 = spectra.levels(grid, steps), std * std
    found = spectra.gain(
        get_solver(solver, EDM), run, _Exact(std), lambda _, sigma: c2 / (c2 + sigma * sigma)
    )
    first = float(run[0].sigma)
    series = found.value * (c2 + first * first).sqrt() / std
    return [*series.coeffs(), *[number(0)] * 3][:3]


class _Exact:
    """A power series that numbers of NumPy leave alone."""

    __array_ufunc__ = None

    def __init__(self, value: Any) -> None:
        self.value = value

    def __mul__(self, other: Any) -> _Exact:
        return _Exact(self.value * (other if hasattr(other, "coeffs") else float(other)))

    __rmul__ = __mul__

    def __add__(self, other: Any) -> _Exact:
        return _Exact(self.value + (other.value if isinstance(other, _Exact) else float(other)))

    __radd__ = __add__

    def __neg__(self) -> _Exact:
        return self * -1.0

    def __sub__(self, other: Any) -> _Exact:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> _Exact:
        return self.__neg__().__add__(other)
