r"""One step of a solver in ball arithmetic, from its formula rather than from the library.

With ``kappa = sigma'/sigma``, ``beta = alpha' - kappa alpha`` (both exact fractions):

    euler      T = kappa x + beta D(x)
    heun       T = euler + c (D'(euler) - D(x)),   c = alpha' beta / (2 alpha kappa)
    dpmpp-2m   T = kappa x + beta (D + (D - D_1) / (2 r)),  r = (lam - lam_1) / (lam' - lam)

``D_1`` is the denoiser at a past state held fixed. Without a past, or where a step ends at
``sigma' = 0``, heun and dpmpp-2m are euler. In the coordinates of
:mod:`analytic.certified.laws` the residual ``u = x - T`` is ``u_y e + shift + a w``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Self

from analytic.certified.balls import Ball, Number, ball, exact
from analytic.certified.laws import Level, Line, Vector, dot

SOLVERS = ("euler", "heun", "dpmpp-2m")
"""What can be certified."""

Pair = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class ExactStep:
    """A step between exact levels; ``past`` is ``(level, state)`` of a frozen evaluation."""

    solver: str
    s: Pair
    t: Pair
    past: tuple[Pair, Vector] | None = None

    @classmethod
    def of(
        cls,
        solver: str,
        s: Sequence[Number],
        t: Sequence[Number],
        past: tuple[Sequence[Number], Sequence[Number]] | None = None,
    ) -> Self:
        """Return the step from levels ``(alpha, sigma)``.

        Raises
        ------
        ValueError
            For a solver that cannot be certified or levels out of order.
        """
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver}")
        start, end = _level(s, "s"), _level(t, "t")
        _require_finer(start, end, "t", "s")
        if start[1] == 0:
            raise ValueError("s: sigma must be > 0, got 0")
        frozen = None
        if past is not None:
            if solver != "dpmpp-2m":
                raise ValueError(f"past must be None for {solver}, which uses none")
            level = _level(past[0], "past")
            _require_finer(level, start, "s", "past")
            frozen = level, tuple(exact(value, "past") for value in past[1])
        return cls(solver, start, end, frozen)

    @property
    def kappa(self) -> Fraction:
        """``sigma'/sigma``."""
        return self.t[1] / self.s[1]

    @property
    def beta(self) -> Fraction:
        """``alpha' - kappa alpha``."""
        return self.t[0] - self.kappa * self.s[0]

    @property
    def bend(self) -> Fraction:
        """``c`` of heun; 0 for the others and where the step ends at zero noise."""
        if self.solver != "heun" or self.t[1] == 0:
            return Fraction(0)
        return self.t[0] * self.beta / (2 * self.s[0] * self.kappa)

    @property
    def uses_past(self) -> bool:
        """Whether a frozen output enters."""
        return self.past is not None and self.t[1] > 0


def _level(pair: Sequence[Number], name: str) -> Pair:
    alpha, sigma = (exact(value, name) for value in pair)
    if alpha <= 0 or sigma < 0:
        raise ValueError(f"{name} must have alpha > 0 and sigma >= 0, got ({alpha}, {sigma})")
    return alpha, sigma


def _require_finer(noisy: Pair, clean: Pair, name: str, other: str) -> None:
    if clean[1] / clean[0] >= noisy[1] / noisy[0]:
        raise ValueError(f"{name} must be less noisy than {other}, got {clean} after {noisy}")


class Residual(NamedTuple):
    """``u = u_y e + shift + a w`` at one state, and the parts of its divergence."""

    along: Ball  # u_y
    slope: Ball  # d(u_y)/dy
    gain: Ball  # a
    radial: Ball  # rho da/drho


