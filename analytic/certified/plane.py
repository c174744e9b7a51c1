r"""The Jacobian of a step over boxes and out to infinity, in one or two dimensions.

For an isotropic mixture with posterior means ``mu_k(x) = base_k + g_k x``

    D' = sum_k r_k g_k I + (alpha/sigma^2) sum_{j<k} r_j r_k (mu_j - mu_k)(mu_j - mu_k)'

is a sum of positive terms; with ``J = D'`` at the start and ``J'`` at the Euler state

    euler  T' = kappa I + beta J
    heun   T' = kappa I + beta J + c (J' (kappa I + beta J) - J).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from analytic.certified.balls import Ball, ball
from analytic.certified.laws import ExactMixture
from analytic.certified.steps import ExactStep

Point = list[Ball]
Matrix = list[list[Ball]]


class Pair(NamedTuple):
    """``l_k - l_j = constant + <slope, x> + curve |x|^2`` and ``mu_k - mu_j = base + gain x``."""

    constant: Ball
    slope: Point
    curve: Ball
    base: Point
    gain: Ball


class Field:
    """A law at one level: responsibilities, denoiser and Jacobian on balls of states."""

    def __init__(
        self, law: ExactMixture, means: Sequence[Point], alpha: Fraction, sigma: Fraction
    ) -> None:
        v = [alpha**2 * s + sigma**2 for s in law.variances]
        self.count, self.dim = len(v), len(means[0])
        self.variances = v
        self.rate = ball(alpha / sigma**2)
        self.gains = [ball(alpha * s / vk) for s, vk in zip(law.variances, v, strict=True)]
        self.bases = [
            [ball(sigma**2 / vk) * m for m in mk] for mk, vk in zip(means, v, strict=True)
        ]
        ones = range(self.count)
        self.pairs = [[self._pair(law, means, alpha, k, j) for j in ones] for k in ones]

    def _pair(
        self, law: ExactMixture, means: Sequence[Point], alpha: Fraction, k: int, j: int
    ) -> Pair:
        v, a = self.variances, ball(alpha)
        norm = ball(law.dim) / 2 * ball(v[j] / v[k]).log()
        squares = [
            sum((m * m for m in means[i]), ball(0)) * a * a / (2 * ball(v[i])) for i in (j, k)
        ]
        constant = ball(law.weights[k] / law.weights[j]).log() + norm + squares[0] - squares[1]
        slope = [
            a * (mk / ball(v[k]) - mj / ball(v[j]))
            for mk, mj in zip(means[k], means[j], strict=True)
        ]
        base = [p - q for p, q in zip(self.bases[k], self.bases[j], strict=True)]
        curve = ball((1 / v[j] - 1 / v[k]) / 2)
        return Pair(constant, slope, curve, base, self.gains[k] - self.gains[j])

    def responsibilities(self, center: Point, off: Point) -> list[Ball]:
        """Enclose all on the box ``center + off``, by the exact expansion about its centre."""
        if self.count == 1:
            return [ball(1)]
        if self.count == 2:
            first = _inverse([_log_ratio(self.pairs[1][0], center, off)])
            return [first, 1 - first]
        ones = range(self.count)
        return [
            _inverse([_log_ratio(self.pairs[j][k], center, off) for j in ones if j != k])
            for k in ones
        ]

    def denoise(self, x: Point) -> Point:
        """``D`` at a state."""
        r = self.responsibilities(x, [ball(0)] * self.dim)
        zero = ball(0)
        parts = zip(r, self.bases, self.gains, strict=True)
        terms = [[rk * (b + g * y) for b, y in zip(base, x, strict=True)] for rk, base, g in parts]
        return [sum((t[i] for t in terms), zero) for i in range(self.dim)]

    def jacobian(self, center: Point, off: Point) -> Matrix:
        """Enclose ``D'`` on a box."""
        r = self.responsibilities(center, off)
        top = self.gains[0]
        trace = top + sum((rk * (g - top) for rk, g in zip(r, self.gains, strict=True)), ball(0))
        dims = range(self.dim)
        out = [[trace if i == j else ball(0) for j in dims] for i in dims]
        for k in range(self.count):
            for j in range(k):
                pair = self.pairs[k][j]
                weight = self.rate * _product(r[j], r[k], self.count == 2)
                gap = [
                    b + pair.gain * (c + o) for b, c, o in zip(pair.base, center, off, strict=True)
                ]
                for i in dims:
                    out[i][i] += weight * _square(gap[i])
                for i in dims:
                    for m in range(i):
                        part = weight * gap[i] * gap[m]
                        out[i][m] += part
                        out[m][i] += part
        return out


