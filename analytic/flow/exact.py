r"""The exact probability flow between two noise levels, with a stated error.

In EDM coordinates ``y = x / alpha``, ``e = sigma / alpha`` the flow is ``dy/de = -e score(y, e)``.
Three routes lead along it: the distribution functions of a one-dimensional mixture
(:mod:`analytic.flow.line`), the closed form of a Gaussian, and an integrator of order eight.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from analytic.arrays import as_rows, by_rows
from analytic.empirical import EmpiricalMixture
from analytic.flow.line import Line, line_flow
from analytic.flow.ode import Law, integrate_flow
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

Method = Literal["gaussian", "cdf", "integrator"]
LINE_CHUNK = 2**20
"""States times components that the route of distribution functions handles at once."""


class FlowResult(NamedTuple):
    """End points of the flow, the error of each (a distance), and the route taken."""

    state: np.ndarray  # (..., N, d), or (d,)
    error: np.ndarray  # (..., N), or ()
    method: Method


def gaussian_gain(variance: Any, s: NoiseLevel, t: NoiseLevel) -> np.ndarray:
    r"""Return the flow's gain along an eigenvector of Gaussian data.

    ``sqrt((alpha'^2 l + sigma'^2) / (alpha^2 l + sigma^2))`` for the eigenvalue ``l``; tight, and
    exact for either direction of the flow.

    Parameters
    ----------
    variance : float or array
        Eigenvalues ``l >= 0`` of the data covariance.
    s, t : NoiseLevel
        Levels of departure and arrival.

    Raises
    ------
    ValueError
        If a variance is negative, or 0 while ``s.sigma`` is.

    Examples
    --------
    >>> float(gaussian_gain(3.0, NoiseLevel(1.0, 1.0), NoiseLevel(0.5, 0.5)))
    0.5

    References
    ----------
    Pierret and Galerne, "Diffusion models for Gaussian distributions", 2024, arXiv 2405.14250.
    """
    values = np.asarray(variance, dtype=np.float64)
    if np.any(values < 0):
        raise ValueError(f"variance must be >= 0, got {values.min()}")
    before = s.alpha**2 * values + s.sigma**2
    if np.any(before == 0):
        raise ValueError("variance must be > 0 where the flow starts at sigma = 0, got 0.0")
    return np.asarray(np.sqrt((t.alpha**2 * values + t.sigma**2) / before))


def exact_flow(
    law: Law,
    x: np.ndarray,
    s: NoiseLevel,
    t: NoiseLevel,
    *,
    rtol: float = 1e-10,
    method: Method | None = None,
    progress: Callable[[float], None] | None = None,
) -> FlowResult:
    r"""Follow the probability flow of ``law`` from the states ``x`` at level ``s`` to level ``t``.

    ``"gaussian"``: ``alpha' m + Q diag(gain) Q' (x - alpha m)``, one component, any dimension.
    ``"cdf"``: ``F_t^{-1}(F_s(x))``, mixtures in one dimension, exact to rounding in the tails too.
    ``"integrator"``: any law, by :func:`analytic.flow.ode.integrate_flow`.

    Guarantee: the first two bound their rounding to first order (upper). The integrator's error is
    the distance to a solve with a 32 times looser tolerance, plus the tolerance: an over-estimate
    where the tolerance governs the error, and no proof.

    Parameters
    ----------
    law : Law
        A single law; a stack of them is refused.
    x : array (..., N, d) or (d,)
        NumPy, float64.
    s, t : NoiseLevel
        Levels of numbers. A law with ``smallest_variance = 0`` admits no flow from or to
        ``sigma = 0``.
    rtol : float
        Tolerance of the integrator for each state, relative to the root mean square coordinate of
        the law at the level plus the state itself, in [1e-13, 1e-2].
    method : str, optional
        The route; by default the first that applies.
    progress : callable, optional
        Called with the fraction done, from 0 to 1, by the integrator.

    Raises
    ------
    ValueError
        If an argument is outside its range or the route does not apply.
    ArithmeticError
        If the integrator stops short.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.01)
    >>> x, s, t = np.array([[0.3]]), NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.1)
    >>> line, ode = exact_flow(law, x, s, t), exact_flow(law, x, s, t, method="integrator")
    >>> line.method, bool(abs(line.state - ode.state).max() <= line.error[0] + ode.error[0])
    ('cdf', True)
    """
    components = _components(law)
    method = method or _first_route(law, components)
    rows = _checked(law, x, s, t, rtol)
    flat = rows.reshape(-1, law.dim)
    if method == "integrator":
        if t.alpha == 0:
            raise ValueError(f"t.alpha must be > 0 for the integrator, got {t.alpha}")
        start, moved, left_out = _with_signal(law, flat, s)
        state, error = integrate_flow(law, moved, start, t, rtol=rtol, progress=progress)
        error = error + left_out
    elif method == "cdf" and components is not None and law.dim == 1:
        line = Line.of(components)

        def on_line(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            y, bound = line_flow(line, part[:, 0], s, t)
            return y[:, None], bound

        state, error = by_rows(on_line, max(1, LINE_CHUNK // len(line.means)), flat)
    elif method == "gaussian" and components is not None and len(components.weights) == 1:
        state, error = _gaussian_flow(components, flat, s, t)
    else:
        raise ValueError(f"method must be one that applies to this law, got {method!r}")
    return FlowResult(state.reshape(x.shape), error.reshape(x.shape[:-1]), method)


NEARLY_NOTHING = 2.0**-27
"""The ``alpha`` from which the integrator starts if the flow is to start at ``alpha = 0``."""


def _with_signal(
    law: Law, x: np.ndarray, s: NoiseLevel
) -> tuple[NoiseLevel, np.ndarray, np.ndarray | float]:
    """Return a level with ``alpha > 0``, the flow's states there and a bound of their error.

    From ``alpha = 0`` the flow is ``x + alpha m + alpha^2 C x / (2 sigma^2) + O(alpha^3)`` with the
    law's mean ``m`` and covariance ``C``. The term of second order is neglected; it is below
    rounding of ``x`` if the data's variance is below ``sigma^2``.
    """
    if s.alpha > 0:
        return s, x, 0.0
    level = NoiseLevel(NEARLY_NOTHING, s.sigma)
    spread = float(law.second_moment()) / s.sigma**2
    left_out = level.alpha**2 * (1 + spread) * np.linalg.norm(x, axis=1)
    return level, x + level.alpha * np.asarray(law.mean()), left_out


def _components(law: Law) -> GaussianMixture | None:
    """Return a Gaussian mixture, or a data set of one row or one dimension as one, else None."""
    if isinstance(law, GaussianMixture):
        if law.weights.ndim > 1:
            raise ValueError(f"law must be single, got a stack of shape {law.weights.shape[:-1]}")
        return law
    if isinstance(law, EmpiricalMixture) and law.bandwidth > 0 and 1 in law.data.shape:
        n = len(law.data)
        return GaussianMixture(np.full(n, 1 / n), law.data, law.smallest_variance)
    return None


def _first_route(law: Law, components: GaussianMixture | None) -> Method:
    if components is not None and len(components.weights) == 1:
        return "gaussian"
    return "cdf" if components is not None and law.dim == 1 else "integrator"


def _checked(law: Law, x: np.ndarray, s: NoiseLevel, t: NoiseLevel, rtol: float) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        found = getattr(x, "dtype", "no dtype")
        raise ValueError(f"x must be a NumPy array of float64, got {type(x).__name__}, {found}")
    rows: np.ndarray = as_rows(x, law.dim)
    if not np.all(np.isfinite(x)):
        raise ValueError(f"x must be finite, got {x[~np.isfinite(x)].flat[0]}")
    for name, level in (("s", s), ("t", t)):
        if np.ndim(level.alpha) or np.ndim(level.sigma):
            raise ValueError(f"{name} must hold numbers, got an array of levels")
        if level.sigma == 0 and law.smallest_variance == 0:
            raise ValueError(
                f"{name}.sigma must be > 0 for a law with smallest_variance 0 "
                f"(no density at sigma = 0), got {level.sigma}"
            )
    if not 1e-13 <= rtol <= 1e-2:
        raise ValueError(f"rtol must be in [1e-13, 1e-2], got {rtol}")
    return rows


def _gaussian_flow(
    law: GaussianMixture, x: np.ndarray, s: NoiseLevel, t: NoiseLevel
) -> tuple[np.ndarray, np.ndarray]:
    mean, gain = law.means[0], gaussian_gain(law.spectra[0], s, t)
    offset = x - s.alpha * mean
    basis = np.eye(law.dim) if law.basis is None else law.basis[0]
    state = t.alpha * mean + ((offset @ basis) * gain) @ basis.T
    size = np.linalg.norm(x, axis=1) + s.alpha * np.linalg.norm(mean)
    eps = np.finfo(np.float64).eps
    error = eps * ((4 + law.dim) * gain.max() * size + t.alpha * math.hypot(*mean))
    return state, error + eps * np.linalg.norm(state, axis=1)
