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

Both are multiplied by ``k^2 A^2/(1 - k)``, with which they hardly depend on a large noise.

EDM Heun. Scaling data and noise together changes nothing, so ``mu`` and ``k`` are all. In
``y = x/n``, with ``t = tanh(mu y)`` and ``t' = tanh(mu y / k + (1 - k) mu^2 t / k^2)`` after the
Euler step, ``e = y - mu t`` and ``g = mu (t' - t)``, the residual is ``(1 - k)(e - g/(2k))``, so

    gamma* = (k^2 (1 - W) - k G_1/2) / ((1 - k)(k^2 (1 - W) - k G_1 + G_2/4)),

``G_1 = E[g e]``, ``G_2 = E[g^2]`` over ``|Y|``. Both integrals are sums over cells, each enclosed by
the value at its middle and the slopes on it. Beyond the last cell, at ``y``, ``g <= 2 mu r`` with
``r = exp(-2 mu y)``, so the rest is at most ``4 (1 + mu)^2 r P^(1/2)``, ``P`` the mass there, and its
slopes in ``mu`` and ``k`` at most ``612 (1 + mu)^6 r P^(1/2)/k^3``: all factors but ``r`` and the
density are polynomials in ``y`` of degree two, and ``E(1 + |Y|)^4 <= 32 (1 + mu)^4``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analytic import GaussianMixture
from analytic.certified.intervals import Interval, Jet, exp, mean_values, sqrt, square, tanh
from steinlab.claims.continua import second
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import EULER, HEUN
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement

SEPARATION = Parameter.of("separation", "distance of the modes", ("0", "8"), ("0", "100"))
OVER_NOISE = Parameter.of(
    "separation", "distance of the modes over the noise", ("0", "160"), ("0", "1000")
)
NOISE = Parameter.of(
    "noise", "sigma/alpha where the step begins", ("0.05", "20"), ("0.001", "1000")
)
RATIO = Parameter.of(
    "ratio", "of sigma/alpha after the step to before it", ("0.05", "0.95"), ("0.001", "0.999")
)
THRESHOLD = Parameter.of("threshold", "what gamma* is compared with", "1", ("-1e6", "1e6"))

NODES, DECAY = 184, 30.0
"""Nodes on either side of 0, and the exponent ``2 pi a / h`` of the trapezoid rule."""

SLIP = 1e-12
"""Relative rounding of a sum of :data:`NODES` positive terms whose exponents stay below 100."""


def trapezoid(mu: np.ndarray, powers: tuple[int, ...]) -> list[Interval]:
    """Enclose ``int phi(y) sech(mu y)^n dy`` for doubles ``mu >= 0`` and powers ``n >= 1``."""
    a = np.minimum(np.pi / 4 / np.maximum(mu, 1e-9), 2.0)
    h = 2 * np.pi * a / DECAY
    y = h[..., None] * np.arange(NODES + 1)
    f = np.exp(-0.5 * y * y) * (h[..., None] * np.where(np.arange(NODES + 1), 2, 1))
    decay = np.exp(-mu[..., None] * y)
    sech = 2 * decay / (1 + decay * decay)
    edge = y[..., -1]
    tail = np.minimum(np.exp(-0.5 * edge**2), 2 * decay[..., -1] / (mu + 1e-9))
    out = []
    for n in powers:
        total = (f * sech**n).sum(-1) / np.sqrt(2 * np.pi)
        moduli = np.exp(0.5 * a * a) / np.cos(mu * a) ** n
        error = 2 * tail + 2.0001 * moduli * np.exp(-DECAY)
        out.append(Interval(np.maximum(total * (1 - SLIP) - error, 0), total * (1 + SLIP) + error))
    return out


def tighter(x: Any, same: Any) -> Any:
    """Return ``x`` within another enclosure of the same number."""
    if isinstance(x, Jet):
        return Jet(x.value.meet(same.value), x.slopes)
    return x.meet(same)


def posterior(mu: Any) -> Any:
    """Enclose ``Q`` on intervals or jets of ``mu >= 0``."""
    box = mu.value if isinstance(mu, Jet) else mu
    low, high = (np.asarray(end, dtype=float) for end in (np.maximum(box.low, 0), box.high))
    if not isinstance(mu, Jet):
        return _falling(low, high, (1,))[0]
    value, slope = _falling(low, high, (1, 3))
    return mu.through(value, -2 * Interval(low, high) * slope)


def _falling(low: np.ndarray, high: np.ndarray, powers: tuple[int, ...]) -> list[Interval]:
    """Enclose ``exp(-mu^2/2) int phi sech^n``, which falls in ``mu``, between two ends."""
    top = np.exp(-0.5 * low**2) * (1 + SLIP)
    bottom = np.exp(-0.5 * high**2) * (1 - SLIP)
    pairs = zip(trapezoid(low, powers), trapezoid(high, powers), strict=True)
    return [
        Interval(last.low * bottom, np.minimum(first.high * top + 1e-300, 1))
        for first, last in pairs
    ]


def vp_euler(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``gamma* - threshold`` of a VP Euler step."""

    def parts(separation: Any, noise: Any, k: Any, threshold: Any) -> tuple[Any, ...]:
        n2, m2 = square(noise), square(0.5 * separation)
        root, drop = sqrt(1 + n2), 1 - square(k)
        less = drop / (1 + square(k) * n2)
        kappa, a = sqrt(1 - less), sqrt(1 + drop / (1 / n2 + square(k)))
        x1, x2, x3 = tighter(1 - kappa, less / (1 + kappa)), a - 1, (1 - k) * a
        inverse = 1 / kappa
        b1 = (1 + k) / (square(inverse) + inverse)
        b2 = (1 + k) * square(kappa) / (1 + a) * m2
        b3 = kappa * k * m2 * (1 + 1 / n2)
        q = posterior(0.5 * separation / noise)
        last, both = root - threshold * x3, x1 + 2 * x2
        near = b1 * (1 - threshold * x1) + b2 * (n2 / (1 + root) - threshold * x2) - b3 * last * q
        far = b1 * (1 - threshold * x1 - (root - threshold * both) * m2 / n2) - b2
        far = far + b3 * last * (1 - q)
        power = b1 * x1 + b2 * x2 - b3 * x3 * q
        apart = b1 * (x1 - both * m2 / n2) + b3 * x3 * (1 - q)
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


CELLS = 128
"""Cells of an integral over states, narrow at 0, where the step folds them."""


def folded(mu: Interval, k: Interval, y: Interval, names: int) -> tuple[Jet, Jet]:
    """Return ``w g e`` and ``w g^2`` on cells, with slopes in ``y`` and, of three, ``mu, k``."""
    zero, one = Interval(0.0), Interval(1.0)
    units = [[one if i == j else zero for j in range(names)] for i in range(names)]
    x, m, r = (
        Jet(value, units[i] if i < names else [zero] * names) for i, value in enumerate((y, mu, k))
    )
    theta = m * x
    t = tanh(theta)
    after = theta / r + (1 - r) / square(r) * square(m) * t
    g, e = m * (tanh(after) - t), x - m * t
    weight = exp(-0.5 * square(x - m)) + exp(-0.5 * square(x + m))
    weighted = weight * g * (1 / np.sqrt(2 * np.pi))
    return weighted * e, weighted * g


def fold_integrals(mu: Any, k: Any) -> tuple[Any, Any]:
    """Enclose ``G_1`` and ``G_2`` on intervals or jets of ``mu >= 0`` and ``k``."""
    jets = isinstance(mu, Jet)
    m, r = (mu.value, k.value) if jets else (mu, k)
    low, high = np.maximum(m.low, 0), m.high
    last = np.minimum(high + 10, 25 / np.maximum(low, 1e-9))
    y = last[:, None] * (np.arange(CELLS + 1) / CELLS) ** 3
    a, b = y[:, :-1], y[:, 1:]
    middle, side = 0.5 * (a + b), Interval(b) - Interval(a)
    m2, r2 = (Interval(value.low[:, None], value.high[:, None]) for value in (m, r))
    m2 = Interval(np.maximum(m2.low, 0), m2.high)
    over = folded(m2, r2, Interval(a, b), 3 if jets else 1)
    there = folded(m2, r2, Interval(middle), 1)
    beyond = np.exp(-0.25 * np.maximum(last - high, 0) ** 2 - 2 * low * last)
    tail, steep = 4 * (1 + high) ** 2 * beyond, 612 * (1 + high) ** 6 / r.low**3 * beyond
    out = []
    for part, centre in zip(over, there, strict=True):
        slope = part.slopes[0]
        off = slope.width * side.high**2 / 8 * (1 + 1e-9)
        off = off + 1e-15 * np.maximum(np.abs(slope.low), np.abs(slope.high)) * side.high * b
        cells = (side * part.value).meet(side * centre.value + Interval(-off, off))
        value = cells.sum() + Interval(-tail - 1e-300, tail + 1e-300)
        if jets:
            grown = [(side * one).sum() + Interval(-steep, steep) for one in part.slopes[1:]]
            pairs = zip(mu.slopes, k.slopes, strict=True)
            value = Jet(value, [grown[0] * p + grown[1] * q for p, q in pairs])
        out.append(value)
    return out[0], out[1]


def edm_heun(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``gamma* - threshold`` of an EDM Heun step."""

    def parts(separation: Any, k: Any, threshold: Any) -> tuple[Any, ...]:
        mu = 0.5 * separation
        own = square(k) * (1 - square(mu) * posterior(mu))
        first, last = fold_integrals(mu, k)
        power = (1 - k) * (own - k * first + 0.25 * last)
        margin = own - 0.5 * k * first - threshold * power
        return margin, margin, power, power

    return over_power(parts, low, high)


def measure_vp(point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` by the laboratory's own step and quadrature."""
    return measured(PROCESSES["vp-linear"], EULER, point)


def measured(process: Any, solver: Any, point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` of a solver's step, by quadrature over its states."""
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

def _collapsed_heun(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Say that Heun follows Euler's formula: ``gamma* >= 1/(1 - k)``, less one in a million."""
    found = edm_heun(low, high)
    ratio, threshold = (Interval(low[:, i], high[:, i]) for i in (1, 2))
    value = Interval(found.lower, found.upper) + threshold - 0.999999 / (1 - ratio)
    return Enclosed(value.low, value.high, found.effects)


def measure_heun(point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` by the laboratory's own step and quadrature."""
    return measured(EDM, HEUN, {"noise": 1.0, **point})


EDM_HEUN = Statement(
    id="coefficient-edm-heun",
    title="Where gamma* of an EDM Heun step is above a threshold: two equal point masses",
    says=SAYS,
    fails=FAILS,
    latex=r"\gamma^* - \tau",
    parameters=(OVER_NOISE, RATIO, THRESHOLD),
    evaluate=edm_heun,
    second=second.coefficient_edm_heun,
    measure=measure_heun,
    controls=(Control("gamma* is at least 1/(1 - k), as of Euler", _collapsed_heun),),
    claim="geometry-blindness",
)
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
