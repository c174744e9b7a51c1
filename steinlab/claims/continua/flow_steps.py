r"""One step against the exact flow: two equal point masses at ``+-m``, EDM, from noise 1 to ``k``.

The flow ``Phi`` keeps the order of the states: ``F_k(Phi(x)) = F_1(x)`` with the distribution
functions ``2 F_s(x) = N((x - m)/s) + N((x + m)/s)``. Between the modes ``Phi`` is as steep as
``exp(m^2/(2 k^2))``, its inverse ``X`` never steep: so states are drawn at the step's *end*,
``z = m + k zeta``, ``zeta ~ N(0, 1)`` (the other mode mirrors it), and

    N(X - m) + N(X + m) = N(zeta) + N(zeta + 2 m/k)

gives ``X``. With ``u = X - z``, ``e = X - D(X)``, ``D(x) = m tanh(m x)``:

Clip neutrality. The flow's own coefficient is ``gamma* = E[u e]/E[u^2]``; where it is 1 or above,
a clip at 1 leaves the exact flow alone.

Moment-exact step (:mod:`steinlab.claims.causes.moment_exact_step`). It is Euler's with
``gamma = (1 + k)/(1 + sqrt(k^2 + V (1 - k^2)))``, ``V = m^2 Q(m)``, so its states end at
``x - (1 - k) gamma e``, and the mean squares of the two distances to the flow differ by
``(1 - k)(1 - gamma) f``,

    f = E[e ((1 - k)(1 + gamma) e - 2 u)].

``X`` on a box. About the middle, its derivatives follow from the equation; the linear form of them
leaves a residual ``r``, and the true ``X`` lies within ``r / p`` of it, ``p`` the least density
``phi(x - m) + phi(x + m)`` as near as that. Where that says little, ``F_1(X) >= N(zeta)`` and
``1 - F_1(X) >= (1 - N(zeta))/2`` do:

    zeta - m <= X <= m + max(zeta, 0) + 0.68.

Beyond the cells ``|X - z|`` and ``|e|`` are below ``|zeta| + 2 m + 0.7`` with it.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from analytic import GaussianMixture
from analytic.certified.affine import Form, normal_cdf, sqrt, square, tanh
from analytic.certified.cells import BEYOND, SQUARE_BEYOND, normal_means, widened
from analytic.flow.exact import exact_flow
from steinlab.claims.causes.clip_neutrality import coefficient
from steinlab.claims.causes.moment_exact_step import gamma
from steinlab.claims.continua import second_flow_steps
from steinlab.claims.continua.coefficient import (
    RATIO,
    THRESHOLD,
    collapsed,
    over_power,
)
from steinlab.claims.continua.posterior import posterior
from steinlab.diffusion.processes import EDM
from steinlab.verification.continuum.statement import Control, Parameter, Statement

SEPARATION = Parameter.of(
    "separation", "distance of the modes over the noise", ("0", "8"), ("0", "10")
)


def density(x: Any) -> Any:
    """Return the normal density."""
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def start_of(zeta: Form, m: Form, k: Form) -> Form:
    """Enclose ``X``, where the flow that ends at ``m + k zeta`` began."""
    other = zeta + 2 * m / k
    level = normal_cdf(zeta) + normal_cdf(other)
    x = _solved(zeta.centre, other.centre, m.centre)
    first, last = density(x - m.centre), density(x + m.centre)
    steep = first + last
    pairs = zip(level.parts, m.parts, strict=True)
    guess = Form(x, [(c + (first - last) * p) / steep for c, p in pairs])
    found = normal_cdf(guess - m) + normal_cdf(guess + m) - level
    off = np.abs(found.centre) + found.radius
    near = 2 * off / steep
    reach = guess.radius + near + m.radius
    least = density(np.abs(x - m.centre) + reach) + density(np.abs(x + m.centre) + reach)
    known = off <= near * least
    rough = 2 * (np.abs(m.centre) + m.radius) + np.maximum(-zeta.centre, 0) + 0.7 + zeta.radius
    parts = [np.where(known, part, 0.0) for part in guess.parts]
    return Form(x, parts, np.where(known, near + guess.rest, rough))


def _solved(zeta: np.ndarray, other: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Solve for ``X`` at points: from the mode's own state, by the smaller of the two tails."""
    zeta, other, m = np.broadcast_arrays(zeta, other, m)
    low, high = -np.abs(m) - 12, np.abs(m) + 12
    upper = ndtr(zeta) + ndtr(other) > 1
    sign = np.where(upper, -1.0, 1.0)
    wanted = ndtr(sign * zeta) + ndtr(sign * other)
    for _ in range(60):
        x = 0.5 * (low + high)
        below = (ndtr(sign * (x - m)) + ndtr(sign * (x + m)) < wanted) ^ upper
        low, high = np.where(below, x, low), np.where(below, high, x)
    return np.asarray(0.5 * (low + high))


