r"""Enclosures of the coefficient of one step, tails included.

``gamma* = E<u, x - x_star> / E|u|^2`` by three routes. In component ``k`` the Gaussian measure of
``(x_star, eps)`` is rotated so that one axis is ``x``; the other axis enters linearly and
integrates to zero exactly, leaving ``E[x_star | x, k] = mu_k(x)``:

    reference   sum_k int w_k N_k(x) <u, x - mu_k> dx           never the denoiser, outside ``u``
    stein       int p ((1 - 1/alpha) <u, x> + (sigma^2/alpha) div u) dx
    three_scalar   from M, V and d, for one evaluation of the denoiser

The integrands are meromorphic: the density is entire, the denoiser has poles where the mixture
density vanishes off the real line, and a ball that meets one evaluates to a non-finite ball,
which is what ``acb.integral`` asks for. Beyond ``REACH`` a polynomial bound of the integrand is
integrated against each Gaussian in closed form and added to the radius.
"""

import itertools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from analytic.certified.balls import Ball, Enclosure, ball, kept, precision, reach, widened
from analytic.certified.laws import ExactMixture, Level, Line
from analytic.certified.radius import radial_terms
from analytic.certified.steps import BallStep, ExactStep, denoiser_bounds

Form = Callable[[Ball, Ball], tuple[Ball, Ball]]
"""``(alpha, sigma) -> coefficients of E<u, x> and E div u`` of a numerator without reference."""


def stein_form(alpha: Ball, sigma: Ball) -> tuple[Ball, Ball]:
    """``(1 - 1/alpha, sigma^2 / alpha)``: Theorem 4.7."""
    return 1 - 1 / alpha, sigma * sigma / alpha


def coefficient(
    law: ExactMixture, step: ExactStep, *, bits: int = 128, forms: Mapping[str, Form] | None = None
) -> dict[str, Enclosure]:
    """Enclose ``gamma*`` by every route that applies.

    Parameters
    ----------
    law : ExactMixture
        Means on one line. With one shared variance the space factorises into the line and
        Gaussian directions; several variances beyond one dimension are a double integral, seconds
        at 53 bits and a radius of about 1e-10 (:mod:`analytic.certified.radius`).
    step : ExactStep
    bits : int
        Working precision.
    forms : mapping, optional
        Further numerators ``c_0 E<u,x> + c_1 E div u`` by name; ``stein`` is always there.

    Returns
    -------
    dict
        ``reference``, ``stein``, ``three_scalar`` where it applies, and the names of ``forms``.

    Raises
    ------
    ValueError
        If the law is outside what can be certified.
    ArithmeticError
        If the precision does not suffice for a finite enclosure.

    Examples
    --------
    >>> law = ExactMixture.of(["3/10", "7/10"], [-1, "3/2"], ["4/25", "49/100"])
    >>> gamma = coefficient(law, ExactStep.of("euler", (1, 1), (1, "1/2")))["stein"]
    >>> gamma.contains(Fraction(2)), gamma.radius < Fraction(1, 10**30)
    (True, True)
    """
    with precision(bits):
        made = BallStep(step, Line.through(law))
        wanted = {"stein": stein_form, **(forms or {})}
        radial = law.dim > 1 and not law.shared
        if radial:
            found = radial_terms(made, bits)
            level, power, reference = made.start, found["u_u"], found["u_ref"]
            pairs = {name: form(level.alpha, level.sigma) for name, form in wanted.items()}
            values = {n: a * found["u_x"] + b * found["div"] for n, (a, b) in pairs.items()}
        else:
            terms = _Terms(made, bits)
            power = terms.power()
            reference = terms.reference(abs(power))
            values = {name: terms.form(form, abs(power)) for name, form in wanted.items()}
        out = {name: v / power for name, v in {"reference": reference, **values}.items()}
        if not radial and not step.uses_past and not step.bend:
            out["three_scalar"] = terms.three_scalar()
        return {name: Enclosure.of(value) for name, value in out.items()}


def step_terms(law: ExactMixture, step: ExactStep, *, bits: int = 128) -> dict[str, Enclosure]:
    """Enclose ``u_ref = E<u, x - x_star>``, ``u_x = E<u, x>``, ``div = E div u``, ``u_u = E|u|^2``.

    The arguments and the exceptions are those of :func:`coefficient`.
    """
    with precision(bits):
        made = BallStep(step, Line.through(law))
        if law.dim > 1 and not law.shared:
            values = radial_terms(made, bits)
        else:
            terms = _Terms(made, bits)
            power = terms.power()
            scale = abs(power)
            values = {
                "u_ref": terms.reference(scale),
                "u_x": terms.form(lambda a, s: (a * 0 + 1, s * 0), scale),
                "div": terms.form(lambda a, s: (a * 0, s * 0 + 1), scale),
                "u_u": power,
            }
        return {name: Enclosure.of(value) for name, value in values.items()}


