r"""DPM-Solver-v3 (Zheng et al., 2023): multistep integration about statistics of the model.

In ``z = x / alpha`` the flow is ``dz/dlam = -(z - D)``. With a coefficient ``l(lam)`` per
coordinate, ``f = (1 - l) z - D`` is what a linear flow leaves over, and ``f' = s f + b`` what is
expected of it. With ``L = int l``, ``S = int s``, ``B = int e^-S b`` from the step's beginning and
``g = e^-S f - B``, which is constant where ``f`` is as expected,

    z' = e^-L' [z - int e^(L + S) (g + B) dlam],

and ``g`` is the polynomial through the last outputs. Statistics: ``l = 1 - E dD_i/dz_i`` minimises
the Jacobian of ``f``; ``s`` and ``b`` are the least-squares fit of ``f'`` on ``f``, coordinate by
coordinate.

Guarantee (tight): of order one to three by the outputs combined, started accurately. One step of
order one with the exact statistics of ``N(m, diag(v))``, ``l = r^2 / (v + r^2)``, ``s = 0``,
``b = 2 l (1 - l) m`` with ``r = sigma / alpha``, is the exact flow. With ``l = 1``, ``s = b = 0``
the method is DPM-Solver++ with exact moments. The authors' ``pseudo`` takes Newton's first divided
difference for the derivative where three outputs are combined: of order two. The corrector adds
the output at the predicted state and steps again from where the prediction began, as UniC does; its
``f`` stays that of the predicted state. Its ``pseudo`` form loses an order too. The snapping of
levels to the nodes of the statistics is left out.

At ``sigma_t = 0`` the step is of first order, ``T = D``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander
from scipy.interpolate import CubicSpline

from analytic import NoiseLevel
from analytic.arrays import Array, like
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers.base import (
    Candidate,
    History,
    LinearMultistep,
    LinearStep,
    combined,
    corrected,
    first_order,
    log_snr_step,
    require_end,
    require_signal,
)
from steinlab.solvers.exponential import nodes_of
from steinlab.solvers.phi import interpolatory
from steinlab.solvers.scalars import exp, expm1, has_both, plain

Statistics = Callable[[Any], tuple[Any, Any, Any]]
"""``lam -> (l, s, b)``, each elementwise in ``lam`` or with a last axis of coordinates."""

CORRECTORS = FULL, PSEUDO = "full", "pseudo"
"""Of as many outputs as the predictor, that at the predicted state the newest; and of one more."""

POINTS = 32
"""Points of the rule: they integrate the statistics of a Gaussian over ``h = 5`` to rounding."""


def _rule() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Gauss's nodes and weights on (0, 1), and the matrix that integrates up to nodes."""
    x, w = leggauss(POINTS)
    values = legvander(x, POINTS)
    upto = np.concatenate([(x + 1)[:, None], values[:, 2:] - values[:, : POINTS - 1]], axis=1)
    return 0.5 * (x + 1), 0.5 * w, 0.25 * (upto @ values[:, :POINTS].T) * w


NODES, WEIGHTS, UP_TO = _rule()


def of_gaussian(mean: Any, variance: Any) -> Statistics:
    """Return the statistics of ``N(m, diag(v))``, per coordinate.

    Examples
    --------
    >>> [float(one) for one in of_gaussian(1.0, 0.25)(np.log(2.0))]
    [0.5, 0.0, 0.5]
    """

    def statistics(lam: Any) -> tuple[Any, Any, Any]:
        noise = np.exp(-2 * np.asarray(lam))
        noise = noise[..., None] if np.ndim(variance) else noise
        share = noise / (variance + noise)
        return share, 0 * share, 2 * share * (1 - share) * mean

    return statistics


