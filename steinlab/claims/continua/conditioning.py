r"""Conditioning of Theorem 4.7 in VP, towards ``alpha = 0``: two equal point masses.

Its two terms ``(1 - 1/alpha) E<u, x>`` and ``(sigma^2/alpha) E div u`` cancel to
``S = E<u, x - x_star>``. Their absolute values over ``|S|`` are the condition number ``c``; with a
first-order step's scalars (``kappa``, ``beta``, ``M = m^2``, ``V = m^2 Q(alpha m/sigma)``)

    alpha c = ((1 - alpha) E<u, x> + sigma^2 E div u) / S,
    E<u, x> = (1 - kappa)(alpha^2 M + sigma^2) - beta alpha M,
    E div u = 1 - kappa - beta alpha V / sigma^2,
    E<u, x_star> = (1 - kappa) alpha M - beta (M - V),

all of which are > 0 where the step is not tiny, and < 0 beyond: ``c`` is the same where all three
have one sign. At a fixed target it goes to 2 for every centred
law: ``f = tau - |alpha c / 2 - 1|``.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import reciprocal, sqrt, square
from steinlab.claims.continua import second_short
from steinlab.claims.continua.coefficient import sloped, smeared
from steinlab.claims.continua.posterior import posterior
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement

PARAMETERS = (
    Parameter.of("alpha", "of the level where the step begins", ("1e-8", "0.1"), ("1e-12", "0.15")),
    Parameter.of("target", "alpha where it ends", ("0.2", "0.95"), ("0.2", "0.99")),
    Parameter.of("separation", "distance of the modes", ("0", "4"), ("0", "20")),
    Parameter.of("threshold", "how far off the limit it may be", "0.1", ("1e-6", "1")),
)


def terms(alpha: Any, target: Any, separation: Any) -> list[Any]:
    """Return the forms of ``E<u, x>``, ``E div u`` and ``S``."""
    m2, noise2 = square(0.5 * separation), 1 - square(alpha)
    per_noise = reciprocal(sqrt(noise2))
    kappa = sqrt(1 - square(target)) * per_noise
    beta, less = target - kappa * alpha, 1 - kappa
    q = posterior(0.5 * alpha * separation * per_noise)
    state = less * (square(alpha) * m2 + noise2) - beta * alpha * m2
    spread = less - beta * alpha * m2 * q * square(per_noise)
    return [state, spread, state - less * alpha * m2 + beta * m2 * (1 - q)]


def both(power: int, alpha: Any, target: Any, separation: Any, threshold: Any) -> list[Any]:
    """Return the forms of what ``f`` is the least of, times ``2 S``, and of the three terms."""
    state, spread, total = terms(alpha, target, separation)
    found = (1 - alpha) * state + (1 - square(alpha)) * spread
    for _ in range(power - 1):
        found = found * alpha
    far, near = 2 * total * (threshold + 1) - found, 2 * total * (threshold - 1) + found
    return [far, near, state, spread, 2 * total]


def evaluate(low: np.ndarray, high: np.ndarray, power: int = 1) -> Enclosed:
    """Enclose ``f``, where all three terms have one sign."""
    found, slopes = sloped(partial(both, power), low, high)
    negative = np.logical_and.reduce([most < 0 for _, most in found[2:]])
    one, two, *positive = (
        (np.where(negative, -most, least), np.where(negative, -least, most))
        for least, most in found
    )
    known = np.logical_and.reduce([least > 0 for least, _ in positive])
    least, most = np.minimum(one[0], two[0]), np.minimum(one[1], two[1])
    small, large = positive[-1]
    lower = np.where(known, np.where(least > 0, least / large, least / small), -np.inf)
    upper = np.where(known, np.where(most > 0, most / small, most / large), np.inf)
    return Enclosed(lower - 1e-14, upper + 1e-14, smeared(slopes[:2], low, high))


def _squared(low: np.ndarray, high: np.ndarray) -> Enclosed:
    return evaluate(low, high, power=2)


def measure(point: Mapping[str, float]) -> float:
    """Return ``f`` by the laboratory's own step and quadrature, ``E div u = E<u, eps>/sigma``."""
    half = 0.5 * point["separation"]
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([half, -half]), 1e-26)
    s, t = (
        PROCESSES["vp-linear"].level_at(np.sqrt((1 - a) * (1 + a)) / a)
        for a in (point["alpha"], point["target"])
    )
    z = np.linspace(-10.0, 10.0, 4001)
    mass = np.exp(-0.5 * z * z)
    mass /= mass.sum()
    alpha, sigma = float(s.alpha), float(s.sigma)
    x = alpha * half + sigma * z
    found = EULER.step(law, x[:, None], s, t, ())
    u, off = np.asarray(found.residual)[:, 0], half
    first, second = (1 - alpha) * (mass @ (u * x)), sigma * (mass @ (u * z))
    total = mass @ (u * (x - off))
    return float(point["threshold"] - abs((first + second) / (2 * total) - 1))


CONDITIONING = Statement(
    id="conditioning-vp-euler",
    title="How Theorem 4.7's terms cancel in VP towards alpha 0: two equal point masses",
    says="alpha times the condition number is within the threshold of its limit 2",
    fails="alpha times the condition number is farther from 2",
    latex=r"\tau - |\alpha c / 2 - 1|",
    parameters=PARAMETERS,
    evaluate=evaluate,
    second=second_short.conditioning,
    second_on=second_short.conditioning_on,
    measure=measure,
    controls=(Control("it grows like alpha^-2", _squared),),
    claim="vp-singularity",
)
