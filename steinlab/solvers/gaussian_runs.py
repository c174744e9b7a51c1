r"""Gaussian data: what any solver does to it in closed form, and its distance to the truth.

For data ``N(m, C)`` the denoiser is affine and diagonal in the eigenvectors of ``C``,

    D(x) = m + sum_k (alpha l_k / v_k) q_k q_k' (x - alpha m),   v_k = alpha^2 l_k + sigma^2,

and every solver combines states, outputs and normals linearly. A run is therefore an affine map of
its start, with one gain per eigenvector: ``x_i = mean_i + Q diag(g_i) Q' (x_0 - mean_0)``, and of a
stochastic solver's normals, whose squared gains add to the variance. A Gaussian start gives a
Gaussian output. Gaussians with common eigenvectors and standard deviations ``s`` have

    W_2^2 = |m - m'|^2 + sum_k (s_k - s'_k)^2.

Nothing is sampled; the only error is rounding.

References
----------
Pierret and Galerne, "Diffusion models for Gaussian distributions: exact solutions and Wasserstein
errors", 2024, arXiv 2405.14250.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import gaussian_gain
from steinlab.diffusion.grids import require_grid
from steinlab.solvers.base import Noise, Solver, noises, require_alone, require_path
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import Plan


@dataclass(frozen=True, eq=False)
class Normal:
    """A Gaussian whose covariance has the data's eigenvectors."""

    mean: np.ndarray  # (d,), in the coordinates of states
    deviations: np.ndarray  # (d,), standard deviations along the eigenvectors


@dataclass(frozen=True, eq=False)
class GaussianRun:
    """A run of ``n`` steps on Gaussian data; arrays ``(n + 1, d)`` have one row per level."""

    gains: np.ndarray  # from the start, along the eigenvectors; the first row is 1
    means: np.ndarray  # of the state, in the coordinates of states
    deviations: np.ndarray  # its standard deviations along the eigenvectors

    @property
    def output(self) -> Normal:
        """The law at the last level."""
        return Normal(self.means[-1], self.deviations[-1])


@dataclass(frozen=True)
class Errors:
    r"""W2 errors of a run that starts from pure noise, decomposed as by Pierret and Galerne.

    Guarantee (upper, the triangle inequality along data, forward law at the grid's end, exact
    flow's output, solver's output): ``total <= initialisation + truncation + discretisation``.

    Attributes
    ----------
    initialisation : float
        Exact flow from ``N(0, sigma^2)`` at the first level, to the forward law at the last.
    truncation : float
        Forward law at the last level, to the data law; 0 where the grid ends at zero noise.
    discretisation : float
        The solver's output to the exact flow's, both from ``N(0, sigma^2)``.
    total : float
        The solver's output to the data law.
    """

    initialisation: float
    truncation: float
    discretisation: float
    total: float


@dataclass(frozen=True, eq=False)
class _Diagonal:
    """The denoiser in eigenvector coordinates; each row of ``centres`` is a mean of its own."""

    centres: np.ndarray
    variances: np.ndarray

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        gain = level.alpha * self.variances
        gain = gain / (level.alpha**2 * self.variances + level.sigma**2)
        out: np.ndarray = self.centres + gain * (x - level.alpha * self.centres)
        return out


def forward_law(law: GaussianMixture, level: NoiseLevel) -> Normal:
    """Return ``N(alpha m, alpha^2 C + sigma^2 I)``; the data law at zero noise."""
    mean, variances, _ = _parts(law)
    return Normal(level.alpha * mean, np.sqrt(level.alpha**2 * variances + level.sigma**2))


def pure_noise(law: GaussianMixture, level: NoiseLevel) -> Normal:
    """Return ``N(0, sigma^2 I)``, where a run starts if the data law is unknown."""
    return Normal(np.zeros(law.dim), np.full(law.dim, float(level.sigma)))


