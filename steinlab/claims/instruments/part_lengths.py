r"""Trajectories on Gaussian data of few variances, exact in every dimension by lengths of parts.

On ``N(0, C)`` with ``q`` distinct variances every state of a trajectory is ``sum_l g_l P_l x_T``. A
basis along the parts ``P_l x_T`` turns the state into their ``q`` lengths, so that every dimension
comes at the price of ``q``. A length's law is that of ``chi`` in as many dimensions as the variance
has, and Gauss's nodes of it stand for all samples.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import gammaln

from analytic.flow.exact import gaussian_gain
from steinlab.claims.instruments.gaussian_data import law_of
from steinlab.diffusion.grids import make_grid
from steinlab.solvers import Evaluation, History
from steinlab.solvers.principal import Principal
from steinlab.verification.cases import SingleCase

STEPS, SPREAD = 6, (0.05, 2.0)


@dataclass(frozen=True)
class Trajectories(SingleCase):
    """Plain runs on Gaussian data of ``variances`` distinct ones, ``size`` dimensions each."""

    variances: int
    size: int
    grid: str

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes ``(N, q)`` and weights of the lengths over the root of ``size``."""
        k, half = np.arange(16 if self.variances == 1 else 3), self.size / 2
        nodes, vectors = eigh_tridiagonal(2 * k + half, np.sqrt(k[1:] * (k[1:] + half - 1)))
        pairs = list(itertools.product(np.sqrt(nodes / half), repeat=self.variances))
        weights = itertools.product(vectors[0] ** 2, repeat=self.variances)
        return np.array(pairs), np.array([math.prod(one) for one in weights])

    def step(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the bases ``(N, K, q)`` of a step, the steps needed and Euler's ``(N, q)``."""
        deviations = np.geomspace(*SPREAD, self.variances)
        law, levels = law_of(deviations), make_grid("edm", self.grid, STEPS)
        x = self.lengths()[0] * np.sqrt(deviations**2 + levels[0].sigma ** 2)
        first, solver = x, Principal("pas", lambda _: None)
        history: History = ()
        for s, t in itertools.pairwise(levels[: index + 2]):
            taken = solver.step(law, x, s, t, history)
            needed = first * gaussian_gain(deviations**2, levels[0], t) - x
            found = solver.basis(x, s, taken.denoised, history), needed, taken.state - x
            x, history = taken.state, (Evaluation(s, x, taken.denoised), *history)
        return found


def shared_error(case: Trajectories) -> tuple[float, float]:
    """Return the error of the best shared coordinates of the first step, and Euler's, over it."""
    basis, needed, euler = case.step(0)
    root = np.sqrt(case.lengths()[1])[:, None]
    columns = np.swapaxes(basis * root[..., None], -1, -2).reshape(-1, basis.shape[-2])
    goal = (root * needed).ravel()
    gap = np.linalg.norm(columns @ np.linalg.lstsq(columns, goal, rcond=None)[0] - goal)
    size = np.linalg.norm(goal)
    return float(gap / size), float(np.linalg.norm(root * (euler - needed)) / size)


def length_scatter(size: int) -> float:
    """Return ``sqrt(1 - (E chi_d)^2 / d)``, the error of one number for the lengths of all samples.

    Examples
    --------
    >>> round(length_scatter(1024) * (2 * 1024) ** 0.5, 3)
    1.0
    """
    log = 2 * (gammaln((size + 1) / 2) - gammaln(size / 2)) - math.log(size / 2)
    return math.sqrt(-math.expm1(log))
