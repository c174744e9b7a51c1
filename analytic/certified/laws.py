r"""Isotropic mixtures in exact numbers, and their posterior in ball arithmetic.

Means that lie on one line ``b + t e`` split the space: a coordinate ``y`` along ``e``, and
``d - 1`` directions across in which every component has the same mean ``b`` (orthogonal to ``e``).
With ``x = y e + alpha b + w`` and ``rho = |w|`` the log responsibilities differ by

    l_j - l_k = A + B y + C (y^2 + rho^2),    C = (1/v_k - 1/v_j) / 2,

and the denoiser is ``D = D_y e + b + G w`` with, for component means ``mu_k = base_k + g_k y``,
``g_k = alpha s_k^2 / v_k``, ``base_k = m_k sigma^2 / v_k``,

    D_y = sum r_k mu_k,   G = sum r_k g_k,   d(D_y)/dy = G + (alpha/sigma^2) Var_r(mu).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Self

from analytic.certified.balls import Ball, Number, ball, exact

Vector = tuple[Fraction, ...]


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """Return the inner product of two exact vectors."""
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


@dataclass(frozen=True)
class ExactMixture:
    """A mixture ``sum w_k N(m_k, s_k^2 I)`` whose parameters are exact fractions.

    Use :meth:`of`: it converts, drops components of weight zero and divides the weights by their
    sum, since the binary values of ``0.3`` and ``0.7`` do not add up to 1.
    """

    weights: Vector
    means: tuple[Vector, ...]
    variances: Vector

    @classmethod
    def of(
        cls,
        weights: Sequence[Number],
        means: Sequence[Number] | Sequence[Sequence[Number]],
        variances: Sequence[Number],
    ) -> Self:
        """Return the mixture; see :func:`analytic.certified.balls.exact` for what a number may be.

        Raises
        ------
        ValueError
            Naming the field, its value and the requirement.

        Examples
        --------
        >>> ExactMixture.of(["3/10", "7/10"], [-1, 1.5], ["0.16", "0.49"]).means
        ((Fraction(-1, 1),), (Fraction(3, 2),))
        """
        w = [exact(value, "weights") for value in weights]
        v = [exact(value, "variances") for value in variances]
        m = [_vector(mean) for mean in means]
        if not len(w) == len(v) == len(m):
            raise ValueError(
                f"means and variances must hold one entry per weight, {len(w)} in all, "
                f"got {len(m)} and {len(v)}"
            )
        if any(value < 0 for value in w) or sum(w) <= 0:
            raise ValueError(f"weights must be >= 0 and not all 0, got {list(map(str, w))}")
        if any(value <= 0 for value in v):
            raise ValueError(f"variances must be > 0, got {min(v)}")
        if any(len(mean) != len(m[0]) for mean in m):
            raise ValueError(f"means must have one length, got {sorted({len(mean) for mean in m})}")
        kept = [k for k, value in enumerate(w) if value > 0]
        total = sum(w, Fraction(0))
        return cls(
            tuple(w[k] / total for k in kept), tuple(m[k] for k in kept), tuple(v[k] for k in kept)
        )

    @property
    def dim(self) -> int:
        """Dimension ``d``."""
        return len(self.means[0])

    @property
    def shared(self) -> bool:
        """Whether all components have one variance."""
        return len(set(self.variances)) == 1

    def second_moment(self) -> Fraction:
        """Return ``M = E|x_star|^2``."""
        terms = zip(self.weights, self.means, self.variances, strict=True)
        return sum((w * (dot(m, m) + self.dim * v) for w, m, v in terms), Fraction(0))

    def at(self, alpha: Fraction, sigma: Fraction) -> Self:
        """Return the law of ``alpha x_star + sigma eps``, exact again."""
        means = tuple(tuple(alpha * c for c in m) for m in self.means)
        return type(self)(
            self.weights, means, tuple(alpha**2 * v + sigma**2 for v in self.variances)
        )


def _vector(mean: Number | Sequence[Number]) -> Vector:
    if isinstance(mean, Sequence) and not isinstance(mean, str):
        return tuple(exact(entry, "means") for entry in mean)
    return (exact(mean, "means"),)


@dataclass(frozen=True)
class Line:
    """Means on one line: ``m_k = (t_k / sqrt(norm2)) e + b`` with the unit vector ``e``.

    Attributes
    ----------
    law : ExactMixture
    direction : tuple
        ``sqrt(norm2) e``.
    norm2 : Fraction
    along : tuple
        ``t_k = <m_k, direction>``.
    across : tuple
        ``b``, orthogonal to the direction.
    """

    law: ExactMixture
    direction: Vector
    norm2: Fraction
    along: Vector
    across: Vector

    @classmethod
    def through(cls, law: ExactMixture) -> Self:
        """Find the line; raise ``ValueError`` if the means lie on none."""
        first = law.means[0]
        gaps = [tuple(a - b for a, b in zip(m, first, strict=True)) for m in law.means]
        axis = tuple(Fraction(int(i == 0)) for i in range(law.dim))
        direction = axis if law.dim == 1 else next((g for g in gaps if any(g)), axis)
        norm2 = dot(direction, direction)
        for k, gap in enumerate(gaps):
            part = dot(gap, direction) / norm2
            if any(g != part * e for g, e in zip(gap, direction, strict=True)):
                raise ValueError(
                    f"means must lie on one line, got means[{k}] off the line of the first two"
                )
        along = tuple(dot(m, direction) for m in law.means)
        return cls(law, direction, norm2, along, cls._rest(first, direction, norm2))

    @staticmethod
    def _rest(point: Vector, direction: Vector, norm2: Fraction) -> Vector:
        part = dot(point, direction) / norm2
        return tuple(p - part * e for p, e in zip(point, direction, strict=True))

    def split(self, point: Vector) -> tuple[Ball, Vector]:
        """Return a point's coordinate along the line, and the rest as an exact vector."""
        rest = self._rest(point, self.direction, self.norm2)
        return ball(dot(point, self.direction)) / ball(self.norm2).sqrt(), rest