class _Terms:
    """Integrals along the line plus the closed forms across it."""

    def __init__(self, step: BallStep, bits: int) -> None:
        self.step, self.level, self.bits = step, step.start, bits
        self.alpha, self.sigma = step.step.s
        law = step.line.law
        self.count = law.dim - 1
        self.gain = step.residual(step.start.centers[0]).gain if self.count else ball(0)
        self.u, self.du = step.growth()
        self.residual = kept(step.residual)
        # x across is alpha b + w with Gaussian w
        width = self.alpha**2 * law.variances[0] + self.sigma**2
        self.width, self.own = ball(width), self.alpha * law.variances[0] / width
        self.offset = [ball(b) for b in step.line.across]

    def _shift(self, factor: Fraction) -> Ball:
        """``<shift, factor b>``."""
        pairs = zip(self.step.shift, self.offset, strict=True)
        return ball(factor) * sum((s * b for s, b in pairs), ball(0))

    def power(self) -> Ball:
        """``E|u|^2``."""

        def square(y: Ball) -> Ball:
            u = self.residual(y).along
            return u * u

        value = expect(self.level, square, self.u * self.u, self.bits)
        across = sum((s * s for s in self.step.shift), ball(0))
        return value + across + self.count * self.gain * self.gain * self.width

    def reference(self, scale: Ball) -> Ball:
        """``E<u, x - x_star>``."""
        from flint import arb_poly

        def integrand(y: Ball) -> Ball:
            u = self.residual(y).along
            parts = (
                self.level.density(k, y) * (y - self.level.own(k, y))
                for k in range(len(self.level.weights))
            )
            return u * sum(parts)

        reach = arb_poly([0, 1])
        value = integral(self.level, integrand, self.bits, scale)
        tails = ball(0)
        for k in range(len(self.level.weights)):
            own = reach * (1 + abs(self.level.gains[k])) + abs(self.level.bases[k])
            tails += tail(self.level, k, self.u * own, self.bits)
        across = self.count * self.gain * self.width * ball(1 - self.own)
        return widened(value, tails) + across + self._shift(self.alpha - 1)

    def form(self, form: Form, scale: Ball) -> Ball:
        """``c_0 E<u, x> + c_1 E div u``."""
        from flint import arb_poly

        first, second = form(self.level.alpha, self.level.sigma)

        def value(y: Ball) -> Ball:
            u = self.residual(y)
            return first * y * u.along + second * u.slope

        growth = arb_poly([0, 1]) * self.u * abs(first) + self.du * abs(second)
        across = first * (self.count * self.gain * self.width + self._shift(self.alpha))
        across += second * self.count * self.gain
        return expect(self.level, value, growth, self.bits, scale) + across

    def three_scalar(self) -> Ball:
        """``gamma*`` from ``M = E|x_star|^2``, ``V = E|x_star - D|^2`` and ``d``."""
        from flint import arb_poly

        level, law, step = self.level, self.step.line.law, self.step
        ratio = level.sigma * level.sigma / level.alpha

        def slope(y: Ball) -> Ball:
            post = level.posterior(y)
            return ratio * post.gain + post.mu_mu

        # V along the line is (sigma^2/alpha) E D'
        bound = denoiser_bounds(level, arb_poly([0, 1]))[1] * ratio
        v = expect(level, slope, bound, self.bits) + ratio * self.count * ball(self.own)
        m = ball(law.second_moment())
        k, beta, alpha = step.slack, step.beta, level.alpha
        power = alpha * alpha * m + level.sigma * level.sigma * law.dim
        u_x = k * power - beta * alpha * m
        u_u = k * k * power - 2 * k * beta * alpha * m + beta * beta * (m - v)
        return (u_x - (k * alpha * m - beta * (m - v))) / u_u


def expect(
    level: Level, value: Callable[[Ball], Ball], growth: Any, bits: int, scale: Ball | None = None
) -> Ball:
    """Enclose ``E value(y)`` under a line law at its level.

    ``value`` is meromorphic and, on the real line, at most the polynomial ``growth`` in ``|y|``.
    """
    parts = range(len(level.weights))

    def integrand(y: Ball) -> Ball:
        return value(y) * sum(level.density(k, y) for k in parts)

    tails = sum((tail(level, k, growth, bits) for k in parts), ball(0))
    return widened(integral(level, integrand, bits, scale), tails)


def integral(
    level: Level, integrand: Callable[[Ball], Ball], bits: int, scale: Ball | None = None
) -> Ball:
    """Enclose the integral of a meromorphic function over all components' reach.

    The goal is ``2^-bits`` relative to ``scale``, or to the integral itself.
    """
    from flint import acb, arb

    z = reach(bits)
    pairs = zip(level.centers, level.widths, strict=True)
    ends = [(c - z * v.sqrt(), c + z * v.sqrt()) for c, v in pairs]
    low, high = ends[0]
    for a, b in ends[1:]:
        low, high = low.min(a), high.max(b)
    low, high = low.lower(), high.upper()
    goal = arb(2) ** -bits
    mids = [arb(mid) for mid in sorted({float(c.mid()) for c in level.centers})]
    marks = [low, *(mid for mid in mids if mid > low and mid < high), high]
    total = arb(0)
    for a, b in itertools.pairwise(marks):
        found = acb.integral(
            lambda y, _: integrand(y),
            acb(a),
            acb(b),
            rel_tol=goal,
            abs_tol=arb(0) if scale is None else goal * scale.mid(),
            eval_limit=200_000,
        )
        total += found.real
    return total


def tail(level: Level, k: int, growth: Any, bits: int) -> Ball:
    r"""Bound ``int w_k N_k(y) growth(|y|) dy`` over ``|y - alpha m_k| > z sqrt(v_k)``.

    With ``|y| <= |alpha m_k| + sqrt(v_k) t`` the polynomial is expanded in ``t``, and
    ``I_j = int_z^oo t^j phi dt`` follows from ``I_0 <= phi(z)/z``, ``I_1 = phi(z)``,
    ``I_j = z^(j-1) phi(z) + (j-1) I_{j-2}``.
    """
    from flint import arb, arb_poly

    z = arb(reach(bits))
    phi = (-(z * z) / 2).exp() / (2 * arb.pi()).sqrt()
    shifted = growth(arb_poly([abs(level.centers[k]).upper(), level.widths[k].sqrt()]))
    moments = [phi / z, phi]
    total = arb(0)
    for j, c in enumerate(shifted.coeffs()):
        if j > 1:
            moments.append(z ** (j - 1) * phi + (j - 1) * moments[j - 2])
        total += abs(c) * moments[j]
    return 2 * level.weights[k] * total
