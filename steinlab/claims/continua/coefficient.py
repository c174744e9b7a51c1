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

``G_1 = E[g e]``, ``G_2 = E[g^2]`` over ``|Y|``. Both are sums over cells, each enclosed by
a form linear in ``y`` about its middle. Beyond the last cell, at ``y``, ``g <= 2 mu r`` with
``r = exp(-2 mu y)``, so the rest is at most ``4 (1 + mu)^2 r P^(1/2)``, ``P`` the mass there.
Where the modes are far apart no cells are needed: the density is at most
``(2/pi)^(1/2) exp(mu y - mu^2/2)``, so ``G_2 <= 1.07 mu exp(-mu^2/2)`` and ``G_1^2 <= G_2``.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, overload

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import (
    SLIP,
    Form,
    Jet,
    bounds,
    chained,
    effects,
    exp,
    jets,
    reciprocal,
    sides,
    sqrt,
    square,
    tanh,
    taylor,
)
from analytic.certified.cells import on_cells
from steinlab.claims.continua import second, second_vp
from steinlab.claims.continua.steps import step_of
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER, HEUN
from steinlab.solvers.base import Solver
from steinlab.verification.continuum.statement import (
    Control,
    Enclosed,
    Evaluator,
    Parameter,
    Statement,
)

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

ROUNDING = 1e-12
"""Relative rounding of a sum of :data:`NODES` positive terms whose exponents stay below 100."""


