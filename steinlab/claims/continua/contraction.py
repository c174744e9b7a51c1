r"""Where a step contracts: two point masses, by separation over noise and by the step's length.

The law is ``w delta_R + (1 - w) delta_{-R}``; ``a = 2 alpha R / sigma`` is the separation over the
noise, ``S = a^2 / 4``, ``h`` the step in ``log(alpha/sigma)``, ``E = exp(-h)``. With
``t = tanh(alpha R x / sigma^2 + b)``, ``b = log(w/(1-w))/2``, the denoiser is ``R t`` and
``alpha D' = S (1 - t^2)``, whose largest value is ``S`` whatever the weight.

Euler. ``T' = kappa + beta D'`` lies between ``kappa < 1`` and its value at ``t = 0``, so

    L_T = kappa (1 + (exp(h) - 1) S),   kappa = E sqrt((1 + n^2) / (1 + n^2 E^2)) in VP,

``n = sigma/alpha`` at the start, and ``kappa = E`` in EDM: there ``1 - L_T = (1 - E)(1 - S)``.

Heun, EDM. With ``J = S (1 - t^2)`` at the start and ``J' = (S/E^2) (1 - t'^2)`` at the Euler state,
``c = (1 - E)/(2E)``,

    T' = E + (1 - E) J + c (J' (E + (1 - E) J) - J).

It is linear in ``J in [0, S]`` and in ``J' in [0, S/E^2]``, so its values at the corners of that
rectangle bound it from both sides. ``L_T`` is at least ``T'`` where the Euler step leads to the
ridge, ``J' = S/E^2``. With ``y = alpha R x / sigma^2 + b`` that state solves
``y + (1/E - 1) S tanh y = (1 - E) b``, so ``|t| <= (1 - E) |b| / (1 + (1/E - 1) S)`` there, since
``|tanh y| <= |y|``. At equal weights ``t = 0`` gives the upper corner itself: the edge is exact.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.certified.affine import Form, bounds, effects, exp, log, sides, sqrt, square
from steinlab.claims.continua import second
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

SEPARATION = Parameter.of(
    "separation", "distance of the modes over the noise", ("0", "8"), ("0", "64")
)
STEP = Parameter.of("step", "length of the step in log(alpha/sigma)", ("0.01", "4"), ("0.001", "8"))
NOISE = Parameter.of("noise", "sigma/alpha where the step begins", "1", ("0.001", "1000"))
WEIGHT = Parameter.of("weight", "of one of the two modes", "1/2", ("0.01", "0.99"))

Function = Callable[..., Any]


def _spread(separation: Any) -> Any:
    return square(separation) * 0.25


def euler_edm(separation: Any, step: Any) -> Any:
    """``1 - L_T`` of Euler in EDM."""
    return (1 - exp(-step)) * (1 - _spread(separation))


def euler_vp(separation: Any, step: Any, noise: Any) -> Any:
    """``1 - L_T`` of Euler in VP."""
    end, n2 = exp(-step), square(noise)
    growth = sqrt((1 + n2) / (1 + n2 * square(end)))
    return 1 - growth * (end + (1 - end) * _spread(separation))


def slope(end: Any, j: Any, after: Any) -> Any:
    """Return ``T'`` of Heun from the two Jacobians."""
    c = (1 / end - 1) * 0.5
    euler = end + (1 - end) * j
    return euler + c * (after * euler - j)