class Posterior(NamedTuple):
    """Under the responsibilities at one state: means and (co)variances of ``mu`` and ``g``."""

    mean: Ball  # D_y
    gain: Ball  # G
    mu_mu: Ball
    mu_g: Ball
    g_g: Ball


class Level:
    """A law on a line at one noise level, as balls of the precision set when it was made."""

    def __init__(self, line: Line, alpha: Fraction, sigma: Fraction) -> None:
        law = line.law
        root = ball(line.norm2).sqrt() if line.norm2 != 1 else ball(1)
        v = [alpha**2 * s + sigma**2 for s in law.variances]
        t = [ball(along) / root for along in line.along]
        self.alpha, self.sigma = ball(alpha), ball(sigma)
        #: alpha / sigma^2; without noise the posterior is a point and nothing multiplies by it
        self.precision = ball(alpha / sigma**2 if sigma else 0)
        self.centers = [ball(alpha) * tk for tk in t]
        self.widths = [ball(vk) for vk in v]
        self.gains = [ball(alpha * s / vk) for s, vk in zip(law.variances, v, strict=True)]
        self.bases = [tk * ball(sigma**2 / vk) for tk, vk in zip(t, v, strict=True)]
        self.weights = [ball(w) for w in law.weights]
        circle = ball(2) * ball(1).atan() * 4  # 2 pi
        pairs = zip(self.weights, self.widths, strict=True)
        self.heights = [w / (circle * width).sqrt() for w, width in pairs]
        self.rates = [-1 / (2 * width) for width in self.widths]
        self.uniform = law.shared
        self.zero = ball(0)
        self.pairs = [[self._pair(law, v, j, k) for j in range(len(v))] for k in range(len(v))]

    def _pair(
        self, law: ExactMixture, v: Sequence[Fraction], j: int, k: int
    ) -> tuple[Ball, Ball, Ball]:
        """Coefficients ``A, B, C`` of ``l_j - l_k``; the normalisation is that of ``d`` axes."""
        aj, ak = self.centers[j], self.centers[k]
        norm = ball(law.dim) / 2 * ball(v[k] / v[j]).log()
        constant = ball(law.weights[j] / law.weights[k]).log() + norm
        constant += ak * ak / (2 * self.widths[k]) - aj * aj / (2 * self.widths[j])
        slope = aj / self.widths[j] - ak / self.widths[k]
        return constant, slope, ball((1 / v[k] - 1 / v[j]) / 2)

    def log_ratio(self, j: int, k: int, y: Ball, radius2: Ball = 0) -> Ball:
        """``l_j - l_k`` at ``(y, rho^2)``."""
        a, b, c = self.pairs[k][j]
        if self.uniform:
            return a + b * y
        return a + y * (b + c * y) + c * radius2

    def responsibilities(self, y: Ball, radius2: Ball = 0) -> tuple[int, list[Ball]]:
        """Return the top component at the midpoint and all responsibilities.

        Every one but the top's is ``1 / (1 + sum exp(l_j - l_k))``: a small one keeps its relative
        accuracy, and ``r_top = 1 - sum`` stays tight where a product ``exp(.) r`` would not.
        """
        count = len(self.weights)
        if count == 1:
            return 0, [ball(1)]
        if count == 2:
            ratio = self.log_ratio(1, 0, y, radius2)
            top = int(ratio.real.mid() > 0)
            small = 1 / (1 + (-ratio if top == 0 else ratio).exp())
            return top, [1 - small, small] if top == 0 else [small, 1 - small]
        levels = [self.log_ratio(j, 0, y, radius2) for j in range(1, count)]
        mids = [0.0, *(float(value.real.mid()) for value in levels)]
        top = max(range(count), key=mids.__getitem__)
        out: list[Ball] = [None] * count
        for k in range(count):
            if k != top:
                ratios = (self.log_ratio(j, k, y, radius2).exp() for j in range(count) if j != k)
                out[k] = 1 / (1 + sum(ratios))
        out[top] = 1 - sum(r for k, r in enumerate(out) if k != top)
        return top, out

    def posterior(self, y: Ball, radius2: Ball = 0) -> Posterior:
        """Return ``D_y``, ``G`` and the second moments of ``mu`` and ``g`` about them."""
        top, r = self.responsibilities(y, radius2)
        base, gain = self.bases[top], self.gains[top]
        zero = self.zero
        first = first_g = mu_mu = mu_g = g_g = zero
        for k, rk in enumerate(r):
            if k == top:
                continue
            off = self.bases[k] - base
            if not self.uniform:
                off_g = self.gains[k] - gain
                off = off + off_g * y
                first_g += rk * off_g
                mu_g += rk * off * off_g
                g_g += rk * off_g * off_g
            first += rk * off
            mu_mu += rk * off * off
        mean = base + gain * y + first
        if self.uniform:
            return Posterior(mean, gain, mu_mu - first * first, zero, zero)
        second = mu_mu - first * first, mu_g - first * first_g, g_g - first_g * first_g
        return Posterior(mean, gain + first_g, *second)

    def density(self, k: int, y: Ball) -> Ball:
        """Return ``w_k N(y; alpha m_k, v_k)`` along the line."""
        off = y - self.centers[k]
        return self.heights[k] * (off * off * self.rates[k]).exp()

    def own(self, k: int, y: Ball) -> Ball:
        """Return ``mu_k = E[x_star | x, k]`` along the line."""
        return self.bases[k] + self.gains[k] * y