def _log_ratio(pair: Pair, center: Point, off: Point) -> Ball:
    """``q(c + o) = q(c) + <slope + curve (2 c + o), o>``: exact for a quadratic."""
    total = pair.constant
    for b, c, o in zip(pair.slope, center, off, strict=True):
        total += c * (b + pair.curve * c) + (b + pair.curve * (2 * c + o)) * o
    return total


def _inverse(logs: list[Ball]) -> Ball:
    """``1 / (1 + sum exp(l))``, end by end: wide balls of ``l`` stay inside ``[0, 1]``."""
    low = 1 / (1 + sum(value.upper().exp() for value in logs))
    high = 1 / (1 + sum(value.lower().exp() for value in logs))
    return low.lower().union(high.upper())


def _product(a: Ball, b: Ball, complementary: bool) -> Ball:
    """``a b`` of two responsibilities: at most 1/4, and exactly ``1/4 - (a - 1/2)^2`` of two."""
    if complementary:
        return ball(Fraction(1, 4)) - _square(a - ball(Fraction(1, 2)))
    value = a * b
    quarter = ball(Fraction(1, 8)) * (1 + ball(-1).union(ball(1)))
    return value.intersection(quarter) if value.overlaps(quarter) else value


def _square(value: Ball) -> Ball:
    """``value^2``, never below 0."""
    low, high = value.abs_lower(), value.abs_upper()
    return (low * low).union(high * high) if value.rad() > 0 else value * value


def norm_upper(a: Matrix) -> Ball:
    """Upper bound of the spectral norm of a 1x1 or 2x2 matrix of balls."""
    return _norm(a, "abs_upper").upper()


def norm_lower(a: Matrix) -> Ball:
    """Lower bound of it."""
    return _norm(a, "abs_lower").lower()


def _norm(a: Matrix, bound: str) -> Ball:
    """``(|(a + d, b - c)| + |(a - d, b + c)|) / 2``, from a bound of each entry's size."""
    if len(a) == 1:
        return getattr(a[0][0], bound)()
    (p, q), (r, s) = a
    sizes = [getattr(value, bound)() for value in (p + s, q - r, p - s, q + r)]
    first, second = (
        sizes[0] * sizes[0] + sizes[1] * sizes[1],
        sizes[2] * sizes[2] + sizes[3] * sizes[3],
    )
    return (first.sqrt() + second.sqrt()) / 2


class StepField:
    """A step's Jacobian on boxes of states."""

    def __init__(self, step: ExactStep, law: ExactMixture, means: Sequence[Point]) -> None:
        self.kappa, self.beta, self.bend = ball(step.kappa), ball(step.beta), ball(step.bend)
        self.start = Field(law, means, *step.s)
        self.end = Field(law, means, *step.t) if step.bend else None
        self.dim = len(means[0])

    def jacobian(self, center: Point, off: Point) -> Matrix:
        """Enclose ``T'`` on the box ``center + off``.

        The Euler state ranges over its value at the centre plus its Jacobian on the box times
        the offset.
        """
        inner = self.start.jacobian(center, off)
        dims = range(self.dim)
        euler = [
            [self.beta * inner[i][j] + (self.kappa if i == j else 0) for j in dims] for i in dims
        ]
        if self.end is None:
            return euler
        denoised = self.start.denoise(center)
        middle = [self.kappa * c + self.beta * d for c, d in zip(center, denoised, strict=True)]
        moved = [sum((euler[i][j] * off[j] for j in dims), ball(0)) for i in dims]
        outer = self.end.jacobian(middle, moved)
        return [
            [
                euler[i][j]
                + self.bend
                * (sum((outer[i][m] * euler[m][j] for m in dims), ball(0)) - inner[i][j])
                for j in dims
            ]
            for i in dims
        ]
