r"""Both sides of the perturbation bound in one dimension, enclosed.

The states follow ``q`` while the model denoises for the law ``p``, so its score is
``s_p = (alpha D - x) / sigma^2``. With the Stein route's coefficient under ``q`` and the optimum
under ``q`` for the model's own denoiser,

    gamma_tilde = ((1 - 1/alpha) E_q<u, x> + (sigma^2/alpha) E_q u') / E_q u^2,
    gamma_q     = E_q<u, x - D> / E_q u^2,

the bound says ``|gamma_tilde - gamma_q| <= C sqrt(F)``, ``C = sigma^2 / (alpha |u|_{L2(q)})``,
``F = E_q (s_p - s_q)^2``. The deviation is enclosed twice: as the difference of the two
coefficients, and as ``(sigma^2/alpha) E_q u (s_p - s_q) / E_q u^2``, to which it must be equal.
"""

from dataclasses import dataclass
from fractions import Fraction

from analytic.certified.balls import Ball, Enclosure, kept, precision
from analytic.certified.coefficient import expect, stein_form
from analytic.certified.laws import ExactMixture, Level, Line
from analytic.certified.steps import BallStep, ExactStep, denoiser_bounds, upper


@dataclass(frozen=True)
class PerturbationBound:
    """Enclosures of everything in the bound; see the module."""

    gamma_tilde: Enclosure
    gamma_q: Enclosure
    deviation: Enclosure  # gamma_tilde - gamma_q, as a difference
    by_scores: Enclosure  # the same from the scores, in one integral
    fisher: Enclosure  # F
    power: Enclosure  # E_q u^2
    bound: Enclosure  # C sqrt(F)
    state: Enclosure  # |(gamma_tilde - gamma_q) u| in L2(q)
    state_bound: Enclosure  # (sigma^2/alpha) sqrt(F)

    @property
    def holds(self) -> bool:
        """Whether the bound is not refuted: it is proved, or both sides overlap."""
        return self.state.lower <= self.state_bound.upper


def perturbation_bound(
    law: ExactMixture, q: ExactMixture, step: ExactStep, *, bits: int = 128
) -> PerturbationBound:
    """Enclose both sides.

    Parameters
    ----------
    law : ExactMixture
        The data law that the model denoises for, one-dimensional.
    q : ExactMixture
        The law of the states themselves, at the level where the step begins. For a data law
        seen there, pass ``law_q.at(alpha, sigma)``.
    step : ExactStep
    bits : int

    Raises
    ------
    ValueError
        Beyond one dimension.

    Examples
    --------
    >>> p = ExactMixture.of(["1/2", "1/2"], [-3, 3], ["1/4", "1/4"])
    >>> q = ExactMixture.of(["3/5", "2/5"], [-3, 2], ["1/4", "1/4"])
    >>> step = ExactStep.of("euler", (1, 2), (1, 1))
    >>> found = perturbation_bound(p, q.at(Fraction(1), Fraction(2)), step, bits=53)
    >>> found.holds, round(float(found.state.mid / found.state_bound.mid), 3)
    (True, 0.04)
    """
    if law.dim != 1 or q.dim != 1:
        raise ValueError(f"law and q must be one-dimensional, got {law.dim} and {q.dim}")
    with precision(bits):
        return _enclose(BallStep(step, Line.through(law)), q, bits)


def _enclose(step: BallStep, q: ExactMixture, bits: int) -> PerturbationBound:
    from flint import arb_poly

    level = step.start
    residual, mean = kept(step.residual), kept(lambda x: level.posterior(x).mean)
    states = Level(Line.through(q), Fraction(1), Fraction(0))
    ratio = level.sigma * level.sigma / level.alpha
    drift, geometric = stein_form(level.alpha, level.sigma)
    y = arb_poly([0, 1])
    u_bound, slope_bound = step.growth()
    mean_bound = denoiser_bounds(level, y)[0]
    gap_bound = (mean_bound + y * (1 / abs(level.alpha))) * (1 / ratio) + score_bound(states, y)

    def power(x: Ball) -> Ball:
        u = residual(x).along
        return u * u

    def stein(x: Ball) -> Ball:
        u = residual(x)
        return drift * x * u.along + geometric * u.slope

    def own(x: Ball) -> Ball:
        return residual(x).along * (x - mean(x))

    @kept
    def gap(x: Ball) -> Ball:
        return (mean(x) - x / level.alpha) / ratio - score(states, x)

    def fisher(x: Ball) -> Ball:
        value = gap(x)
        return value * value

    def cross(x: Ball) -> Ball:
        return residual(x).along * gap(x)

    u_u = expect(states, power, u_bound * u_bound, bits)
    scale = abs(u_u)
    stein_growth = y * u_bound * abs(drift) + slope_bound * abs(geometric)
    tilde = expect(states, stein, stein_growth, bits, scale) / u_u
    best = expect(states, own, u_bound * (y + mean_bound), bits, scale) / u_u
    f = expect(states, fisher, gap_bound * gap_bound, bits, scale)
    by_scores = ratio * expect(states, cross, u_bound * gap_bound, bits, scale) / u_u
    deviation = tilde - best
    root, size = _root(f), u_u.sqrt()
    return PerturbationBound(
        *map(Enclosure.of, (tilde, best, deviation, by_scores, f, u_u)),
        *map(Enclosure.of, (ratio * root / size, abs(by_scores) * size, ratio * root)),
    )


def _root(value: Ball) -> Ball:
    """Square root of a number >= 0 whose ball may contain negative numbers."""
    from flint import arb

    if value.lower() > 0:
        return value.sqrt()
    half = value.upper().sqrt().upper() / 2
    return arb(half, half)


def score(states: Level, x: Ball) -> Ball:
    """``d log q / dx = -sum r_k (x - c_k) / v_k``."""
    _, r = states.responsibilities(x)
    parts = zip(r, states.centers, states.widths, strict=True)
    return sum((rk * (c - x) / v for rk, c, v in parts), x * 0)


def score_bound(states: Level, y: Ball) -> Ball:
    """Return a polynomial in ``|x|`` above ``|d log q / dx|``."""
    rate = upper([1 / v for v in states.widths])
    shift = upper([c / v for c, v in zip(states.centers, states.widths, strict=True)])
    return y * rate + shift
