r"""The Stein coefficient by every route, each with its error.

``gamma* = E<u, x - x_star> / E|u|^2`` minimises ``E|(1 - gamma) x + gamma T(x) - x_star|^2``.
Each route below is a numerator per state over the same denominator ``|u|^2``:

    reference    <u, x - x_star>                                  needs the data, never D
    stein        (1 - 1/alpha) <u, x> + (sigma^2/alpha) div u     Theorem 4.7
    tweedie      <u, x - D>                                       needs an exact denoiser
    next-level   towards kappa x + beta x_star instead of x_star, by the same Stein step

and for one evaluation of an exact denoiser three numbers of the data law suffice
(:func:`three_scalar`). ``alpha, sigma`` are those of the level where the step begins.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from analytic.levels import Scalar
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.estimates import Estimate
from steinlab.solvers import LinearStep, first_order
from steinlab.solvers.step import Step, inner


def reference_numerator(x: Array, u: Array, x_star: Array) -> Array:
    """``<u, x - x_star>`` per state."""
    return inner(x - x_star, u)


def stein_numerator(x: Array, u: Array, div_u: Array, level: NoiseLevel) -> Array:
    """``(1 - 1/alpha) <u, x> + (sigma^2 / alpha) div u`` per state (Theorem 4.7)."""
    alpha, sigma = _divisor(level), _flat(level.sigma)
    return (1 - 1 / alpha) * inner(x, u) + (sigma**2 / alpha) * div_u


def next_level_numerator(x: Array, u: Array, div_u: Array, s: NoiseLevel, t: NoiseLevel) -> Array:
    r"""``(1 - kappa - beta/alpha) <u, x> + (beta sigma^2/alpha) div u`` per state.

    Its mean over ``E|u|^2`` minimises ``E|x - gamma u - (kappa x + beta x_star)|^2``, with the
    ``kappa, beta`` of the first-order step from ``s`` to ``t``: it is ``<u, (1 - kappa) x - beta
    x_star>`` under Stein's identity ``alpha E<u, x_star> = E<u, x> - sigma^2 E[div u]``.
    """
    step = first_order(s, t)
    slack, beta = _flat(step.one_minus_kappa), _flat(step.betas[0])
    alpha, sigma = _divisor(s), _flat(s.sigma)
    return (slack - beta / alpha) * inner(x, u) + (beta * sigma**2 / alpha) * div_u


def _divisor(level: NoiseLevel) -> Scalar:
    if not getattr(level.alpha, "ndim", 0) and level.alpha == 0:
        raise ValueError("the coefficient divides by alpha, which must be > 0, got 0.0")
    return _flat(level.alpha)


def tweedie_numerator(x: Array, u: Array, denoised: Array) -> Array:
    """``<u, x - D>`` per state."""
    return inner(x - denoised, u)


class NoResidualError(ValueError):
    """A step whose residual vanishes, where no coefficient exists."""


def estimate(numerator: Array, residual: Array) -> Estimate:
    r"""Return the ratio of batch means and its standard error by the delta method.

    With ``a`` the numerators and ``b = |u|^2`` over ``N`` independent states,
    ``gamma_hat = mean(a) / mean(b)`` and ``var = sum (a - gamma_hat b)^2 / (N (N-1) mean(b)^2)``.
    The ratio's bias is of order ``1/N``, below the standard error.

    Parameters
    ----------
    numerator : array (..., N)
    residual : array (..., N, d)
        The residuals ``u``.

    Raises
    ------
    ValueError
        For fewer than two states.
    NoResidualError
        If the residual vanishes.

    Examples
    --------
    >>> import numpy as np
    >>> u = np.array([[1.0], [2.0], [3.0]])
    >>> estimate(np.array([2.0, 8.0, 18.0]), u)
    Estimate(value=2.0, error=0.0)
    """
    xp = array_namespace(numerator)
    n = numerator.shape[-1]
    if n < 2:
        raise ValueError(f"states must number at least 2, got {n}")
    power = inner(residual, residual)
    a, b = xp.mean(numerator, axis=-1), xp.mean(power, axis=-1)
    if bool(xp.any(b == 0)):
        raise NoResidualError("E|u|^2 must be > 0, got 0: the candidate equals the state")
    gamma = a / b
    spread = numerator - gamma[..., None] * power
    error = xp.sqrt(xp.sum(spread**2, axis=-1) / (n * (n - 1.0))) / b
    return Estimate(_number(gamma), _number(error))


def reference_route(step: Step, x_star: Array) -> Estimate:
    """Return ``E<u, x - x_star> / E|u|^2``; see :func:`with_rounding` for the error."""
    x, u = step.x, step.candidate.residual
    size = _size(step) * _norm(x - x_star) + _norm(u) * (_norm(x) + _norm(x_star))
    return with_rounding(step, reference_numerator(x, u, x_star), size)


def stein_route(step: Step, div_u: Array) -> Estimate:
    """Return Theorem 4.7's coefficient; see :func:`with_rounding` for the error."""
    x, u, level = step.x, step.candidate.residual, step.s
    whole = _slack(step) * step.dim
    size = abs(1 - 1 / level.alpha) * _size(step) * _norm(x)
    size = size + level.sigma**2 / level.alpha * (abs(whole) + abs(div_u - whole))
    return with_rounding(step, stein_numerator(x, u, div_u, level), size)


