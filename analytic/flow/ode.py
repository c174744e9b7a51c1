r"""The probability flow by an adaptive integrator of order eight, each state to its own tolerance.

With ``y = x / alpha``, ``e = sigma / alpha``, ``b^2`` the law's smallest variance, ``m`` its mean,
``S^2`` its variance per coordinate, the time is ``tau = log(e^2 + b^2) / 2`` and the variable
``z = (y - m) / c``, ``c^2 = e^2 + S^2``:

    dz/dtau = -(e^2 + b^2) (score(y, e) / c + z / c^2).

Both sides are smooth down to ``e = 0`` if ``b > 0``. The right side is 0 for the Gaussian with the
law's first two moments. ``z`` is of order one at every level, so one absolute tolerance suffices.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from analytic.levels import NoiseLevel

LOOSER = 32.0
"""Ratio of the tolerances of the two solves whose distance is the stated error."""
SMALLEST_RTOL = 100 * np.finfo(np.float64).eps
"""Smallest relative tolerance that scipy accepts."""


class Law(Protocol):
    """What the flow asks of a data law."""

    @property
    def dim(self) -> int:
        """Dimension of the states."""

    @property
    def smallest_variance(self) -> float:
        """A variance ``b^2 >= 0`` below which the law has no structure."""

    def mean(self) -> np.ndarray:
        """Mean ``(d,)`` of the data."""

    def second_moment(self) -> np.ndarray:
        """Mean square norm of the data."""

    def score(self, x: Any, level: NoiseLevel) -> Any:
        """Score at a level, shape of ``x``."""


def integrate_flow(
    law: Law,
    x: np.ndarray,
    s: NoiseLevel,
    t: NoiseLevel,
    *,
    rtol: float,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the end points ``(N, d)`` and the error ``(N,)`` of each.

    scipy accepts a step if the root mean square of ``error / scale`` over all ``N d`` numbers is
    below 1. With ``scale = rtol (1 + |z|) / sqrt(N)`` the *sum* over states of the mean square
    relative error is then below ``rtol^2``: no state exceeds ``rtol``, whatever ``N``.

    Parameters
    ----------
    law : Law
    x : array (N, d)
    s, t : NoiseLevel
    rtol : float
        Tolerance of the better solve, in units of ``alpha' c`` and per root mean square coordinate.
    progress : callable, optional
        Called with the fraction of the time covered by both solves.

    Raises
    ------
    ArithmeticError
        If the step size underflows or a state leaves the finite numbers, with the noise level.
    """
    loose = _solve(law, x, (s, t), LOOSER * rtol, _share(progress, 0.0))
    state = _solve(law, x, (s, t), rtol, _share(progress, 0.5))
    width = t.alpha * math.hypot(t.ratio, _spread(law))
    # the two solves of a state may agree by chance: its tolerance is added
    allowed = width * math.sqrt(law.dim) + np.linalg.norm(state - t.alpha * law.mean(), axis=1)
    return state, np.linalg.norm(state - loose, axis=1) + rtol * allowed


def _share(progress: Callable[[float], None] | None, start: float) -> Callable[[float], None]:
    return lambda part: progress(start + 0.5 * part) if progress is not None else None


def _solve(
    law: Law,
    x: np.ndarray,
    levels: tuple[NoiseLevel, NoiseLevel],
    rtol: float,
    progress: Callable[[float], None],
) -> np.ndarray:
    from scipy.integrate import DOP853  # a third of the time that the whole package takes to load

    if len(x) == 0:
        return x.copy()
    mean, b2 = np.asarray(law.mean()), law.smallest_variance
    spread = _spread(law)

    def rate(tau: float, flat: np.ndarray) -> np.ndarray:
        e2 = _noise_variance(tau, b2)
        c = math.hypot(math.sqrt(e2), spread)
        z = flat.reshape(x.shape)
        score = law.score(mean + c * z, NoiseLevel(1.0, math.sqrt(e2)))
        derivative: np.ndarray = -(e2 + b2) * (score / c + z / c**2)
        if not np.all(np.isfinite(derivative)):  # scipy would not return
            raise ArithmeticError(f"score must be finite, is not at sigma / alpha = {e2**0.5}")
        return derivative.ravel()

    begin, end = (_time(level, b2) for level in levels)
    widths = [math.hypot(level.ratio, spread) for level in levels]
    z = ((x / levels[0].alpha - mean) / widths[0]).ravel()
    tolerance = max(rtol / math.sqrt(len(x)), SMALLEST_RTOL)
    solver = DOP853(rate, begin, z, end, rtol=tolerance, atol=tolerance)
    while begin != end and solver.status == "running":
        message = solver.step()
        if solver.status == "failed":
            noise = math.sqrt(_noise_variance(solver.t, b2))
            raise ArithmeticError(f"the integrator stopped at sigma / alpha = {noise}: {message}")
        progress((solver.t - begin) / (end - begin))
    out: np.ndarray = levels[1].alpha * (mean + widths[1] * solver.y.reshape(x.shape))
    return out


def _spread(law: Law) -> float:
    """Root mean square ``S`` of the data's coordinates about their mean."""
    mean = np.asarray(law.mean())
    # b^2 at least; for one component the difference may round to below that
    return math.sqrt(
        max((float(law.second_moment()) - float(mean @ mean)) / law.dim, law.smallest_variance)
    )


def _time(level: NoiseLevel, b2: float) -> float:
    """Time ``tau``, less ``log b`` where ``b > 0``, so that ``e = 0`` is exactly 0."""
    e2 = level.ratio**2
    return 0.5 * math.log1p(e2 / b2) if b2 > 0 else 0.5 * math.log(e2)


def _noise_variance(tau: float, b2: float) -> float:
    """Inverse of :func:`_time`: ``e^2``."""
    # a stage beside the end point may round to just below 0, where e = 0 is meant
    return b2 * math.expm1(2 * max(tau, 0.0)) if b2 > 0 else math.exp(2 * tau)
