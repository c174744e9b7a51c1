r"""Rectified flow on exact laws: the velocity of a coupling, and the reflow's.

At time ``t`` of the interpolation ``X_t = (1 - t) X_0 + t X_1``, data at 0 and noise at 1, the flow
follows ``v(x, t) = E[X_1 - X_0 | X_t = x]``. For independent ends it is ``(x - D)/t`` of the law's
denoiser, and the flow is the probability flow at ``alpha = 1 - t``, ``sigma = t``. It leads ``X_1 =
z`` to ``T(z)``. The reflow couples ``T(z)`` with ``z``. On the line ``T`` increases, so that

    M_t(z) = (1 - t) T(z) + t z

does too, no two of its lines cross, and the reflow's velocity at ``M_t(z)`` is ``z - T(z)``: its
flow is straight. In more dimensions lines do not cross as long as no eigenvalue of ``grad T`` is
real and ``<= 0``; :func:`jacobian` gives ``grad T``.

References
----------
Liu, Gong, Liu, "Flow straight and fast", 2023, arXiv 2209.03003.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri_exp

from analytic.flow.line import HALF_LOG_2PI, Line, increasing_root
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture

NOISE, DATA = NoiseLevel(0.0, 1.0), NoiseLevel(1.0, 0.0)
FAR = 30.0
"""Deviations from the outermost modes within which the reflow's ends lie: starts up to 30."""


def velocity(law: GaussianMixture, x: np.ndarray, t: Any) -> np.ndarray:
    """Return ``E[X_1 - X_0 | X_t = x] = (x - D(x))/t`` of independent ends.

    ``t`` in (0, 1] is a number, or one per state, ``(N, 1)``.

    Examples
    --------
    >>> law = GaussianMixture([1.0], [[2.0]], 1.0)
    >>> velocity(law, np.array([[1.0]]), 1.0)
    array([[-1.]])
    """
    return np.asarray((x - law(x, NoiseLevel(1 - t, t))) / t)


class Derivatives(NamedTuple):
    """Derivatives of the flow's end, and the size of what they are computed from."""

    slope: float  # dPhi/dz
    change: float  # dPhi/dt
    size: float


def derivatives(law: GaussianMixture, z: float, end: float, t: float, r: float) -> Derivatives:
    """Return those of the end ``Phi`` at time ``r`` by the state ``z`` and by its time ``t``.

    On the line ``F_r(Phi) = F_t(z)`` for the distribution functions, so that ``dPhi/dz = f_t(z) /
    f_r(Phi)`` and ``dPhi/dt = (dF_t/dt)(z) / f_r(Phi)``.

    Examples
    --------
    From noise to ``N(2, 1/4)`` the flow is ``2 + z/2``.

    >>> law = GaussianMixture([1.0], [2.0], 0.25)
    >>> float(derivatives(law, 1.0, 2.5, 1.0, 0.0).slope)
    0.5
    """
    logs = [
        float(np.asarray(law.log_prob(np.array([[x]]), NoiseLevel(1 - time, time)))[0])
        for x, time in ((z, t), (end, r))
    ]
    means, variances = law.means[:, 0], law.spectra[:, 0]
    stds = np.sqrt((1 - t) ** 2 * variances + t**2)
    a = (z - (1 - t) * means) / stds
    rate = means / stds - a * (t - (1 - t) * variances) / stds**2
    below = float((law.weights * np.exp(-0.5 * a**2) * rate).sum() / np.sqrt(2 * np.pi))
    size = 1 + sum(map(abs, logs)) + (a**2).max()
    return Derivatives(np.exp(logs[0] - logs[1]), below / np.exp(logs[1]), size)


@dataclass(frozen=True, eq=False)
class Reflow:
    """The denoiser of a law's reflow on the line: ``E[X_0 | X_t = x]`` for ``X_0 = T(X_1)``.

    Parameters
    ----------
    law : GaussianMixture
        In one dimension.

    Examples
    --------
    Its flow is straight: one step of Euler ends where the first flow did.

    >>> law = GaussianMixture([1.0], [[2.0]], 0.25)
    >>> Reflow(law)(np.array([[1.0]]), NoiseLevel(0.0, 1.0)).round(12)
    array([[2.5]])
    """

    law: GaussianMixture

    def __post_init__(self) -> None:
        if self.law.dim != 1:
            raise ValueError(f"law must have one dimension, got {self.law.dim}")

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Return the end ``T(z)`` of the line through ``x (N, 1)`` at a level."""
        scale = level.alpha + level.sigma
        t, y, line = level.sigma / scale, x[:, 0] / scale, Line.of(self.law)
        data, nothing = line.at(DATA), np.zeros((len(y), len(line.means)), dtype=bool)

        def gap(end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            log_cdf = data.split(end[:, None], nothing).right_cdf
            above = data.split(end[:, None], ~nothing)
            z = np.where(log_cdf < above.left_sf, ndtri_exp(log_cdf), -ndtri_exp(above.left_sf))
            slope = np.exp(above.density + 0.5 * z**2 + HALF_LOG_2PI)  # dz/dT
            return (1 - t) * end + t * z - y, (1 - t) + t * slope

        low = np.full_like(y, (data.means - FAR * data.stds).min())
        high = np.full_like(y, (data.means + FAR * data.stds).max())
        return increasing_root(gap, low, high, unit=data.stds.min())[:, None]


def jacobian(
    law: GaussianMixture, z: np.ndarray, *, steps: int, least: float, most: float = 50.0
) -> np.ndarray:
    """Return ``grad T`` at noise ``z (N, d)`` to the ratio ``least``, shape ``(N, d, d)``.

    The flow ``dy/dlog S = y - D`` and its derivative, by the classical Runge-Kutta method on even
    steps of ``log S`` from ``most``. There the state is ``y + (D(y) - m)/2``, ``y = most z + m``,
    ``m`` the law's mean, up to the cube of the data's size over ``most``.

    Examples
    --------
    >>> law = GaussianMixture([1.0], [[0.0, 0.0]], [[0.25, 4.0]])
    >>> jacobian(law, np.zeros((1, 2)), steps=200, least=1e-4)[0].round(2)
    array([[0.5, 0. ],
           [0. , 2. ]])
    """
    noisy, h = NoiseLevel(1.0, most), np.log(least / most) / steps
    far, whole = most * z + law.mean(), np.broadcast_to(np.eye(law.dim), (*z.shape, law.dim))
    y = far + 0.5 * (law(far, noisy) - law.mean())
    moved = law.jvp(far, noisy, np.moveaxis(whole, 2, 0))
    slope = most * (whole + 0.5 * np.moveaxis(moved, 0, 2))

    def rates(y: np.ndarray, slope: np.ndarray, log: float) -> tuple[np.ndarray, np.ndarray]:
        level = NoiseLevel(1.0, float(np.exp(log)))
        moved = law.jvp(y, level, np.moveaxis(slope, 2, 0))
        return y - law(y, level), slope - np.moveaxis(moved, 0, 2)

    for i in range(steps):
        log, sums = np.log(most) + i * h, [np.zeros_like(y), np.zeros_like(slope)]
        a, b = np.zeros_like(y), np.zeros_like(slope)
        for part, weight in ((0.0, 1), (0.5, 2), (0.5, 2), (1.0, 1)):
            a, b = rates(y + part * h * a, slope + part * h * b, log + part * h)
            sums = [sums[0] + weight * a, sums[1] + weight * b]
        y, slope = y + h / 6 * sums[0], slope + h / 6 * sums[1]
    return np.asarray(slope)