def tweedie_route(step: Step) -> Estimate:
    """Return ``E<u, x - D> / E|u|^2``; see :func:`with_rounding` for the error."""
    x, u, denoised = step.x, step.candidate.residual, step.candidate.denoised
    size = _size(step) * _norm(x - denoised) + _norm(u) * (_norm(x) + _norm(denoised))
    return with_rounding(step, tweedie_numerator(x, u, denoised), size)


def with_rounding(step: Step, numerator: Array, size: Array) -> Estimate:
    r"""Return :func:`estimate` with a bound of rounding added to its standard error.

    Rounding matters where the scatter vanishes, as Tweedie's does in EDM
    (``u = (1 - kappa)(x - D)``). With ``u = k x - w``, ``k = 1 - kappa``, the terms of ``u`` have
    the size ``z = |k x| + |w|``, those of ``|u|^2`` the size ``2 |u| z``, and those of the
    numerator ``size``. To first order

        error = standard error + c eps (mean size + |gamma| mean 2 |u| z) / mean |u|^2.

    The bound does not include rounding inside the denoiser.
    """
    u = step.candidate.residual
    found = estimate(numerator, u)
    below = 2 * _norm(u) * _size(step)
    slack = ROUNDING * EPS * (size.mean() + abs(found.value) * below.mean()) / inner(u, u).mean()
    return Estimate(found.value, found.error + float(slack))


def _size(step: Step) -> Array:
    """``|k x| + |u - k x|`` per state."""
    whole = _slack(step) * step.x
    return _norm(whole) + _norm(step.candidate.residual - whole)


def _slack(step: Step) -> Scalar:
    linear = step.candidate.linear or first_order(step.s, step.t)
    return linear.one_minus_kappa


def _norm(x: Array) -> Array:
    return inner(x, x) ** 0.5


@dataclass(frozen=True)
class LawScalars:
    """``M = E|x_star|^2``, ``V = E|x_star - D|^2`` at a level, and the dimension ``d``."""

    second_moment: Scalar
    variance: Scalar
    dim: int


def three_scalar_moments(
    law: LawScalars, level: NoiseLevel, step: LinearStep
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    r"""Return ``E<u,x>``, ``E div u``, ``E|u|^2``, ``E<u, x - x_star>`` of a first-order step.

    Assumes ``T = kappa x + beta D`` with an exact denoiser under the forward coupling. With
    ``k = 1 - kappa`` and ``S = alpha^2 M + sigma^2 d``:

        E<u,x>   = k S - beta alpha M              E div u = k d - beta alpha V / sigma^2
        E|u|^2   = k^2 S - 2 k beta alpha M + beta^2 (M - V)
        E<u,x*>  = k alpha M - beta (M - V)
    """
    alpha, sigma, k, beta = level.alpha, level.sigma, step.one_minus_kappa, step.betas[0]
    m, v, d = law.second_moment, law.variance, law.dim
    power = alpha**2 * m + sigma**2 * d
    u_x = k * power - beta * alpha * m
    div = k * d - beta * alpha * v / sigma**2
    u_u = k**2 * power - 2 * k * beta * alpha * m + beta**2 * (m - v)
    return u_x, div, u_u, u_x - (k * alpha * m - beta * (m - v))


def three_scalar(law: LawScalars, level: NoiseLevel, step: LinearStep) -> Scalar:
    """Return ``gamma*`` of a first-order step from ``M``, ``V`` and ``d`` alone.

    Raises
    ------
    ValueError
        If the step uses history: the formulas assume one evaluation, at ``x``.
    """
    if len(step.betas) > 1:
        raise ValueError(f"step must evaluate the denoiser once, got {len(step.betas)} outputs")
    _, _, u_u, cross = three_scalar_moments(law, level, step)
    return cross / u_u


def _flat(value: Any) -> Any:
    return value[..., 0] if getattr(value, "ndim", 0) else value


def _number(value: Any) -> Any:
    return value if value.ndim else float(value)
