"""An independent reference for one-dimensional steps: mpmath, straight from the definitions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath as mp

from analytic.certified.laws import ExactMixture
from analytic.certified.steps import ExactStep

DIGITS = 40
REACH, NODES = 13, 1500


def number(value: Any) -> Any:
    return mp.mpf(value.numerator) / value.denominator


class Line:
    """A mixture at a level: density, denoiser, score."""

    def __init__(self, law: ExactMixture, alpha: Any, sigma: Any) -> None:
        self.a, self.s = number(alpha), number(sigma)
        pairs = zip(law.weights, law.means, law.variances, strict=True)
        self.parts = [(number(w), number(m[0]), number(v)) for w, m, v in pairs]

    @lru_cache(maxsize=4)  # noqa: B019 - of the last few states
    def masses(self, x: Any) -> list[Any]:
        spread = [mp.sqrt(self.a**2 * v + self.s**2) for _, _, v in self.parts]
        pairs = zip(self.parts, spread, strict=True)
        return [w * mp.npdf(x, self.a * m, root) for (w, m, _), root in pairs]

    def density(self, x: Any) -> Any:
        return mp.fsum(self.masses(x))

    def owns(self, x: Any) -> list[Any]:
        a, s = self.a, self.s
        return [m + a * v * (x - a * m) / (a**2 * v + s**2) for _, m, v in self.parts]

    @lru_cache(maxsize=4)  # noqa: B019
    def denoise(self, x: Any) -> Any:
        masses = self.masses(x)
        return mp.fdot(masses, self.owns(x)) / mp.fsum(masses)

    def score(self, x: Any) -> Any:
        return (self.a * self.denoise(x) - x) / self.s**2

    def grid(self) -> list[Any]:
        """Even nodes over all components' reach."""
        roots = [mp.sqrt(self.a**2 * v + self.s**2) for _, _, v in self.parts]
        ends = [
            (self.a * m - REACH * r, self.a * m + REACH * r)
            for (_, m, _), r in zip(self.parts, roots, strict=True)
        ]
        return mp.linspace(min(e[0] for e in ends), max(e[1] for e in ends), NODES)


def residual(law: ExactMixture, step: ExactStep) -> Any:
    """``x -> x - T(x)`` by the published formulas, in ``x / alpha`` and ``lam``."""
    s, t = Line(law, *step.s), Line(law, *step.t)
    a, b = s.s / s.a, t.s / t.a

    def u(x: Any) -> Any:
        y, d = x / s.a, s.denoise(x)
        euler = y + (b - a) * (y - d) / a
        if step.solver == "heun" and b > 0:
            slope = (euler - t.denoise(t.a * euler)) / b
            return x - t.a * (y + (b - a) * ((y - d) / a + slope) / 2)
        if step.past is not None:
            (a1, s1), (state,) = step.past
            past = Line(law, a1, s1)
            h, h1 = mp.log(a / b), mp.log(past.s / past.a / a)
            d1 = past.denoise(number(state))
            mixed = d + (d - d1) * h / h1 / 2
            return x - (t.s / s.s * x - t.a * mp.expm1(-h) * mixed)
        return x - t.a * euler

    return u


def moments(law: ExactMixture, step: ExactStep) -> tuple[Any, ...]:
    """``E<u, x - x_star>``, ``E|u|^2``, ``E<u, x>``, ``E div u`` by the trapezoid rule.

    On the whole line it converges geometrically; ``E div u = -int u p'`` needs no derivative of u.
    """
    s, u = Line(law, *step.s), residual(law, step)
    grid = s.grid()
    totals = [mp.mpf(0)] * 4
    for x in grid:
        masses, value = s.masses(x), u(x)
        off = mp.fsum(m * (x - own) for m, own in zip(masses, s.owns(x), strict=True))
        density = mp.fsum(masses)
        fall = density * (x - s.a * s.denoise(x)) / s.s**2
        parts = (value * off, density * value**2, density * value * x, value * fall)
        totals = [a + b for a, b in zip(totals, parts, strict=True)]
    return tuple(total * (grid[1] - grid[0]) for total in totals)


def gammas(law: ExactMixture, step: ExactStep) -> tuple[Any, Any]:
    """``gamma*`` by the reference and by Theorem 4.7."""
    with mp.workdps(DIGITS):
        alpha, sigma = (number(value) for value in step.s)
        off, power, drift, div = moments(law, step)
        return off / power, ((1 - 1 / alpha) * drift + sigma**2 / alpha * div) / power