def _enclosed(function: Function, low: np.ndarray, high: np.ndarray) -> Enclosed:
    def radius(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.asarray(function(*sides(low, high)).radius)

    return Enclosed(*bounds(function(*sides(low, high))), effects(radius, low, high))


def plain(function: Function) -> Evaluator:
    """Return the evaluator of a function of forms."""
    return lambda low, high: _enclosed(function, low, high)


def heun(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``1 - L_T`` of Heun in EDM: the corners from above, the ridge from below."""

    def corner(first: float, after: float, sign: float) -> Function:
        def value(separation: Form, step: Form, weight: Form) -> Form:  # noqa: ARG001
            end, s = exp(-step), _spread(separation)
            found: Form = 1 - sign * slope(end, first * s, after * s / square(end))
            return found

        return value

    def on_ridge(bent: float) -> Function:
        def value(separation: Form, step: Form, weight: Form) -> Form:
            end, s = exp(-step), _spread(separation)
            shift = 0.5 * log(weight / (1 - weight))
            t2 = square((1 - end) * shift / (1 + (1 / end - 1) * s)) * bent
            found: Form = 1 - slope(end, s * (1 - t2), s / square(end))
            return found

        return value

    lower = [_enclosed(corner(*which), low, high) for which in ((0, 1, 1), (1, 1, 1), (1, 0, -1))]
    upper = [_enclosed(on_ridge(bent), low, high) for bent in (0.0, 1.0)]
    least = np.minimum.reduce([one.lower for one in lower])
    most = np.maximum.reduce([one.upper for one in upper])
    return Enclosed(least, most, lower[1].effects + upper[1].effects)


def measure(
    process: str, solver: Solver, names: tuple[str, ...]
) -> Callable[[Mapping[str, float]], float]:
    """Return what measures ``1 - L_T``: difference quotients of the solver's step, the largest."""

    def value(point: Mapping[str, float]) -> float:
        given = {"noise": 1.0, "weight": 0.5, **{name: point[name] for name in names}}
        end = np.exp(-given["step"])
        s, t = (PROCESSES[process].level_at(given["noise"] * k) for k in (1.0, end))
        half = 0.5 * given["separation"] * float(s.sigma) / float(s.alpha)
        law = GaussianMixture(
            np.array([given["weight"], 1 - given["weight"]]), np.array([half, -half]), 1e-26
        )
        return 1 - largest_slope(law, solver, s, t)

    return value


STATES, NUDGE = 2001, 1e-5


def largest_slope(law: GaussianMixture, solver: Solver, s: NoiseLevel, t: NoiseLevel) -> float:
    """Return the largest ``|T'|`` on a grid of states, refined about its best."""
    unit = float(s.sigma)
    reach = float(np.abs(law.means).max()) * float(s.alpha) + 8 * unit
    low, high, best = -reach, reach, 0.0
    for _ in range(6):
        x = np.linspace(low, high, STATES)
        pair = np.stack((x - NUDGE * unit, x + NUDGE * unit))[..., None]
        ends = np.stack([np.asarray(solver.step(law, one, s, t, ()).state) for one in pair])
        slopes = np.abs(np.diff(ends[..., 0], axis=0)[0] / (2 * NUDGE * unit))
        at = int(slopes.argmax())
        best = max(best, float(slopes[at]))
        cell = x[1] - x[0]
        low, high = x[at] - 2 * cell, x[at] + 2 * cell
    return best


def _vertical(function: Function) -> Control:
    """Say that only the separation counts, as in EDM: contraction below 2, expansion above."""

    def value(separation: Any, *rest: Any) -> Any:
        return function(separation, *rest) * (2 - separation)

    return Control("the edge is vertical: separation 2", plain(value))


def _heun_vertical(low: np.ndarray, high: np.ndarray) -> Enclosed:
    found, (least, most) = heun(low, high), (2 - high[:, 0], 2 - low[:, 0])
    ends = [a * b for a in (found.lower, found.upper) for b in (least, most)]
    return Enclosed(np.minimum.reduce(ends), np.maximum.reduce(ends), found.effects)


def _stiff(separation: Any, step: Any) -> Any:
    """Say that short steps buy contraction: ``L_D < 1/h`` is enough."""
    return euler_edm(separation, step) * (1 - _spread(separation) * step)


def contraction(
    process: str,
    solver: Solver,
    latex: str,
    evaluate: Evaluator,
    second: Callable[..., Any],
    *others: Parameter,
    control: Control,
) -> Statement:
    """Return the statement of a solver's step in a process, over separation, step and others."""
    parameters = (SEPARATION, STEP, *others)
    names = tuple(one.name for one in parameters)
    which, step = step_of(process, solver)
    return Statement(
        id=f"contraction-{which}",
        title=f"Where {step} contracts: two point masses",
        says="the step contracts, L_T < 1",
        fails="the step expands, L_T > 1",
        latex=latex,
        parameters=parameters,
        evaluate=evaluate,
        second=second,
        measure=measure(process, solver, names),
        controls=(control,),
        claim="contractivity-trap",
    )


EULER_EDM = contraction(
    "edm",
    EULER,
    r"1 - L_T = (1 - e^{-h})(1 - a^2/4)",
    plain(euler_edm),
    second.contraction_edm_euler,
    control=Control("short steps buy contraction: L_D < 1/h", plain(_stiff)),
)
EULER_VP = contraction(
    "vp-linear",
    EULER,
    r"1 - L_T = 1 - \kappa\,(1 + (e^h - 1)\,a^2/4)",
    plain(euler_vp),
    second.contraction_vp_euler,
    NOISE,
    control=_vertical(euler_vp),
)
HEUN_EDM = contraction(
    "edm",
    HEUN,
    r"1 - L_T,\quad T' = E + (1-E)J + c\,(J'(E + (1-E)J) - J)",
    heun,
    second.contraction_edm_heun,
    WEIGHT,
    control=Control("the edge is vertical: separation 2", _heun_vertical),
)