def gaussian_run(
    law: GaussianMixture,
    solver: Solver | Plan,
    grid: Sequence[NoiseLevel],
    start: Normal | None = None,
) -> GaussianRun:
    """Return the exact law of a run's state at every level.

    Parameters
    ----------
    law : GaussianMixture
        Of one component.
    solver : Solver or Plan
    grid : sequence of NoiseLevel
    start : Normal, optional
        By default the forward law at ``grid[0]``.

    Raises
    ------
    ValueError
        If the law has several components, the solver does not take each state alone, or the run is
        refused by :func:`steinlab.solve`.

    Examples
    --------
    Euler, one step: ``kappa + beta alpha l / v``.

    >>> from steinlab.solvers import EULER
    >>> law = GaussianMixture([1.0], [[2.0]], 3.0)
    >>> run = gaussian_run(law, EULER, [NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.5)])
    >>> run.gains[-1], run.means[-1], run.deviations[-1]
    (array([0.875]), array([2.]), array([1.75]))
    """
    mean, variances, basis = _parts(law)
    require_alone(solver, "the closed form of a run")
    start = start or forward_law(law, grid[0])
    # runs side by side: the linear part from 1, the mean from its own start, and from 0 each normal
    # that a stochastic solver draws
    count = noises(solver)
    rows = 2 + count * (len(grid) - 1)
    x, centres = np.zeros((rows, law.dim)), np.zeros((rows, law.dim))
    x[0], x[1], centres[1] = 1.0, start.mean @ basis, mean @ basis

    def unit(step: int, wanted: int, x: np.ndarray) -> Noise:
        drawn = np.zeros((wanted, *x.shape))
        drawn[range(wanted), range(2 + step * count, 2 + step * count + wanted)] = 1.0
        return tuple(drawn)

    denoiser = _Diagonal(centres, variances)
    done = solve(denoiser, x, grid, solver, noise=unit, keep_trajectory=True)
    path = np.stack(done.trajectory)
    gains, means = path[:, 0], path[:, 1] @ basis.T
    if not count:
        return GaussianRun(gains, means, np.abs(gains) * start.deviations)
    squares = (gains * start.deviations) ** 2 + (path[:, 2:] ** 2).sum(axis=1)
    return GaussianRun(gains, means, np.sqrt(squares))


def flow_output(
    law: GaussianMixture, s: NoiseLevel, t: NoiseLevel, start: Normal | None = None
) -> Normal:
    """Return the law to which the exact probability flow carries ``start`` from ``s`` to ``t``.

    By default the start is the forward law at ``s``, and the result the forward law at ``t``.
    """
    mean, variances, basis = _parts(law)
    start = start or forward_law(law, s)
    gain = gaussian_gain(variances, s, t)
    offset = basis @ (gain * (basis.T @ (start.mean - s.alpha * mean)))
    return Normal(t.alpha * mean + offset, gain * start.deviations)


def w2(p: Normal, q: Normal) -> float:
    """Return the 2-Wasserstein distance of two Gaussians with common eigenvectors; exact.

    Examples
    --------
    >>> w2(Normal(np.zeros(2), np.ones(2)), Normal(np.array([3.0, 0.0]), np.array([1.0, 5.0])))
    5.0
    """
    return math.hypot(*(p.mean - q.mean), *(p.deviations - q.deviations))


def flow_distance(
    law: GaussianMixture,
    solver: Solver | Plan,
    grid: Sequence[NoiseLevel],
    start: Normal | None = None,
) -> float:
    r"""Return the root mean square distance between a run and the exact flow, state by state.

    ``sqrt(|mean - mean'|^2 + sum_k (g_k - g'_k)^2 s_k^2)``, the number that ``flow_error`` of
    ``steinlab compare`` estimates from samples. It is at least the :func:`w2` of the two outputs,
    with equality where no gain is negative.
    """
    require_path(solver, "the distance to the flow")
    levels = require_grid(grid)
    start = start or forward_law(law, levels[0])
    run = gaussian_run(law, solver, levels, start)
    exact = flow_output(law, levels[0], levels[-1], start)
    gap = run.gains[-1] * start.deviations - exact.deviations
    return math.hypot(*(run.means[-1] - exact.mean), *gap)


def wasserstein_errors(
    law: GaussianMixture, solver: Solver | Plan, grid: Sequence[NoiseLevel]
) -> Errors:
    """Return the W2 errors of a run from pure noise ``N(0, sigma^2 I)``, by source.

    Examples
    --------
    >>> from steinlab.diffusion.grids import make_grid
    >>> from steinlab.diffusion.processes import EDM
    >>> from steinlab.solvers import HEUN
    >>> law = GaussianMixture([1.0], [[1.0, 0.0]], 0.25)
    >>> errors = wasserstein_errors(law, HEUN, make_grid(EDM, "karras", 18))
    >>> errors.truncation, round(errors.initialisation, 4), round(errors.total, 4)
    (0.0, 0.0062, 0.0396)
    """
    levels = require_grid(grid)
    noise, end = pure_noise(law, levels[0]), forward_law(law, levels[-1])
    data = forward_law(law, NoiseLevel(1.0, 0.0))
    exact = flow_output(law, levels[0], levels[-1], noise)
    output = gaussian_run(law, solver, levels, noise).output
    return Errors(
        initialisation=w2(exact, end),
        truncation=w2(end, data),
        discretisation=w2(output, exact),
        total=w2(output, data),
    )


def _parts(law: GaussianMixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean ``(d,)``, eigenvalues ``(d,)`` and eigenvectors in columns of the one component."""
    if law.weights.shape != (1,):
        raise ValueError(f"law must have one component, got weights of shape {law.weights.shape}")
    basis = np.eye(law.dim) if law.basis is None else law.basis[0]
    return law.means[0], np.broadcast_to(law.spectra[0], (law.dim,)), basis
