r"""How large the coefficient ``gamma*`` is: two equal point masses, over levels and steps.

The masses stand at ``+-m``, ``m`` half the separation; ``n = sigma/alpha`` is the noise where the
step begins, ``k n`` where it ends, ``mu = m/n``. The posterior variance is

    V = m^2 Q(mu),   Q(mu) = E[1 - tanh^2(mu Y)],   Y ~ N(mu, 1)

(:mod:`steinlab.claims.continua.posterior`).

VP Euler. With ``A = 1/alpha``, ``a = alpha'/alpha``, ``kappa = k a``, ``W = V/n^2``,

    X_1 = 1 - kappa,   X_2 = a - 1,   X_3 = X_1 + X_2,

the three scalars of a first-order step become

    gamma* = N/P,   P = X_1^2 + X_2^2 mu^2 - X_3^2 W,
    N - tau P = X_1 (1 - tau X_1) + X_2 (A - 1 - tau X_2) mu^2 - X_3 (A - tau X_3) W.

Its last terms cancel where the noise is large; there ``Z = mu^2 - W = mu^2 (1 - Q)`` gives

    N - tau P = X_1 (1 - tau X_1) + (tau X_1 (X_1 + 2 X_2) - A X_1 - X_2) mu^2
                + X_3 (A - tau X_3) Z.

Both are multiplied by ``k^2 A^2/(1 - k)``, with which they hardly depend on a large noise. Where it
is small ``W = mu^2 Q`` is one function of ``mu``, which is bounded, and nothing is divided by it.

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
from functools import partial
from typing import Any

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import (
    SLIP,
    Form,
    Jet,
    bounds,
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
from steinlab.claims.continua.posterior import posterior, spread
from steinlab.claims.continua.steps import step_of
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import EULER, HEUN
from steinlab.solvers.base import Solver
from steinlab.verification.continuum.statement import (
    Control,
    Enclosed,
    Evaluator,
    Parameter,
    SecondOn,
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
    mu2, w, z = square(mu), kappa * k * (1 + n2) * spread(mu), b3 * (1 - posterior(mu))
    last, both = root - threshold * x3, x1 + 2 * x2
    near = b1 * (1 - threshold * x1) + b2 * (n2 / (1 + root) - threshold * x2) - w * last
    far = b1 * (1 - threshold * x1 - (root - threshold * both) * mu2) - b2 + z * last
    return [near, far], [b1 * x1 + b2 * x2 - w * x3, b1 * (x1 - both * mu2) + z * x3]


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
        least, most = np.fmax.reduce(lows[:count]), np.fmin.reduce(highs[:count])
        small, large = np.fmax.reduce(lows[count:]), np.fmin.reduce(highs[count:])
        under, over = on_faces(lambda *given: parts(*given)[0], jets_[:count], low, high)
        least, most = np.fmax(least, under), np.fmin(most, over)
        return Enclosed(*_over(least, most, small, large), smeared(jets_[:count], low, high))

    return evaluate


def on_faces(
    function: Callable[..., list[Form]], jets_: list[Jet], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bound a number of several forms and jets from its values on two faces.

    Along a side whose slope has one sign it is least at one end and largest at the other.
    """
    least, most = (low.copy(), high.copy()), (low.copy(), high.copy())
    for i in jets_[0].slopes:
        flattest, steepest = shared([one.slopes[i] for one in jets_])
        rises, falls = flattest > 0, steepest < 0
        for face, to_low, to_high in ((least, rises, falls), (most, falls, rises)):
            face[0][to_high, i], face[1][to_low, i] = high[to_high, i], low[to_low, i]
    under, over = (shared(function(*sides(*face, ended=True))) for face in (least, most))
    return under[0], over[1]


def sloped(
    function: Callable[..., list[Any]], low: np.ndarray, high: np.ndarray
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Jet]]:
    """Bound several functions by their derivatives and plainly, what both share; and their jets."""
    found: list[Jet] = function(*jets(low, high, ended=True))
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


def collapsed(parts: Parts, measure: Callable[[Mapping[str, float]], float]) -> Control:
    """Say that Euler's formula in EDM holds here too, less one in a million.

    A point that refutes it refutes the statement itself, with this formula as the threshold.
    """

    def at_it(*sides_: Form) -> tuple[list[Form], list[Form]]:
        *others, ratio, _ = sides_
        return parts(*others, ratio, 0.999999 / (1 - ratio))

    def there(point: Mapping[str, float]) -> float:
        return measure({**point, "threshold": 0.999999 / (1 - point["ratio"])})

    return Control("gamma* is at least 1/(1 - k), as of Euler in EDM", over_power(at_it), there)


def coefficient(
    process: str,
    solver: Solver,
    latex: str,
    parts: Parts,
    second: Callable[..., Any],
    *parameters: Parameter,
    evaluate: Callable[[Parts], Evaluator] = over_power,
    second_on: SecondOn | None = None,
) -> Statement:
    """Return the statement of a solver's step in a process."""
    which, step = step_of(process, solver)
    measure = partial(measured, PROCESSES[process], solver)
    return Statement(
        id=f"coefficient-{which}",
        title=f"Where gamma* of {step} is above a threshold: two equal point masses",
        says="gamma* is above the threshold",
        fails="gamma* is below the threshold",
        latex=latex,
        parameters=(*parameters, RATIO, THRESHOLD),
        evaluate=evaluate(parts),
        second=second,
        second_on=second_on,
        measure=measure,
        controls=(collapsed(parts, measure),),
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
    second_on=second_vp.coefficient_vp_euler_on,
)
