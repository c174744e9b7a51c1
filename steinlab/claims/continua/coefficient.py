r"""How large the coefficient ``gamma*`` is: two equal point masses, over levels and steps.

The masses stand at ``+-m``, ``m`` half the separation; ``n = sigma/alpha`` is the noise where the
step begins, ``k n`` where it ends, ``mu = m/n``. The posterior variance is

    V = m^2 Q(mu),   Q(mu) = E[1 - tanh^2(mu Y)] = exp(-mu^2/2) int phi(y) sech(mu y) dy,

``Y ~ N(mu, 1)``, a decreasing function whose derivative is ``-2 mu R(mu)``, ``R = E[sech^4(mu Y)]``
(Guo, Shamai and Verdu 2005). Both are sums over a grid: the trapezoid rule errs by at most
``2 M / (exp(2 pi a / h) - 1)`` for an integrand analytic within ``|Im y| < a`` whose integral of
moduli stays below ``M`` there (Trefethen and Weideman 2014, theorem 5.1), and
``|cosh(x + i w)| >= cos(w) cosh(x)`` gives ``M``.

VP Euler. With ``A = 1/alpha``, ``a = alpha'/alpha``, ``kappa = k a``, ``W = V/n^2``,

    X_1 = 1 - kappa,   X_2 = a - 1,   X_3 = X_1 + X_2,

the three scalars of a first-order step become

    gamma* = N/P,   P = X_1^2 + X_2^2 mu^2 - X_3^2 W,
    N - tau P = X_1 (1 - tau X_1) + X_2 (A - 1 - tau X_2) mu^2 - X_3 (A - tau X_3) W.

Its last terms cancel where the noise is large; there ``Z = mu^2 - W = mu^2 (1 - Q)`` gives

    N - tau P = X_1 (1 - tau X_1) + (tau X_1 (X_1 + 2 X_2) - A X_1 - X_2) mu^2
                + X_3 (A - tau X_3) Z.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analytic.certified.intervals import Interval, Jet, mean_values, sqrt, square
from steinlab.claims.continua import second
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement

SEPARATION = Parameter.of("separation", "distance of the modes", ("0", "8"), ("0", "100"))
NOISE = Parameter.of(
    "noise", "sigma/alpha where the step begins", ("0.05", "20"), ("0.001", "1000")
)
RATIO = Parameter.of(
    "ratio", "of sigma/alpha after the step to before it", ("0.05", "0.95"), ("0.001", "0.999")
)
THRESHOLD = Parameter.of("threshold", "what gamma* is compared with", "1", ("-1e6", "1e6"))

NODES, DECAY = 340, 40.0
"""Nodes on either side of 0, and the exponent ``2 pi a / h`` of the trapezoid rule."""

SLIP = 1e-12
"""Relative rounding of a sum of :data:`NODES` positive terms whose exponents stay below 100."""


def trapezoid(mu: np.ndarray, power: int) -> Interval:
    """Enclose ``int phi(y) sech(mu y)^power dy`` for doubles ``mu >= 0``, power 1 or 3."""
    a = np.minimum(np.pi / 4 / np.maximum(mu, 1e-9), 2.0)
    h = 2 * np.pi * a / DECAY
    y = h[..., None] * np.arange(NODES + 1)
    f = np.exp(-0.5 * y * y) / np.sqrt(2 * np.pi)
    f = f * (2 * np.exp(-mu[..., None] * y) / (1 + np.exp(-2 * mu[..., None] * y))) ** power
    total = h * (f[..., 0] + 2 * f[..., 1:].sum(-1))
    edge = y[..., -1]
    tail = np.minimum(np.exp(-0.5 * edge**2), 2 * np.exp(-mu * edge - 0.5 * edge**2) / (mu + 1e-9))
    moduli = np.exp(0.5 * a * a) / np.cos(mu * a) ** power
    error = 2 * tail + 2.0001 * moduli * np.exp(-DECAY)
    return Interval(np.maximum(total * (1 - SLIP) - error, 0), total * (1 + SLIP) + error)


def posterior(mu: Any) -> Any:
    """Enclose ``Q`` on intervals or jets of ``mu >= 0``."""
    box = mu.value if isinstance(mu, Jet) else mu
    low, high = (np.asarray(end, dtype=float) for end in (np.maximum(box.low, 0), box.high))
    value = _falling(low, high, 1)
    if not isinstance(mu, Jet):
        return value
    return mu.through(value, -2 * Interval(low, high) * _falling(low, high, 3))


def _falling(low: np.ndarray, high: np.ndarray, power: int) -> Interval:
    """Enclose ``exp(-mu^2/2) int phi sech^power``, which falls in ``mu``, between two ends."""
    first, last = trapezoid(low, power), trapezoid(high, power)
    top = first.high * np.exp(-0.5 * low**2) * (1 + SLIP) + 1e-300
    return Interval(last.low * np.exp(-0.5 * high**2) * (1 - SLIP), np.minimum(top, 1))


def vp_euler(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``gamma* - threshold`` of a VP Euler step."""

    def parts(separation: Any, noise: Any, k: Any, threshold: Any) -> tuple[Any, ...]:
        n2, k2 = square(noise), square(k)
        mu = 0.5 * separation / noise
        mu2, q = square(mu), posterior(mu)
        base = 1 / (1 + k2 * n2)
        root = sqrt(1 + n2)
        a = root * sqrt(base)
        x1 = (1 - k2) * base / (1 + k * a)
        x2 = (1 - k2) * n2 * base / (1 + a)
        x3 = a * (1 - k)
        first, last = x1 * (1 - threshold * x1), x3 * (root - threshold * x3)
        near = first + x2 * (n2 / (1 + root) - threshold * x2) * mu2 - last * q * mu2
        middle = threshold * x1 * (x1 + 2 * x2) - root * x1 - x2
        far = first + middle * mu2 + last * (1 - q) * mu2
        power = square(x1) + square(x2) * mu2 - square(x3) * q * mu2
        apart = square(x1) - x1 * (x1 + 2 * x2) * mu2 + square(x3) * (1 - q) * mu2
        return near, far, power, apart

    return over_power(parts, low, high)