class BallStep:
    """A step on a line law, as balls of the precision set when it was made."""

    def __init__(self, step: ExactStep, line: Line) -> None:
        self.step, self.line = step, line
        self.start = Level(line, *step.s)
        self.end = Level(line, *step.t) if step.bend else None
        self.kappa, self.slack = ball(step.kappa), ball(1 - step.kappa)
        self.beta, self.bend = ball(step.beta), ball(step.bend)
        self.drive = self.beta  # coefficient of D(x) but for heun's bend
        self.constant = ball(0)  # of u_y
        #: the part of ``u`` across the line that does not depend on ``x``, an exact vector over
        #: balls: ``(alpha - alpha') b``, and for 2M what its past adds
        self.shift = [ball((step.s[0] - step.t[0]) * b) for b in line.across]
        if step.uses_past:
            self._use_past()

    def _use_past(self) -> None:
        step, line = self.step, self.line
        assert step.past is not None
        (alpha1, sigma1), state = step.past
        lam = [ball(a / s).log() for a, s in ((alpha1, sigma1), step.s, step.t)]
        half = (lam[2] - lam[1]) / (lam[1] - lam[0]) / 2  # 1 / (2 r)
        y, rest = line.split(state)
        off = [r - alpha1 * b for r, b in zip(rest, line.across, strict=True)]
        post = Level(line, alpha1, sigma1).posterior(y, ball(dot(off, off)))
        self.drive = self.beta * (1 + half)
        self.constant = self.beta * half * post.mean
        # D_1 = b + G_1 off across; the b's of D and D_1 cancel but for euler's
        moved = self.beta * half * post.gain
        self.shift = [s + moved * ball(o) for s, o in zip(self.shift, off, strict=True)]

    def residual(self, y: Ball, radius2: Ball = 0) -> Residual:
        """Return ``u`` and its derivatives at ``(y, rho^2)``."""
        post = self.start.posterior(y, radius2)
        p = self.start.precision
        slope = post.gain + p * post.mu_mu  # dD/dy
        radial = p * radius2 * post.g_g  # rho dG/drho
        if self.end is None:
            return Residual(
                self.slack * y - self.drive * post.mean + self.constant,
                self.slack - self.drive * slope,
                self.slack - self.drive * post.gain,
                -self.drive * radial,
            )
        state, stretch = self.kappa * y + self.beta * post.mean, self.kappa + self.beta * post.gain
        after = self.end.posterior(state, stretch * stretch * radius2)
        q = self.end.precision
        cross = self.beta * p * post.mu_g  # (1/rho) d(state)/drho = d(rho')/dy / rho
        bent = (after.gain + q * after.mu_mu) * (self.kappa + self.beta * slope)
        bent += q * after.mu_g * stretch * cross * radius2
        growth = stretch + self.beta * radial  # d(rho')/drho
        turned = q * radius2 * (after.mu_g * cross + after.g_g * stretch * growth)
        return Residual(
            self.slack * y - self.beta * post.mean - self.bend * (after.mean - post.mean),
            self.slack - self.beta * slope - self.bend * (bent - slope),
            self.slack - self.beta * post.gain - self.bend * (after.gain * stretch - post.gain),
            -self.beta * radial
            - self.bend * (turned * stretch + after.gain * self.beta * radial - radial),
        )

    def growth(self) -> tuple[Any, Any]:
        """Return polynomials in ``|y|`` that bound ``|u_y|`` and ``|d u_y / dy|`` (one dimension).

        From ``|D| <= max|base| + max g |y|`` and ``0 <= D' <= max g + (alpha/sigma^2) (half the
        spread of mu)^2`` (Popoviciu), composed for heun.
        """
        from flint import arb_poly

        y = arb_poly([0, 1])
        mean, slope = denoiser_bounds(self.start, y)
        u = y * self.slack + mean * abs(self.drive) + abs(self.constant)
        du = arb_poly([self.slack]) + slope * abs(self.drive)
        if self.end is None:
            return u, du
        state = y * self.kappa + mean * abs(self.beta)
        after, after_slope = denoiser_bounds(self.end, state)
        chain = arb_poly([self.kappa]) + slope * abs(self.beta)
        c = abs(self.bend)
        return u + (after + mean) * c, du + (after_slope * chain + slope) * c


def denoiser_bounds(level: Level, reach: Any) -> tuple[Any, Any]:
    """Return bounds of ``|D|`` and ``D'`` where ``|y|`` is at most the polynomial ``reach``."""
    base, gain = upper(level.bases), upper(level.gains)
    spread = upper([a - b for a in level.bases for b in level.bases]) / 2
    widening = upper([a - b for a in level.gains for b in level.gains]) / 2
    half = reach * widening + spread
    return reach * gain + base, half * half * level.precision + gain


def upper(values: Sequence[Ball]) -> Ball:
    """Return an upper bound of all ``|value|``, exact."""
    bounds = [abs(value).upper() for value in values]
    largest = bounds[0]
    for bound in bounds[1:]:
        largest = largest.max(bound)
    return largest