def means(count: int, separation: Form, k: Form, weigh: Any, *more: Form) -> list[Form]:
    """Enclose means of what ``weigh(u, e, *more)`` returns."""
    m = 0.5 * separation

    def integrand(zeta: Form, m: Form, k: Form, *more: Form) -> list[Form]:
        x = start_of(zeta, m, k)
        found: list[Form] = weigh(x - m - k * zeta, x - m * tanh(m * x), *more)
        return found

    most = np.abs(m.centre) + m.radius
    tail = 2 * (SQUARE_BEYOND + BEYOND * (2 * most + 0.7) ** 2)
    return [widened(one, 4 * tail) for one in normal_means(integrand, m, k, *more, count=count)]


def neutral(
    count: int, separation: Form, k: Form, threshold: Form
) -> tuple[list[Form], list[Form]]:
    """Return the forms of ``E[u (e - tau u)]`` and ``E[u^2]``."""
    margin, power = means(
        count, separation, k, lambda u, e, tau: [u * (e - tau * u), square(u)], threshold
    )
    return [margin], [power]


def nearer(count: int, separation: Form, k: Form) -> tuple[list[Form], list[Form]]:
    """Return the forms of ``f`` and of 1."""
    k2, m2 = square(k), square(0.5 * separation)
    v = m2 * posterior(0.5 * separation)
    share = (1 - k) * (1 + (1 + k) / (1 + sqrt(k2 + v * (1 - k2))))
    [margin] = means(count, separation, k, lambda u, e, share: [e * (share * e - 2 * u)], share)
    return [margin], [Form(np.ones_like(margin.centre), [0.0] * len(margin.parts))]


def measured(point: Mapping[str, float], value: Any) -> float:
    """Return ``value(law, s, t, x, mass)`` for states at noise 1, by the laboratory's own flow."""
    half = 0.5 * point["separation"]
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([half, -half]), 1e-26)
    s, t = (EDM.level_at(level) for level in (1.0, point["ratio"]))
    z = np.linspace(-9.0, 9.0, 1001)
    mass = np.exp(-0.5 * z * z)
    return float(value(law, s, t, (half + z)[:, None], mass / mass.sum()))


def measure_neutral(point: Mapping[str, float]) -> float:
    """Return the flow's coefficient less the threshold."""
    return measured(point, lambda *given: coefficient(*given).value) - point["threshold"]


def measure_nearer(point: Mapping[str, float]) -> float:
    """Return the difference of the mean squares over ``(1 - k)(1 - gamma)``."""

    def value(law: Any, s: Any, t: Any, x: np.ndarray, mass: np.ndarray) -> float:
        k, off, ends = point["ratio"], x - law(x, s), exact_flow(law, x, s, t).state
        scale = gamma(k, 1 - mass @ off[:, 0] ** 2)
        plain, exact = (
            float(mass @ (x - (1 - k) * c * off - ends)[:, 0] ** 2) for c in (1.0, scale)
        )
        return float((plain - exact) / ((1 - k) * (1 - scale)))

    return measured(point, value)


FINE, COARSE = 512, 64
"""Cells of an enclosure, and of one that only says along which side to cut."""


def beyond_four(count: int, separation: Form, k: Form) -> tuple[list[Form], list[Form]]:
    """Say that only the separation counts: nearer below 4, not above."""
    [margin], powers = nearer(count, separation, k)
    return [margin * (4 - separation)], powers


CLIP = Statement(
    id="clip-neutral-flow",
    title="Where a clip at 1 leaves the exact flow alone: two equal point masses, from noise 1",
    says="the exact flow's coefficient is above the threshold",
    fails="the exact flow's coefficient is below the threshold",
    latex=r"E[u\,e] / E[u^2] - \tau",
    parameters=(SEPARATION, RATIO, THRESHOLD),
    evaluate=over_power(partial(neutral, FINE), partial(neutral, COARSE)),
    second=second_flow_steps.clip_neutral,
    measure=measure_neutral,
    controls=(collapsed(partial(neutral, COARSE), measure_neutral),),
    claim="clip-neutrality",
)
MOMENT_EXACT = Statement(
    id="moment-exact-nearer",
    title="Where the moment-exact step is nearer to the flow than Euler's: two equal point masses",
    says="the moment-exact step is nearer to the exact flow in mean square",
    fails="Euler's step is nearer to the exact flow in mean square",
    latex=r"E[e\,((1-k)(1+\gamma)\,e - 2u)]",
    parameters=(SEPARATION, RATIO),
    evaluate=over_power(partial(nearer, FINE), partial(nearer, COARSE)),
    second=second_flow_steps.moment_exact,
    measure=measure_nearer,
    controls=(
        Control(
            "the edge is vertical: separation 4",
            over_power(partial(beyond_four, FINE), partial(beyond_four, COARSE)),
        ),
    ),
    claim="moment-exact-step",
)