def over_power(
    parts: Callable[..., tuple[Any, ...]], low: np.ndarray, high: np.ndarray
) -> Enclosed:
    """Enclose a margin over a power > 0: of each there are two forms, one after the other."""
    (near, first), (far, last), (power, _), (apart, _) = mean_values(parts, low, high)
    below = power.meet(apart)
    found = near.meet(far) / Interval(np.maximum(below.low, 1e-300), below.high)
    effects = np.where((near.width < far.width)[:, None], first, last)
    return Enclosed(found.low, found.high, effects)


def measure_vp(point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` by the laboratory's own step and quadrature."""
    from steinlab.diffusion.processes import PROCESSES
    from steinlab.solvers import EULER

    return measured(PROCESSES["vp-linear"], EULER, point)


def measured(process: Any, solver: Any, point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` of a solver's step, by quadrature over its states."""
    from analytic import GaussianMixture

    half = 0.5 * point["separation"]
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([half, -half]), 1e-26)
    s, t = (process.level_at(point["noise"] * k) for k in (1.0, point["ratio"]))
    sigma, alpha = float(s.sigma), float(s.alpha)
    z = np.linspace(-12.0, 12.0, 400_001)
    mass = np.exp(-0.5 * z * z)
    mass /= mass.sum()
    x = (alpha * half + sigma * z)[:, None]  # the other mode mirrors it
    found = solver.step(law, x, s, t, ())
    u, off = np.asarray(found.residual)[:, 0], x[:, 0] - np.asarray(found.denoised)[:, 0]
    return float((mass * u * off).sum() / (mass * u * u).sum()) - point["threshold"]


def _collapsed(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Say that VP follows EDM's formula: ``gamma* >= 1/(1 - k)``, less one in a million."""
    found = vp_euler(low, high)
    ratio, threshold = (Interval(low[:, i], high[:, i]) for i in (2, 3))
    value = Interval(found.lower, found.upper) + threshold - 0.999999 / (1 - ratio)
    return Enclosed(value.low, value.high, found.effects)


SAYS = "gamma* is above the threshold"
FAILS = "gamma* is below the threshold"

VP_EULER = Statement(
    id="coefficient-vp-euler",
    title="Where gamma* of a VP Euler step is above a threshold: two equal point masses",
    says=SAYS,
    fails=FAILS,
    latex=r"\gamma^* - \tau,\quad \gamma^* = N / ((1-k) P)",
    parameters=(SEPARATION, NOISE, RATIO, THRESHOLD),
    evaluate=vp_euler,
    second=second.coefficient_vp_euler,
    measure=measure_vp,
    controls=(Control("gamma* is at least 1/(1 - k), as in EDM", _collapsed),),
    claim="geometry-blindness",
)
