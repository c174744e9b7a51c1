"""Expectations of the Frechet distance of few Gaussian states, and of the energy distance."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic.quadrature import gauss_legendre
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.metrics import Moments, energy_rows
from steinlab.verification.cases import SingleCase

MANY, STEP, NODES = 1024, 0.04, 48
"""States from which, and step in the covariance from which, limits are taken; nodes of the mean."""


def bias(covariance: np.ndarray, truth: np.ndarray) -> float:
    """Return ``b`` of the bias ``b/n`` of a Gaussian's ``n`` states, against known moments.

    ``tr C + 1/2 sum_ij s_i s_j/(s_i + s_j) + 1/4 sum_i s_i``, ``s`` the singular values of
    ``C'^(1/2) C^(1/2)``, ``C'`` the truth's covariance.

    Examples
    --------
    >>> round(bias(np.eye(2), np.eye(2)), 12)
    3.5
    """
    s = np.sqrt(np.linalg.eigvals(covariance @ truth).real)
    return float(np.trace(covariance) + (s[:, None] * s / (s[:, None] + s)).sum() / 2 + s.sum() / 4)


def equal(d: int, c: float) -> float:
    """Return ``b`` of ``N(0, c^2 I)`` against ``N(0, I)``."""
    return d * (c**2 + (d + 1) * c / 4)


@dataclass(frozen=True)
class Gaussians(SingleCase):
    """Features of a model, and of the truth; ``states`` of 0 stand for the limit."""

    dim: int
    states: int
    seed: int

    def moments(self) -> list[Moments]:
        """Return both, variances from 0.2 to 5 in any directions."""
        rng, out = np.random.default_rng(self.seed), []
        for _ in range(2):
            turned, _ = np.linalg.qr(rng.standard_normal((self.dim, self.dim)))
            spectrum = np.exp(rng.uniform(math.log(0.2), math.log(5), self.dim))
            out.append(Moments(rng.standard_normal(self.dim), turned * spectrum @ turned.T))
        return out

    def bias(self) -> tuple[float, float]:
        """Return the bias times ``n`` and its error; a limit is extrapolated, twice for that."""
        model, truth = self.moments()
        slack = ROUNDING * EPS * float(np.trace(model.covariance + truth.covariance))
        if self.states:
            return mean_excess(model, truth, self.states), slack * self.states
        if self.dim == 1:
            found, order = [mean_excess(model, truth, MANY * 2**k) for k in range(3)], 1
        else:
            found, order = [curvature(model, truth, STEP / 2**k) for k in range(3)], 2
        early, late = (b + (b - a) / (2**order - 1) for a, b in itertools.pairwise(found))
        error = abs(late - early) + slack * max(4 * MANY, 16 * (self.dim / STEP) ** 2)
        return late, error


def mean_excess(model: Moments, truth: Moments, n: int) -> float:
    """Return ``n (E F_n - F)`` on the line, by quadrature over the states' mean and deviation."""
    nodes, weights = gauss_legendre(NODES)
    low, high = max(0.0, math.sqrt(n - 1) - 6.5), math.sqrt(n - 1) + 6.5
    chi = (low + high) / 2 + (high - low) / 2 * nodes
    logs = (n - 2) * np.log(chi) - chi**2 / 2
    mass = weights * np.exp(logs - logs.max())
    shift = np.sqrt(model.covariance[0] / n)
    ends = [
        Moments(model.mean + shift * (-1) ** i, model.covariance * c**2 / (n - 1)).to(truth)
        for i, c in enumerate(np.repeat(chi, 2))
    ]
    return n * float(np.repeat(mass, 2) @ ends / (2 * mass.sum()) - model.to(truth))


def curvature(model: Moments, truth: Moments, h: float) -> float:
    """Return half the distance's second difference over the states' mean and covariance."""
    root, d = np.linalg.cholesky(model.covariance), len(model.mean)
    moved = []
    for i, j in itertools.combinations_with_replacement(range(d), 2):
        one = np.zeros((d, d))
        one[i, j] = one[j, i] = 2**0.5 if i == j else 1.0
        moved += [(0 * root[0], root @ one @ root.T)] + [(root[:, i], 0 * root)] * (i == j)
    middle = model.to(truth)
    ends = (
        Moments(model.mean + sign * h * a, model.covariance + sign * h * b).to(truth) - middle
        for a, b in moved
        for sign in (1, -1)
    )
    return sum(ends) / (2 * h**2)


class Energies(NamedTuple):
    """The mean over samples, its rounding, the laws' distance and ``E|X - X'|``."""

    mean: float
    error: float
    distance: float
    within: float


@dataclass(frozen=True)
class Atoms(SingleCase):
    """Two laws of three atoms each in the plane; samples of ``states`` and of two."""

    states: int
    seed: int

    def energy(self) -> Energies:
        """Average over all samples there are, each with its probability."""
        rng = np.random.default_rng(self.seed)
        (x, y), (p, q) = rng.standard_normal((2, 3, 2)), rng.dirichlet(np.ones(3), 2)
        picks = [np.array(list(itertools.product(range(3), repeat=k))) for k in (self.states, 2)]
        mean = math.fsum(
            p[i].prod() * q[j].prod() * energy_rows(x[i], y[j]).distance
            for i, j in itertools.product(*picks)
        )
        across, within, other = (
            float(a @ np.linalg.norm(u[:, None] - v, axis=-1) @ b)
            for a, u, b, v in ((p, x, q, y), (p, x, p, x), (q, y, q, y))
        )
        error = ROUNDING * EPS * (2 * across + within + other)
        return Energies(mean, error, 2 * across - within - other, within)