def mean_sech(mu: np.ndarray, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``exp(-mu^2/2) int phi(y) sech(mu y)^n dy`` for ``n`` 1 or 3, and its error."""
    value, error = _mean_sech(mu.tobytes(), power)
    return value.reshape(mu.shape), error.reshape(mu.shape)


@lru_cache(maxsize=4)
def _mean_sech(given: bytes, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both; a value, its slope and its middle ask for the same numbers."""
    mu = np.frombuffer(given)
    a = np.minimum(np.pi / 4 / np.maximum(mu, 1e-9), 2.0)
    h = 2 * np.pi * a / DECAY
    index = np.arange(NODES + 1)
    y = h[..., None] * index
    decay = np.exp(-mu[..., None] * y)
    f = np.exp(-0.5 * y * y) * (2 * decay / (1 + decay * decay)) ** power
    total = h * (f[..., 0] + 2 * f[..., 1:].sum(-1)) / np.sqrt(2 * np.pi)
    edge = y[..., -1]
    tail = np.minimum(np.exp(-0.5 * edge**2), 2 * decay[..., -1] / (mu + 1e-9))
    moduli = np.exp(0.5 * a * a) / np.cos(mu * a) ** power
    scale = np.exp(-0.5 * mu * mu)
    return total * scale, (ROUNDING * total + 2 * tail + 2.0001 * moduli * np.exp(-DECAY)) * scale


@overload
def posterior(mu: Form) -> Form: ...
@overload
def posterior(mu: Jet) -> Jet: ...
def posterior(mu: Form | Jet) -> Form | Jet:
    """Enclose ``Q`` of ``mu >= 0``; ``|Q''| <= 2 (1 + mu^2) R + 4.8 mu exp(-mu^2/2)``.

    ``R <= Q``, which is at most ``1/(1 + mu^2)``, a linear estimate's, and ``exp(-mu^2/2)``.
    ``|R'| <= mu R + 2.4 exp(-mu^2/2)``.
    """
    if isinstance(mu, Jet):
        return chained(mu, posterior(mu.value), -2 * mu.value * _fourth(mu.value))
    centre = np.abs(mu.centre)
    value, error = mean_sech(centre, 1)
    slope, slip = mean_sech(centre, 3)

    def curve(low: Any, high: Any) -> Any:
        low, high = np.maximum(low, 0), np.maximum(high, 0)
        decay = np.exp(-0.5 * low * low)
        size = np.minimum(1 / (1 + low * low), decay)
        return 2.01 * (1 + high * high) * size + 4.81 * high * decay

    r = mu.radius
    steep = -2 * centre * slope
    rest = np.abs(steep) * mu.rest + 0.5 * curve(centre - r, centre + r) * r * r
    off = rest + error + 2 * centre * slip * r + 1e-300
    return Form(value, [steep * part for part in mu.parts], off + SLIP * (value + abs(steep) * r))


def _fourth(mu: Form) -> Form:
    """Enclose ``R``."""
    centre, r = np.abs(mu.centre), mu.radius
    value, error = mean_sech(centre, 3)
    low, high = np.maximum(centre - r, 0), centre + r
    decay = np.exp(-0.5 * low * low)
    steep = high * np.minimum(1 / (1 + low * low), decay) + 2.41 * decay
    return Form(value, [np.zeros_like(value)] * len(mu.parts), error + steep * r + SLIP * value)


def vp_parts(separation: Any, noise: Any, k: Any, threshold: Any) -> tuple[list[Form], list[Form]]:
    """Return the forms of ``N - tau P`` and of ``P`` of a VP Euler step."""
    n2, m2, rate = square(noise), square(0.5 * separation), reciprocal(noise)
    root, steps, drop = sqrt(1 + n2), reciprocal(k), 1 - square(k)
    inverse2 = 1 + (square(steps) - 1) / (1 + n2)
    inverse = sqrt(inverse2)
    kappa, a = reciprocal(inverse), sqrt(1 + drop / (square(rate) + square(k)))
    x1, x2, x3 = 1 - kappa, a - 1, (1 - k) * a
    b1 = (1 + k) / (inverse2 + inverse)
    b2 = (1 + k) / inverse2 / (1 + a) * m2
    b3 = kappa * k * m2 * (1 + square(rate))
    mu = 0.5 * separation * rate
    mu2, q = square(mu), posterior(mu)
    last, both = root - threshold * x3, x1 + 2 * x2
    near = b1 * (1 - threshold * x1) + b2 * (n2 / (1 + root) - threshold * x2) - b3 * last * q
    far = b1 * (1 - threshold * x1 - (root - threshold * both) * mu2) - b2
    power = b1 * x1 + b2 * x2 - b3 * x3 * q
    apart = b1 * (x1 - both * mu2) + b3 * x3 * (1 - q)
    return [near, far + b3 * last * (1 - q)], [power, apart]


Parts = Callable[..., tuple[list[Any], list[Any]]]
"""Forms or jets of sides to those of a margin and of a power > 0, several of each."""


def over_power(parts: Parts, coarse: Parts | None = None) -> Evaluator:
    """Return the evaluator of a margin over a power > 0; each has several forms.

    ``coarse`` parts are cheaper ones, which only say along which side to cut.
    """
    rough = coarse or parts

    def evaluate(low: np.ndarray, high: np.ndarray) -> Enclosed:
        margins, powers = parts(*sides(low, high))
        least, most = shared(margins)
        small, large = shared(powers)
        left, found = ~((least > 0) | (most < 0)), np.zeros(low.shape)
        found[left] = effects(radius, low[left], high[left])
        return Enclosed(*_over(least, most, small, large), found)

    def radius(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.asarray(np.fmin.reduce([one.radius for one in rough(*sides(low, high))[0]]))

    return evaluate


def by_slopes(parts: Parts) -> Evaluator:
    """Return the evaluator of a margin over a power > 0 from their middles and derivatives."""

    def evaluate(low: np.ndarray, high: np.ndarray) -> Enclosed:
        count = 0

        def both(*given: Any) -> list[Any]:
            nonlocal count
            margins, powers = parts(*given)
            count = len(margins)
            return [*margins, *powers]

        found, jets_ = sloped(both, low, high)
        lows, highs = (np.array(ends) for ends in zip(*found, strict=True))
        ends = (
            np.fmax.reduce(lows[:count]),
            np.fmin.reduce(highs[:count]),
            np.fmax.reduce(lows[count:]),
            np.fmin.reduce(highs[count:]),
        )
        return Enclosed(*_over(*ends), smeared(jets_[:count], low, high))

    return evaluate


def sloped(
    function: Callable[..., list[Any]], low: np.ndarray, high: np.ndarray
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Jet]]:
    """Bound several functions by their derivatives and plainly, what both share; and their jets."""
    found: list[Jet] = function(*jets(low, high))
    middles = function(*sides(*[0.5 * (low + high)] * 2))
    pairs = zip(found, middles, strict=True)
    return [shared([taylor(one, at, low, high), one.value]) for one, at in pairs], found


def smeared(margins: list[Jet], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the largest slope along each side times its length, of the flattest margin."""
    every = []
    for one in margins:
        steep = np.zeros(low.shape)
        for i, slope in one.slopes.items():
            steep[:, i] = (np.abs(slope.centre) + slope.radius) * (high[:, i] - low[:, i])
        steep[~np.isfinite(steep).all(axis=1)] = np.inf
        every.append(steep)
    total = np.stack([one.sum(axis=1) for one in every])
    return np.asarray(np.stack(every)[total.argmin(axis=0), np.arange(len(low))])


def _over(
    least: np.ndarray, most: np.ndarray, small: np.ndarray, large: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of a margin over a power > 0."""
    small = np.fmax(small, 1e-300)
    lower = np.where(least > 0, least / large, least / small)
    upper = np.where(most > 0, most / small, most / large)
    return lower - SLIP * np.abs(lower), upper + SLIP * np.abs(upper)


def shared(forms: list[Form]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds that several forms of one number share."""
    found = [bounds(one) for one in forms]
    lows, highs = zip(*found, strict=True)
    return np.fmax.reduce(lows), np.fmin.reduce(highs)


CELLS = 128
"""Cells of an integral over states, narrow at 0, where the step folds them."""


def fold_integrals(mu: Form, k: Form) -> tuple[Form, Form]:
    """Enclose ``G_1`` and ``G_2``: a cell's integral is its width times the form less its ``y``."""
    r = mu.radius
    low, high = np.maximum(mu.centre - r, 0), np.maximum(mu.centre + r, 0)
    last = np.minimum(high + 10, 25 / np.maximum(low, 1e-9))
    y = last[:, None] * (np.arange(CELLS + 1) / CELLS) ** 3
    middle, half = 0.5 * (y[:, :-1] + y[:, 1:]), 0.5 * (y[:, 1:] - y[:, :-1])
    m, ratio = (on_cells(form) for form in (mu, k))
    x = Form(middle, [*[0.0] * len(mu.parts), half * (1 + SLIP)])
    theta = m * x
    t = tanh(theta)
    after = theta / ratio + (1 - ratio) / square(ratio) * square(m) * t
    g, e = m * (tanh(after) - t), x - m * t
    weight = (exp(-0.5 * square(x - m)) + exp(-0.5 * square(x + m))) * (1 / np.sqrt(2 * np.pi))
    beyond = np.exp(-0.25 * np.maximum(last - high, 0) ** 2 - 2 * low * last)
    tail = 4 * (1 + high) ** 2 * beyond + 1e-300
    far = np.where(low > 1, 1.07 * low * np.exp(-0.5 * low * low), np.inf)
    one, two = (_summed(weight * g * other, 2 * half, tail) for other in (e, g))
    return _within(one, np.sqrt(far)), _within(two, far)


def _within(form: Form, most: np.ndarray) -> Form:
    """Return a form of numbers of at most this size, by what says more."""
    flat = ~(form.radius <= most)
    parts = [np.where(flat, 0.0, part) for part in form.parts]
    return Form(np.where(flat, 0.0, form.centre), parts, np.where(flat, most, form.rest))


def _summed(form: Form, width: np.ndarray, tail: np.ndarray) -> Form:
    """Return the integral over cells: the part linear in ``y`` is odd about their middles."""
    *parts, odd = form.parts
    rest = form.rest + SLIP * (np.abs(form.centre) + form.radius + np.abs(odd))
    size = (width * (np.abs(form.centre) + form.radius)).sum(-1) * CELLS * SLIP
    made = [(width * part).sum(-1) for part in parts]
    return Form((width * form.centre).sum(-1), made, (width * rest).sum(-1) + size + tail)


def heun_parts(separation: Any, k: Any, threshold: Any) -> tuple[list[Form], list[Form]]:
    """Return the forms of the margin and of the power of an EDM Heun step."""
    mu = 0.5 * separation
    own = square(k) * (1 - square(mu) * posterior(mu))
    first, last = fold_integrals(mu, k)
    power = (1 - k) * (own - k * first + 0.25 * last)
    return [own - 0.5 * k * first - threshold * power], [power]


def measured(process: Any, solver: Any, point: Mapping[str, float]) -> float:
    """Return ``gamma* - threshold`` of a solver's step, by quadrature over its states."""
    half = 0.5 * point["separation"]
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([half, -half]), 1e-26)
    s, t = (process.level_at(point.get("noise", 1.0) * k) for k in (1.0, point["ratio"]))
    sigma, alpha = float(s.sigma), float(s.alpha)
    z = np.linspace(-12.0, 12.0, 40_001)
    mass = np.exp(-0.5 * z * z)
    mass /= mass.sum()
    x = (alpha * half + sigma * z)[:, None]  # the other mode mirrors it
    found = solver.step(law, x, s, t, ())
    u, off = np.asarray(found.residual)[:, 0], x[:, 0] - np.asarray(found.denoised)[:, 0]
    return float((mass * u * off).sum() / (mass * u * u).sum()) - point["threshold"]


def collapsed(parts: Parts) -> Control:
    """Say that Euler's formula in EDM holds here too, less one in a million."""

    def at_it(*sides_: Form) -> tuple[list[Form], list[Form]]:
        *others, ratio, _ = sides_
        return parts(*others, ratio, 0.999999 / (1 - ratio))

    return Control("gamma* is at least 1/(1 - k), as of Euler in EDM", over_power(at_it))


def coefficient(
    process: str,
    solver: Solver,
    latex: str,
    parts: Parts,
    second: Callable[..., Any],
    *parameters: Parameter,
    evaluate: Callable[[Parts], Evaluator] = over_power,
) -> Statement:
    """Return the statement of a solver's step in a process."""
    which, step = step_of(process, solver)
    return Statement(
        id=f"coefficient-{which}",
        title=f"Where gamma* of {step} is above a threshold: two equal point masses",
        says="gamma* is above the threshold",
        fails="gamma* is below the threshold",
        latex=latex,
        parameters=(*parameters, RATIO, THRESHOLD),
        evaluate=evaluate(parts),
        second=second,
        measure=partial(measured, PROCESSES[process], solver),
        controls=(collapsed(parts),),
        claim="geometry-blindness",
    )


EDM_HEUN = coefficient(
    "edm",
    HEUN,
    r"\gamma^* - \tau",
    heun_parts,
    second.coefficient_edm_heun,
    OVER_NOISE,
)
VP_EULER = coefficient(
    "vp-linear",
    EULER,
    r"\gamma^* - \tau,\quad \gamma^* = N / ((1-k) P)",
    vp_parts,
    second_vp.coefficient_vp_euler,
    SEPARATION,
    NOISE,
    evaluate=by_slopes,
)