def measured(lam: Sequence[float], z: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    r"""Return ``l``, ``s``, ``b`` by level and coordinate, ``(3, n, d)``, from trajectories.

    For an exact denoiser ``E dD_i/dz_i = E D_i n_i`` with ``n = (z - D) e^(2 lam)`` (Stein's
    identity): no derivative of the model is needed. ``E z_i n_i = 1`` by the same identity, so that
    ``z n - 1`` is a control variate, with which a Gaussian's ``l`` is exact from any states.

    Parameters
    ----------
    lam : sequence of float
        Increasing, ``(n,)``.
    z, denoised : array
        ``x / alpha`` and ``D`` on the flow's trajectories, ``(n, states, d)``.
    """
    at = np.asarray(lam, dtype=float)
    own, output = (a - a.mean(axis=1, keepdims=True) for a in (z, denoised))
    noise = np.exp(2 * at)[:, None, None] * (own - output)
    share = _mean_with_control(1 - output * noise, own * noise - 1)
    rest = (1 - share[:, None]) * z - denoised
    slope = CubicSpline(at, rest).derivative()(at)
    centred = rest - rest.mean(axis=1, keepdims=True)
    spread, size = np.mean(centred**2, axis=1), np.mean(rest**2, axis=1)
    varies = spread > np.finfo(float).eps * size
    s = np.where(varies, np.mean(centred * slope, axis=1) / np.where(varies, spread, 1.0), 0.0)
    return np.stack([share, s, slope.mean(axis=1) - s * rest.mean(axis=1)])


def _mean_with_control(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Return the mean over states of values, by another column whose mean is known to be 0."""
    spread = np.mean((zero - zero.mean(axis=1, keepdims=True)) ** 2, axis=1)
    shared = np.mean((values - values.mean(axis=1, keepdims=True)) * zero, axis=1)
    slope = np.where(spread > 0, shared / np.where(spread > 0, spread, 1.0), 0.0)
    return np.asarray(values.mean(axis=1) - slope * zero.mean(axis=1))


def interpolated(lam: Sequence[float], values: np.ndarray) -> Statistics:
    """Return statistics ``(3, n, d)`` as functions: cubic between levels, constant beyond."""
    at = np.asarray(lam, dtype=float)
    curves = [CubicSpline(at, part) for part in values]

    def statistics(lam: Any) -> tuple[Any, Any, Any]:
        one, two, three = (curve(np.clip(lam, at[0], at[-1])) for curve in curves)
        return one, two, three

    return statistics


def _expected(statistics: Statistics, lam: Any, h: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return ``L``, ``S`` and ``B`` at the end of a way ``h``, and ``e^(L + S)``, ``B`` on it."""
    shape = (POINTS, *np.shape(h))
    theta = NODES.reshape(POINTS, *(1,) * np.ndim(h))
    *linear, added = statistics(np.broadcast_to(lam + h * theta, shape))
    way = np.asarray(h).reshape(np.shape(h) + (1,) * (np.ndim(added) - len(shape)))
    to = [way * np.tensordot(UP_TO, part, 1) for part in linear]
    ends = [way * np.tensordot(WEIGHTS, part, 1) for part in linear]
    drive = np.exp(-to[1]) * added
    on_way = way * np.tensordot(UP_TO, drive, 1)
    end = way * np.tensordot(WEIGHTS, drive, 1)
    return (*ends, end, np.exp(to[0] + to[1]), on_way)


def coefficients(
    statistics: Statistics,
    levels: tuple[NoiseLevel, ...],
    t: NoiseLevel,
    *,
    pseudo: bool = False,
    corrector: str = "",
) -> tuple[LinearStep, Any, Any]:
    """Return the step's coefficients, and what it and its corrector add whatever the state."""
    s = levels[0]
    if not has_both(t):
        return first_order(s, t), 0.0, 0.0
    require_signal("dpm-v3", s)
    gain, betas, states, offset = _integrated(statistics, levels, t, pseudo=pseudo)
    carry = (t.alpha / s.alpha) * exp(plain(-gain))
    linear = LinearStep(
        carry + states[0],
        (s.alpha - t.alpha) / s.alpha - (t.alpha / s.alpha) * expm1(plain(-gain)) - states[0],
        betas,
        states[1:],
    )
    if not corrector:
        return linear, offset, 0.0
    seen = (s, t, *levels[1 : max(len(levels) - (corrector == FULL), 1)])
    _, *both, total = _integrated(statistics, seen, t, pseudo=corrector == PSEUDO)
    added = [
        (end, *(c - p for c, p in zip_longest((own, *past), predicted, fillvalue=0.0)))
        for (own, end, *past), predicted in zip(both, (betas, states), strict=True)
    ]
    linear = replace(linear, corrector=added[0], corrector_states=added[1], carry=carry)
    return linear, offset, total - offset


def _integrated(
    statistics: Statistics, levels: tuple[NoiseLevel, ...], t: NoiseLevel, *, pseudo: bool
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...], Any]:
    """Return ``L``, and what the outputs, states and constants of levels add to a step's end."""
    s = levels[0]
    h = log_snr_step(s, t)
    lam, nodes = s.lam, nodes_of(levels, h)
    gain, _, _, weight, drift = _expected(statistics, lam, h)
    theta = NODES.reshape(POINTS, *(1,) * (weight.ndim - 1))
    way = np.asarray(h).reshape(np.shape(h) + (1,) * (weight.ndim - 1 - np.ndim(h)))
    moments = [way * np.tensordot(WEIGHTS, weight * theta**k, 1) for k in range(len(levels))]
    weights = interpolatory(nodes, _as_taylor(nodes, moments) if pseudo else moments)
    shares, past, known = zip(*(_seen(statistics, lam, h, node) for node in nodes), strict=True)
    down = exp(plain(-gain))
    offset = sum((w * b for w, b in zip(weights, known, strict=True)), 0.0)
    offset = offset - way * np.tensordot(WEIGHTS, weight * drift, 1)
    betas = [plain(down * w * p) for w, p in zip(weights, past, strict=True)]
    states = (
        -(t.alpha / level.alpha) * beta * (1 - share)
        for beta, share, level in zip(betas, shares, levels, strict=True)
    )
    added = tuple(t.alpha * beta for beta in betas)
    return gain, added, tuple(states), t.alpha * down * plain(offset)


def _as_taylor(nodes: Sequence[Any], moments: Sequence[Any]) -> list[Any]:
    """Return moments with which Newton's divided differences stand for Taylor's coefficients."""
    found: list[Any] = []
    basis = [1.0]  # Newton's polynomial, the lowest power first
    for node, moment in zip(nodes, moments, strict=True):
        found.append(moment - sum(c * one for c, one in zip(basis, found, strict=False)))
        basis = [a - node * b for a, b in zip([0.0, *basis], [*basis, 0.0], strict=True)]
    return found


def _seen(statistics: Statistics, lam: Any, h: Any, node: Any) -> tuple[Any, Any, Any]:
    """Return ``l``, ``e^-S`` and ``B`` at a level ``lam + h node``."""
    share, _, _ = statistics(np.asarray(lam + h * node))
    _, passed, drift, *_ = _expected(statistics, lam, np.asarray(h * node))
    return plain(share), np.exp(-passed), drift


@dataclass(frozen=True)
class DpmV3(LinearMultistep):
    """DPM-Solver-v3 with statistics that add something or differ by coordinate.

    Parameters
    ----------
    constants : callable
        ``levels, t -> (coefficients, what is added, what the corrector adds)``.
    corrects : bool
        Whether there is a corrector. The steps of ``starters`` are left as they are.
    """

    constants: Callable[..., tuple[LinearStep, Any, Any]] = field(kw_only=True)
    corrects: bool = False

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual."""
        require_end(self, t)
        seen = tuple(entry.level for entry in history)
        linear, offset, _ = self.constants((s, *seen[: self.width - 1]), t)
        if self.corrects and len(history) > len(self.starters):
            last, _, added = self.constants(seen[: self.width], s)
            offset = offset + (linear.kappa if linear.carry is None else linear.carry) * added
            linear = corrected(linear, last)
        states = getattr(x, "value", x)  # of dual numbers
        found = combined(_like(linear, states), x, denoiser(x, s), history)
        offset = like(offset, states)
        return Candidate(found.state + offset, found.residual - offset, found.denoised, None, 1)


def _like(linear: LinearStep, x: Array) -> LinearStep:
    """Return coefficients in the state's array library."""
    many = (tuple(like(c, x) for c in part) for part in (linear.betas, linear.zetas))
    return LinearStep(like(linear.kappa, x), like(linear.one_minus_kappa, x), *many)


def dpm_v3(
    order: int, statistics: Statistics, *, pseudo: bool = False, corrector: str = ""
) -> DpmV3:
    """Return the predictor of order 1, 2 or 3 about statistics, with a corrector or none.

    Examples
    --------
    >>> dpm_v3(3, of_gaussian(0.0, 0.25)).full_order
    3
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3 for dpm-v3, got {order}")

    if corrector not in ("", *CORRECTORS):
        raise ValueError(f"corrector must be full, pseudo or empty, got {corrector}")

    def constants(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> tuple[LinearStep, Any, Any]:
        return coefficients(statistics, levels, t, pseudo=pseudo, corrector=corrector)

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        return constants(levels, t)[0]

    full = 2 if order == 3 and (pseudo or corrector == PSEUDO) else order
    return DpmV3(
        f"dpm-v3-{order}",
        order=min(order, 2),
        depth=order - 1 + bool(corrector),
        weights=weights,
        full_order=full,
        nodes=order,
        constants=constants,
        corrects=bool(corrector),
    )
